"""The eigenspectrum of W_sym, and how many eigenvalues are negative in every head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headclaims.checkpoint.interface import Head
from headclaims.circuit.eigenspectrum import HeadSpectra
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.labels import plain
from headclaims.report.plots import BLUE, GREY, RED, bar, mark, plot


@figure_form("spectrum")
@dataclass
class Spectrum:
    """The eigenvalues of the target's W_sym, and how many of the d_head leading ones are negative in each head."""

    eigenvalues: list[float]
    d_head: int
    heads: list[str]
    negative: list[int]

    @classmethod
    def of(cls, heads: Sequence[Head], spectra: HeadSpectra, target: int) -> Spectrum:
        """Take the spectra of all heads, the target's by its position among them."""
        return cls(
            rounded(spectra.eigenvalues[target].numpy()),
            spectra.d_head,
            [head.label for head in heads],
            spectra.negative_count.tolist(),
        )

    def figures(self, target: Head) -> list[AnyFigure]:
        """Draw the target's eigenvalues by rank, and a histogram of the heads' counts with the target marked."""
        values = np.array(self.eigenvalues)
        leading = np.zeros(len(values), dtype=bool)
        leading[np.argsort(-np.abs(values), kind="stable")[: self.d_head]] = True
        order = np.argsort(-values)
        kinds = (
            ("positive, leading", leading & (values >= 0), BLUE, 1.0),
            ("negative, leading", leading & (values < 0), RED, 1.0),
            ("the rest", ~leading, GREY, 0.7),
        )
        by_sign = []
        for name, chosen, colour, opacity in kinds:
            marker = {"color": colour, "line": {"width": 0}}
            ranks, heights = np.flatnonzero(chosen[order]).tolist(), values[order][chosen[order]].tolist()
            by_sign.append(bar(ranks, heights, name=name, marker=marker, opacity=opacity))
        own = self.negative[self.heads.index(target.label)]
        counted = np.bincount(self.negative, minlength=self.d_head + 1).tolist()
        counts = bar(range(len(counted)), counted, marker={"color": BLUE}, showlegend=False)
        of_leading = {"title": f"negative of the {self.d_head} leading"}
        axes = {"xaxis": {"title": "rank"}, "yaxis": {"title": "eigenvalue"}}
        heads = {"xaxis": of_leading, "yaxis": {"title": "heads"}, **mark(own, plain(target.label))}
        plots = [
            plot(by_sign, "eigenvalues of W_sym", 320, bargap=0, **axes),
            plot([counts], "negative ones in all heads", 320, bargap=0.05, **heads),
        ]
        caption = (
            f"Of the {self.d_head} eigenvalues largest in magnitude {own} are negative in {target.label}; over "
            f"{len(self.heads)} heads the count runs from {min(self.negative)} to {max(self.negative)}, median "
            f"{number(float(np.median(self.negative)))}. What to see: whether the target stands apart from other "
            "heads. That half are negative is what algebra makes likely."
        )
        rows: list[list[Any]] = [["eigenvalue", int(leading[i]), float(values[i])] for i in order]
        rows += [[f"negative of {head}", "", count] for head, count in zip(self.heads, self.negative, strict=True)]
        return [Figure("Eigenspectrum", caption, caption, plots, ["what", "leading", "value"], rows)]
