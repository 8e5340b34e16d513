"""The verdict table, for the terminal and for `claims.md`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from headclaims.record.entries import ClaimEntry
from headclaims.statistics.verdict import Verdict

COLUMNS = ("claim", "reported", "measured [95 %]", "null p", "verdict", "flags")
WIDTH = 80
ID_WIDTH, VERDICT_WIDTH, INDENT = 43, 15, 4


def number(value: float) -> str:
    """Four significant digits, whole numbers as such."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.4g}"


def rows(claims: Sequence[ClaimEntry]) -> list[list[str]]:
    """One row a claim: the statistic with its interval, each null's p, verdict and flags."""
    return [[c.id, reported(c), measured(c), p_values(c), c.verdict or "error", ", ".join(c.flags)] for c in claims]


def markdown_cells(cells: list[list[str]]) -> list[list[str]]:
    """Cells of a Markdown table: a pipe would end them, a tag would be one."""
    return [[_text(cell).replace("|", "\\|") for cell in row] for row in cells]


def _text(text: str) -> str:
    """Text of a checkpoint in Markdown: no tag, no link, no code, nobody called, one line."""
    for mark, written in {"&": "&amp;", "<": "&lt;", "@": "&#64;", "`": "&#96;", "](": "]&#40;"}.items():
        text = text.replace(mark, written)
    return " ".join(text.split())


def _code(text: str) -> str:
    """Text as a span of code, whatever backticks and ends of lines it has."""
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def reported(claim: ClaimEntry) -> str:
    """The reported numbers, where there are any."""
    return ", ".join(number(value) for value in (claim.reported or {}).values()) or "–"


def measured(claim: ClaimEntry) -> str:
    """The claim's statistic with its interval."""
    if claim.statistic is None:
        return "–"
    name, value = claim.statistic
    interval = "" if claim.interval is None else f" [{number(claim.interval[0])}, {number(claim.interval[1])}]"
    return f"{name} {number(value)}{interval}"


def p_values(claim: ClaimEntry) -> str:
    """The p of each null."""
    return ", ".join("–" if null.p is None else f"{null.p:.2g}" for null in claim.nulls) or "–"


def headline(counts: Mapping[str, int], total: int) -> str:
    """The one line that sums an audit up."""
    return f"{counts['assessed']} of {total} claims assessed, {counts['supported']} supported, {counts['found']} found"


class Line(NamedTuple):
    """A line of the footer, and the claim whose verdict it gives."""

    text: str
    of: ClaimEntry | None


def footer(claims: Sequence[ClaimEntry]) -> list[Line]:
    """The verdict table in lines of at most 80 columns: a claim's verdict, and below it all the rest."""
    indent = " " * INDENT
    head = (f"{'claim':{ID_WIDTH}}verdict", f"{indent}measured [95 %]; reported; null p; flags; why", "-" * WIDTH)
    lines = [Line(text, None) for text in head]
    for claim in claims:
        found = "found" if claim.found else ""
        lines.append(Line(f"{claim.id:{ID_WIDTH}}{claim.verdict or 'error':{VERDICT_WIDTH}}{found}".rstrip(), claim))
        said = [measured(claim)] if claim.statistic else []
        said += [f"reported {reported(claim)}"] if claim.reported else []
        said += [f"null p {p_values(claim)}"] if claim.nulls else []
        said += [", ".join(claim.flags)] if claim.flags else []
        for text in ("; ".join(said), claim.reason):
            wrapped = textwrap.wrap(text or "", WIDTH, initial_indent=indent, subsequent_indent=indent)
            lines += [Line(line, None) for line in wrapped]
    return lines


def markdown(record: Mapping[str, Any], claims: Sequence[ClaimEntry], prompts: str, why: str | None) -> str:
    """`claims.md`: what was audited, the table, and folded away what each claim says, its nulls and variants, and why.

    `prompts` says how many of which length, `why` how the checkpoint came to be chosen where none was named. Text of
    the checkpoint is escaped: the page is to be pasted into an issue.
    """
    checkpoint, target, suite = record["checkpoint"], record["target"], record["suite"]
    head = [
        f"# Claims about {target['label']} of {_text(checkpoint['name'])}",
        "",
        f"**{headline(record['counts'], len(claims))}.**",
        "",
    ]
    if not record["complete"]:
        head += ["**Incomplete: the run was cut short, covered some claims only, or a claim ended in an error.**", ""]
    settings = record["settings"]
    revision = checkpoint["revision"]
    head += [
        f"- checkpoint: {_code(checkpoint['spec'])} ({checkpoint['kind']}), revision "
        f"{_text(revision) if revision else '–'}, "
        f"fingerprint `{checkpoint['fingerprint'] or '–'}`",
        f"- evidence: {', '.join(checkpoint['capabilities'])}",
        f"- target head: {target['label']}, chosen by {target['chosen_by']}",
        f"- prompts: {prompts}, words {_text(settings['words'])}, seed {settings['seed']}",
        f"- suite: headclaims {suite['version']}, commit `{suite['commit'] or '–'}`, {record['started']}",
    ]
    head += [f"- {_text(why)}"] if why else []
    table = tabulate(markdown_cells(rows(claims)), headers=COLUMNS, tablefmt="github", disable_numparse=True)
    fold = ["<details><summary>What each claim says, and what was measured</summary>", ""]
    return "\n".join([*head, "", table, "", *fold, *(line for c in claims for line in _section(c)), "</details>", ""])


def _section(claim: ClaimEntry) -> list[str]:
    lines = [f"## {claim.id}", "", f"{claim.statement} ({claim.source})", ""]
    if claim.verdict is Verdict.NOT_ASSESSABLE or claim.verdict is None:
        reason = claim.reason if claim.verdict is None else f"{claim.verdict}: {claim.reason}"
        return [*lines, f"- {_text(reason or '')}", ""]
    lines += [f"- {name}: {value!r}" for name, value in claim.measured.items()]
    for null in claim.nulls:
        p = "missing" if null.p is None else f"p = {null.p:.4g}"
        also = "" if null.p_adjusted is None else f", adjusted {null.p_adjusted:.4g}"
        lines.append(f"- null {null.population} (n = {null.n or 0}): {p}{also}")
    for variant in claim.variants:
        lines.append(
            f"- variant {variant.name}: {number(variant.measured)}, {'holds' if variant.holds else 'does not hold'}"
        )
    lines += [f"- {_text(claim.reason)}"] if claim.reason else []
    return [*lines, ""]
