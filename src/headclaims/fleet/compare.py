"""Records side by side: claims down, checkpoints across, and where they differ beyond both intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from headclaims.errors import BadInput
from headclaims.files import as_json
from headclaims.record.entries import ClaimEntry
from headclaims.record.reading import Record, read_record
from headclaims.record.record import RECORD_FILE
from headclaims.report.cells import SIGNS, interval, markdown_cells, number, printable

SETTINGS = ("words", "prompts", "seq_len", "seed", "dtype", "verdicts_only")
"""What has to be the same for measurements to be of the same thing, beside the claim set; what was audited, and where
it ran, may differ."""
LEGEND = (
    "✓ supported, ✗ not supported, ? undecided, – not assessable, ! error; * found; "
    "≠ apart from the first beyond both intervals"
)


@dataclass(frozen=True)
class Comparison:
    """Records with a name each, and what a reader has to know of them all."""

    names: list[str]
    records: list[Record]
    notices: list[str]

    @property
    def claims(self) -> list[str]:
        """The ids of all claims, in the order of the first record that has each."""
        return list(dict.fromkeys(claim.id for record in self.records for claim in record.claims))

    def entries(self, claim_id: str) -> list[ClaimEntry | None]:
        """Return a claim's entry in each record; None where a record lacks it."""
        return [next((c for c in record.claims if c.id == claim_id), None) for record in self.records]

    def rows(self) -> list[list[str]]:
        """Return a row a claim: its id, and a cell a record."""
        rows = []
        for claim_id in self.claims:
            entries = self.entries(claim_id)
            rows.append([claim_id, *(_cell(entry, _apart(entries[0], entry)) for entry in entries)])
        return rows


def _cell(entry: ClaimEntry | None, apart: bool) -> str:
    """Sign of the verdict, value and interval."""
    if entry is None:
        return ""
    value = ""
    if entry.statistic is not None:
        value = f" {number(entry.statistic[1])}{interval(entry)}"
    return f"{SIGNS[entry.verdict]}{'*' if entry.found else ''}{value}{' ≠' if apart else ''}"


def _apart(first: ClaimEntry | None, other: ClaimEntry | None) -> bool:
    """Whether two measurements of a claim lie beyond each other's intervals: the intervals share no number."""
    if first is None or other is None or first is other or not first.interval or not other.interval:
        return False
    return first.interval[1] < other.interval[0] or other.interval[1] < first.interval[0]


def load(paths: Sequence[Path], mixed: bool = False, claim_set: str | None = None) -> Comparison:
    """Read records from files, report folders, or folders of such; of several claim sets those of one, where named.

    Raises BadInput for fewer than two, for what is no record, and where settings differ unless `mixed` allows that.
    """
    folders: list[Path] = []
    for path in paths:
        folder = path.parent if path.name == RECORD_FILE else path
        below = [folder] if (folder / RECORD_FILE).is_file() else sorted(p.parent for p in folder.rglob(RECORD_FILE))
        if not below:
            raise BadInput(f"{path}: no {RECORD_FILE}; wanted a record, a report folder, or a folder of such")
        folders += [one.resolve() for one in below]
    record_of = {folder: read_record(folder) for folder in folders}
    if claim_set is not None:
        name_of = {folder: record.claim_set.name for folder, record in record_of.items() if record.claim_set}
        record_of = {folder: record_of[folder] for folder, name in name_of.items() if name == claim_set}
        if not record_of:
            there = ", ".join(sorted(set(name_of.values()))) or "none that names its set"
            raise BadInput(f"--set {claim_set}: no record of it; there are of {there}")
    folders, records = list(record_of), list(record_of.values())
    if len(records) < 2:
        raise BadInput(f"{len(records)} record; wanted two or more to compare")
    differing = _differing(records)
    if differing and not mixed:
        raise BadInput(
            f"settings differ: {'; '.join(differing)}; wanted the same (--set NAME leaves those of one claim set), or "
            "--mixed to compare all the same"
        )
    notices = (
        [f"Settings differ, so that numbers are not of the same thing: {'; '.join(differing)}."] if differing else []
    )
    incomplete = [name for name, record in zip(_names(folders, records), records, strict=True) if not record.complete]
    notices += [f"Incomplete: {', '.join(incomplete)}."] if incomplete else []
    versions = sorted({f"{record.suite.version} at {(record.suite.commit or 'unknown')[:10]}" for record in records})
    notices += [f"Recorded by different versions of the suite: {', '.join(versions)}."] if len(versions) > 1 else []
    return Comparison(_names(folders, records), records, notices)


def _differing(records: Sequence[Record]) -> list[str]:
    """Settings that are not the same, with their values."""
    lines = []
    for name in SETTINGS:
        values = list(dict.fromkeys(str(record.settings.get(name)) for record in records))
        if len(values) > 1:
            lines.append(f"{name} {', '.join(value[:12] for value in values)}")
    for name, value_of in (("claim set", _claim_set), ("head", _chosen)):
        values = list(dict.fromkeys(value_of(record) for record in records))
        lines += [f"{name} {', '.join(values)}"] if len(values) > 1 else []
    return lines


def _claim_set(record: Record) -> str:
    """Return the name of the claim set and the hash of what it states; of schema 1 that of its thresholds alone."""
    if record.claim_set is None:
        return f"thresholds {str(record.settings.get('thresholds_sha256'))[:12]}"
    return f"{record.claim_set.name} {record.claim_set.sha256[:12]}"


def _chosen(record: Record) -> str:
    """How the head came to be the target: one that was looked for is judged on other prompts, by other nulls."""
    head = str(record.settings.get("head"))
    if head == "auto" and record.target.chosen_on is not None:
        return f"auto on {record.target.chosen_on}"
    return head if head in ("auto", "all") else "named"


def _names(folders: Sequence[Path], records: Sequence[Record]) -> list[str]:
    """Checkpoint and head, and where these are the same what else tells records apart."""
    names = [f"{record.checkpoint.name} {record.target.label}" for record in records]
    for key in ("revision", "mutate", "words", "seed"):
        if len(set(names)) == len(names):
            break
        values = [record.checkpoint.revision if key == "revision" else record.settings.get(key) for record in records]
        names = [
            f"{name} {key} {value}" if value is not None else name for name, value in zip(names, values, strict=True)
        ]
    many = Counter(names)
    return [f"{name} ({folder})" if many[name] > 1 else name for name, folder in zip(names, folders, strict=True)]


def as_text(comparison: Comparison, tablefmt: str = "simple") -> str:
    """Return the notices, the table and the legend, for a terminal or as Markdown."""
    cells = [[printable(cell) for cell in row] for row in [["claim", *comparison.names], *comparison.rows()]]
    head, *rows = markdown_cells(cells) if tablefmt == "github" else cells
    table = tabulate(rows, head, tablefmt=tablefmt, disable_numparse=True)
    return "\n\n".join([*comparison.notices, table, LEGEND])


def as_data(comparison: Comparison) -> str:
    """Return the comparison as JSON, schema 1."""
    claims = [
        {
            "id": claim_id,
            "records": [
                None
                if entry is None
                else {
                    "verdict": entry.verdict,
                    "found": entry.found,
                    "statistic": entry.statistic[0] if entry.statistic else None,
                    "value": entry.statistic[1] if entry.statistic else None,
                    "interval": entry.interval,
                    "apart": _apart(entries[0], entry),
                }
                for entry in entries
            ],
        }
        for claim_id in comparison.claims
        for entries in [comparison.entries(claim_id)]
    ]
    head: dict[str, Any] = {"schema": 1, "records": comparison.names, "notices": comparison.notices}
    return as_json(head | {"claims": claims})


def as_html(comparison: Comparison) -> str:
    """Return the comparison as a page."""
    from headclaims.report.sheet import Table, sheet

    table = Table("", ["claim", *comparison.names], comparison.rows())
    return sheet("Records compared", [*comparison.notices, LEGEND], [table])


WRITERS = {
    "text": as_text,
    "markdown": lambda comparison: as_text(comparison, "github"),
    "json": as_data,
    "html": as_html,
}
