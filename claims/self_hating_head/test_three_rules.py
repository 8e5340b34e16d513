"""Behaviour: the head attends to kin, and not to the word itself."""

import numpy as np
import pytest

from headclaims import OTHER_HEADS, bos_fallback, kin_preference, self_suppression, succession_ratios


@pytest.mark.claim("attends-within-category")
def test_attends_within_category(claim, audit, surveyed, target):
    """On rows with kin, mean kin mass is at least twice what uniform attention gives."""
    claim.check(
        "ratio",
        kin_preference(surveyed, target),
        nulls=[audit.nulls.other_heads(lambda head: kin_preference(surveyed, head))],
    )


@pytest.mark.claim("suppresses-self")
def test_suppresses_self(claim, audit, surveyed, target):
    """On rows with kin, attention per kin exceeds that to the own position and that per earlier copy."""
    claim.check(
        "difference",
        self_suppression(surveyed, target),
        nulls=[audit.nulls.other_heads(lambda head: self_suppression(surveyed, head))],
    )


@pytest.mark.claim("falls-back-to-bos")
def test_falls_back_to_bos(claim, audit, pairs, target):
    """Without kin the last word attends to BOS, and clearly more than where it has kin."""
    alone, difference = bos_fallback(pairs, target)

    def of_others():
        return np.array([bos_fallback(pairs, head)[1].value for head in pairs.heads if head != target])

    claim.check(
        "paired_difference",
        difference,
        conditions={"bos_without_kin": alone},
        nulls=[audit.nulls.draw(OTHER_HEADS, of_others)],
    )


@pytest.mark.claim("kinship-not-succession")
def test_kinship_not_succession(claim, successions, target):
    """Neither the next nor the previous word of an ordered category draws more than twice what other kin do."""
    surveyed, prompts = successions
    successor, predecessor = succession_ratios(surveyed, target, prompts.place)
    claim.check("successor_ratio", successor, conditions={"predecessor_ratio": predecessor})
