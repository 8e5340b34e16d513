"""Composition of every head with every later one, two of them marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headclaims.checkpoint.interface import Head
from headclaims.circuit.composition import Compositions
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import SIZED, frame, heatmap, heatmap_axes, name_axis, plot

MOST_HEADS = 200
"""Heads up to which all pairs are drawn; of more, those of later heads in the target's layer."""


@figure_form("composition-matrix")
@dataclass
class CompositionMatrix:
    """Composition of writers, columns, with readers, rows: heads as (layer, index), None where no later one reads.

    `previous` is the writer that is marked, `into` what of the reader it enters: keys or queries.
    """

    readers: list[tuple[int, int]]
    writers: list[tuple[int, int]]
    matrix: list[list[float | None]]
    previous: tuple[int, int]
    into: str = "keys"

    @classmethod
    def of(cls, compositions: Compositions, previous: Head, target: Head, into: str = "keys") -> CompositionMatrix:
        """Take the compositions of all pairs, or of very many heads those with the target's layer."""
        heads = compositions.heads
        last = max(head.layer for head in heads)
        rows = [i for i, head in enumerate(heads) if head.layer > 0]
        if len(heads) > MOST_HEADS:
            rows, last = [i for i, head in enumerate(heads) if head.layer == target.layer], target.layer
        columns = [i for i, head in enumerate(heads) if head.layer < last]
        values = compositions.matrix[np.ix_(rows, columns)]
        return cls(
            [_pair(heads[i]) for i in rows],
            [_pair(heads[i]) for i in columns],
            [[rounded(v) if np.isfinite(v) else None for v in row] for row in values],
            _pair(previous),
            into,
        )

    def figures(self, target: Head) -> list[AnyFigure]:
        """Draw the matrix, with the target's row and the marked writer's column outlined."""
        readers, writers = ([f"L{a}H{b}" for a, b in heads] for heads in (self.readers, self.writers))
        rows, row_axis = name_axis(readers)
        columns, column_axis = name_axis(writers)
        marked = f"L{self.previous[0]}H{self.previous[1]}"
        row, column = readers.index(target.label), writers.index(marked)
        # Of a matrix of many heads a cell is hard to find: its row and column are framed whole.
        whole = [
            frame(0, row) | {"x1": len(writers) - 0.5},
            frame(column, 0) | {"y1": len(readers) - 0.5},
        ]
        for shape in whole:
            shape["line"] = shape["line"] | {"width": 1}
        hover = "%{x} into %{y}: %{z:.4f}<extra></extra>"
        cells = heatmap(self.matrix, columns, rows, colorscale=SIZED, hovertemplate=hover)
        axes = heatmap_axes(column_axis | {"title": "writer"}, row_axis | {"title": "reader"})
        drawn = plot([cells], "", min(640, 160 + 24 * len(readers)), shapes=[*whole, frame(column, row)], **axes)
        own = self.matrix[row][column]
        others = {
            label: value
            for label, value in zip(writers, self.matrix[row], strict=True)
            if value is not None and label != marked
        }
        beside = ""
        if others and own is not None:
            highest = max(others, key=lambda label: others[label])
            beside = f"{number(own)}, and of any other head before it at most {number(others[highest])} ({highest})"
        caption = (
            f"Composition of earlier heads with the {self.into} of later ones, from the weights alone. Outlined are "
            f"the row of the target {target.label} and the column of {marked}, whose composition with it is {beside}. "
            "What to see: a bright cell where the two cross, and which other rows are bright in that column."
        )
        table = [
            [writer, reader, value]
            for reader, values in zip(readers, self.matrix, strict=True)
            for writer, value in zip(writers, values, strict=True)
            if value is not None
        ]
        return [Figure("Composition of heads", caption, caption, [drawn], ["writer", "reader", "composition"], table)]


def _pair(head: Head) -> tuple[int, int]:
    return head.layer, head.index
