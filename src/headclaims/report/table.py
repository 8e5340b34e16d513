"""The verdict table, for the terminal and for `claims.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from headclaims.ledger import ClaimEntry
from headclaims.verdict import Verdict

COLUMNS = ("claim", "reported", "measured [95 %]", "null p", "verdict", "flags")


def number(value: float) -> str:
    """Four significant digits, whole numbers as such."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.4g}"


def rows(claims: Sequence[ClaimEntry]) -> list[list[str]]:
    """One row a claim: the statistic with its interval, each null's p, verdict and flags."""
    return [[c.id, _reported(c), _measured(c), _p_values(c), c.verdict or "error", ", ".join(c.flags)] for c in claims]


def _piped(cells: list[list[str]]) -> list[list[str]]:
    """Cells of a Markdown table: a pipe would end them."""
    return [[cell.replace("|", "\\|") for cell in row] for row in cells]


def _reported(claim: ClaimEntry) -> str:
    return ", ".join(number(value) for value in (claim.reported or {}).values()) or "–"


def _measured(claim: ClaimEntry) -> str:
    if claim.statistic is None:
        return "–"
    name, value = claim.statistic
    interval = "" if claim.interval is None else f" [{number(claim.interval[0])}, {number(claim.interval[1])}]"
    return f"{name} {number(value)}{interval}"


def _p_values(claim: ClaimEntry) -> str:
    return ", ".join("–" if null.p is None else f"{null.p:.2g}" for null in claim.nulls) or "–"


def headline(counts: Mapping[str, int], total: int) -> str:
    """The one line that sums an audit up."""
    return f"{counts['assessed']} of {total} claims assessed, {counts['supported']} supported, {counts['found']} found"


def terminal_table(claims: Sequence[ClaimEntry]) -> str:
    """The footer's table."""
    return tabulate(rows(claims), headers=COLUMNS, tablefmt="simple", disable_numparse=True)


def reasons(claims: Sequence[ClaimEntry]) -> list[str]:
    """A line for each claim that has something to explain."""
    return [f"{claim.id}: {claim.reason}" for claim in claims if claim.reason]


def markdown(record: Mapping[str, Any], claims: Sequence[ClaimEntry], prompts: str, why: str | None) -> str:
    """`claims.md`: what was audited, the table, what each claim says, its nulls and variants, and why.

    `prompts` says how many of which length, `why` how the checkpoint came to be chosen where none was named.
    """
    checkpoint, target, suite = record["checkpoint"], record["target"], record["suite"]
    head = [
        f"# Claims about {target['label']} of {checkpoint['name']}",
        "",
        f"**{headline(record['counts'], len(claims))}.**",
        "",
    ]
    if not record["complete"]:
        head += ["**Incomplete: the run was cut short, covered some claims only, or a claim ended in an error.**", ""]
    settings = record["settings"]
    head += [
        f"- checkpoint: `{checkpoint['spec']}` ({checkpoint['kind']}), revision {checkpoint['revision'] or '–'}, "
        f"fingerprint `{checkpoint['fingerprint'] or '–'}`",
        f"- evidence: {', '.join(checkpoint['capabilities'])}",
        f"- target head: {target['label']}, chosen by {target['chosen_by']}",
        f"- prompts: {prompts}, words {settings['words']}, seed {settings['seed']}",
        f"- suite: headclaims {suite['version']}, commit `{suite['commit'] or '–'}`, {record['started']}",
    ]
    head += [f"- {why}"] if why else []
    table = tabulate(_piped(rows(claims)), headers=COLUMNS, tablefmt="github", disable_numparse=True)
    return "\n".join([*head, "", table, "", *(line for claim in claims for line in _section(claim))])


def _section(claim: ClaimEntry) -> list[str]:
    lines = [f"## {claim.id}", "", f"{claim.statement} ({claim.source})", ""]
    if claim.verdict is Verdict.NOT_ASSESSABLE or claim.verdict is None:
        reason = claim.reason if claim.verdict is None else f"{claim.verdict}: {claim.reason}"
        return [*lines, f"- {reason}", ""]
    lines += [f"- {name}: {value!r}" for name, value in claim.measured.items()]
    for null in claim.nulls:
        p = "missing" if null.p is None else f"p = {null.p:.4g}"
        also = "" if null.p_adjusted is None else f", adjusted {null.p_adjusted:.4g}"
        lines.append(f"- null {null.population} (n = {null.n or 0}): {p}{also}")
    for variant in claim.variants:
        lines.append(
            f"- variant {variant.name}: {number(variant.measured)}, {'holds' if variant.holds else 'does not hold'}"
        )
    lines += [f"- {claim.reason}"] if claim.reason else []
    return [*lines, ""]
