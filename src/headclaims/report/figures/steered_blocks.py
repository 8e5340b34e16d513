"""Scores among the group tokens under W(α), strip by strip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from headclaims.checkpoint.interface import Head
from headclaims.measures.steering import ALPHAS, SteeredMap
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import SIZED, heatmap, heatmap_axes, name_axis, plot, scatter


@figure_form("steered-blocks")
@dataclass
class SteeredBlocks:
    """Scores among group tokens under W(α), α by α, with the mean on the diagonal and off it within groups, in nats."""

    tokens: list[str]
    group: list[int]
    alphas: list[float]
    scores: list[list[list[float]]]
    diagonal: list[float]
    in_group: list[float]

    @classmethod
    def of(cls, texts: Sequence[str], group: Int[np.ndarray, " token"], steered: SteeredMap) -> SteeredBlocks:
        """Take the scores at every α of the claims; means are over groups."""
        at = [steered.at(alpha) for alpha in ALPHAS]
        own, rest = zip(*(_block_means(scores, group) for scores in at), strict=True)
        return cls(list(texts), group.tolist(), list(ALPHAS), rounded(np.stack(at)), rounded(own), rounded(rest))

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Draw a heat map an α under one scale, and the means by α."""
        names, axis = name_axis(self.tokens)
        bare = {axis: look | {"showticklabels": False, "title": ""} for axis, look in heatmap_axes(axis, axis).items()}
        same = np.equal.outer(self.group, self.group)
        inside = np.array(self.scores)[:, same]
        look = {"colorscale": SIZED, "zmin": float(inside.min()), "zmax": float(inside.max()), "showscale": False}
        hover = "%{y} → %{x}: %{z:.3f} nats<extra></extra>"
        tight = {"l": 8, "r": 8, "t": 28, "b": 8}
        plots = [
            plot([heatmap(z, names, names, hovertemplate=hover, **look)], f"α = {alpha:g}", 200, margin=tight, **bare)
            for alpha, z in zip(self.alphas, self.scores, strict=True)
        ]
        means = {"diagonal": self.diagonal, "rest of the group": self.in_group}
        lines = [scatter(self.alphas, values, name=name, mode="lines+markers") for name, values in means.items()]
        falling = {"title": "α", "autorange": "reversed"}
        plots.append(plot(lines, "means", 260, xaxis=falling, yaxis={"title": "nats"}))
        bright = [f"{a:g}" for a, d, g in zip(self.alphas, self.diagonal, self.in_group, strict=True) if d > g]
        caption = (
            "Blocks of the group tokens as the negative eigenvalues of W_sym are scaled by α, from 1.1 down to −1. "
            "What to see: the diagonal turning from dark to bright while the blocks stay; colours span the scores "
            f"within groups. It is brighter than its group at {'no α' if not bright else 'α = ' + ', '.join(bright)}."
        )
        rows = [
            [alpha, self.tokens[i], self.tokens[j], value]
            for alpha, z in zip(self.alphas, self.scores, strict=True)
            for i, row in enumerate(z)
            for j, value in enumerate(row)
        ]
        return [Figure("Steering the map", caption, caption, plots, ["alpha", "query", "key", "score"], rows)]


def _block_means(scores: Float[np.ndarray, "token token"], group: Int[np.ndarray, " token"]) -> tuple[float, float]:
    """The mean over groups of the mean diagonal score, and of the mean off-diagonal score."""
    own, rest = [], []
    for g in np.unique(group):
        block = scores[np.ix_(group == g, group == g)]
        n = len(block)
        own.append(np.trace(block) / n)
        rest.append((block.sum() - np.trace(block)) / (n * (n - 1)))
    return float(np.mean(own)), float(np.mean(rest))
