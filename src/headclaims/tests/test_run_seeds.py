"""Whole runs on the planted checkpoint drawn anew: every claim is supported, whatever the seed, under either list."""

import pytest

from headclaims.checkpoint.planted.folder import planted_folder
from headclaims.tests.claims_run import Runs, catalogue, shared_runs
from headclaims.tests.test_run import SUPPORTED, assert_sound


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs that the tests of this file share."""
    return shared_runs(tmp_path_factory)


LEAST_FOUND = 16


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("words", ["write-up", "held-out"])
@pytest.mark.parametrize("seed", range(5))
def test_seeds_and_lists(runs: Runs, seed: int, words: str) -> None:
    """Another draw of the weights, of prompts, resamples and nulls."""
    run = runs("--checkpoint", planted_folder(seed), "--words", words, "--seed", str(seed))
    assert run.status == 0
    assert {name: verdict for name, (verdict, _) in run.verdicts.items()} == dict.fromkeys(catalogue(), SUPPORTED)
    assert run.record["counts"]["found"] >= LEAST_FOUND
    assert_sound(run)
