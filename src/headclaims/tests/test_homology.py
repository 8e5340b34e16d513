"""Homologues: distances by hand, a head found again wherever it was moved to, and accounts that are not to be had."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headclaims.audit.settings import Settings
from headclaims.checkpoint.interface import Head
from headclaims.claim.claim_set import ClaimSet
from headclaims.cli import main
from headclaims.errors import BadInput
from headclaims.fleet.homology import Ranking, behaviour, distance, map_agreement, ranking
from headclaims.measures.category_score import Survey
from headclaims.tests.claims_run import SET
from headclaims.tests.evidence_files import partial_weights, recorded_attention
from headclaims.tests.test_form_data import surveyed, uniform

DRAW = np.random.default_rng(0)


def homologues(target: dict[str, str], other: dict[str, str]) -> Ranking:
    """The ranking by two audits' settings, on the words of the claim set."""
    return ranking(Settings.of(target), Settings.of(other), ClaimSet.read(SET))


def test_behaviour_by_hand() -> None:
    """Uniform attention: of rows 3, 4 and 5 each kin has 1/4, 1/5 and 1/6, as the row itself; row 5 has one copy."""
    survey: Survey = surveyed(np.stack([uniform(), np.eye(6)]))
    even, itself = behaviour(survey)
    shares = np.array([1 / 4, 1 / 5, 1 / 6])
    alone = (1 + 1 / 2 + 1 / 3) / 3
    per_copy = (1 / 6) / shares.mean()
    assert even == pytest.approx(np.log([1.0, 1.0, per_copy, shares.mean(), alone]), abs=1e-4)
    # A head that attends to itself alone: nothing for kin, copies or, but in row 0, BOS; as little counts as 1e-6.
    assert itself[0] == pytest.approx(np.log(1e-6))
    assert itself[1] == pytest.approx(np.log((1 + 1e-6) / 1e-6))
    assert itself[2:4] == pytest.approx([0.0, np.log(1e-6)])
    assert itself[4] == pytest.approx(np.log(1 / 3))


def test_distances_are_in_standard_deviations() -> None:
    others = np.array([[0.0, 5.0, 7.0], [2.0, 5.0, 7.0], [4.0, 8.0, 7.0]])
    spread = [np.sqrt(8 / 3), np.sqrt(2.0)]
    found = distance(np.array([2.0, 5.0, 7.0]), others)
    assert found == pytest.approx(
        [2 / spread[0] / np.sqrt(3), 0.0, np.sqrt((4 / spread[0] ** 2 + 9 / spread[1] ** 2) / 3)]
    )


def test_agreement_takes_no_notice_of_what_a_softmax_does_not_see() -> None:
    target = DRAW.normal(size=(9, 9))
    shifted = 3 * target + DRAW.normal(size=(9, 1))
    found = map_agreement(target, np.stack([shifted, -target, np.zeros((9, 9)), target.T]))
    assert found[:3] == pytest.approx([1, -1, 0])
    rows = [of - of.mean(axis=1, keepdims=True) for of in (target, target.T)]
    assert found[3] == pytest.approx(stats.spearmanr(rows[0].ravel(), rows[1].ravel()).statistic)


def test_the_mean_rank_is_of_the_accounts_that_there_are() -> None:
    heads = [Head(0, i) for i in range(3)]
    ranking = Ranking(heads, np.array([0.5, 0.1, 0.9]), None, np.array([0.2, 0.9, 0.9]))
    assert ranking.mean_rank.tolist() == [2.5, 1.25, 2.25]
    assert ranking.rows(2) == [["L0H1", "1.2", "0.100", "–", "0.900"], ["L0H2", "2.2", "0.900", "–", "0.900"]]


@pytest.mark.slow
@pytest.mark.long
def test_the_planted_head_is_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    """In `wrong-head` it is L1H8; in `two-heads` L1H6 is a weaker twin; the planted one is like itself."""
    assert main(["homologues", "planted", "planted:wrong-head", "--top", "1", "--prompts", "16"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["L1H8", "1.0", "0.000", "0.000", "1.000"]
    found = homologues(
        {"checkpoint": "planted", "head": "L1H5", "prompts": "16"},
        {"checkpoint": "planted:two-heads", "prompts": "16"},
    )
    assert [found.heads[i].label for i in np.argsort(found.mean_rank)[:2]] == ["L1H5", "L1H6"]


def test_recorded_attention_tells_of_behaviour_alone(tmp_path: Path) -> None:
    path = str(recorded_attention().write(tmp_path / "recorded.safetensors"))
    found = homologues({"checkpoint": path, "head": "L1H5"}, {"checkpoint": path})
    assert found.weights is None
    assert found.agreement is None
    assert found.heads[int(np.argmin(found.mean_rank))] == Head(1, 5)
    one_layer = str(recorded_attention(layers=(1,)).write(tmp_path / "one.safetensors"))
    found = homologues({"checkpoint": path, "head": "L1H5"}, {"checkpoint": one_layer})
    assert found.heads[int(np.argmin(found.mean_rank))] == Head(1, 5)


def test_without_an_account_in_common_it_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        recorded_attention().write(tmp_path / "a.safetensors"),
        partial_weights().write(tmp_path / "b.safetensors"),
    ]
    with pytest.raises(BadInput, match="neither attention nor weights in common"):
        homologues({"checkpoint": str(paths[0])}, {"checkpoint": str(paths[1])})
    assert main(["homologues", *map(str, paths), "--head", "L9H9"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headclaims: --head L9H9: ")
