"""The verdict table at the end of a run, for a terminal of eighty columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headclaims.record.entries import ClaimEntry
from headclaims.report.cells import measured, p_values, reported

WIDTH = 80
ID_WIDTH, VERDICT_WIDTH, INDENT = 43, 15, 4
FOUND = "found: supported in every variant, rare in every null, not true by construction"
"""What the last number of the headline counts; stands in the line below it."""


def headline(counts: Mapping[str, int], total: int) -> str:
    """Sum an audit up in one line: how many of all claims were assessed, supported and found."""
    return f"{counts['assessed']} of {total} claims assessed, {counts['supported']} supported, {counts['found']} found"


class Line(NamedTuple):
    """A line of the footer, and the claim whose verdict it gives."""

    text: str
    claim: ClaimEntry | None


def footer(claims: Sequence[ClaimEntry]) -> list[Line]:
    """Return the verdict table in lines of at most 80 columns: a claim's verdict, and below it what was measured."""
    indent = " " * INDENT
    head = (f"{'claim':{ID_WIDTH}}verdict", f"{indent}measured [95 %]; reported; null p; flags; why", "-" * WIDTH)
    lines = [Line(text, None) for text in head]
    for claim in claims:
        mark = "found" if claim.found else ""
        lines.append(Line(f"{claim.id:{ID_WIDTH}}{claim.verdict or 'error':{VERDICT_WIDTH}}{mark}".rstrip(), claim))
        for text in ("; ".join(_details(claim)), claim.reason):
            wrapped = textwrap.wrap(text or "", WIDTH, initial_indent=indent, subsequent_indent=indent)
            lines += [Line(line, None) for line in wrapped]
    return lines


def _details(claim: ClaimEntry) -> list[str]:
    details = [measured(claim)] if claim.statistic else []
    details += [f"reported {reported(claim)}"] if claim.reported else []
    details += [f"null p {p_values(claim)}"] if claim.nulls else []
    return details + ([", ".join(claim.flags)] if claim.flags else [])
