"""Cells of tables: numbers as a reader wants them."""

from typing import Any

import pytest

from headclaims.record.entries import ClaimEntry, NullEntry
from headclaims.report.cells import ends, number, resolution
from headclaims.statistics.verdict import Flag, Verdict


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (33.0, "33"),
        (0.0, "0"),
        (-2.0, "-2"),
        (144.0, "144"),
        (12345.0, "12345"),
        (999_999.0, "999999"),
        (1_000_000.0, "1e+06"),
        (1.302493, "1.302"),
        (0.57448, "0.5745"),
        (9.4321, "9.432"),
        (0.000123456, "0.0001235"),
        (-0.0978, "-0.0978"),
        (3.2e-17, "3.2e-17"),
        (1234.56, "1235"),
    ],
)
def test_numbers_have_four_digits_or_are_whole(value: float, written: str) -> None:
    assert number(value) == written


def effect(verdict: Verdict, wanted: str, *flags: Flag, **parts: Any) -> ClaimEntry:
    """A claim about an effect of 0.1."""
    more = {"wanted": {"effect": wanted}, "measured": {"effect": 0.1}, "flags": list(flags)}
    return ClaimEntry("a", "Group", "It holds", "Section 1", verdict, **more | parts)


KNOWN = {"half_width": 0.0333, "p_adjusted_least": 0.0204}


def test_resolution_stands_beside_what_was_not_seen() -> None:
    """Not distinctive, undecided, or an effect said to be small; nowhere else."""
    both = "± 0.033, adjusted p 0.02 at least"
    assert resolution(effect(Verdict.SUPPORTED, "> 0", Flag.NOT_DISTINCTIVE, **KNOWN)) == both
    assert resolution(effect(Verdict.UNDECIDED, "> 0", **KNOWN)) == both
    for verdict in (Verdict.SUPPORTED, Verdict.NOT_SUPPORTED, Verdict.UNDECIDED):
        assert resolution(effect(verdict, "|·| ≤ 0.1", Flag.DISTINCTIVE, **KNOWN)) == both
    assert resolution(effect(Verdict.SUPPORTED, "> 0", Flag.DISTINCTIVE, **KNOWN)) == ""
    assert resolution(effect(Verdict.NOT_SUPPORTED, "> 0", **KNOWN)) == ""


def test_resolution_says_what_is_known() -> None:
    assert resolution(effect(Verdict.UNDECIDED, "> 0", half_width=0.5)) == "± 0.5"
    alone = [NullEntry("other heads", 19, 0.5, 0.05), NullEntry("few", 3, 0.25, 0.25)]
    assert resolution(effect(Verdict.SUPPORTED, "> 0", Flag.NOT_DISTINCTIVE, nulls=alone)) == "p 0.05 at least"
    assert resolution(effect(Verdict.SUPPORTED, "> 0", Flag.NOT_DISTINCTIVE)) == ""


@pytest.mark.parametrize(
    ("interval", "written"),
    [
        ([0.5, 1.25], "[0.5, 1.25]"),
        ([1.0, 1.0], "(units don't differ)"),
        ([0.0, 0.0], "(units don't differ)"),
        # Of two numbers that differ both are seen.
        ([0.99999, 1.0], "[0.99999, 1]"),
    ],
)
def test_an_interval_is_written_with_both_ends_or_as_none(interval: list[float], written: str) -> None:
    assert ends(interval) == written
