"""A page of tables and figures, as self-contained as that of a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headclaims.report.figure import Figure, Placed
from headclaims.report.rendering import render


@dataclass(frozen=True)
class Table:
    """A table of a sheet, and the figures below it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    figures: list[Figure] = field(default_factory=list)


def sheet(title: str, notices: Sequence[str], tables: Sequence[Table]) -> str:
    """Return a page with notices on top and the tables with their figures below."""
    numbers = iter(range(sum(len(table.figures) for table in tables)))
    sections = [(table, [Placed(f"figure-{next(numbers)}", figure) for figure in table.figures]) for table in tables]
    placed = [one for _, figures in sections for one in figures]
    return render("sheet.html", placed, title=title, notices=notices, sections=sections)
