"""`index.html`: one file, without any other, that shows a record and draws what was kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from headclaims.errors import NotAssessable
from headclaims.files import write_atomically
from headclaims.fleet.audits import ROOT
from headclaims.record.entries import ClaimEntry
from headclaims.record.reading import Record, read_figures, read_record
from headclaims.report.attention_figures import effects, head_scores, pattern, steered_attention
from headclaims.report.drawn import PAGE_FILE, ClaimFigures, Drawn
from headclaims.report.figures import THEME, Figure, null_distributions
from headclaims.report.map_figures import blocks, similarity, steered_blocks
from headclaims.report.spectrum_figures import scatter_plane, spectrum
from headclaims.report.suite_figures import suite_figures
from headclaims.report.table import headline, measured, number, p_values, reported
from headclaims.report.token_map import token_map
from headclaims.statistics.verdict import Verdict

SIGNS = {
    Verdict.SUPPORTED: ("✓", "supported"),
    Verdict.NOT_SUPPORTED: ("✗", "not-supported"),
    Verdict.UNDECIDED: ("?", "undecided"),
    Verdict.NOT_ASSESSABLE: ("–", "not-assessable"),
    None: ("!", "error"),
}


@dataclass(frozen=True)
class Group:
    """The claims of one finding of the write-up, and the figures that belong to them all."""

    name: str
    claims: list[ClaimEntry]
    figures: list[Figure]


def write_page(folder: Path) -> Path:
    """Write the page of a report folder, from its record and figures; raises BadInput where there is no record."""
    record = read_record(folder)
    kept, why = read_figures(folder, record)
    path = folder / PAGE_FILE
    write_atomically(path, page(record, kept, why))
    return path


def page(record: Record, kept: dict[str, ClaimFigures], why: str | None = None) -> str:
    """The page of a record; `why` says why nothing is kept beside it."""
    drawing = Drawing(kept, record.target.label, (record.target.layer, record.target.head))
    groups = [
        Group(name, claims := list(some), drawing.of_group(claims))
        for name, some in groupby(record.claims, lambda claim: claim.group)
    ]
    nulls = drawing.nulls(record.claims)
    map_ = drawing.map(record.claims)
    suite = drawing.of_suite(ROOT / "reports")
    every = [*(figure for group in groups for figure in group.figures), *nulls.values(), *suite]
    return _template("page.html").render(
        record=record,
        groups=groups,
        kept=kept,
        nulls=nulls,
        suite=suite,
        map=map_,
        notices=[*notices(record), *([why] if why else []), *drawing.left_out],
        headline=headline(vars(record.counts), len(record.claims)),
        data=_data(every, map_),
        plotly=get_plotlyjs(),
    )


def notices(record: Record) -> list[str]:
    """What a reader has to know before anything else."""
    said = []
    if not record.complete:
        said.append(
            "Incomplete: the run was cut short, covered some claims only, or a claim ended in an error. What is "
            "here was "
            "measured; what is missing is not known."
        )
    of = {
        "ended in an error": record.of_verdict(None),
        "not supported": record.of_verdict(Verdict.NOT_SUPPORTED),
        "undecided": record.of_verdict(Verdict.UNDECIDED),
        "not assessable on this evidence": record.of_verdict(Verdict.NOT_ASSESSABLE),
    }
    said += [f"{len(claims)} {_claims(len(claims))} {what}." for what, claims in of.items() if claims]
    if record.settings.get("verdicts_only"):
        said.append("Verdicts only: neither nulls nor variants were asked, so that nothing can be found.")
    if record.settings.get("mutate"):
        said.append(f"The weights were changed before the audit: {record.settings['mutate']}.")
    return said


def _claims(n: int) -> str:
    return "claim" if n == 1 else "claims"


MAPPED = "communities-are-semantic"
Made = TypeVar("Made")


class Drawing:
    """Draws what is kept of claims. Numbers that don't fit one another cost their figure, and that is said."""

    def __init__(self, kept: dict[str, ClaimFigures], label: str, target: tuple[int, int]) -> None:
        self.kept, self.label, self.target = kept, label, target
        self.left_out = [
            f"{claim}: no figure of {name.replace('_', ' ')}: {why}."
            for claim, of in kept.items()
            for name, why in of.undrawn.items()
        ]

    def _try(self, claim: str, make: Callable[[], Made]) -> Made | None:
        try:
            return make()
        except NotAssessable as error:
            self.left_out.append(f"{error}.")
        except (ValueError, IndexError, KeyError, TypeError, ArithmeticError) as error:
            self.left_out.append(f"{claim}: a figure is left out, its numbers don't fit: {error}.")
        return None

    def nulls(self, claims: Sequence[ClaimEntry]) -> dict[str, Figure]:
        """The null distributions of each claim that has some."""
        found: dict[str, Figure] = {}
        for claim in claims:
            if claim.id in self.kept:
                of = self.kept[claim.id]
                figure = self._try(claim.id, partial(null_distributions, claim.id, of, self.label))
                found |= {claim.id: figure} if figure is not None else {}
        return found

    def of_group(self, claims: Sequence[ClaimEntry]) -> list[Figure]:
        """The figures of a group of claims: those that one brought, then the effects of all."""
        found = []
        drawn = {claim.id: self.kept[claim.id].drawn for claim in claims if claim.id in self.kept}
        for claim, of in drawn.items():
            found += [figure for make in self._own(of) if (figure := self._try(claim, make)) is not None]
        by_claim = {claim: of.effects for claim, of in drawn.items() if of.effects}
        if by_claim:
            wanted = {claim: self.kept[claim].parts[0].wanted for claim in by_claim if self.kept[claim].parts}
            figure = self._try(claims[0].group, partial(effects, by_claim, wanted))
            found += [figure] if figure is not None else []
        return found

    def _own(self, of: Drawn) -> list[Callable[[], Figure]]:
        """All but the effects, which several claims share a figure for, and the map."""
        made = [
            of.head_scores and partial(head_scores, of.head_scores, self.target),
            of.pattern and partial(pattern, of.pattern),
            of.blocks and partial(blocks, of.blocks),
            of.similarity and partial(similarity, of.similarity),
            of.spectrum and partial(spectrum, of.spectrum, self.label),
            of.scatter and partial(scatter_plane, of.scatter, self.label),
            of.steered_blocks and partial(steered_blocks, of.steered_blocks),
            of.steered_attention and partial(steered_attention, of.steered_attention),
        ]
        return [make for make in made if make]

    def of_suite(self, reports: Path) -> list[Figure]:
        """What is known of the suite itself."""
        return self._try("the suite itself", lambda: list(suite_figures(reports))) or []

    def map(self, claims: Sequence[ClaimEntry]) -> dict[str, Any] | None:
        """The token map, beside the claim that is about it."""
        graph = self.kept[MAPPED].drawn.token_graph if MAPPED in self.kept else None
        if graph is None or MAPPED not in {claim.id for claim in claims}:
            return None
        return self._try(MAPPED, partial(token_map, graph))


def _plotted(figure: Figure) -> dict[str, Any]:
    """A figure's plots, less the library's own theme, and its numbers."""
    plots = [plot.to_plotly_json() for plot in figure.plots]
    for plot in plots:
        plot["layout"].pop("template", None)
    return {"plots": plots, "columns": figure.columns, "rows": figure.rows}


def _data(figures: Sequence[Figure], map_: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a page's script draws from."""
    return {"theme": THEME, "figures": {figure.name: _plotted(figure) for figure in figures}, "map": map_}


@dataclass(frozen=True)
class Table:
    """A table of a sheet, and the figures below it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    figures: list[Figure] = field(default_factory=list)


def sheet(title: str, notices: Sequence[str], tables: Sequence[Table]) -> str:
    """A page of tables and figures, as self-contained as that of a record."""
    data = _data([figure for table in tables for figure in table.figures])
    plotly = get_plotlyjs() if data["figures"] else ""
    return _template("sheet.html").render(title=title, notices=notices, tables=tables, data=data, plotly=plotly)


@cache
def _template(name: str) -> Any:
    environment = Environment(
        loader=PackageLoader("headclaims.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "measured": measured, "reported": reported, "p_values": p_values}
    parts = files("headclaims.report") / "templates"
    environment.globals |= {
        "signs": SIGNS,
        "mapped": MAPPED,
        "css": (parts / "page.css").read_text(encoding="utf-8"),
        "js": (parts / "page.js").read_text(encoding="utf-8") + (parts / "map.js").read_text(encoding="utf-8"),
    }
    return environment.get_template(name)
