"""Bars of named values, with intervals: a form for any claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headclaims.checkpoint.interface import Head
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import Numbers, Rows, number_list, number_rows
from headclaims.report.labels import plain, short
from headclaims.report.plots import BLUE, GREY, bar, plot, scatter, titled

TALLEST, ROW, LONGEST_LABEL = 900, 24, 24
"""Pixels of the tallest figure, and of a bar in one that isn't; letters of a label beside its bar."""


@figure_form("bars")
@dataclass
class Bars:
    """A value a label, each with an interval [low, high] where `intervals` are given.

        Bars(
            title="Attention by part of speech",
            caption="Mean attention to each. What to see: nouns above the rest.",
            labels=["noun", "verb"],
            values=[0.5, 0.2],
            intervals=[[0.4, 0.6], [0.1, 0.3]],
            value_title="attention",
        )

    Numbers may be lists or arrays. Raises ValueError where labels, values and intervals differ in number, where an
    interval is no pair of low and high, and for numbers that are not finite.
    """

    title: str
    caption: str
    labels: Sequence[str]
    values: Numbers
    intervals: Rows | None = None
    value_title: str = "value"

    def __post_init__(self) -> None:
        self.labels = [str(label) for label in self.labels]
        self.values = number_list(self.values, "Bars values")
        if len(self.values) != len(self.labels):
            raise ValueError(f"Bars values: {len(self.values)}; wanted {len(self.labels)}, one for each label")
        if self.intervals is not None:
            self.intervals = self._pairs(number_rows(self.intervals, "Bars intervals"))

    def _pairs(self, intervals: list[list[Any]]) -> list[list[Any]]:
        if [len(intervals), len(intervals[0])] != [len(self.labels), 2]:
            shape = [len(intervals), len(intervals[0])]
            raise ValueError(f"Bars intervals: shape {shape}; wanted {[len(self.labels), 2]}, low and high a label")
        for label, (low, high) in zip(self.labels, intervals, strict=True):
            if low > high:
                raise ValueError(f"Bars intervals: low {low:g} above high {high:g} for {label!r}; wanted low ≤ high")
        return intervals

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Draw the bars from top to bottom in the order of their labels, intervals as lines upon them."""
        places = list(range(len(self.labels)))
        hover = "%{customdata}: %{x:.4g}<extra></extra>"
        names = [plain(label) for label in self.labels]
        look = {"orientation": "h", "marker": {"color": BLUE}, "showlegend": False}
        data = [bar(list(self.values), places, customdata=names, hovertemplate=hover, **look)]
        if self.intervals is not None:
            # A gap after each interval keeps its line apart from the next.
            x = [end for low, high in self.intervals for end in (low, high, None)]
            y = [at for place in places for at in (place, place, None)]
            ends = {"symbol": "line-ns-open", "size": 9, "color": GREY, "line": {"width": 2}}
            line = {"color": GREY, "width": 2}
            data.append(scatter(x, y, mode="lines+markers", marker=ends, line=line, hoverinfo="skip", showlegend=False))
        height = min(TALLEST, 90 + ROW * len(places))
        ticks = {"tickvals": places, "ticktext": [plain(short(label, LONGEST_LABEL)) for label in self.labels]}
        shown = ticks if ROW * len(places) <= TALLEST else {"showticklabels": False}
        y_axis = {"autorange": "reversed", "ticks": "", "showgrid": False} | shown
        drawn = plot(data, "", height, xaxis=titled(self.value_title), yaxis=y_axis)
        top = max(places, key=lambda place: self.values[place])
        bottom = min(places, key=lambda place: self.values[place])
        alt = (
            f"{self.caption} Highest is {self.labels[top]}, {number(self.values[top])}; lowest "
            f"{self.labels[bottom]}, {number(self.values[bottom])}."
        )
        columns = ["label", self.value_title]
        rows: list[list[Any]] = [list(row) for row in zip(self.labels, self.values, strict=True)]
        if self.intervals is not None:
            columns += ["low", "high"]
            rows = [row + list(ends) for row, ends in zip(rows, self.intervals, strict=True)]
        return [Figure(self.title, self.caption, alt, [drawn], columns, rows)]
