"""The matrix of counterfeits against claims: each claim must fail on a counterfeit that breaks it and little else.

`headclaims trials counterfeits [NAME ...]` audits the counterfeits of a claim set (all of them by default) at default
options, verdicts alone, and compares with what the set's `counterfeits.toml` expects. Writes `matrix.json` and `.md`,
those of a set other than the first that ships into a folder of its name. The exit status is 1 where a cell is against
expectation or, of the whole matrix, where an empirical claim has no counterfeit that it falls on with at most five
other casualties, or as many as the file says (`casualties = 3`), ties not counted.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from headclaims.audit.settings import MUTATIONS
from headclaims.claim.claim_set import ClaimSet
from headclaims.files import as_json, write_atomically
from headclaims.fleet.cluster import in_workers
from headclaims.fleet.workers import audit
from headclaims.report.readme import into_readme
from headclaims.trials.folder import README, has_place, is_first, readme_marks, reports_of

COUNTERFEITS_FILE = "counterfeits.toml"
STANDS, FALLS, LAPSES, FREE = "stands", "falls", "lapses", "free"
OUTCOMES = {"supported": STANDS, "not supported": FALLS, "undecided": FALLS, "not assessable": LAPSES}
MARKS = {STANDS: "·", FALLS: "x", LAPSES: "o", FREE: "?"}
CASUALTIES = 5

Cells = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Expected:
    """Expected outcome of each claim on each counterfeit, and the groups of claims that algebra ties to one another.

    `most` is the number of other casualties up to which a counterfeit tells of a claim.
    """

    cells: Cells
    ties: tuple[frozenset[str], ...]
    most: int = CASUALTIES

    @classmethod
    def read(cls, path: Path, claims: Sequence[str]) -> Expected:
        """Read the file of a set of these claims; raises ValueError for one that is unknown or named twice."""
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        ties = tuple(frozenset(tie["claims"]) for tie in content.pop("ties"))
        most = content.pop("casualties", CASUALTIES)
        cells: Cells = {}
        for name, entry in content.items():
            stated = [(claim, outcome) for outcome, named in entry.items() for claim in named]
            if len(dict(stated)) != len(stated) or not set(dict(stated)) <= set(claims):
                raise ValueError(f"{path.name}: {name} names a claim twice, or one that there isn't")
            cells[name] = {claim: dict(stated).get(claim, STANDS) for claim in claims}
        return cls(cells, ties, most)

    @property
    def share_free(self) -> float:
        """The share of cells in which any outcome is allowed, the planted checkpoint's left out."""
        every = [cell for name, row in self.cells.items() if name != "planted" for cell in row.values()]
        return every.count(FREE) / len(every)

    def tied(self, claim: str) -> frozenset[str]:
        """Return the claims that fall or lapse with a claim by algebra, the claim itself included."""
        return frozenset({claim}).union(*(tie for tie in self.ties if claim in tie))


def options(name: str) -> list[str]:
    """Return the options of a counterfeit's audit; a mutation's name stands for the planted checkpoint so changed."""
    which = ["--checkpoint", "planted" if name == "planted" or name in MUTATIONS else f"planted:{name}"]
    return [*which, *(["--mutate", name] if name in MUTATIONS else []), "--verdicts-only", "--no-cache"]


def outcomes(record: Mapping[str, Any]) -> dict[str, str]:
    """Map claim id to 'stands', 'falls' or 'lapses'."""
    return {claim["id"]: OUTCOMES[claim["verdict"]] for claim in record["claims"]}


def unexpected(expected: Expected, found: Cells) -> list[str]:
    """Return a line for each cell that differs from what was expected."""
    return [
        f"{name}: {claim} {found[name][claim]}, expected {wanted}"
        for name in found
        for claim, wanted in expected.cells[name].items()
        if wanted not in (FREE, found[name][claim])
    ]


def casualties(expected: Expected, row: Mapping[str, str], claim: str) -> int:
    """Count the claims that fell or lapsed on a counterfeit, apart from one claim and those tied to it."""
    return sum(row[other] != STANDS for other in row if other not in expected.tied(claim))


def killers(expected: Expected, found: Cells, claim: str) -> dict[str, int]:
    """Map each counterfeit that a claim fell on to its number of other casualties, fewest first."""
    fell = {name: casualties(expected, row, claim) for name, row in found.items() if row[claim] == FALLS}
    return dict(sorted(fell.items(), key=lambda item: item[1]))


def survivors(expected: Expected, found: Cells, empirical: Iterable[str]) -> list[str]:
    """Return the claims that fall on no counterfeit with few enough other casualties."""
    return [
        claim
        for claim in empirical
        if min(killers(expected, found, claim).values(), default=expected.most + 1) > expected.most
    ]


def table(expected: Expected, found: Cells) -> str:
    """Return the matrix as Markdown: what happened beside what was expected, in brackets where all is allowed."""
    names = list(found)

    def cell(name: str, claim: str) -> str:
        wanted, happened = expected.cells[name][claim], found[name][claim]
        mark = MARKS[happened]
        return f"({mark})" if wanted == FREE else mark if wanted == happened else f"{mark}!{MARKS[wanted]}"

    rows = [[claim, *(cell(name, claim) for name in names)] for claim in found[names[0]]]
    return (
        f"{MARKS[STANDS]} stands, {MARKS[FALLS]} falls, {MARKS[LAPSES]} not assessable; ( ) nothing was promised, "
        "! against expectation.\n\n"
        + tabulate(rows, ["claim", *names], tablefmt="github", disable_numparse=True)
        + "\n"
    )


def killers_table(expected: Expected, found: Cells, empirical: Sequence[str]) -> str:
    """Return as Markdown each claim's counterfeit with the fewest other casualties, and how many it falls on in all."""
    rows = []
    for claim in empirical:
        of_claim = killers(expected, found, claim)
        best = next(iter(of_claim))
        others = [c for c in found[best] if found[best][c] != STANDS and c not in expected.tied(claim)]
        rows.append([claim, best, ", ".join(others) or "–", len(of_claim)])
    head = ["claim", "falls on", "and with it", "falls on in all"]
    return "\n" + tabulate(rows, head, tablefmt="github", disable_numparse=True) + "\n\n"


@dataclass(frozen=True)
class Job:
    """The audit of one counterfeit by a claim set."""

    claim_set: Path
    name: str


def run(job: Job) -> dict[str, Any]:
    """Return the record of a counterfeit's audit."""
    return audit(job.claim_set, options(job.name))


def main(folder: Path, names: Sequence[str]) -> int:
    """Run the counterfeits named, or all, of the claim set in a folder; return the exit status."""
    claim_set = ClaimSet.read(folder)
    expected = Expected.read(folder / COUNTERFEITS_FILE, list(claim_set.claims))
    unknown = sorted(set(names) - set(expected.cells))
    if unknown:
        print(f"headclaims: {unknown[0]}: no counterfeit; wanted some of {', '.join(expected.cells)}", file=sys.stderr)
        return 2
    chosen = list(names) or list(expected.cells)
    records = in_workers(run, [Job(folder, name) for name in chosen], "counterfeits")
    found = {name: outcomes(record) for name, record in zip(chosen, records, strict=True)}
    print(table(expected, found))
    complaints = unexpected(expected, found)
    if not names:
        by_construction = {c["id"] for record in records for c in record["claims"] if _algebra(c)}
        empirical = [claim for claim in found["planted"] if claim not in by_construction]
        complaints += [f"{claim}: no counterfeit kills it alone" for claim in survivors(expected, found, empirical)]
        fewest = {claim: killers(expected, found, claim) for claim in empirical}
        content = {"expected": expected.cells, "found": found, "killers": fewest, "share_free": expected.share_free}
        reports = reports_of(claim_set.name)
        write_atomically(reports / "matrix.json", as_json(content))
        write_atomically(reports / "matrix.md", table(expected, found))
        first = is_first(claim_set.name)
        marks = readme_marks("counterfeits", None if first else claim_set.name)
        if not complaints and (first or has_place(marks)):
            into_readme(README, marks, killers_table(expected, found, empirical))
    for line in complaints:
        print(f"headclaims: {line}", file=sys.stderr)
    return 1 if complaints else 0


def _algebra(claim: Mapping[str, Any]) -> bool:
    return "by construction" in claim["flags"]
