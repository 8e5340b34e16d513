"""Audits of several heads share one cache: each reads its own results there, and no other head's."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from headclaims.audit.audit import Audit
from headclaims.audit.prepare import Defaults, audits, open_workspace
from headclaims.audit.settings import Settings
from headclaims.audit.steering import other_swing_arrays
from headclaims.checkpoint.interface import Head, pattern_name, patterns_of
from headclaims.measures.ablation import Component, Kind, Part
from headclaims.measures.three_rules import survey_pairs
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


def audits_of(heads: str, models: Models, folder: Path, *, no_cache: bool = False) -> list[Audit]:
    """Audits of some heads of a small GPT-2 on twelve words, with a cache in the folder."""
    lists = [f"{name} = {json.dumps(list(words))}" for name, words in WORDS.categories.items()]
    (folder / "small.toml").write_text("\n".join(["[categories]", *lists]), encoding="utf-8")
    model, defaults = models("gpt2").folder, Defaults("gpt2", "L1H5", {"lowest": "category score"})
    settings = Settings(
        checkpoint=str(model),
        head=heads,
        words=str(folder / "small.toml"),
        prompts=4,
        seq_len=24,
        no_cache=no_cache,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADCLAIMS_CACHE", str(folder / "cache"))
        workspace = open_workspace(settings, WordLists.read(SET / "words", SET / "groups.toml"), defaults)
    return list(audits(workspace, defaults))


@pytest.fixture(scope="module")
def results_of_heads(models: Models, tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, np.ndarray]]]:
    """Results of every head: without a cache, with one that is empty at first, and from that one."""
    folder = tmp_path_factory.mktemp("shared")
    return [
        [results(audit) for audit in audits_of(HEADS, models, folder, no_cache=no_cache)]
        for no_cache in (True, False, False)
    ]


@pytest.mark.parametrize("again", [1, 2], ids=["filled", "read"])
def test_a_shared_cache_changes_no_result(results_of_heads: list[list[dict[str, np.ndarray]]], again: int) -> None:
    for label, alone, shared in zip(HEADS.split(","), results_of_heads[0], results_of_heads[again], strict=True):
        for name, expected in alone.items():
            np.testing.assert_allclose(shared[name], expected, rtol=1e-5, atol=1e-7, err_msg=f"{name} of {label}")


def entries(folder: Path) -> Counter[str]:
    """How many results of each kind a cache holds."""
    return Counter(path.parent.name for path in folder.rglob("*.safetensors"))


def test_what_runs_tell_of_a_layer_is_there_for_its_next_head(models: Models, tmp_path: Path) -> None:
    first, second = audits_of("L1H0,L1H2", models, tmp_path)
    results(first)
    before = entries(tmp_path / "cache")
    results(second)
    grown = entries(tmp_path / "cache") - before
    assert before.keys() >= {"layer-patterns", "pairs", "target-read", "gaussian-spectra"}
    assert not grown.keys() & {"layer-patterns", "pairs", "target-read", "gaussian-spectra"}
    assert grown["random-halves"] == 1
    assert (before["steered-heads"], grown["steered-heads"]) == (2, 1)  # the heads of its own layer are others
    # What it finds there is its own, and its null's.
    pairs = second.pairs
    assert pairs.heads[0] == Head(1, 2)
    np.testing.assert_array_equal(pairs.bos, survey_pairs(second.checkpoint, pairs.pairs, pairs.heads).bos)
    pattern = patterns_of(second.checkpoint.run(second.workspace.tokens, record=[pattern_name(1)]), [Head(1, 2)])[0]
    np.testing.assert_allclose(second.ablations.clean_pattern, pattern, atol=1e-6)
    read, others = second.steering.read, second.beside(second.workspace.model_heads)
    alone = [other_swing_arrays(read, second.prompts, [head])["swings"][0] for head in others]
    assert len(set(alone)) > 3
    np.testing.assert_allclose(np.asarray(second.steering.other_heads.values), alone, rtol=1e-6)
