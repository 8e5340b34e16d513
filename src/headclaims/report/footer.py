"""The verdict table at the end of a run, for a terminal of eighty columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headclaims.record.entries import ClaimEntry
from headclaims.record.record import DISCOVERY, REPLICATION
from headclaims.report.cells import measured, p_values, reported, resolution

WIDTH = 80
ID_WIDTH, VERDICT_WIDTH, INDENT = 43, 15, 4
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
    """A line of the footer, and the claim whose verdict it gives."""

    text: str
    claim: ClaimEntry | None


def footer(claims: Sequence[ClaimEntry]) -> list[Line]:
    """Return the verdict table in lines of at most 80 columns: a claim's verdict, and below it what was measured."""
    indent = " " * INDENT
    head = (
        f"{'claim':{ID_WIDTH}}verdict",
        f"{indent}measured [95 %]; reported; null p; flags; resolution; why",
        "-" * WIDTH,
    )
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
    details += [", ".join(claim.flags)] if claim.flags else []
    return details + ([f"resolution {resolved}"] if (resolved := resolution(claim)) else [])
