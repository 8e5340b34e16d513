"""Null populations of an audit: which members they have, which of these are of the target's layer, what is missing."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from headclaims.audit.audit import Audit
from headclaims.audit.nulls import Nulls
from headclaims.cache import Cache
from headclaims.checkpoint.interface import Capability, Head
from headclaims.errors import NotAssessable
from headclaims.measures.gaussian_map import GAUSSIAN_STATISTICS
from headclaims.measures.lowest_score import gap_to_runner_up


class Evidence:
    """A checkpoint that lacks some capabilities."""

    def __init__(self, *lacks: Capability) -> None:
        self.lacks = lacks

    def require(self, capability: Capability) -> None:
        if capability in self.lacks:
            raise NotAssessable(f"needs {capability.value}: not in the file")


class Made(Audit):
    """As much of an audit as nulls ask: the heads of a model, and the target L1H0."""

    def __init__(self, layers: int, each: int, *lacks: Capability, verdicts_only: bool = False) -> None:
        heads = [Head(layer, index) for layer in range(layers) for index in range(each)]
        self.target, self.given = Head(1, 0), SimpleNamespace(verdicts_only=verdicts_only, seed=0, searched=False)
        self.workspace: Any = SimpleNamespace(
            settings=self.given, heads=heads, model_heads=heads, checkpoint=Evidence(*lacks), chosen_among=1
        )


def number(head: Head) -> float:
    """A number that tells heads apart."""
    return float(100 * head.layer + head.index)


def place(head: Head) -> float:
    """The number as a statistic that can't be taken of L0H2."""
    if head == Head(0, 2):
        raise NotAssessable("no rows with kin")
    return number(head)


def test_a_statistic_at_hand_is_taken_of_all_other_heads() -> None:
    null = Nulls(Made(20, 12)).other_heads(place)
    assert null.n == 20 * 12 - 2
    assert null.values is not None
    assert sorted(null.values) == [
        100.0 * layer + index for layer in range(20) for index in range(12) if (layer, index) not in ((1, 0), (0, 2))
    ]
    mates = null.of_layer
    assert mates is not None
    assert mates.values is not None
    assert mates.values.tolist() == [100.0 + index for index in range(1, 12)]
    # L1H0's 100 is below its eleven layer-mates.
    assert mates.p_value(100.0, "low") == 1 / 12


@pytest.mark.parametrize(("layers", "members"), [(20, 199), (21, 48)])
def test_maps_are_taken_of_all_heads_of_a_model_of_up_to_200(
    layers: int, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nulls = Nulls(Made(layers, 10))
    heads = nulls._map_heads
    assert len(heads) == members
    values = np.array([np.nan if head == heads[7] else number(head) for head in heads])
    monkeypatch.setattr(Nulls, "maps_of_others", {"auc": values, "depth": values + 1.0})
    null = nulls.other_maps("auc", "depth")
    assert null.values is not None
    assert null.values.tolist() == [number(head) for head in heads if head != heads[7]]
    mates = [number(head) for head in heads if head.layer == 1 and head != heads[7]]
    assert null.of_layer is not None
    assert null.of_layer.values is not None
    assert null.of_layer.values.tolist() == mates
    assert nulls.other_maps("kin").missing == "no member has the statistic"


@pytest.mark.parametrize(
    ("chosen_among", "first", "every"), [(1, 999, 999), (49, 999, 999), (50, 199, 1000), (270, 199, 5400)]
)
def test_of_many_gaussian_heads_most_are_drawn_where_they_decide(
    chosen_among: int, first: int, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit, asked = Made(2, 3), []
    audit.workspace.chosen_among = chosen_among

    def maps(_: Nulls, members: range, names: Sequence[str]) -> dict[str, np.ndarray]:
        asked.append((members, tuple(names)))
        return {name: np.array(members, dtype=float) for name in ("peak", "depth")}

    monkeypatch.setattr(Nulls, "_gaussian_maps", maps)
    null = Nulls(audit).gaussian_maps("peak", "depth")
    assert (null.population, null.n, null.chosen_among) == ("Gaussian heads", first, chosen_among)
    assert asked == [(range(first), GAUSSIAN_STATISTICS)]
    assert null.enough_for(19.0, "low").n == first
    assert len(asked) == 1
    drawn = null.enough_for(18.0, "low")
    assert drawn.values is not None
    assert drawn.values.tolist() == list(range(every))
    parts = {999: [], 1000: [range(199, 1000)], 5400: [range(199, 1194), range(1194, 5400)]}
    assert asked[1:] == [(part, ("peak", "depth")) for part in parts[every]]
    assert Nulls(audit).gaussian_maps("kin").missing == "no member has the statistic"


def test_gaussian_heads_of_a_spectrum_have_the_target_s_size() -> None:
    # W_Q of 0.2 and W_K of 3 an entry: as heads drawn whole of these sizes.
    audit, generator = Made(2, 3), np.random.default_rng(1)
    W_Q, W_K = (torch.from_numpy(size * np.sign(generator.normal(size=(20, 3)))) for size in (0.2, 3.0))
    vars(audit)["qk"] = SimpleNamespace(W_Q=W_Q, W_K=W_K)
    audit.workspace.cached = Cache(None).call
    vars(audit.checkpoint)["free_dimensions"] = 20
    found = Nulls(audit)._gaussian_spectra(range(999)).norms.symmetric.numpy()
    expected = []
    for _ in range(999):
        W = (0.2 * generator.normal(size=(20, 3))) @ (3.0 * generator.normal(size=(20, 3))).T
        expected.append(np.abs(np.linalg.eigvalsh((W + W.T) / 2)).max())
    assert stats.ks_2samp(found, expected).pvalue > 0.01
    assert np.median(found) == pytest.approx(np.median(expected), rel=0.05)


def test_permutations_are_no_heads() -> None:
    null = Nulls(Made(2, 3)).draw("random halves", lambda: np.zeros(99))
    assert (null.n, null.layer_mates, null.of_layer) == (99, None, None)
    with pytest.raises(ValueError, match="2 values of 1 heads; wanted one of each"):
        Nulls(Made(2, 3)).draw("other heads", lambda: np.zeros(2), heads=[Head(0, 0)])


@pytest.mark.parametrize("lacking", [Capability.INTERVENTIONS, Capability.EMBEDDING, Capability.SCORES])
def test_the_gaussian_survey_needs_an_embedding_weights_and_prompts_of_its_own(lacking: Capability) -> None:
    null = Nulls(Made(2, 3, lacking)).gaussian_survey(gap_to_runner_up)
    assert (null.population, null.values) == ("Gaussian survey", None)
    assert null.missing == f"needs {lacking.value}: not in the file"


def test_the_gaussian_survey_is_of_whichever_head_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nulls, "_gaussian_scores", np.array([[3.0, 1.0, 1.5], [2.0, 4.0, 2.25]]))
    null = Nulls(Made(2, 3)).gaussian_survey(gap_to_runner_up)
    assert null.values is not None
    assert null.values.tolist() == [0.5, 0.25]


def test_verdicts_only_draws_nothing() -> None:
    nulls = Nulls(Made(2, 3, verdicts_only=True))
    for null in (
        nulls.other_heads(place),
        nulls.other_maps("auc"),
        nulls.gaussian_maps("auc"),
        nulls.gaussian_survey(gap_to_runner_up),
    ):
        assert null.missing == "--verdicts-only"
