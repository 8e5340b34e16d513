"""The trained series: its sequences tell nothing by lag, it is the same for a seed, and heads come to be in it."""

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from headclaims.checkpoint import load
from headclaims.checkpoint.trained import induction
from headclaims.checkpoint.trained.folder import parse, trained_folder
from headclaims.checkpoint.trained.induction import BOS, CONTEXT, STEPS, Training, words
from headclaims.checkpoint.trained.sequences import sequences
from headclaims.errors import BadCheckpoint
from headclaims.tests.claims_run import ClaimsRun, run_claims

WORDS = np.arange(2, 300)


@pytest.mark.parametrize(("length", "most"), [(16, 0.4), (64, 0.1)])
def test_what_is_told_was_said_before_at_lags_of_all_kinds(length: int, most: float) -> None:
    """Pairs of a told token and the one before it occurred earlier; no distance to them is good for many."""
    tokens, told = sequences(np.random.default_rng(0), 200, length, WORDS, BOS)
    assert tokens.shape == told.shape == (200, length)
    assert (tokens[:, 0] == BOS).all()
    assert 0.25 < told.mean() < 0.6
    lags: list[int] = []
    several = 0
    for row, known in zip(tokens.tolist(), told.tolist(), strict=True):
        pairs = list(pairwise(row))
        of_row = set()
        for i in np.flatnonzero(known):
            before = [j for j in range(1, i) if pairs[j - 1] == pairs[i - 1]]
            assert before, "no earlier copy"
            lags.append(int(i) - before[-1])
            of_row.add(lags[-1])
        several += len(of_row) > 1
    share_of_lag = np.bincount(lags) / len(lags)
    assert share_of_lag.max() < most
    assert several > 100


def test_new_tokens_are_as_often_told_by_nothing() -> None:
    tokens, told = sequences(np.random.default_rng(1), 50, 64, WORDS, BOS)
    for row, known in zip(tokens, told, strict=True):
        first = [i for i in range(1, 64) if row[i] not in row[:i]]
        assert not known[first].any()


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("trained:made-up@0", "trained:made-up@0: no trained series 'made-up'"),
        ("trained:induction", "trained:induction: no step '' of induction"),
        ("trained:induction@7", "trained:induction@7: no step '7' of induction"),
        ("trained:induction@x", "wanted trained:<series>@<step>, as trained:induction@1000"),
    ],
)
def test_what_was_not_trained_is_refused(spec: str, line: str) -> None:
    with pytest.raises(BadCheckpoint) as refused:
        load(spec)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_steps_are_about_a_dozen_from_the_first() -> None:
    assert parse(f"trained:induction@{STEPS[-1]}") == ("induction", STEPS[-1])
    assert STEPS[0] == 0
    assert len(STEPS) == 12
    assert all(early < late for early, late in pairwise(STEPS))


def test_a_seed_gives_the_same_bytes_and_another_others() -> None:
    """Two steps of training, whatever numbers were drawn between."""
    made = []
    for seed in (3, 3, 4):
        torch.rand(5)
        training = Training(seed)
        before = training.loss(0).item()
        for step in range(2):
            training.learn(step)
        made.append((before, training.weights()))
    (first, one), (again, same), (other, _) = made
    assert first == again != other
    assert all((one[name] == same[name]).all() for name in one)
    # Gaussian logits of standard deviation s cost s²/2 nats more than the log of how many there are.
    assert np.log(len(words().forms)) < first < np.log(len(words().forms)) + 2
    assert not (one["lm_head.weight"] == Training(3).weights()["lm_head.weight"]).all()


def test_a_folder_has_every_step_and_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a series that stops after two steps."""
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path))
    monkeypatch.setattr(induction, "STEPS", (0, 2))
    folder = trained_folder("induction", 2)
    assert {path.name for path in folder.parent.iterdir()} == {"step-0", "step-2"}
    first = (folder / "model.safetensors").stat().st_mtime_ns
    assert trained_folder("induction", 0).parent == folder.parent
    assert (folder / "model.safetensors").stat().st_mtime_ns == first
    checkpoint = load("trained:induction@2")
    assert (checkpoint.kind, checkpoint.name, checkpoint.spec) == (
        "trained",
        "trained-induction-2",
        "trained:induction@2",
    )
    assert (checkpoint.sizes.n_layers, checkpoint.sizes.n_ctx) == (2, CONTEXT)
    assert checkpoint.single_token(" apple") is not None


def audited(step: int, tmp_path: Path) -> ClaimsRun:
    """The audit of a step, of the head that attends most to targets."""
    options = ("--checkpoint", f"trained:induction@{step}", "--head", "auto")
    return run_claims(*options, reports=tmp_path / str(step), of="claims/induction_heads")


@pytest.mark.slow
@pytest.mark.long
def test_an_induction_head_and_its_previous_token_head_come_to_be(tmp_path: Path) -> None:
    start = time.process_time()
    folder = trained_folder("induction", STEPS[-1])
    assert time.process_time() - start < 360
    made = {step: audited(step, tmp_path) for step in (STEPS[0], STEPS[-1])}
    # Several heads of layer 0 attend to the token before, and none of them alone carries the match (`keys-carry-it`).
    for name in (
        "prefix-matching",
        "not-by-lag",
        "not-the-copy",
        "order-matters",
        "previous-token-head-exists",
        "copies",
    ):
        assert made[STEPS[-1]].verdicts[name][0] == "supported", name
    for name in ("prefix-matching", "not-the-copy", "order-matters", "previous-token-head-exists", "copies"):
        assert made[STEPS[0]].verdicts[name][0] == "not supported", name
    record = made[STEPS[-1]].record
    assert record["target"]["layer"] == 1
    # Attention by transformers alone, with a gap of seven words: no lag of the audit's.
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    generator = np.random.default_rng(7)
    drawn = np.stack([generator.permutation(np.arange(2, 600))[:27] for _ in range(16)])
    tokens = np.concatenate([np.zeros((16, 1), int), drawn, drawn[:, :20]], axis=1)
    with torch.no_grad():
        first, second = (p.numpy() for p in model(torch.from_numpy(tokens), output_attentions=True).attentions)
    target, before = record["target"]["head"], made[STEPS[-1]].claims["previous-token-head-exists"]["measured"]["head"]
    assert second[:, target, 28 + np.arange(20), 2 + np.arange(20)].mean() > 0.4
    assert first[:, before, np.arange(2, 28), np.arange(1, 27)].mean() > 0.5
    assert first[:, :, 28 + np.arange(20), 2 + np.arange(20)].mean(axis=(0, 2)).max() < 0.2
