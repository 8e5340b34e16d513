"""Power: what is planted in which strength, and how often its claims are supported."""

import numpy as np
import pytest

from headclaims.checkpoint.planted_vocabulary import vocabulary
from headclaims.power import PROPERTIES, SEEDS, STRENGTHS, Dose, supported, table, verdicts


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
    doses = [Dose(name, s, seed) for seed in range(4) for name in PROPERTIES for s in STRENGTHS]
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
    assert [float(cell) for cell in line.split("|")[3:-1]] == wanted


def test_the_study_is_of_ten_strengths_and_twenty_seeds() -> None:
    assert pytest.approx(np.arange(1, 11) / 10) == STRENGTHS
    assert SEEDS == 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "claim"),
    [(name, claim) for name, property_ in PROPERTIES.items() for claim in property_.claims],
)
def test_the_least_and_the_most(name: str, claim: str) -> None:
    """Whatever the claim is about is there at full strength; a leak then is no longer irrelevant, and at 0.1 it is."""
    at_most = verdicts(Dose(name, 1.0, 0))[claim]
    if "leak" in name:
        assert at_most == "not supported"
        assert verdicts(Dose(name, 0.1, 0))[claim] == "supported"
    else:
        assert at_most == "supported"
