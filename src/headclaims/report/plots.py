"""Parts of plots, as plotly.js takes them, under one theme.

A trace or a layout is a plain dictionary of JSON: the library itself is needed only where a page is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headclaims.report.figure import Plot
from headclaims.report.labels import plain, short

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#2f86d1", "#d9822b", "#2a9d74", "#d1495b", "#a56cc1", "#8a8f98"
COLOURS = [BLUE, ORANGE, GREEN, RED, PURPLE, GREY]
SIGNED = [[0.0, "#2166ac"], [0.5, "#f7f7f7"], [1.0, "#b2182b"]]
"""Colours of numbers on both sides of 0."""
SIZED = "Cividis"
"""Colours of numbers by size."""
MOST_TICKS, SHORT_NAME = 36, 20
AXIS = {"zeroline": False, "gridcolor": "rgba(128,128,128,.25)", "automargin": True, "ticks": "outside", "ticklen": 3}
THEME: dict[str, Any] = {
    "layout": {
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 48, "r": 12, "t": 42, "b": 42},
        "colorway": COLOURS,
        # Turned labels and the margin that they take can chase each other for ever.
        "xaxis": AXIS | {"automargin": False, "tickangle": 0},
        "yaxis": AXIS,
        "title": {"font": {"size": 13}, "x": 0.5, "y": 0.98, "yanchor": "top"},
        "legend": {"orientation": "h", "xref": "container", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"},
        "dragmode": False,
        "hovermode": "closest",
    }
}
"""Colours of text are the page's own: they turn with it from light to dark and to paper."""


def plot(data: Sequence[Mapping[str, Any]], title: str = "", height: int = 320, **layout: Any) -> Plot:
    """Return a plot of some traces; an axis may have its title as text. Below it is room for the legend's names."""
    names = [trace["name"] for trace in data if "name" in trace and trace.get("showlegend") is not False]
    # Two short names stand on one line.
    lines = len(names) if max(map(len, names), default=0) > SHORT_NAME else (len(names) + 1) // 2
    if len(names) < 2 and not layout.get("showlegend"):
        lines = 0
    below = {"margin": THEME["layout"]["margin"] | {"b": 48 + 21 * lines}} if lines else {}
    for axis in ("xaxis", "yaxis"):
        if isinstance(layout.get(axis, {}).get("title"), str):
            layout[axis] = layout[axis] | {"title": {"text": layout[axis]["title"]}}
    return {"data": list(data), "layout": {"title": {"text": title}, "height": height + 21 * lines, **below, **layout}}


def titled(title: str) -> dict[str, Any]:
    """Return an axis with a claim author's title; none where that is empty."""
    return {"title": plain(title)} if title else {}


def scatter(x: Sequence[Any], y: Sequence[Any], **look: Any) -> dict[str, Any]:
    """Return a trace of points or, by `mode`, of lines."""
    return {"type": "scatter", "x": list(x), "y": list(y), **look}


def bar(x: Sequence[Any], y: Sequence[Any], **look: Any) -> dict[str, Any]:
    """Return a trace of bars."""
    return {"type": "bar", "x": list(x), "y": list(y), **look}


def heatmap(z: Sequence[Any], x: Sequence[Any], y: Sequence[Any], **look: Any) -> dict[str, Any]:
    """Return a trace of cells `z` [row, column] under the columns' names `x` and the rows' names `y`."""
    cells = {"type": "heatmap", "z": list(z), "x": list(x), "y": list(y), "hoverongaps": False}
    return cells | {"colorbar": {"thickness": 10}} | look


def frame(column: int, row: int) -> dict[str, Any]:
    """Return the outline of one cell, a shape of a layout."""
    box = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", "line": {"color": RED, "width": 3}, **box}


def mark(at: float | int, label: str) -> dict[str, Any]:
    """Return the shapes and annotations of a layout that has a vertical line with a label."""
    line = {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": RED, "width": 2}}
    text = {"x": at, "y": 1, "yref": "paper", "text": label, "showarrow": False, "yanchor": "bottom"}
    return {"shapes": [line], "annotations": [text]}


def rows_axis(title: str, labels: Sequence[str]) -> dict[str, Any]:
    """Return a vertical axis of names in their order, the first at the bottom."""
    return {"title": title, "type": "category", "categoryorder": "array", "categoryarray": list(labels)}


def name_axis(names: Sequence[str], most: int = MOST_TICKS) -> tuple[list[str], dict[str, Any]]:
    """Return labels that each occur once, and a heat map's axis with a name beside each cell.

    Of more names than `most` every second, third, … is shown.
    """
    labels = [f"{i} {plain(name)}" for i, name in enumerate(names)]
    step = max(1, -(-len(names) // most))
    shown = {"tickvals": labels[::step], "ticktext": [plain(short(name)) for name in names[::step]]}
    return labels, {"type": "category", "ticks": "", "showgrid": False, "tickfont": {"size": 8}} | shown


def heatmap_axes(columns: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the layout of two axes by `name_axis`: columns' names upright, rows from the top."""
    upright = {"tickangle": -90, "automargin": True}
    return {"xaxis": {**columns, **upright}, "yaxis": {**rows, "autorange": "reversed"}}
