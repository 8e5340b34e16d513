"""Distinctiveness at the end of a record: adjusted p-values by hand, and what they could have been."""

from dataclasses import asdict
from typing import Any

import pytest

from headclaims.record.entries import ClaimEntry, NullEntry
from headclaims.record.settle import NOT_ADJUSTED, settle
from headclaims.statistics.verdict import Flag, Verdict

approx = pytest.approx


def entry(claim_id: str, *p_values: float | None, n: int = 999, **parts: Any) -> ClaimEntry:
    """A claim whose nulls have these p-values, None where one is missing, and could have 1/(n + 1)."""
    nulls = [
        NullEntry(f"null {i}", None if p is None else n, p, None if p is None else 1 / (n + 1))
        for i, p in enumerate(p_values)
    ]
    return ClaimEntry(
        claim_id, "Group", "It holds", "Section 1", **{"verdict": Verdict.SUPPORTED, "nulls": nulls} | parts
    )


def test_a_claim_s_p_is_the_largest_over_its_nulls_adjusted_over_the_empirical_claims() -> None:
    # 0.30, 0.04, 0.01 and 0.03 count, each · 4/rank, made monotone: 0.30, 0.04 · 4/3, 0.04, 0.04 · 4/3.
    claims = [
        entry("a", 0.01, 0.30),
        entry("b", 0.04, 0.02, verdict=Verdict.NOT_SUPPORTED),
        entry("c", 0.01, None, flags=[Flag.NULL_MISSING]),
        entry("d", 0.03),
        entry("e", 0.001, flags=[Flag.BY_CONSTRUCTION]),
        entry("f"),
        entry("g", verdict=Verdict.NOT_ASSESSABLE),
    ]
    settle(claims, whole=True)
    assert [c.p for c in claims] == [0.30, 0.04, 0.01, 0.03, None, None, None]
    assert [c.p_adjusted for c in claims] == [
        approx(0.30),
        approx(0.16 / 3),
        approx(0.04),
        approx(0.16 / 3),
        *[None] * 3,
    ]
    assert [c.flags for c in claims] == [
        [Flag.NOT_DISTINCTIVE],
        [Flag.NOT_DISTINCTIVE],
        [Flag.NULL_MISSING],
        [Flag.NOT_DISTINCTIVE],
        [Flag.BY_CONSTRUCTION],
        [],
        [],
    ]
    assert [c.reason for c in claims] == [None] * 7


def test_what_is_distinctive_is_decided_by_the_adjusted_p() -> None:
    """0.04 alone would be; with two claims beside it it is not. 0.025 and 0.05 are, at exactly 0.05."""
    claims = [entry("a", 0.04), entry("b", 0.9), entry("c", 0.8)]
    settle(claims, whole=True)
    assert claims[0].flags == [Flag.NOT_DISTINCTIVE]
    claims = [entry("a", 0.025), entry("b", 0.05)]
    settle(claims, whole=True)
    assert [c.flags for c in claims] == [[Flag.DISTINCTIVE]] * 2


def test_a_null_of_eighteen_members_decides_nothing() -> None:
    small, large = NullEntry("small", 18, 0.5, 1 / 19), NullEntry("large", 19, 0.05, 0.05)
    claims = [
        entry("a", flags=[Flag.NULL_TOO_SMALL], nulls=[small]),
        entry("b", flags=[Flag.NULL_TOO_SMALL], nulls=[small, large]),
        entry("c", nulls=[large]),
    ]
    settle(claims, whole=True)
    assert [c.p for c in claims] == [None, 0.05, 0.05]
    assert [c.flags for c in claims] == [[Flag.NULL_TOO_SMALL], [Flag.NULL_TOO_SMALL], [Flag.DISTINCTIVE]]


def test_a_null_at_hand_can_refute_what_a_missing_one_leaves_open() -> None:
    claims = [entry("a", 0.06, None, flags=[Flag.NULL_MISSING, Flag.NO_INTERVAL])]
    settle(claims, whole=True)
    assert claims[0].flags == [Flag.NOT_DISTINCTIVE, Flag.NULL_MISSING, Flag.NO_INTERVAL]


def test_the_least_adjusted_p_is_that_of_the_claim_s_least_beside_the_others_as_they_are() -> None:
    # Of "a" 1/20: with 0.001 and 0.9 beside it 0.05 · 3/2. Of "b" 1/1000: with 0.2 and 0.9, 0.001 · 3. Of "c" 1/40:
    # with 0.001 and 0.2, 0.025 · 3/2.
    claims = [entry("a", 0.2, n=19), entry("b", 0.001), entry("c", 0.9, n=39)]
    settle(claims, whole=True)
    assert [c.p_adjusted_least for c in claims] == [approx(0.075), approx(0.003), approx(0.0375)]
    # Of several nulls the one that can show least counts.
    both = entry("d", 0.2, nulls=[NullEntry("a", 19, 0.2, 0.05), NullEntry("b", 999, 0.001, 0.001)])
    settle([both], whole=True)
    assert both.p_adjusted_least == approx(0.05)


def test_a_record_that_does_not_give_the_least_p_has_no_least_adjusted_p() -> None:
    claims = [entry("a", nulls=[NullEntry("other heads", 47, 0.5)])]
    settle(claims, whole=True)
    assert claims[0].p_adjusted_least is None
    assert claims[0].flags == [Flag.NOT_DISTINCTIVE]


def test_of_some_claims_alone_none_is_found_and_each_says_so() -> None:
    """An adjusted p is never below the claim's own, so that 0.9 is not distinctive; 0.04 may or may not be."""
    claims = [entry("a", 0.04), entry("b", 0.9, reason="more prompts would decide"), entry("c")]
    settle(claims, whole=False)
    assert [c.flags for c in claims] == [[], [Flag.NOT_DISTINCTIVE], []]
    assert [c.found for c in claims] == [False, False, False]
    assert [c.p_adjusted for c in claims] == [None, None, None]
    assert [c.p_adjusted_least for c in claims] == [None, None, None]
    assert [c.reason for c in claims] == [NOT_ADJUSTED, f"more prompts would decide; {NOT_ADJUSTED}", None]


def test_a_single_claim_that_is_the_whole_set_keeps_its_p_and_can_be_found() -> None:
    claims = [entry("a", 0.04)]
    settle(claims, whole=True)
    assert (claims[0].p_adjusted, claims[0].found, claims[0].reason) == (approx(0.04), True, None)


@pytest.mark.parametrize("whole", [True, False])
def test_settling_twice_changes_nothing(whole: bool) -> None:
    claims = [entry("a", 0.04), entry("b", 0.9, flags=[Flag.CONDITIONAL]), entry("c")]
    settle(claims, whole)
    before = [asdict(claim) for claim in claims]
    settle(claims, whole)
    assert [asdict(claim) for claim in claims] == before


def test_nothing_to_settle_is_no_error() -> None:
    settle([], whole=True)
    settle([entry("a", None)], whole=True)
