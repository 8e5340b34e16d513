"""The catalogue of a claim set: a README.md written from its `findings.toml` and `thresholds.toml`.

`headclaims catalogue SET` writes it between two marks of the folder's README.md and leaves the rest of that file as it
is; where there is no README.md, a new one has nothing else. A test holds that the sets that ship have a current one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from tabulate import tabulate

from headclaims.claim.claim_set import ClaimSet, Limit, Statement
from headclaims.errors import BadInput
from headclaims.files import write_atomically
from headclaims.report.cells import number
from headclaims.report.readme import put_between

MARKS = ("<!-- catalogue -->", "<!-- end of catalogue -->")
README_FILE = "README.md"
NONE = "–"
ESCAPES = str.maketrans({"<": "&lt;", ">": "&gt;"} | {character: f"\\{character}" for character in "\\`*_[]#"})


def write_catalogue(folder: Path) -> Path:
    """Write the catalogue of the claim set in a folder into its README.md and return that file's path.

    Raises BadInput where the README.md that is there has no marks for it.
    """
    claim_set = ClaimSet.read(folder)
    path = folder / README_FILE
    new = f"# {claim_set.name}\n\n{MARKS[0]}\n{MARKS[1]}\n"
    text = path.read_text(encoding="utf-8") if path.exists() else new
    if any(text.count(mark) != 1 for mark in MARKS):
        raise BadInput(f"{path}: wanted the line {MARKS[0]} and, below it, {MARKS[1]}, once each")
    write_atomically(path, put_between(text, MARKS, catalogue(claim_set)))
    return path


def catalogue(claim_set: ClaimSet) -> str:
    """Return the catalogue as Markdown: the write-up, a table of claims a group, then each claim's definition."""
    write_up = claim_set.write_up
    by = ", ".join(part for part in (write_up.authors, str(write_up.year or "")) if part)
    lines = [
        "",
        f"Write-up: {write_up.title}{f' ({by})' if by else ''}. By default head {write_up.head} of "
        f"`{write_up.model}` is audited.",
        "",
    ]
    for group, members in groupby(claim_set.claims.items(), key=lambda item: item[1].group):
        lines += [f"## {group}", "", _table(dict(members), claim_set.limits), ""]
    lines += ["## Definitions", ""]
    for claim_id, statement in claim_set.claims.items():
        lines += [f"### {claim_id}", "", *_definition(statement)]
    return "\n".join(lines)


def _table(claims: Mapping[str, Statement], limits: Mapping[str, Mapping[str, Limit]]) -> str:
    """Return a row a claim; the columns of evidence and nulls are there where a claim of the table states them."""
    columns: dict[str, list[str]] = {
        "claim": [f"[{claim_id}](#{claim_id})" for claim_id in claims],
        "says that": [_cell(claim.statement) for claim in claims.values()],
        "must be": [_cell(conditions(limits[claim_id])) for claim_id in claims],
        "needs": [claim.needs for claim in claims.values()],
        "compared with": [", ".join(claim.nulls) for claim in claims.values()],
    }
    stated = {name: [cell or NONE for cell in cells] for name, cells in columns.items() if any(cells)}
    return tabulate(stated, headers="keys", tablefmt="github", disable_numparse=True)


def conditions(limits: Mapping[str, Limit]) -> str:
    """Return the conditions of a claim's statistics in words: "gap > 0"; "abs(effect) ≤ 0.1"."""
    return "; ".join(
        f"abs({name}) ≤ {limit.value:g}" if limit.relation == "|·| ≤" else f"{name} {limit.relation} {limit.value:g}"
        for name, limit in limits.items()
    )


def _definition(statement: Statement) -> list[str]:
    lines = [_text(statement.definition), ""] if statement.definition else []
    source = [f"- in the write-up: {_text(statement.source)}"] if statement.source else []
    reported = [
        f"- reported: {name} {number(one.value)} ± {number(one.tolerance)}{f' ({_text(one.kind)})' if one.kind else ''}"
        for name, one in statement.reported.items()
    ]
    construction = ["- true by construction"] if statement.by_construction else []
    facts = [*source, *reported, *construction]
    return [*lines, *facts, *([""] if facts else [])]


def _text(text: str) -> str:
    """Return text whose characters Markdown would take for its own are escaped."""
    return text.translate(ESCAPES)


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")
