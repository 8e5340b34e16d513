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
from headclaims.record.entries import RECORD_FILE, ClaimEntry
from headclaims.record.reading import Record, read_record
from headclaims.report.figures import printable
from headclaims.report.table import markdown_cells, number
from headclaims.statistics.verdict import Verdict

SETTINGS = ("words", "prompts", "seq_len", "seed", "dtype", "verdicts_only", "thresholds_sha256")
"""What has to be the same for measurements to be of the same thing; what was audited, and where it ran, may differ."""
SIGNS = {
    Verdict.SUPPORTED: "✓",
    Verdict.NOT_SUPPORTED: "✗",
    Verdict.UNDECIDED: "?",
    Verdict.NOT_ASSESSABLE: "–",
    None: "!",
}
LEGEND = (
    "✓ supported, ✗ not supported, ? undecided, – not assessable, ! error; * found; "
    "≠ apart from the first beyond both intervals"
)


@dataclass(frozen=True)
class Comparison:
    """Records with a name each, and what has to be said of them all."""

    names: list[str]
    records: list[Record]
    notices: list[str]

    @property
    def claims(self) -> list[str]:
        """The ids of all claims, in the order of the first record that has them."""
        return list(dict.fromkeys(claim.id for record in self.records for claim in record.claims))

    def entries(self, claim_id: str) -> list[ClaimEntry | None]:
        """A claim in each record; None where it isn't there."""
        return [next((c for c in record.claims if c.id == claim_id), None) for record in self.records]

    def rows(self) -> list[list[str]]:
        """A line a claim."""
        found = []
        for claim_id in self.claims:
            entries = self.entries(claim_id)
            found.append([claim_id, *(_cell(entry, _apart(entries[0], entry)) for entry in entries)])
        return found


def _cell(entry: ClaimEntry | None, apart: bool) -> str:
    """Sign of the verdict, value and interval."""
    if entry is None:
        return ""
    value = ""
    if entry.statistic is not None:
        interval = "" if entry.interval is None else f" [{number(entry.interval[0])}, {number(entry.interval[1])}]"
        value = f" {number(entry.statistic[1])}{interval}"
    return f"{SIGNS[entry.verdict]}{'*' if entry.found else ''}{value}{' ≠' if apart else ''}"


def _apart(first: ClaimEntry | None, other: ClaimEntry | None) -> bool:
    """Whether two measurements of a claim lie beyond each other's intervals: the intervals share no number."""
    if first is None or other is None or first is other or not first.interval or not other.interval:
        return False
    return first.interval[1] < other.interval[0] or other.interval[1] < first.interval[0]


def load(paths: Sequence[Path], mixed: bool = False) -> Comparison:
    """Records from files, report folders, or folders of such.

    Raises BadInput for fewer than two, for what is no record, and where settings differ unless `mixed` allows that.
    """
    folders: list[Path] = []
    for path in paths:
        folder = path.parent if path.name == RECORD_FILE else path
        below = [folder] if (folder / RECORD_FILE).is_file() else sorted(p.parent for p in folder.rglob(RECORD_FILE))
        if not below:
            raise BadInput(f"{path}: no {RECORD_FILE}; wanted a record, a report folder, or a folder of such")
        folders += [one.resolve() for one in below]
    folders = list(dict.fromkeys(folders))
    if len(folders) < 2:
        raise BadInput(f"{len(folders)} record; wanted two or more to compare")
    records = [read_record(folder) for folder in folders]
    differing = _differing(records)
    if differing and not mixed:
        raise BadInput(f"settings differ: {'; '.join(differing)}; wanted the same, or --mixed to compare all the same")
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
    found = []
    for name in SETTINGS:
        values = list(dict.fromkeys(str(record.settings.get(name)) for record in records))
        if len(values) > 1:
            found.append(f"{name} {', '.join(value[:12] for value in values)}")
    chosen = list(dict.fromkeys(_chosen(record) for record in records))
    return found + ([f"head {', '.join(chosen)}"] if len(chosen) > 1 else [])


def _chosen(record: Record) -> str:
    """How the head came to be the target: one that was looked for is judged on other prompts, by other nulls."""
    head = str(record.settings.get("head"))
    return head if head in ("auto", "all") else "named"


def _names(folders: Sequence[Path], records: Sequence[Record]) -> list[str]:
    """Checkpoint and head, and where these are the same what else tells records apart."""
    names = [f"{record.checkpoint.name} {record.target.label}" for record in records]
    for key in ("revision", "mutate", "words", "seed"):
        if len(set(names)) == len(names):
            break
        told = [record.checkpoint.revision if key == "revision" else record.settings.get(key) for record in records]
        names = [
            f"{name} {key} {value}" if value is not None else name for name, value in zip(names, told, strict=True)
        ]
    many = Counter(names)
    return [f"{name} ({folder})" if many[name] > 1 else name for name, folder in zip(names, folders, strict=True)]


def as_text(of: Comparison, tablefmt: str = "simple") -> str:
    """The table with its notices, for a terminal or as Markdown."""
    cells = [[printable(cell) for cell in row] for row in [["claim", *of.names], *of.rows()]]
    head, *rows = markdown_cells(cells) if tablefmt == "github" else cells
    table = tabulate(rows, head, tablefmt=tablefmt, disable_numparse=True)
    return "\n\n".join([*of.notices, table, LEGEND])


def as_data(of: Comparison) -> str:
    """The same as JSON."""
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
        for claim_id in of.claims
        for entries in [of.entries(claim_id)]
    ]
    content: dict[str, Any] = {"schema": 1, "records": of.names, "notices": of.notices, "claims": claims}
    return as_json(content)


def as_html(of: Comparison) -> str:
    """The same as a page."""
    from headclaims.report.page import Table, sheet

    return sheet("Records compared", [*of.notices, LEGEND], [Table("", ["claim", *of.names], of.rows())])


FORMATS = {"text": as_text, "markdown": lambda of: as_text(of, "github"), "json": as_data, "html": as_html}
