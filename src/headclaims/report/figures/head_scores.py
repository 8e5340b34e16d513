"""The category score of every head, by layer and head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headclaims.checkpoint.interface import Head
from headclaims.measures.category_score import Survey
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import SIZED, frame, heatmap, plot, rows_axis

MOST_NUMBERED = 16
"""Heads a layer up to which each has its number below the axis."""


@figure_form("head-scores")
@dataclass
class HeadScores:
    """The category score of each head (layer, index), in nats, and that of uniform attention."""

    heads: list[tuple[int, int]]
    scores: list[float]
    uniform: float

    @classmethod
    def of(cls, survey: Survey) -> HeadScores:
        """Take the scores of all heads of a survey."""
        heads = [(head.layer, head.index) for head in survey.heads]
        return cls(heads, rounded(survey.scores), rounded(survey.uniform_score))

    def figures(self, target: Head) -> list[AnyFigure]:
        """Draw the scores as a heat map, the target outlined where the evidence has it."""
        layers = sorted({layer for layer, _ in self.heads})
        n = 1 + max(head for _, head in self.heads)
        grid: list[list[float | None]] = [[None] * n for _ in layers]
        for (layer, head), score in zip(self.heads, self.scores, strict=True):
            grid[layers.index(layer)][head] = score
        ranked = [self.heads[i] for i in np.argsort(self.scores, kind="stable")]
        best = [f"L{layer}H{head} {number(grid[layers.index(layer)][head] or 0)}" for layer, head in ranked[:3]]
        y, hover = [str(layer) for layer in layers], "L%{y}H%{x}: %{z:.3f} nats<extra></extra>"
        cells = heatmap(grid, range(n), y, colorscale=SIZED, reversescale=True, hovertemplate=hover)
        x_axis = {"title": "head"} | ({"dtick": 1} if n <= MOST_NUMBERED else {})
        at, outline = (target.layer, target.index), []
        place = f"The evidence lacks {target.label}."
        if at in ranked:
            outline = [frame(target.index, layers.index(target.layer))]
            place = f"The outlined target {target.label} is number {1 + ranked.index(at)} of {len(ranked)}."
        height = 90 + 24 * max(len(layers), 6)
        drawn = plot([cells], "", height, shapes=outline, xaxis=x_axis, yaxis=rows_axis("layer", y))
        caption = (
            f"Category score of each head, in nats: lower is better. {place} Lowest are {', '.join(best)} nats; "
            f"uniform attention scores {number(self.uniform)}. What to see: whether one head stands apart."
        )
        rows = [[f"L{a}H{b}", a, b, score] for (a, b), score in zip(self.heads, self.scores, strict=True)]
        columns = ["head", "layer", "index", "score"]
        return [Figure("Score by layer and head", caption, caption, [drawn], columns, rows)]
