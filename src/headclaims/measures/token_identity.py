"""How far a head's scores are told by which two words they are between: position independence without an ablation.

L[i,j] = ln(A[i,j]/A[i,0]) are the head's own scores less the one with position 0, exact from any pattern. Each is
foretold by the mean of the other L of its cell: those between the same query word and the same key word, with own
positions (j = i) apart from copies. What that leaves unexplained is what position and context do.

Axes: `pair` all (query, key ≤ query) of words, prompt after prompt; `cell` pairs of words that are seen twice or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from headclaims.errors import NotAssessable
from headclaims.measures.category_score import SCORE_FLOOR
from headclaims.prompts.category import CategoryPrompts
from headclaims.statistics.resampling import Estimate, Jackknifed

FEWEST_CELLS = 10
SMALLEST_SHARE = 1e-17


@dataclass(frozen=True)
class TokenPairs:
    """The places of all pairs (prompt, query, key) that stand in a cell, and each cell's category of the query word."""

    n_prompts: int
    length: int
    prompt: Int[np.ndarray, " pair"]
    query: Int[np.ndarray, " pair"]
    key: Int[np.ndarray, " pair"]
    cell: Int[np.ndarray, " pair"]
    category: Int[np.ndarray, " cell"]

    @classmethod
    def of(cls, prompts: CategoryPrompts, fewest: int = FEWEST_CELLS) -> TokenPairs:
        """Find the pairs of words that are seen twice or more in prompts.

        Raises NotAssessable where there are fewer than `fewest` cells, or where prompts begin with different tokens:
        scores are taken less the one with position 0.
        """
        if not prompts.begin_alike:
            raise NotAssessable("prompts begin with different tokens; wanted the same, whose score is taken off")
        words, n_words = prompts.word_at, len(prompts.words.words)
        is_word = words >= 0
        seen = is_word[:, :, None] & is_word[:, None, :] & np.tri(prompts.length, dtype=bool)
        prompt, query, key = np.nonzero(seen)
        kinds = (words[prompt, query] * n_words + words[prompt, key]) * 2 + (query == key)
        distinct, cell, times = np.unique(kinds, return_inverse=True, return_counts=True)
        again = times >= 2
        if again.sum() < fewest:
            raise NotAssessable(f"pairs of words seen twice in the prompts: {again.sum()}; wanted {fewest} or more")
        chosen, renumbered = again[cell], np.cumsum(again) - 1
        category = np.asarray(prompts.words.category_of_word)[distinct[again] // 2 // n_words]
        return cls(
            len(prompts),
            prompts.length,
            prompt[chosen],
            query[chosen],
            key[chosen],
            renumbered[cell[chosen]],
            category,
        )

    @cached_property
    def row(self) -> Int[np.ndarray, " pair"]:
        """Place of each pair's query among all [prompt, query]."""
        return self.prompt * self.length + self.query

    @cached_property
    def place(self) -> Int[np.ndarray, " pair"]:
        """Place of each pair among all [prompt, query, key]."""
        return self.row * self.length + self.key

    @cached_property
    def counts(self) -> Float[np.ndarray, "prompt cell"]:
        """Number of pairs of each prompt and cell."""
        return self.summed(np.ones(len(self.cell)))

    def summed(self, values: Float[np.ndarray, " pair"]) -> Float[np.ndarray, "prompt cell"]:
        """Sum values by prompt and cell."""
        shape = self.n_prompts, len(self.category)
        return np.bincount(self._prompt_and_cell, values, minlength=shape[0] * shape[1]).reshape(shape)

    @cached_property
    def _prompt_and_cell(self) -> Int[np.ndarray, " pair"]:
        return self.prompt * len(self.category) + self.cell


@dataclass(frozen=True)
class IdentityShare(Estimate):
    """The share of the variance of L that cells foretell, R² = 1 − Σ(L − L̂)²/Σ(L − mean L)²; it can be negative.

    L̂ is the mean of the cell's other members. In a cell of n members with mean m, L − L̂ = (L − m) n/(n − 1), so that
    counts, sums and sums of squares by prompt and cell are enough, also without a prompt or a category.
    """

    pairs: TokenPairs
    counts: Float[np.ndarray, "prompt cell"]
    sums: Float[np.ndarray, "prompt cell"]
    squares: Float[np.ndarray, "prompt cell"]

    @property
    def value(self) -> float:
        """R² on all pairs; raises NotAssessable where L does not vary."""
        share = float(_explained(*self._by_cell(self._totals))[0])
        if np.isnan(share):
            raise NotAssessable("the head's scores do not vary")
        return share

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return self.pairs.n_prompts

    @property
    def jackknifed(self) -> Jackknifed:
        """−ln(1 − R²), and the same without each prompt, and without the rows of each category's words.

        The unexplained share 1 − R² varies by multiples, as prompts and categories differ in how much noise they have.
        """
        totals = self._totals
        without_prompt = [total - part for total, part in zip(totals, self._moments, strict=True)]
        present = np.unique(self.pairs.category)
        remaining = (self.pairs.category[None, :] != present[:, None]).astype(float)
        # A category's rows are the cells of its words: these leave as a whole.
        by_cell = self._by_cell(totals)
        return Jackknifed(
            _log_explained(np.array([self.value])),
            {
                "prompts": _log_explained(_explained(*self._by_cell(without_prompt)))[:, None],
                "categories": _log_explained(_explained(*(remaining * part for part in by_cell)))[:, None],
            },
        )

    def unscaled(self, end: float) -> float:
        """Return the R² of which this is −ln(1 − R²)."""
        return float(-np.expm1(-end))

    @property
    def _moments(self) -> tuple[Float[np.ndarray, "prompt cell"], ...]:
        return self.counts, self.sums, self.squares

    @property
    def _totals(self) -> list[Float[np.ndarray, "1 cell"]]:
        return [moment.sum(axis=0, keepdims=True) for moment in self._moments]

    @staticmethod
    def _by_cell(
        moments: list[Float[np.ndarray, "replicate cell"]],
    ) -> tuple[Float[np.ndarray, "replicate cell"], ...]:
        """Return count, sum, sum of squares and Σ(L − L̂)² of each cell, all 0 where fewer than two are left."""
        n, total, square = (np.where(moments[0] > 1.5, moment, 0.0) for moment in moments)
        within = square - np.square(total) / np.maximum(n, 1)
        return n, total, square, np.maximum(within, 0.0) * np.square(n / np.maximum(n - 1, 1))


def _explained(
    n: Float[np.ndarray, "replicate cell"],
    total: Float[np.ndarray, "replicate cell"],
    square: Float[np.ndarray, "replicate cell"],
    residual: Float[np.ndarray, "replicate cell"],
) -> Float[np.ndarray, " replicate"]:
    """Return 1 − Σ residual/Σ(L − mean L)² over cells; NaN where L does not vary or nothing is left."""
    with np.errstate(invalid="ignore", divide="ignore"):
        variation = square.sum(axis=1) - np.square(total.sum(axis=1)) / n.sum(axis=1)
        varies = variation > 1e-12 * np.maximum(n.sum(axis=1), 1)
        return np.where(varies, 1 - residual.sum(axis=1) / variation, np.nan)


def _log_explained(share: Float[np.ndarray, " replicate"]) -> Float[np.ndarray, " replicate"]:
    """Return −ln(1 − R²), which rises with R²; no unexplained share counts as less than 1e-17."""
    return np.asarray(-np.log(np.maximum(1 - share, SMALLEST_SHARE)))


def identity_share(pairs: TokenPairs, pattern: Float[np.ndarray, "prompt query key"]) -> IdentityShare:
    """Return the share of the variance of a head's L[i,j] = ln(A[i,j]/A[i,0]) that token identity foretells.

    Attention is not taken below 1e-12. Pairs of words seen once foretell nothing and are left out.
    """
    values = _log(pattern.take(pairs.place)) - _log(pattern[..., 0]).take(pairs.row)
    values -= values.mean()  # R² takes no notice, and squares stay exact
    return IdentityShare(pairs, pairs.counts, pairs.summed(values), pairs.summed(np.square(values)))


def _log(attention: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return np.asarray(np.log(np.maximum(attention, SCORE_FLOOR, dtype=np.float64)))
