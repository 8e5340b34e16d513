"""Power: what is planted in which strength, and how often its claims are supported."""

from pathlib import Path

import numpy as np
import pytest

from headclaims.checkpoint.planted.vocabulary import vocabulary
from headclaims.cli import main
from headclaims.tests.claims_run import SET
from headclaims.trials.power import (
    PROPERTIES,
    SEEDS,
    STRENGTHS,
    Dose,
    draw,
    noticed_from,
    supported,
    table,
    verdicts,
    wilson,
)


def test_full_strength_is_what_the_planted_checkpoint_or_the_counterfeit_has() -> None:
    full = {name: property_.weights(1.0) for name, property_ in PROPERTIES.items()}
    assert full["suppression"].depth == 0.85
    assert full["category"].same == 6
    assert full["positional leak"].bias == 2  # type: ignore[attr-defined]
    assert full["attention-0 leak"].from_attention == pytest.approx(0.2)
    half = {name: property_.weights(0.5) for name, property_ in PROPERTIES.items()}
    assert half["suppression"].depth == pytest.approx(0.425)
    assert half["category"].same == 3
    assert half["positional leak"].bias == 1  # type: ignore[attr-defined]
    fed = half["attention-0 leak"]
    # What comes to MLP 0 stays what it was.
    assert (fed.from_attention, fed.from_attention + fed.from_embedding) == pytest.approx((0.1, 0.6))


def test_strength_changes_what_it_should_alone() -> None:
    """D is the eigenvalue on I: half the depth, half of it; every random part is the same."""
    weak, strong = (PROPERTIES["suppression"].weights(s)(vocabulary(), np.random.default_rng(0)) for s in (0.5, 1.0))
    assert weak.lambda_i == pytest.approx(strong.lambda_i / 2)
    assert np.array_equal(weak.embedding(), strong.embedding())


def test_shares_by_strength() -> None:
    doses = [Dose(SET, name, s, seed) for seed in range(4) for name in PROPERTIES for s in STRENGTHS]
    found = [
        dict.fromkeys(
            PROPERTIES[dose.name].claims, "supported" if dose.strength > 0.15 * (dose.seed + 1) else "undecided"
        )
        for dose in doses
    ]
    shares = supported(doses, found)
    wanted = [sum(s > 0.15 * (seed + 1) for seed in range(4)) / 4 for s in STRENGTHS]
    assert shares["suppression"]["dark-diagonal"] == wanted
    line = next(line for line in table(shares).splitlines() if "first-attention-irrelevant" in line)
    assert [float(cell) for cell in line.split("|")[3:-2]] == wanted


def test_what_is_noticed_in_80_percent() -> None:
    """From 0.6 at strength 0.3 to 1 at 0.4: 0.8 lies halfway. A lapse at 0.7 puts it off. A leak is the reverse."""
    rising = [0.0, 0.2, 0.4, 0.6, *[1.0] * 7]
    assert noticed_from(rising, leak=False) == pytest.approx(0.35)
    assert noticed_from([1 - share for share in rising], leak=True) == pytest.approx(0.35)
    rising[7] = 0.6
    assert noticed_from(rising, leak=False) == pytest.approx(0.75)
    assert noticed_from([1.0] * 11, leak=False) == 0
    assert noticed_from([0.5] * 11, leak=False) is None


def test_the_study_is_from_none_to_all_in_ten_steps_and_of_twenty_seeds() -> None:
    assert pytest.approx(np.arange(11) / 10) == STRENGTHS
    assert SEEDS == 20


@pytest.mark.parametrize("names", [["many"], ["0"], ["-1"], ["3", "4"]])
def test_how_many_seeds_is_a_whole_number(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trials", "power", "--", *names]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"headclaims: trials power {' '.join(names)}: wanted how many, a whole number, 1 or more"


def test_a_share_has_wilson_s_interval() -> None:
    """(p + z²/2n ± z √(p(1 − p)/n + z²/4n²))/(1 + z²/n), by hand for 15 of 20."""
    assert wilson(15.0, 20) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_the_figure_shows_every_claim_and_is_the_same_twice(tmp_path: Path) -> None:
    shares = {name: {c: [0.5] * len(STRENGTHS) for c in property_.claims} for name, property_ in PROPERTIES.items()}
    draw(shares, 20, tmp_path / "a.svg")
    draw(shares, 20, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    for name, property_ in PROPERTIES.items():
        assert name in text
        assert all(claim in text for claim in property_.claims)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "claim"),
    [(name, claim) for name, property_ in PROPERTIES.items() for claim in property_.claims],
)
def test_the_least_and_the_most(name: str, claim: str) -> None:
    """Whatever the claim is about is there at full strength; a leak then is no longer irrelevant, and at 0.1 it is."""
    at_most = verdicts(Dose(SET, name, 1.0, 0))[claim]
    if "leak" in name:
        assert at_most == "not supported"
        assert verdicts(Dose(SET, name, 0.1, 0))[claim] == "supported"
    else:
        assert at_most == "supported"
