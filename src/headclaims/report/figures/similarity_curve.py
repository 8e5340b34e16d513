"""Score against cosine similarity, of common words with their band and of the whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headclaims.checkpoint.interface import Head
from headclaims.measures.similarity_peak import ScoreBySimilarity
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import BLUE, GREY, ORANGE, bar, plot, scatter
from headclaims.statistics.resampling import mean_over
from headclaims.vocabulary.cosine import BIN_WIDTH, N_BINS, PAIRS_IN_A_BIN, SimilarityCurve, lower_edge


@figure_form("similarity-curve")
@dataclass
class Similarity:
    """The mean of s(i, j) − s(i, i), in nats, by the cosine of i and j, with its 95 % interval over words as queries.

    `cosine` is the middle of each bin that holds fifty pairs; `vocabulary` the same mean over all pairs of the
    vocabulary, None where there is no such bin or the vocabulary was not walked.
    """

    cosine: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    pairs: list[int]
    vocabulary: list[float | None]

    @classmethod
    def of(cls, by_bin: ScoreBySimilarity, vocabulary: SimilarityCurve | None) -> Similarity:
        """Take the bins of common words that hold fifty pairs, and those of the vocabulary where they do, too."""
        chosen = by_bin.full
        intervals = [mean_over("words", by_bin.sums[:, b], by_bin.pairs[:, b]).bounds() for b in chosen]
        whole: list[float | None] = [None] * len(chosen)
        if vocabulary is not None:
            full = vocabulary.pairs[chosen] >= 2 * PAIRS_IN_A_BIN
            whole = [rounded(m) if known else None for m, known in zip(vocabulary.mean[chosen], full, strict=True)]
        middle = np.where(chosen == N_BINS - 1, 1.0, lower_edge(chosen) + BIN_WIDTH / 2)
        return cls(
            rounded(middle),
            rounded(by_bin.curve[chosen]),
            rounded([interval.low for interval in intervals]),
            rounded([interval.high for interval in intervals]),
            (by_bin.pairs[:, chosen].sum(axis=0) / 2).astype(int).tolist(),
            whole,
        )

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Draw the curve with its band, and the number of pairs in each bin."""
        band = scatter(
            self.cosine + self.cosine[::-1],
            self.high + self.low[::-1],
            fill="toself",
            mode="lines",
            line={"width": 0},
            fillcolor="rgba(47,134,209,.3)",
            name="95 % over words",
            hoverinfo="skip",
        )
        look = {"mode": "lines+markers", "marker": {"size": 4}, "line": {"color": BLUE}}
        data = [band, scatter(self.cosine, self.mean, name="common words", **look)]
        if any(value is not None for value in self.vocabulary):
            dots = {"color": ORANGE, "dash": "dot"}
            data.append(scatter(self.cosine, self.vocabulary, mode="lines", name="whole vocabulary", line=dots))
        counts = bar(self.cosine, self.pairs, marker={"color": GREY}, showlegend=False)
        cosine, nats = {"title": "cosine of E"}, {"title": "nats", "zeroline": True, "zerolinecolor": GREY}
        many = {"type": "log", "title": "pairs"}
        plots = [
            plot(data, "score less own score", 340, xaxis=cosine, yaxis=nats),
            plot([counts], "pairs of common words", 340, xaxis=cosine, yaxis=many, bargap=0),
        ]
        top = int(np.argmax(self.mean))
        caption = (
            "The mean of s(i, j) − s(i, i) by the cosine of i and j, in bins that hold fifty pairs. What to see: "
            "whether it rises above 0, and above pairs of usual similarity, and peaks before 1. Its highest is "
            f"{number(self.mean[top])} nats at {self.cosine[top]:.2f}."
        )
        columns = ["cosine", "mean", "low", "high", "pairs", "vocabulary"]
        numbers = (self.cosine, self.mean, self.low, self.high, self.pairs, self.vocabulary)
        rows = [list(row) for row in zip(*numbers, strict=True)]
        return [Figure("Score against similarity", caption, caption, plots, columns, rows)]
