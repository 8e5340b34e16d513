"""Scores among the group tokens: blocks of groups, and a diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from headclaims.checkpoint.interface import Head
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import SIGNED, heatmap, heatmap_axes, name_axis, plot


@figure_form("blocks")
@dataclass
class Blocks:
    """Scores [query, key] among group tokens, in nats before the softmax, groups one after the other."""

    tokens: list[str]
    group: list[int]
    scores: list[list[float]]

    @classmethod
    def of(
        cls, texts: Sequence[str], group: Int[np.ndarray, " token"], scores: Float[np.ndarray, "token token"]
    ) -> Blocks:
        """Take the scores, with the tokens' texts in the order of rows and columns."""
        return cls(list(texts), group.tolist(), rounded(scores))

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Draw the scores, their symmetric part and their skew part as three heat maps under one scale."""
        full = np.array(self.scores)
        parts = {"all": full, "symmetric part": (full + full.T) / 2, "skew part": (full - full.T) / 2}
        names, axis = name_axis(self.tokens)
        reach = float(np.abs(full).max()) or 1.0
        hover = "%{y} → %{x}: %{z:.3f} nats<extra></extra>"
        look = {"colorscale": SIGNED, "zmin": -reach, "zmax": reach, "hovertemplate": hover}
        last = len(parts) - 1
        plots = [
            plot(
                [heatmap(z.round(4).tolist(), names, names, showscale=i == last, **look)],
                name,
                320,
                **heatmap_axes(axis, axis),
            )
            for i, (name, z) in enumerate(parts.items())
        ]
        caption = (
            "Scores among the group tokens, groups one after the other, in nats before the softmax; query rows over "
            "key columns. What to see: bright blocks on the diagonal, a diagonal darker than its block, and how little "
            "of it is skew."
        )
        same = np.equal.outer(self.group, self.group)
        inside = same & ~np.eye(len(self.group), dtype=bool)
        alt = (
            f"{caption} Means: in the group {number(full[inside].mean())}, on the diagonal "
            f"{number(full.diagonal().mean())}, across groups {number(full[~same].mean())} nats."
        )
        rows = [
            [self.tokens[i], self.tokens[j], *(round(float(z[i, j]), 5) for z in parts.values())]
            for i in range(len(full))
            for j in range(len(full))
        ]
        return [Figure("Blocks of group tokens", caption, alt, plots, ["query", "key", *parts], rows)]
