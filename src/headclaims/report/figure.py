"""What a page shows as one figure: plots side by side, or a drawing by a script of the page's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Plot = dict[str, Any]
"""One plot as plotly.js takes it: `data`, a list of traces, and `layout`, with its height in pixels."""
SCRIPTS = frozenset({"token-map"})
"""Names of the scripts in `templates/` that draw figures."""


@dataclass(frozen=True)
class Figure:
    """Plots side by side under a caption that says what to see; `alt` says it for a reader who can't see the plots.

    `rows` are the numbers of the figure, each row as long as `columns`; the page offers them as CSV.
    """

    title: str
    caption: str
    alt: str
    plots: list[Plot]
    columns: list[str]
    rows: list[list[Any]] = field(repr=False)

    @property
    def content(self) -> dict[str, Any]:
        """What the page's script needs to draw the figure."""
        return {"plots": self.plots, "columns": self.columns, "rows": self.rows}


@dataclass(frozen=True)
class ScriptedFigure:
    """A figure that `templates/<script>.html` and `templates/<script>.js` draw from `content`.

    The script registers in `SCRIPTS`, under its name, `draw(holder, content)`, which fills the element that the
    template made, and `numbers(content)`, which returns the columns and rows of the CSV file.
    """

    title: str
    caption: str
    alt: str
    script: str
    content: dict[str, Any] = field(repr=False)


AnyFigure = Figure | ScriptedFigure


def require_drawable(figure: AnyFigure) -> None:
    """Raise TypeError or ValueError for a figure that a page can't hold.

    That is one with an array or a NaN in it, which JSON has not, with a plot that `plot` didn't make, or of a script
    that there isn't.
    """
    if isinstance(figure, ScriptedFigure) and figure.script not in SCRIPTS:
        raise ValueError(f"no script {figure.script!r}; wanted one of {', '.join(sorted(SCRIPTS))}")
    for plot in figure.plots if isinstance(figure, Figure) else ():
        if not isinstance(plot, dict) or not {"data", "layout"} <= plot.keys() or "height" not in plot["layout"]:
            raise ValueError("a plot without data or without a layout's height; wanted what plot() returns")
    json.dumps(figure.content, allow_nan=False)


@dataclass(frozen=True)
class Placed:
    """A figure on a page, under an id that no other element of the page has."""

    id: str
    figure: AnyFigure


def page_data(placed: Sequence[Placed], theme: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a page's script draws from: the theme of all plots, and each figure's content by its id."""
    return {"theme": theme, "figures": {one.id: one.figure.content for one in placed}}
