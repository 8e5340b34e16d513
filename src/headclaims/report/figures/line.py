"""Lines over numbers, with bands: a form for any claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from headclaims.checkpoint.interface import Head
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import Numbers, number_list
from headclaims.report.labels import plain
from headclaims.report.plots import COLOURS, plot, scatter, titled

MOST_MARKED = 50
"""Points up to which each has a marker."""
PALE = 0.2


@figure_form("line")
@dataclass
class Line:
    """One or more named series over the same x, each with a band from low to high where `bands` has its name.

        Line(
            title="Attention by distance",
            caption="Mean attention by distance. What to see: a peak at 1.",
            x=[1, 2, 3],
            series={"target": [0.8, 0.1, 0.05]},
            bands={"target": ([0.7, 0.05, 0.0], [0.9, 0.15, 0.1])},
            x_title="distance",
            y_title="attention",
        )

    Numbers may be lists or arrays. Raises ValueError for a series or a band of another length than x, a band of no
    series or with low above high, and numbers that are not finite.
    """

    title: str
    caption: str
    x: Numbers
    series: Mapping[str, Numbers]
    bands: Mapping[str, tuple[Numbers, Numbers]] = field(default_factory=dict)
    x_title: str = "x"
    y_title: str = ""

    def __post_init__(self) -> None:
        self.x = number_list(self.x, "Line x")
        if not self.series:
            raise ValueError("Line series: none; wanted one or more")
        self.series = {name: self._fitting(y, f"Line series {name!r}") for name, y in self.series.items()}
        self.bands = {name: self._band(name, *band) for name, band in self.bands.items()}

    def _fitting(self, values: Numbers, what: str) -> list[Any]:
        numbers = number_list(values, what)
        if len(numbers) != len(self.x):
            raise ValueError(f"{what}: {len(numbers)} numbers; wanted {len(self.x)}, one for each x")
        return numbers

    def _band(self, name: str, low: Numbers, high: Numbers) -> tuple[list[Any], list[Any]]:
        what = f"Line band {name!r}"
        if name not in self.series:
            raise ValueError(f"{what}: no such series; wanted one of {', '.join(map(repr, self.series))}")
        band = self._fitting(low, f"{what}, low"), self._fitting(high, f"{what}, high")
        for x, below, above in zip(self.x, *band, strict=True):
            if below > above:
                raise ValueError(f"{what}: low {below:g} above high {above:g} at x = {x:g}; wanted low ≤ high")
        return band

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Draw the series in one plot, bands below their lines."""
        data = []
        x = list(self.x)
        for (name, y), colour in zip(self.series.items(), cycle(COLOURS), strict=False):
            if name in self.bands:
                low, high = (list(side) for side in self.bands[name])
                edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
                filled = {"fill": "toself", "fillcolor": colour, "opacity": PALE, **edge}
                data.append(scatter(x + x[::-1], high + low[::-1], **filled))
            mode = "lines+markers" if len(x) <= MOST_MARKED else "lines"
            data.append(scatter(x, list(y), mode=mode, name=plain(name), line={"color": colour}))
        drawn = plot(data, "", 340, xaxis=titled(self.x_title), yaxis=titled(self.y_title))
        ends = (f"{name} {number(y[0])} to {number(y[-1])}" for name, y in self.series.items())
        alt = f"{self.caption} From x = {number(x[0])} to {number(x[-1])}: {'; '.join(ends)}."
        edges = [
            (f"{name}, {side}", band[i]) for name, band in self.bands.items() for i, side in enumerate(("low", "high"))
        ]
        columns = [self.x_title, *self.series, *(name for name, _ in edges)]
        rows = [list(row) for row in zip(x, *self.series.values(), *(edge for _, edge in edges), strict=True)]
        return [Figure(self.title, self.caption, alt, [drawn], columns, rows)]
