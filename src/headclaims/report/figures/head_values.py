"""A value of every head, by layer and head: a form for any claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headclaims.checkpoint.interface import Head
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure, Plot
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import Numbers, number_list
from headclaims.report.labels import plain
from headclaims.report.plots import SIGNED, SIZED, frame, heatmap, plot, rows_axis

MOST_NUMBERED = 16
"""Heads a layer up to which each has its number below the axis."""
NAMED = 3
"""Heads that the caption names."""


@figure_form("head-values")
@dataclass
class HeadValues:
    """A value a head (layer, index), the target outlined, and other heads where `marked` names them.

        HeadValues(
            title="Attention to the token before",
            caption="Mean attention of each head to the token before. What to see: one bright cell.",
            heads=[Head(0, 0), Head(0, 1)],
            values=[0.1, 0.9],
            value_title="attention",
            marked={"previous-token head": Head(0, 1)},
        )

    Colours go both ways from 0 where there are values on both sides of it. Heads without a value are left out. Raises
    ValueError where heads and values differ in number, and for values that are not finite.
    """

    title: str
    caption: str
    heads: Sequence[Head | tuple[int, int]]
    values: Numbers
    value_title: str = "value"
    marked: Mapping[str, Head | tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.heads = [_pair(head) for head in self.heads]
        self.marked = {str(name): _pair(head) for name, head in self.marked.items()}
        self.values = number_list(self.values, "HeadValues values")
        if len(self.values) != len(self.heads):
            raise ValueError(f"HeadValues values: {len(self.values)}; wanted {len(self.heads)}, one for each head")

    def figures(self, target: Head) -> list[AnyFigure]:
        """Draw the values as a heat map."""
        heads = [_pair(head) for head in self.heads]
        marks = {"target": (target.layer, target.index)} | {name: _pair(head) for name, head in self.marked.items()}
        signed = min(self.values) < 0 < max(self.values)
        reach = max(abs(min(self.values)), abs(max(self.values)))
        look = {"colorscale": SIGNED, "zmin": -reach, "zmax": reach} if signed else {"colorscale": SIZED}
        drawn = head_grid(heads, self.values, plain(self.value_title), marks, **look)
        ranked = [heads[i] for i in np.argsort(-np.asarray(self.values), kind="stable")]
        of = dict(zip(heads, self.values, strict=True))
        told = [f"highest are {', '.join(f'{_label(head)} {number(of[head])}' for head in ranked[:NAMED])}"]
        for name, head in marks.items():
            told.append(
                f"the outlined {name} {_label(head)} has {number(of[head])}, number {1 + ranked.index(head)} of "
                f"{len(ranked)}"
                if head in of
                else f"there is no value of the {name} {_label(head)}"
            )
        alt = f"{self.caption} By {self.value_title} {'; '.join(told)}."
        rows = [[_label(head), *head, value] for head, value in zip(heads, self.values, strict=True)]
        columns = ["head", "layer", "index", self.value_title]
        return [Figure(self.title, alt, alt, [drawn], columns, rows)]


def head_grid(
    heads: Sequence[tuple[int, int]],
    values: Numbers,
    unit: str,
    marks: Mapping[str, tuple[int, int]],
    **look: Any,
) -> Plot:
    """Return a heat map of values by layer and head, with the outlines of marked heads that have one."""
    layers = sorted({layer for layer, _ in heads})
    n = 1 + max(index for _, index in heads)
    grid: list[list[float | None]] = [[None] * n for _ in layers]
    for (layer, index), value in zip(heads, values, strict=True):
        grid[layers.index(layer)][index] = value
    y, hover = [str(layer) for layer in layers], f"L%{{y}}H%{{x}}: %{{z:.3f}} {unit}<extra></extra>"
    outlines = [frame(index, layers.index(layer)) for layer, index in marks.values() if (layer, index) in heads]
    x_axis = {"title": "head"} | ({"dtick": 1} if n <= MOST_NUMBERED else {})
    height = 90 + 24 * max(len(layers), 6)
    cells = heatmap(grid, range(n), y, hovertemplate=hover, **look)
    return plot([cells], "", height, shapes=outlines, xaxis=x_axis, yaxis=rows_axis("layer", y))


def _pair(head: Head | tuple[int, int] | Sequence[int]) -> tuple[int, int]:
    layer, index = (head.layer, head.index) if isinstance(head, Head) else head
    return int(layer), int(index)


def _label(head: tuple[int, int]) -> str:
    return f"L{head[0]}H{head[1]}"
