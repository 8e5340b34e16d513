"""`index.html`: one file that shows a record and the figures beside it, and needs no other file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from headclaims.checkpoint.interface import Head
from headclaims.files import write_atomically
from headclaims.record.entries import ClaimEntry
from headclaims.record.reading import Record, read_record
from headclaims.report.claim_figures import ClaimFigures
from headclaims.report.drawing import Drawing
from headclaims.report.figure import Placed, ScriptedFigure
from headclaims.report.figures_file import PAGE_FILE, read_figures
from headclaims.report.footer import FOUND, WORDS, headline
from headclaims.report.rendering import render
from headclaims.statistics.verdict import Verdict

INCOMPLETE = (
    "Incomplete: the run was cut short, covered some claims only, or a claim ended in an error. What is here was "
    "measured; what is missing is not known."
)


@dataclass(frozen=True)
class Group:
    """The claims of one finding of the write-up, the figures of each by its id, and those that several share."""

    name: str
    claims: list[ClaimEntry]
    own: dict[str, list[Placed]]
    shared: list[Placed]


def write_page(folder: Path) -> Path:
    """Write the page of a report folder from its record and figures, and return its path.

    Raises BadInput where there is no record, or where the record or its figures are damaged.
    """
    record = read_record(folder)
    figures, why = read_figures(folder, record)
    path = folder / PAGE_FILE
    write_atomically(path, page(record, figures, folder, why))
    return path


def page(record: Record, figures: dict[str, ClaimFigures], folder: Path, why: str | None = None) -> str:
    """Return the page of a record in a folder; `figures` is by claim, `why` says why there are none."""
    drawing = Drawing(figures, Head(record.target.layer, record.target.head))
    groups = [
        Group(name, claims := list(some), drawing.claim_figures(claims), drawing.group_figures(claims))
        for name, some in groupby(record.claims, lambda claim: claim.group)
    ]
    nulls = drawing.null_figures(record.claims)
    suite = drawing.suite_figures(folder)
    own = [one for group in groups for some in group.own.values() for one in some]
    placed = [*own, *(one for group in groups for one in group.shared), *nulls.values(), *suite]
    return render(
        "page.html",
        placed,
        record=record,
        groups=groups,
        shown=figures,
        nulls=nulls,
        suite=suite,
        maps=[one for one in placed if isinstance(one.figure, ScriptedFigure)],
        ids={claim.id for claim in record.claims},
        notices=[*notices(record), *([why] if why else []), *drawing.left_out],
        incomplete=None if record.complete else INCOMPLETE,
        headline=headline(vars(record.counts), record.evidence_of),
        meaning=FOUND,
        word=WORDS.get(record.evidence_of or "", ""),
    )


def notices(record: Record) -> list[str]:
    """Return what a reader has to know of a record beside its scorecard, a line each."""
    lines = []
    if record.earlier_rules:
        lines.append(
            "Recorded under earlier rules: what is distinctive and found was derived anew from its p-values, which "
            "are adjusted now."
        )
    by_outcome = {
        "ended in an error": record.of_verdict(None),
        "not supported": record.of_verdict(Verdict.NOT_SUPPORTED),
        "undecided": record.of_verdict(Verdict.UNDECIDED),
        "not assessable on this evidence": record.of_verdict(Verdict.NOT_ASSESSABLE),
    }
    lines += [
        f"{len(claims)} {'claim' if len(claims) == 1 else 'claims'} {outcome}."
        for outcome, claims in by_outcome.items()
        if claims
    ]
    if record.settings.get("verdicts_only"):
        lines.append("Verdicts only: neither nulls nor variants were asked, so that nothing can be found.")
    if record.settings.get("mutate"):
        lines.append(f"The weights were changed before the audit: {record.settings['mutate']}.")
    return lines
