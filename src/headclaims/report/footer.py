"""The verdict table at the end of a run: a line a claim on a wide terminal, two or more on one of eighty columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from headclaims.record.entries import ClaimEntry
from headclaims.record.record import DISCOVERY, REPLICATION
from headclaims.report.cells import measured, p_values, reported, resolution

WIDTH = 80
WIDE = 140
"""Columns from which what was measured stands on the line of the verdict."""
ID_WIDTH, VERDICT_WIDTH, FOUND_WIDTH, INDENT = 43, 15, 7, 4
DETAILS = "measured [95 %]; reported; null p; flags; resolution; why"
FOUND = (
    "found: supported under every variant, p ≤ 0.05 over every null, adjusted for all claims assessed, on ten prompts "
    "or more, with all heads seen where the claim is about all; identities are true by construction"
)
"""What the last numbers of the headline count; stands in the lines below it."""
WORDS = {DISCOVERY: "reproduced", REPLICATION: "replicated"}
"""What was found is reproduced on the write-up's own checkpoint and head, and replicated elsewhere."""


def headline(counts: Mapping[str, int], evidence_of: str | None, empirical: int | None = None) -> str:
    """Sum an audit up in one line: the empirical claims assessed, supported and found, and apart from them identities.

    `evidence_of` is the record's; `empirical` is the number of empirical claims of the set, where only some were run.
    """
    word = f" ({WORDS[evidence_of]})" if evidence_of and counts["found"] else ""
    identities = f"; {counts['identities_hold']} of {counts['identities']} identities hold"
    return (
        f"{counts['empirical'] if empirical is None else empirical} empirical: {counts['assessed']} assessed, "
        f"{counts['supported']} supported, {counts['found']} found{word}{identities if counts['identities'] else ''}"
    )


class Line(NamedTuple):
    """A line of the footer: `text` in the colour of the claim's verdict, where it gives one, and `rest` in none."""

    text: str
    claim: ClaimEntry | None = None
    rest: str = ""
    is_heading: bool = False


def footer(claims: Sequence[ClaimEntry], width: int = WIDTH) -> list[Line]:
    """Return the verdict table in lines of at most `width` columns, at least 80, under a heading a group of claims.

    From 140 columns on a claim's numbers and flags stand beside its verdict, elsewhere below it.
    """
    width = max(width, WIDTH)
    columns = f"{'claim':{ID_WIDTH}}verdict"
    if width >= WIDE:
        lines = [Line(f"{columns:{ID_WIDTH + VERDICT_WIDTH + FOUND_WIDTH}}{DETAILS}")]
    else:
        lines = [Line(columns), Line(f"{' ' * INDENT}{DETAILS}")]
    lines.append(Line("-" * width))
    groups = [(name, list(some)) for name, some in groupby(claims, lambda claim: claim.group)]
    for name, some in groups:
        lines += [Line(f"-- {name}", is_heading=True)] if len(groups) > 1 else []
        lines += [line for claim in some for line in (_wide if width >= WIDE else _narrow)(claim, width)]
    return lines


def _verdict(claim: ClaimEntry) -> str:
    mark = "found" if claim.found else ""
    return f"{claim.id:{ID_WIDTH}}{claim.verdict or 'error':{VERDICT_WIDTH}}{mark}"


def _narrow(claim: ClaimEntry, width: int) -> Iterator[Line]:
    """Yield the verdict, and below it what was measured, and why."""
    yield Line(_verdict(claim).rstrip(), claim)
    indent = " " * INDENT
    for text in ("; ".join(_details(claim)), claim.reason):
        for line in textwrap.wrap(text or "", width, initial_indent=indent, subsequent_indent=indent):
            yield Line(line)


def _wide(claim: ClaimEntry, width: int) -> Iterator[Line]:
    """Yield the verdict with all else beside it, on further lines what doesn't fit."""
    beside = ID_WIDTH + VERDICT_WIDTH + FOUND_WIDTH
    said = "; ".join([*_details(claim), *([claim.reason] if claim.reason else [])])
    first, *more = textwrap.wrap(said, width - beside) or [""]
    yield Line(f"{_verdict(claim):{beside}}" if first else _verdict(claim).rstrip(), claim, first)
    for line in more:
        yield Line(" " * beside + line)


def _details(claim: ClaimEntry) -> list[str]:
    details = [measured(claim)] if claim.statistic else []
    details += [f"reported {reported(claim)}"] if claim.reported else []
    details += [f"null p {p_values(claim)}"] if claim.nulls else []
    details += [", ".join(claim.flags)] if claim.flags else []
    return details + ([f"resolution {resolved}"] if (resolved := resolution(claim)) else [])
