"""The head's attention on one prompt, beside what it is wanted to attend to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from headclaims.checkpoint.interface import Head
from headclaims.prompts.category import CategoryPrompts, target_mask
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.plots import SIZED, heatmap, heatmap_axes, name_axis, plot

MOST_TOKENS = 26
"""Tokens beside an axis that don't run into one another."""

OF_CATEGORY = (
    "earlier words of the category that are not the same word, or BOS, where the prompt begins with it, where there "
    "are none"
)
DARK_DIAGONAL = "bright cells where the target is, and a dark diagonal"


@figure_form("attention-pattern")
@dataclass
class Pattern:
    """The target's attention on one prompt: row i has the keys 0 to i, and which of them are its target.

    `wanted` says what the targets are, `see` what to see.
    """

    words: list[str]
    attention: list[list[float]]
    targets: list[list[int]]
    wanted: str = OF_CATEGORY
    see: str = DARK_DIAGONAL

    @classmethod
    def of(cls, prompts: CategoryPrompts, pattern: Float[np.ndarray, "query key"]) -> Pattern:
        """Take the pattern of the first of the prompts; without BOS in front rows without kin have no target."""
        words = [prompts.words.words[w] for w in prompts.word_at[0].tolist()]
        if prompts.texts is not None:
            words = [text.strip() or text for text in prompts.texts[0]]
        mask = target_mask(prompts.subset(slice(0, 1)))[0, : len(words)]
        if prompts.begin_with_bos:
            words[0] = "BOS"
        else:
            mask[:, 0] = False
        return cls(
            words,
            [rounded(row[: i + 1]) for i, row in enumerate(pattern[: len(words)])],
            [np.flatnonzero(row).tolist() for row in mask],
        )

    @classmethod
    def marked(
        cls,
        words: Sequence[str],
        pattern: Float[np.ndarray, "query key"],
        mark: Bool[np.ndarray, "query key"],
        *,
        wanted: str,
        see: str,
    ) -> Pattern:
        """Take a pattern on a prompt of these tokens, whose rows' targets a mask tells."""
        n = len(words)
        return cls(
            [word.strip() or word for word in words],
            [rounded(row[: i + 1]) for i, row in enumerate(pattern[:n])],
            [np.flatnonzero(row[:n]).tolist() for row in mark[:n]],
            wanted,
            see,
        )

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Draw attention and its target as two heat maps, query rows over key columns."""
        n = len(self.words)
        names, axis = name_axis(self.words, MOST_TOKENS)
        attention = [row + [None] * (n - len(row)) for row in self.attention]
        marked = [[int(j in set(keys)) if j <= i else None for j in range(n)] for i, keys in enumerate(self.targets)]
        look = {"colorscale": SIZED, "hovertemplate": "%{y} → %{x}: %{z:.3f}<extra></extra>"}
        axes = heatmap_axes(axis | {"title": "key"}, axis | {"title": "query"})
        # To BOS, or to itself where it stands first, a row may give so much that all else looks alike.
        to_words = [value for row in self.attention for value in row[1:]]
        scale = {"zmin": 0, "zmax": max(to_words, default=1.0)}
        plots = [
            plot([heatmap(attention, names, names, **look, **scale)], "attention", 420, **axes),
            plot([heatmap(marked, names, names, showscale=False, **look)], "its target", 420, **axes),
        ]
        masses = [sum(row[j] for j in keys) for row, keys in zip(self.attention, self.targets, strict=True) if keys]
        mass = np.mean(masses) if masses else 0.0
        caption = (
            "The head's attention on the first prompt, query rows over key columns, beside its target: "
            f"{self.wanted}. Colours end at the highest attention to a word after the first. A row's target has "
            f"{mass:.0%} of its attention in the mean. What to see: {self.see}."
        )
        rows = [
            [i, self.words[i], j, self.words[j], value, int(j in self.targets[i])]
            for i, row in enumerate(self.attention)
            for j, value in enumerate(row)
        ]
        columns = ["query", "query word", "key", "key word", "attention", "target"]
        return [Figure("Attention on a prompt, and its target", caption, caption, plots, columns, rows)]
