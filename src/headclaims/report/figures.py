"""Figures of a page: plotly's, from the numbers kept beside a record, under one theme.

A figure is one plot or several side by side, with a caption that says what to see, the same in words for who can't see
it, and its numbers as a table. Text that comes from a checkpoint is escaped: plotly takes tags in labels for its own.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go

from headclaims.report.drawn import (
    ClaimFigures,
    NullValues,
)
from headclaims.report.table import number

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#2f86d1", "#d9822b", "#2a9d74", "#d1495b", "#a56cc1", "#8a8f98"
SIGNED = [[0.0, "#2166ac"], [0.5, "#f7f7f7"], [1.0, "#b2182b"]]
SIZED = "Cividis"
MOST_TICKS, LONGEST_TICK, SHORT_NAME = 36, 14, 20
AXIS = {"zeroline": False, "gridcolor": "rgba(128,128,128,.25)", "automargin": True, "ticks": "outside", "ticklen": 3}
THEME: dict[str, Any] = {
    "layout": {
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 48, "r": 12, "t": 42, "b": 42},
        "colorway": [BLUE, ORANGE, GREEN, RED, PURPLE, GREY],
        # Turned labels and the margin that they take can chase each other for ever.
        "xaxis": AXIS | {"automargin": False, "tickangle": 0},
        "yaxis": AXIS,
        "title": {"font": {"size": 13}, "x": 0.5, "y": 0.98, "yanchor": "top"},
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "dragmode": False,
        "hovermode": "closest",
    }
}
"""Colours of text are the page's own: they turn with it from light to dark and to paper."""


@dataclass(frozen=True)
class Figure:
    """One or more plots under a caption; `rows` are the numbers, one list a row under `columns`."""

    name: str
    title: str
    caption: str
    alt: str
    plots: list[go.Figure]
    columns: list[str]
    rows: list[list[Any]] = field(repr=False)


def plain(text: str) -> str:
    """Text as plotly shows it unchanged: it reads tags and entities in labels."""
    return html.escape(visible(text), quote=False)


def visible(text: str) -> str:
    """A token as a reader can see it: one leading space is left out, what doesn't print is spelt."""
    kept = text.removeprefix(" ")
    return printable(kept) or repr(text)


def printable(text: str) -> str:
    """Text with what doesn't print spelt: no end of a line, no control of a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def told_apart(tokens: Sequence[str]) -> list[str]:
    """Tokens as a reader can see them; of two that then look the same the one without a leading space says so."""
    shown = [visible(token) for token in tokens]
    many = Counter(shown)
    return [
        f"{text} (no space)" if many[text] > 1 and not token.startswith(" ") else text
        for text, token in zip(shown, tokens, strict=True)
    ]


def short(token: str) -> str:
    """As much of a token as fits beside an axis."""
    return token if len(token) <= LONGEST_TICK else token[: LONGEST_TICK - 1] + "…"


def plot(data: Sequence[Any], title: str = "", height: int = 320, **layout: Any) -> go.Figure:
    """Below the horizontal axis there is room for what the legend names, two short names to a line."""
    names = [trace.name for trace in data if trace.name is not None and trace.showlegend is not False]
    lines = len(names) if max(map(len, names), default=0) > SHORT_NAME else (len(names) + 1) // 2
    if len(names) < 2 and not layout.get("showlegend"):
        lines = 0
    below = {"margin": THEME["layout"]["margin"] | {"b": 48 + 21 * lines}} if lines else {}
    return go.Figure(list(data), {"title": {"text": title}, "height": height + 21 * lines, **below, **layout})


def heatmap(z: Any, x: Sequence[Any], y: Sequence[Any], **more: Any) -> go.Heatmap:
    """Cells by their columns' and rows' names."""
    return go.Heatmap(z=z, x=list(x), y=list(y), hoverongaps=False, **({"colorbar": {"thickness": 10}} | more))


def frame(at: tuple[int, int]) -> dict[str, Any]:
    """The outline of one cell."""
    x, y = at
    box = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
    return {"type": "rect", "line": {"color": RED, "width": 3}, **box}


def rows_axis(title: str, labels: Sequence[str]) -> dict[str, Any]:
    """A vertical axis of names in their order, the first at the bottom."""
    return {"title": title, "type": "category", "categoryorder": "array", "categoryarray": list(labels)}


def folded(name: str) -> str:
    """A claim's id in lines of about twenty letters."""
    lines = [""]
    for part in name.split("-"):
        if lines[-1] and len(lines[-1]) + len(part) > 20:
            lines.append("")
        lines[-1] += part + "-"
    return "<br>".join(lines).removesuffix("-")


def token_axes(tokens: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Labels that are each their own, and axes that show the tokens where there are not too many."""
    at = [f"{i} {plain(token)}" for i, token in enumerate(tokens)]
    ticks = {"tickvals": at, "ticktext": [plain(short(token)) for token in tokens], "tickfont": {"size": 8}}
    shown = ticks if len(tokens) <= MOST_TICKS else {"showticklabels": False}
    axis = {"type": "category", "ticks": "", "showgrid": False} | shown
    return at, {"xaxis": axis | {"tickangle": -90, "automargin": True}, "yaxis": axis | {"autorange": "reversed"}}


def mark(at: float | int, label: str) -> dict[str, Any]:
    """A vertical line with its label: shapes and annotations of a layout."""
    line = {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": RED, "width": 2}}
    text = {"x": at, "y": 1, "yref": "paper", "text": label, "showarrow": False, "yanchor": "bottom"}
    return {"shapes": [line], "annotations": [text]}


BINS = 30


def null_distributions(claim: str, of: ClaimFigures, target: str) -> Figure | None:
    """The null populations of a claim with the target marked; None where there are none."""
    value = of.compared_value
    drawn = [(null, _finite(null)) for null in of.nulls]
    drawn = [(null, values) for null, values in drawn if values]
    if value is None or not drawn:
        return None
    plots, said = [], []
    for null, values in drawn:
        counted, edges = np.histogram(values, BINS, range=_span([*values, value]))
        middles, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
        bar = go.Bar(x=middles.tolist(), y=counted.tolist(), width=width, marker={"color": GREY}, showlegend=False)
        title = {"title": {"text": plain(of.compared.replace("_", " "))}}
        axes = {"xaxis": title, "yaxis": {"title": "members"}}
        plots.append(plot([bar], plain(null.population), 210, **axes, **mark(value, plain(target))))
        said.append(
            f"of {len(null.values)} {null.population} {null.at_least} are at least as favourable{_extreme(null)}"
        )
    way = "higher" if of.favourable == "high" else "lower"
    caption = f"Null distributions, {target} marked at {number(value)}; {way} is more favourable: {'; '.join(said)}."
    rows: list[list[Any]] = [[null.population, v] for null, values in drawn for v in values]
    rows.append([target, value])
    return Figure(f"nulls-{claim}", "Null distributions", caption, caption, plots, ["population", of.compared], rows)


def _extreme(null: NullValues) -> str:
    """What p is of where a head was looked for among many."""
    return "" if null.chosen_among == 1 else f" (p is for the extreme of {null.chosen_among} draws, one a head)"


def _finite(null: NullValues) -> list[float]:
    return [value for value in null.values if value is not None]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """A range that holds all values, and is one."""
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-12 * max(1.0, abs(high)) else (low - 0.5, high + 0.5)
