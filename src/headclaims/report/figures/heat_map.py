"""A matrix as coloured cells: a form for any claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headclaims.checkpoint.interface import Head
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import Rows, number_rows
from headclaims.report.plots import SIGNED, SIZED, heatmap, heatmap_axes, name_axis, plot, titled


@figure_form("heat-map")
@dataclass
class HeatMap:
    """A matrix [row, column] with a name for each row and each column.

        HeatMap(
            title="Attention among words",
            caption="Attention of each word to each. What to see: a bright diagonal.",
            matrix=[[0.9, 0.1], [0.2, 0.8]],
            rows=["red", "blue"],
            columns=["red", "blue"],
            row_title="query",
            column_title="key",
        )

    Colours go both ways from 0 where there are numbers on both sides of it. The matrix may be lists or an array. Raises
    ValueError where it has another shape than its names, and for numbers that are not finite.
    """

    title: str
    caption: str
    matrix: Rows
    rows: Sequence[str]
    columns: Sequence[str]
    row_title: str = "row"
    column_title: str = "column"

    def __post_init__(self) -> None:
        self.rows, self.columns = [str(name) for name in self.rows], [str(name) for name in self.columns]
        self.matrix = number_rows(self.matrix, "HeatMap matrix")
        shape, named = [len(self.matrix), len(self.matrix[0])], [len(self.rows), len(self.columns)]
        if shape != named:
            raise ValueError(f"HeatMap matrix: shape {shape}; wanted {named} for its names of rows and columns")

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Draw the matrix, its first row on top."""
        cells: list[list[Any]] = [list(row) for row in self.matrix]
        low, high = min(map(min, cells)), max(map(max, cells))
        reach = max(-low, high)
        look = {"colorscale": SIGNED, "zmin": -reach, "zmax": reach} if low < 0 < high else {"colorscale": SIZED}
        row_names, row_axis = name_axis(self.rows)
        column_names, column_axis = name_axis(self.columns)
        axes = heatmap_axes(column_axis | titled(self.column_title), row_axis | titled(self.row_title))
        hover = "%{y} → %{x}: %{z:.4g}<extra></extra>"
        height = min(640, 160 + 24 * len(cells))
        drawn = plot([heatmap(cells, column_names, row_names, hovertemplate=hover, **look)], "", height, **axes)
        alt = f"{self.caption} Cells run from {number(low)} to {number(high)}."
        table = [[row, *numbers] for row, numbers in zip(self.rows, cells, strict=True)]
        return [Figure(self.title, self.caption, alt, [drawn], [self.row_title, *self.columns], table)]
