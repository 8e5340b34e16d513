"""Distinctiveness, settled at the end of a record: a claim's p is adjusted for the other claims.

A claim's p is the largest over its nulls of 19 members or more. Over the empirical claims of the record these are
adjusted by Benjamini and Hochberg's method: a claim is distinctive where its adjusted p is at most 0.05 and none of its
nulls is missing or too small, and not distinctive where its adjusted p is above. Where only some claims of the set were
judged there is no adjusted p, so that none is distinctive and nothing is found.
"""

from __future__ import annotations

from collections.abc import Sequence

from headclaims.record.entries import ClaimEntry
from headclaims.statistics.multiplicity import adjusted
from headclaims.statistics.verdict import SIGNIFICANT, Flag

NOT_ADJUSTED = "p is not adjusted, so that nothing is found: only some claims of the set were judged"


def settle(claims: Sequence[ClaimEntry], whole: bool) -> None:
    """Enter each claim's adjusted p, the least that it could have been, and whether it is distinctive.

    `whole` says whether these are all claims of the set. Where they are not, no claim is distinctive, and the reason of
    one with a p says so; one whose own p is above 0.05 is not distinctive, since an adjusted p is never smaller.
    Settling twice changes nothing.
    """
    p_values = {claim.id: claim.p for claim in claims if claim.p is not None}
    after = _adjusted(p_values) if whole else {}
    for claim in claims:
        claim.p_adjusted = after.get(claim.id)
        least = claim.p_least
        claim.p_adjusted_least = (
            _adjusted(p_values | {claim.id: least})[claim.id] if whole and least is not None else None
        )
        _flag(claim)
        if claim.p is not None and not whole and NOT_ADJUSTED not in (claim.reason or ""):
            claim.reason = f"{claim.reason}; {NOT_ADJUSTED}" if claim.reason else NOT_ADJUSTED


def _adjusted(p_values: dict[str, float]) -> dict[str, float]:
    return dict(zip(p_values, adjusted(list(p_values.values())), strict=True))


def _flag(claim: ClaimEntry) -> None:
    """Enter whether a claim is distinctive by its adjusted p, flags in the order of `Flag`."""
    flags = set(claim.flags) - {Flag.DISTINCTIVE, Flag.NOT_DISTINCTIVE}
    p_at_least = claim.p if claim.p_adjusted is None else claim.p_adjusted
    if p_at_least is not None and p_at_least > SIGNIFICANT:
        flags.add(Flag.NOT_DISTINCTIVE)
    elif claim.p_adjusted is not None and flags.isdisjoint((Flag.NULL_MISSING, Flag.NULL_TOO_SMALL)):
        flags.add(Flag.DISTINCTIVE)
    claim.flags = [flag for flag in Flag if flag in flags]
