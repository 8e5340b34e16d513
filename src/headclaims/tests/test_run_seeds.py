"""Whole runs on the planted checkpoint drawn anew: every claim is supported, whatever the seed, under either list."""

import pytest

from headclaims.checkpoint.planted.folder import planted_folder
from headclaims.tests.claims_run import Runs, catalogue, shared_runs
from headclaims.tests.test_run import FOUND_IN_PLANTED, SUPPORTED, assert_sound


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs that the tests of this file share."""
    return shared_runs(tmp_path_factory)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("seed", "words"), [(1, "write-up"), (2, "held-out"), (3, "write-up"), (4, "held-out")])
def test_other_seeds(runs: Runs, seed: int, words: str) -> None:
    """Another draw of the weights, of prompts and resamples; of nulls, too, in one case."""
    whole = (seed, words) == (1, "write-up")
    options = ("--checkpoint", planted_folder(seed), "--words", words, "--seed", str(seed))
    run = runs(*options, *(() if whole else ("--verdicts-only",)))
    assert run.status == 0
    assert {name: verdict for name, (verdict, _) in run.verdicts.items()} == dict.fromkeys(catalogue(), SUPPORTED)
    if whole:
        assert run.verdicts == FOUND_IN_PLANTED
        assert_sound(run)
