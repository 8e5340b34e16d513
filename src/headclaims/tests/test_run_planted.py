"""Whole runs on the planted checkpoint: other seeds, other heads, other ways to run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headclaims import __version__
from headclaims.checkpoint.interface import Head
from headclaims.checkpoint.planted.folder import planted_folder
from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.measures.other_heads import other_heads
from headclaims.tests.claims_run import ClaimsRun, Runs, catalogue, comparable, run_claims, shared_runs
from headclaims.tests.report_folders import forms
from headclaims.tests.small_models import SmallModel, raw_weights
from headclaims.tests.test_planted import Realised, copies_of, kin_of
from headclaims.tests.test_run import (
    NOT_SUPPORTED,
    SUPPORTED,
    assert_no_traceback,
    assert_says_what_was_found,
    assert_sound,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs that the tests of this file share."""
    return shared_runs(tmp_path_factory)


@pytest.fixture(scope="module")
def planted(runs: Runs) -> ClaimsRun:
    """No checkpoint, no hub."""
    return runs()


@pytest.fixture(scope="module")
def weakened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted checkpoint with the target's part in identity taken out: it no longer tells a word from its kin."""
    folder = tmp_path_factory.mktemp("weakened") / "weakened"
    shutil.copytree(planted_folder(), folder)
    weights = load_file(folder / "model.safetensors")
    # Queries of head 5: columns 29 to 62 of its 64 read the axes of identity.
    weights["transformer.h.1.attn.c_attn.weight"][:, 5 * 64 + 29 : 5 * 64 + 63] = 0
    weights["transformer.h.1.attn.c_attn.bias"][5 * 64 + 29 : 5 * 64 + 63] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.long
def test_how_rare_the_swing_of_steering_is(planted: ClaimsRun) -> None:
    """Every head turned by its own negative part, with transformers' activations and dense matrices."""
    made = Realised(0, planted_folder())
    prompts = made.prompts("write-up")
    with torch.no_grad():
        stream = made.model(torch.as_tensor(prompts.tokens), output_hidden_states=True).hidden_states
    kin, copies = kin_of(prompts), copies_of(prompts)
    has_kin, later = kin.any(axis=-1), ~np.tri(prompts.length, dtype=bool)
    swings = []
    for head in range(72):
        layer = head // 12
        raw = raw_weights(SmallModel("gpt2", made.folder, made.model), layer)
        x = torch.nn.functional.layer_norm(stream[layer].double(), (768,)).numpy()
        W_Q, W_K = made.heads[head]
        bias = raw.norm_bias.double().numpy()
        b_Q, b_K = (
            b[head % 12].double().numpy() + bias @ W[head % 12].double().numpy()
            for b, W in ((raw.b_Q, raw.W_Q), (raw.b_K, raw.W_K))
        )
        values, vectors = np.linalg.eigh((W_Q @ W_K.T + W_K @ W_Q.T) / 2)
        linear = (x @ W_Q @ b_K)[..., None] + (x @ W_K @ b_Q)[:, None]
        prefers = []
        for spectrum in (values, np.abs(values)):  # α = 1 and α = −1
            scores = np.where(later, -np.inf, ((x @ vectors * spectrum) @ (x @ vectors).swapaxes(1, 2) + linear) / 8)
            pattern = np.exp(scores - scores.max(axis=-1, keepdims=True))
            pattern /= pattern.sum(axis=-1, keepdims=True)
            own = pattern.diagonal(axis1=1, axis2=2) + (pattern * copies).sum(axis=-1)
            prefers.append((own - (pattern * kin).sum(axis=-1) / np.maximum(kin.sum(axis=-1), 1))[has_kin].mean())
        swings.append(prefers[1] - prefers[0])
    claim = planted.claims["steering-works-in-the-model"]
    assert claim["measured"]["swing"] == pytest.approx(swings[17], abs=1e-4)
    (p,) = (null["p"] for null in claim["nulls"] if null["population"] == "other heads")
    drawn = other_heads(Head(1, 5), [Head(head // 12, head % 12) for head in range(72)], seed=0)
    assert p == (1 + sum(swings[12 * head.layer + head.index] >= swings[17] for head in drawn)) / 49
    assert p > 0.05


@pytest.mark.slow
@pytest.mark.long
def test_planted_weakened_until_it_is_undecided(runs: Runs, weakened: Path) -> None:
    """Own and kin then score alike in expectation: neither above nor below 0 is certain."""
    run = runs("--checkpoint", weakened, "-k", "suppresses_self or within_category or dark_diagonal")
    assert run.status == 1
    assert_sound(run, complete=False, partial=True)
    claim = run.claims["suppresses-self"]
    assert claim["verdict"] == "undecided"
    low, high = claim["interval"]
    assert low < 0 < high
    assert "would" in claim["reason"]
    assert run.claims["attends-within-category"]["verdict"] == SUPPORTED
    assert run.claims["dark-diagonal"]["verdict"] != SUPPORTED


@pytest.mark.slow
@pytest.mark.long
def test_another_head_of_planted(runs: Runs) -> None:
    """L0H3 copies: no word's kin."""
    run = runs("--head", "L0H3")
    assert run.status == 1
    assert run.verdicts["category-score-lowest"] == (NOT_SUPPORTED, ["not distinctive"])
    assert_says_what_was_found(run, "category-score-lowest", "> 0")
    assert_says_what_was_found(run, "attends-within-category", "≥ 2")
    assert_no_traceback(run)
    assert run.record["target"] == {"layer": 0, "head": 3, "label": "L0H3", "chosen_by": "option", "chosen_on": None}
    assert_sound(run)


@pytest.mark.slow
@pytest.mark.long
def test_auto_on_planted(runs: Runs, planted: ClaimsRun) -> None:
    run = runs("--head", "auto")
    assert run.status == 0
    assert run.record["target"] == {
        "layer": 1,
        "head": 5,
        "label": "L1H5",
        "chosen_by": "auto",
        "chosen_on": "the words held-out",
    }
    assert run.first_line.startswith(f"headclaims {__version__}: auditing planted, L1H5")
    assert "target head: L1H5, chosen by auto, on the words held-out" in run.stdout
    assert run.record["settings"]["head"] == "auto"
    assert {name: claim["verdict"] for name, claim in run.claims.items()} == dict.fromkeys(catalogue(), SUPPORTED)
    assert_sound(run)
    # Weights are no prompts: their statistic is that of any run.
    assert run.claims["skew-is-weaker"]["measured"] == planted.claims["skew-is-weaker"]["measured"]


@pytest.mark.slow
@pytest.mark.long
def test_parallel_workers_give_the_same_record(runs: Runs, planted: ClaimsRun) -> None:
    run = runs("-n", "2")
    assert run.status == 0
    assert run.first_line == planted.first_line
    assert comparable(run.record) == comparable(planted.record)
    assert_sound(run)


@pytest.mark.slow
@pytest.mark.long
def test_parallel_workers_and_a_head_chosen(runs: Runs) -> None:
    alone, run = runs("--head", "auto"), runs("--head", "auto", "-n", "2")
    assert comparable(run.record) == comparable(alone.record)


@pytest.mark.slow
@pytest.mark.long
def test_one_thread_or_two_cached_or_not_the_same_is_found(tmp_path: Path) -> None:
    """The same verdicts and flags; measured values and p to a ten-thousandth of themselves."""
    options = ("--checkpoint", random_folder(3, clustered=True), "--prompts", "12", "--seq-len", "32")
    cache = {"HEADCLAIMS_CACHE": str(tmp_path / "cache")}
    ways: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "one thread": (("--no-cache",), {"OMP_NUM_THREADS": "1"}),
        "two threads, cold": ((), cache | {"OMP_NUM_THREADS": "2"}),
        "workers, warm": (("-n", "2"), cache | {"OMP_NUM_THREADS": "1"}),
    }
    runs = {
        name: run_claims(*options, *more, reports=tmp_path / name / "reports", env=env)
        for name, (more, env) in ways.items()
    }
    first = runs["one thread"]
    for name, run in runs.items():
        assert run.verdicts == first.verdicts, name
        for claim_id, claim in run.claims.items():
            other = first.claims[claim_id]
            assert claim["measured"] == pytest.approx(other["measured"], rel=1e-4, abs=1e-6), (name, claim_id)
            p = [null["p"] for null in claim["nulls"]]
            assert p == pytest.approx([null["p"] for null in other["nulls"]], rel=1e-4), (name, claim_id)


@pytest.mark.slow
@pytest.mark.long
def test_a_page_of_the_planted_checkpoint_draws_what_was_measured(tmp_path: Path) -> None:
    """Every figure is there; the first of a claim's effects is the one that the record has."""
    run = run_claims("--checkpoint", "planted", "--page", reports=tmp_path / "reports")
    kept = json.loads((run.folder / "figures.json").read_text(encoding="utf-8"))["claims"]
    assert {name for claim in kept.values() for name in claim["drawn"]} == {*forms(), "token_map"}
    assert not any(claim["undrawn"] for claim in kept.values())
    with_effects = [name for name, claim in kept.items() if "effects" in claim["drawn"]]
    assert len(with_effects) == 7
    for name in with_effects:
        first = kept[name]["drawn"]["effects"]["data"]["effects"][0]
        assert first["kind"] in ("mean", "E mean"), name
        assert first["effect"] == pytest.approx(run.claims[name]["measured"]["effect"], rel=1e-4), name
        assert first["interval"] == pytest.approx(run.claims[name]["interval"], rel=1e-4), name
    for name, claim in kept.items():
        for null, stated in zip(claim["nulls"], run.claims[name]["nulls"], strict=True):
            assert (1 + null["at_least"]) / (1 + stated["n"]) == pytest.approx(stated["p"]), name
    assert (run.folder / "index.html").stat().st_size < 8e6
