"""The matrix of counterfeits against claims: each claim must fail on a counterfeit that breaks it and little else.

`python -m headclaims.trials.counterfeits [NAME ...]` audits the counterfeits (all of them by default) at default
options, verdicts alone, and compares with what `fixtures/data/counterfeits.toml` expects. Writes
`reports/counterfeits/matrix.json` and `.md`. The exit status is 1 where a cell is against expectation or, of the whole
matrix, where an empirical claim has no counterfeit that it falls on with at most five other casualties, ties not
counted.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from headclaims.checkpoint import MUTATIONS
from headclaims.files import as_json, write_atomically
from headclaims.fleet.audits import ROOT, audit, in_processes
from headclaims.report.readme import into_readme

EXPECTED = ROOT / "fixtures" / "data" / "counterfeits.toml"
FINDINGS = ROOT / "fixtures" / "data" / "findings.toml"
STANDS, FALLS, LAPSES, FREE = "stands", "falls", "lapses", "free"
OUTCOMES = {"supported": STANDS, "not supported": FALLS, "undecided": FALLS, "not assessable": LAPSES}
MARKS = {STANDS: "·", FALLS: "x", LAPSES: "o", FREE: "?"}
CASUALTIES = 5
README_MARKS = ("<!-- counterfeits -->", "<!-- end of counterfeits -->")

Cells = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Expected:
    """What is expected of each counterfeit, by claim, and which claims algebra ties to one another."""

    cells: Cells
    ties: tuple[frozenset[str], ...]

    @classmethod
    def read(cls, path: Path = EXPECTED) -> Expected:
        """From the data; raises ValueError for a claim that there isn't, or one that is named twice."""
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        claims = list(tomllib.loads(FINDINGS.read_text(encoding="utf-8"))["claims"])
        ties = tuple(frozenset(tie["claims"]) for tie in content.pop("ties"))
        cells: Cells = {}
        for name, entry in content.items():
            stated = [(claim, outcome) for outcome, named in entry.items() for claim in named]
            if len(dict(stated)) != len(stated) or not set(dict(stated)) <= set(claims):
                raise ValueError(f"{path.name}: {name} names a claim twice, or one that there isn't")
            cells[name] = {claim: dict(stated).get(claim, STANDS) for claim in claims}
        return cls(cells, ties)

    @property
    def share_free(self) -> float:
        """The share of cells in which nothing is promised, the planted checkpoint's not counted."""
        every = [cell for name, row in self.cells.items() if name != "planted" for cell in row.values()]
        return every.count(FREE) / len(every)

    def tied(self, claim: str) -> frozenset[str]:
        """The claims that fall or lapse with one by algebra, itself among them."""
        return frozenset({claim}).union(*(tie for tie in self.ties if claim in tie))


def options(name: str) -> list[str]:
    """How a counterfeit is audited; the planted checkpoint with a mutation is named after that."""
    which = ["--checkpoint", "planted" if name == "planted" or name in MUTATIONS else f"planted:{name}"]
    return [*which, *(["--mutate", name] if name in MUTATIONS else []), "--verdicts-only", "--no-cache"]


def outcomes(record: Mapping[str, Any]) -> dict[str, str]:
    """What became of each claim of a record."""
    return {claim["id"]: OUTCOMES[claim["verdict"]] for claim in record["claims"]}


def unexpected(expected: Expected, found: Cells) -> list[str]:
    """Cells against expectation, one line each."""
    return [
        f"{name}: {claim} {found[name][claim]}, expected {wanted}"
        for name in found
        for claim, wanted in expected.cells[name].items()
        if wanted not in (FREE, found[name][claim])
    ]


def casualties(expected: Expected, row: Mapping[str, str], claim: str) -> int:
    """How many claims beside one, and those tied to it, fell or lapsed on a counterfeit."""
    return sum(row[other] != STANDS for other in row if other not in expected.tied(claim))


def killers(expected: Expected, found: Cells, claim: str) -> dict[str, int]:
    """The counterfeits that a claim fell on, with their other casualties, fewest first."""
    fell = {name: casualties(expected, row, claim) for name, row in found.items() if row[claim] == FALLS}
    return dict(sorted(fell.items(), key=lambda item: item[1]))


def survivors(expected: Expected, found: Cells, empirical: Iterable[str]) -> list[str]:
    """The claims that no counterfeit kills with at most five other casualties."""
    return [
        claim
        for claim in empirical
        if min(killers(expected, found, claim).values(), default=CASUALTIES + 1) > CASUALTIES
    ]


def table(expected: Expected, found: Cells) -> str:
    """Markdown: what was expected beside what happened, where anything may happen in brackets."""
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
    """Markdown: each claim's counterfeit with the fewest other casualties, and how many it falls on in all."""
    rows = []
    for claim in empirical:
        of_claim = killers(expected, found, claim)
        best = next(iter(of_claim))
        others = [c for c in found[best] if found[best][c] != STANDS and c not in expected.tied(claim)]
        rows.append([claim, best, ", ".join(others) or "–", len(of_claim)])
    head = ["claim", "falls on", "and with it", "falls on in all"]
    return "\n" + tabulate(rows, head, tablefmt="github", disable_numparse=True) + "\n\n"


def main(names: Sequence[str]) -> int:
    """Run the counterfeits named, or all."""
    expected = Expected.read()
    unknown = sorted(set(names) - set(expected.cells))
    if unknown:
        print(f"headclaims: {unknown[0]}: no counterfeit; wanted some of {', '.join(expected.cells)}", file=sys.stderr)
        return 2
    chosen = list(names) or list(expected.cells)
    records: dict[int, dict[str, Any]] = {}
    for number, record in in_processes(audit, [options(name) for name in chosen]):
        records[number] = record
        print(f"\r{len(records)} of {len(chosen)} counterfeits audited", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    found = {name: outcomes(records[number]) for number, name in enumerate(chosen)}
    print(table(expected, found))
    complaints = unexpected(expected, found)
    if not names:
        by_construction = {c["id"] for record in records.values() for c in record["claims"] if _algebra(c)}
        empirical = [claim for claim in found["planted"] if claim not in by_construction]
        complaints += [f"{claim}: no counterfeit kills it alone" for claim in survivors(expected, found, empirical)]
        folder = ROOT / "reports" / "counterfeits"
        fewest = {claim: killers(expected, found, claim) for claim in empirical}
        content = {"expected": expected.cells, "found": found, "killers": fewest, "share_free": expected.share_free}
        write_atomically(folder / "matrix.json", as_json(content))
        write_atomically(folder / "matrix.md", table(expected, found))
        if not complaints:
            into_readme(README_MARKS, killers_table(expected, found, empirical))
    for line in complaints:
        print(f"headclaims: {line}", file=sys.stderr)
    return 1 if complaints else 0


def _algebra(claim: Mapping[str, Any]) -> bool:
    return "by construction" in claim["flags"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
