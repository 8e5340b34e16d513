"""Cells of the tables of claims: numbers as a reader wants them, and text of a checkpoint that does no harm."""

from __future__ import annotations

from collections.abc import Sequence

from headclaims.record.entries import ClaimEntry
from headclaims.statistics.verdict import Flag, Verdict

SIGNS: dict[Verdict | None, str] = {
    Verdict.SUPPORTED: "✓",
    Verdict.NOT_SUPPORTED: "✗",
    Verdict.UNDECIDED: "?",
    Verdict.NOT_ASSESSABLE: "–",
    None: "!",
}
"""One character a verdict; None is that of a claim whose test ended in an error."""
NO_SPREAD = "(units don't differ)"
"""Stands for an interval of no width: prompts, words or groups all gave the same value."""


def number(value: float | int) -> str:
    """Write a number with four significant digits; a whole number below a million has all of its digits."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.4g}"


def reported(claim: ClaimEntry) -> str:
    """Write the numbers that the write-up reports for a claim; a dash where it reports none."""
    return ", ".join(number(value) for value in (claim.reported or {}).values()) or "–"


def measured(claim: ClaimEntry) -> str:
    """Write a claim's statistic with its name and its 95 % interval; a dash where nothing was measured."""
    if claim.statistic is None:
        return "–"
    name, value = claim.statistic
    return f"{name} {number(value)}{interval(claim)}"


def interval(claim: ClaimEntry) -> str:
    """Write a claim's 95 % interval after a space; nothing where it has none."""
    return "" if claim.interval is None else f" {ends(claim.interval)}"


def ends(interval: Sequence[float]) -> str:
    """Write an interval as `[low, high]`; where both are the same number, that the resampled units do not differ."""
    low, high = interval
    if low == high:
        return NO_SPREAD
    written = number(low), number(high)
    if written[0] == written[1]:
        written = f"{low:.8g}", f"{high:.8g}"
    return f"[{written[0]}, {written[1]}]"


def p_values(claim: ClaimEntry) -> str:
    """Write the p of each null of a claim, a dash for one that is missing, and the claim's adjusted p."""
    by_null = ", ".join("–" if null.p is None else f"{null.p:.2g}" for null in claim.nulls) or "–"
    return by_null if claim.p_adjusted is None else f"{by_null} (adjusted {claim.p_adjusted:.2g})"


def resolution(claim: ClaimEntry) -> str:
    """Say what could have been seen of a claim, where something was not: the interval's half width, and the least p.

    That is where the claim is not distinctive or undecided, or says that an effect is small, whatever its verdict;
    elsewhere, and where neither is known, nothing.
    """
    small = claim.statistic is not None and claim.wanted.get(claim.statistic[0], "").startswith("|·|")
    if not (Flag.NOT_DISTINCTIVE in claim.flags or claim.verdict is Verdict.UNDECIDED or small):
        return ""
    parts = [] if claim.half_width is None else [f"± {claim.half_width:.2g}"]
    if claim.p_adjusted_least is not None:
        parts.append(f"adjusted p {claim.p_adjusted_least:.2g} at least")
    elif claim.p_least is not None:
        parts.append(f"p {claim.p_least:.2g} at least")
    return ", ".join(parts)


def printable(text: str) -> str:
    """Return text with every character that doesn't print spelt out: no line breaks, no control of a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def markdown_text(text: str) -> str:
    """Return text as one line that Markdown shows unchanged: no tag, no link, no code, nobody called."""
    for mark, written in {"&": "&amp;", "<": "&lt;", "@": "&#64;", "`": "&#96;", "](": "]&#40;"}.items():
        text = text.replace(mark, written)
    return " ".join(text.split())


def markdown_code(text: str) -> str:
    """Return text as a span of Markdown code, whatever backticks and line breaks it has."""
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def markdown_cells(cells: list[list[str]]) -> list[list[str]]:
    """Return cells for a Markdown table: pipes, which would end a cell, are escaped, and so is all other markup."""
    return [[markdown_text(cell).replace("|", "\\|") for cell in row] for row in cells]
