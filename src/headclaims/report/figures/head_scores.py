"""The category score of every head, by layer and head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headclaims.checkpoint.interface import Head
from headclaims.measures.category_score import Survey
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.head_values import head_grid
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import SIZED


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
        at = (target.layer, target.index)
        by_head = dict(zip(self.heads, self.scores, strict=True))
        ranked = [self.heads[i] for i in np.argsort(self.scores, kind="stable")]
        best = [f"L{layer}H{head} {number(by_head[layer, head])}" for layer, head in ranked[:3]]
        place = f"The evidence lacks {target.label}."
        if at in ranked:
            place = f"The outlined target {target.label} is number {1 + ranked.index(at)} of {len(ranked)}."
        drawn = head_grid(self.heads, self.scores, "nats", {"target": at}, colorscale=SIZED, reversescale=True)
        caption = (
            f"Category score of each head, in nats: lower is better. {place} Lowest are {', '.join(best)} nats; "
            f"uniform attention scores {number(self.uniform)}. What to see: whether one head stands apart."
        )
        rows = [[f"L{a}H{b}", a, b, score] for (a, b), score in zip(self.heads, self.scores, strict=True)]
        columns = ["head", "layer", "index", "score"]
        return [Figure("Score by layer and head", caption, caption, [drawn], columns, rows)]
