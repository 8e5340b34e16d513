"""Attention to the word itself and to its kin as the head is steered in the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headclaims.checkpoint.interface import Head
from headclaims.measures.steering import ALPHAS, Steered
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import plot, scatter


@figure_form("steered-attention")
@dataclass
class SteeredAttention:
    """Of rows with kin, by α: attention to the word itself and its copies, per kin, and to all kin, as shares."""

    alphas: list[float]
    itself: list[float]
    per_kin: list[float]
    kin: list[float]

    @classmethod
    def of(cls, steered: Steered) -> SteeredAttention:
        """Take the means over rows with kin, at every α of the claims."""
        itself, per_kin, kin = [], [], []
        for alpha in ALPHAS:
            survey = steered.at[alpha]
            position, rows = survey.position(steered.head), survey.has_kin
            itself.append((survey.own + survey.copy_mass)[position, rows].mean())
            per_kin.append((survey.kin_mass[position] / np.maximum(survey.n_kin, 1))[rows].mean())
            kin.append(survey.kin_mass[position, rows].mean())
        return cls(list(ALPHAS), rounded(itself), rounded(per_kin), rounded(kin))

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Draw the three shares by α."""
        shares = {"itself and copies": self.itself, "per kin": self.per_kin, "all kin": self.kin}
        lines = [scatter(self.alphas, y, name=name, mode="lines+markers") for name, y in shares.items()]
        x_axis, y_axis = {"title": "α", "autorange": "reversed"}, {"title": "attention", "rangemode": "tozero"}
        drawn = plot(lines, "", 320, xaxis=x_axis, yaxis=y_axis)
        caption = (
            "In the model, on rows with kin: attention to the word itself and its copies, to each kin, and to all kin, "
            "by α. What to see: the first rising as α falls, above the second at −1, while the third stays. "
            f"At α = {self.alphas[-1]:g}: {number(self.itself[-1])}, {number(self.per_kin[-1])} and "
            f"{number(self.kin[-1])}."
        )
        rows = [list(row) for row in zip(self.alphas, *shares.values(), strict=True)]
        return [Figure("Steering in the model", caption, caption, [drawn], ["alpha", *shares], rows)]
