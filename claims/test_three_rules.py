"""Behaviour: the head attends to kin, and not to the word itself."""

import pytest

from headclaims.three_rules import kin_preference, self_suppression


@pytest.mark.claim("attends-within-category")
def test_attends_within_category(claim, surveyed, target, other_heads_null):
    """On rows with kin, mean kin mass is at least twice what uniform attention gives."""
    claim.resampled(
        "ratio",
        kin_preference(surveyed, target),
        nulls=[other_heads_null(lambda head: kin_preference(surveyed, head).value)],
    )


@pytest.mark.claim("suppresses-self")
def test_suppresses_self(claim, surveyed, target, other_heads_null):
    """On rows with kin, attention per kin exceeds that to the own position and that per earlier copy."""
    claim.resampled(
        "difference",
        self_suppression(surveyed, target),
        nulls=[other_heads_null(lambda head: self_suppression(surveyed, head).value)],
    )
