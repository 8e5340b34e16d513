"""Scatter of groups in the eigenspaces of every head, as a plane of heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headclaims.checkpoint.interface import Head
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import GREY, RED, plot, scatter


@figure_form("scatter-plane")
@dataclass
class ScatterPlane:
    """Of each head how far scatter lies in positive directions of W_sym: within groups and between them, in [−1, 1]."""

    heads: list[str]
    within: list[float]
    between: list[float]

    @classmethod
    def of(cls, heads: Sequence[Head], plane: Mapping[str, np.ndarray]) -> ScatterPlane:
        """Take the statistics `within` and `between` of these heads."""
        return cls([head.label for head in heads], rounded(plane["within"]), rounded(plane["between"]))

    def figures(self, target: Head) -> list[AnyFigure]:
        """Draw a point a head, the target as a star."""
        place = self.heads.index(target.label)
        rest = [i for i in range(len(self.heads)) if i != place]
        data = [
            self._points(rest, name="other heads", marker={"color": GREY, "size": 7, "opacity": 0.8}),
            self._points([place], name=target.label, marker={"color": RED, "size": 14, "symbol": "star"}),
        ]
        zero = {"range": [-1.05, 1.05], "zeroline": True, "zerolinecolor": GREY}
        axes = {"xaxis": zero | {"title": "within groups"}, "yaxis": zero | {"title": "between groups"}}
        w, b = self.within[place], self.between[place]
        further = sum(x <= w and y >= b for x, y in zip(self.within, self.between, strict=True)) - 1
        caption = (
            "How far scatter lies in positive directions of W_sym, from −1 to 1: of tokens within their group, and of "
            f"group means. What to see: the finding is a head far to the upper left. {target.label} is at {number(w)} "
            f"within, {number(b)} between; of {len(rest)} other heads {further} are at least as far out on both."
        )
        rows = [list(row) for row in zip(self.heads, self.within, self.between, strict=True)]
        drawn = plot(data, "", 420, **axes)
        columns = ["head", "within", "between"]
        return [Figure("Scatter of groups in all heads", caption, caption, [drawn], columns, rows)]

    def _points(self, some: Sequence[int], **look: Any) -> dict[str, Any]:
        hover = "%{text}: within %{x:.3f}, between %{y:.3f}<extra></extra>"
        within, between = [self.within[i] for i in some], [self.between[i] for i in some]
        text = [self.heads[i] for i in some]
        return scatter(within, between, text=text, mode="markers", hovertemplate=hover, **look)
