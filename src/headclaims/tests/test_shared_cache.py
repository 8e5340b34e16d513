"""Audits of several heads share one cache: each reads its own results there, and no other head's."""

import json

import numpy as np
import pytest

from headclaims.audit.audit import Audit
from headclaims.audit.prepare import Defaults, audits, open_workspace
from headclaims.audit.settings import Settings
from headclaims.measures.ablation import Component, Kind, Part
from headclaims.prompts.words import WordLists
from headclaims.tests.claims_run import SET
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import WORDS

HEADS = "L1H0,L1H2,L2H2,L0H1"
POSITION = Component(Part.POSITION)


def results(audit: Audit) -> dict[str, np.ndarray]:
    """What an audit of a head keeps on disk, by what asks for it."""
    ablations, parts, steering = audit.ablations, audit.parts, audit.steering
    spectral = audit.nulls.spectral(lambda spectra: spectra.norms.ratio)
    drawn = {
        "symmetric part": parts.null,
        "random halves": steering.random_halves,
        "steered heads": steering.other_heads,
        **{f"spectra, {null.population}": null for null in spectral},
    }
    assert all(null.values is not None and len(null.values) for null in drawn.values())
    return {name: np.asarray(null.values) for name, null in drawn.items()} | {
        "clean": ablations.clean_patterns,
        "ablated": ablations.target_under([POSITION]).survey.word_mass,
        "ablated anew": ablations.target_under([POSITION], Kind.RESAMPLE).survey.word_mass,
        "relative": ablations.relative([POSITION]),
        "loss": np.array(steering.loss(-1.0)),
        "pairs": audit.pairs.bos,
        "skew": np.array(audit.skew_self_score[0]),
        "survey": audit.survey.word_mass,
    }


@pytest.fixture(scope="module")
def results_of_heads(models: Models, tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, np.ndarray]]]:
    """Results of every head: without a cache, with one that is empty at first, and from that one."""
    folder = tmp_path_factory.mktemp("shared")
    lists = [f"{name} = {json.dumps(list(words))}" for name, words in WORDS.categories.items()]
    (folder / "small.toml").write_text("\n".join(["[categories]", *lists]), encoding="utf-8")
    model, defaults = models("gpt2").folder, Defaults("gpt2", "L1H5", {"lowest": "category score"})
    rounds = []
    for no_cache in (True, False, False):
        settings = Settings(
            checkpoint=str(model),
            head=HEADS,
            words=str(folder / "small.toml"),
            prompts=4,
            seq_len=24,
            no_cache=no_cache,
        )
        patch = pytest.MonkeyPatch()
        patch.setenv("HEADCLAIMS_CACHE", str(folder / "cache"))
        workspace = open_workspace(settings, WordLists.read(SET / "words", SET / "groups.toml"), defaults)
        patch.undo()
        rounds.append([results(audit) for audit in audits(workspace, defaults)])
    return rounds


@pytest.mark.parametrize("again", [1, 2], ids=["filled", "read"])
def test_a_shared_cache_changes_no_result(results_of_heads: list[list[dict[str, np.ndarray]]], again: int) -> None:
    for label, alone, shared in zip(HEADS.split(","), results_of_heads[0], results_of_heads[again], strict=True):
        for name, expected in alone.items():
            np.testing.assert_allclose(shared[name], expected, rtol=1e-5, atol=1e-7, err_msg=f"{name} of {label}")
