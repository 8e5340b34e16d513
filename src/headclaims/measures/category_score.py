"""The category score, and the survey of all heads by it.

Attention patterns are reduced once to what every behavioural statistic needs: for each row the attention to the first
position, to the own one, and to each word of the list at earlier positions. Category labels enter afterwards, so that
the same reduction serves the measurement and its permuted labels.

Axes: `head` runs over all heads of the survey, `row` over the query positions that count, those of words of the list
and the first of each prompt (`CategoryPrompts.rows`), prompt after prompt. Kin of a word are the other words of its
category.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.prompts.category import CategoryPrompts, kin
from headclaims.statistics.rows import GroupedRows

SCORE_FLOOR = 1e-12


@dataclass(frozen=True)
class Survey:
    """Attention of all heads on a set of category prompts, summed by word.

    For query position i of a row, `word_mass[h, row, w]` is the attention to word w at positions 1 ≤ j < i,
    `first[h, row]` that to position 0, and `own[h, row]` that to position i. Tokens that are no words of the list are
    keys of their own: what goes to them is in none of these, but in the whole that a row gives away.
    """

    prompts: CategoryPrompts
    heads: tuple[Head, ...]
    word_mass: Float[np.ndarray, "head row word"]
    first: Float[np.ndarray, "head row"]
    own: Float[np.ndarray, "head row"]
    _position: dict[Head, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_position", {head: i for i, head in enumerate(self.heads)})

    def position(self, head: Head) -> int:
        """Return the index of a head in the survey; raises NotAssessable where it was not surveyed."""
        if head not in self._position:
            layers = sorted({surveyed.layer for surveyed in self.heads})
            raise NotAssessable(f"needs attention of {head.label}: the evidence has that of layers {layers}")
        return self._position[head]

    @property
    def prompt_of_row(self) -> Int[np.ndarray, " row"]:
        """Which of the prompts each row is of."""
        return self.prompts.rows[0]

    @property
    def position_of_row(self) -> Int[np.ndarray, " row"]:
        """Each row's query position in its prompt."""
        return self.prompts.rows[1]

    @cached_property
    def word_of_row(self) -> Int[np.ndarray, " row"]:
        """Word at each row's query position, −1 for the first of a prompt."""
        return self.prompts.word_at[self.prompts.rows]

    @cached_property
    def word_counts(self) -> Float[np.ndarray, "row word"]:
        """Number of positions 1 ≤ j < i of the row's prompt that hold each word."""
        one_hot = np.eye(len(self.prompts.words.words) + 1)[self.prompts.word_at][..., :-1]
        before = np.cumsum(one_hot, axis=1) - one_hot
        return before[self.prompts.rows]

    @cached_property
    def is_kin(self) -> Bool[np.ndarray, "row word"]:
        """Which words are kin of each row's word."""
        return np.pad(kin(self.prompts.words), ((0, 1), (0, 0)))[self.word_of_row]

    @cached_property
    def n_kin(self) -> Float[np.ndarray, " row"]:
        """Number of earlier positions that hold kin of the row's word."""
        return (self.word_counts * self.is_kin).sum(axis=1)

    @cached_property
    def is_other(self) -> Bool[np.ndarray, "row word"]:
        """Which words are of other categories than each row's word."""
        category = np.asarray(self.prompts.words.category_of_word)
        apart = np.not_equal.outer(category, category)
        return np.pad(apart, ((0, 1), (0, 0)))[self.word_of_row]

    @cached_property
    def n_others(self) -> Float[np.ndarray, " row"]:
        """Number of earlier positions that hold words of other categories than the row's word."""
        return (self.word_counts * self.is_other).sum(axis=1)

    @cached_property
    def n_copies(self) -> Float[np.ndarray, " row"]:
        """Number of earlier positions that hold the row's own word."""
        return _own_word(self.word_counts[None], self.word_of_row)[0]

    @cached_property
    def kin_mass(self) -> Float[np.ndarray, "head row"]:
        """Attention to earlier kin of the row's word, summed."""
        return np.einsum("hrw,rw->hr", self.word_mass, self.is_kin, dtype=np.float64)

    @cached_property
    def copy_mass(self) -> Float[np.ndarray, "head row"]:
        """Attention to earlier copies of the row's own word, summed."""
        return _own_word(self.word_mass, self.word_of_row)

    @cached_property
    def other_mass(self) -> Float[np.ndarray, "head row"]:
        """Attention to earlier words of other categories, summed."""
        return np.einsum("hrw,rw->hr", self.word_mass, self.is_other, dtype=np.float64)

    @cached_property
    def has_kin(self) -> Bool[np.ndarray, " row"]:
        """Whether a row has kin at an earlier position."""
        return self.n_kin > 0

    @cached_property
    def is_scored(self) -> Bool[np.ndarray, " row"]:
        """Whether a row has a target and so a score: every row, or where prompts don't begin with BOS those with kin.

        The first token of any text draws attention; only where it is BOS is it the target of rows without kin.
        """
        return np.ones(len(self.word_of_row), dtype=bool) if self.prompts.begin_with_bos else self.has_kin

    @property
    def scored_on(self) -> str | None:
        """What category scores are over, in words, where that is not every row; None where it is."""
        if self.prompts.begin_with_bos:
            return None
        return f"no BOS in front of the prompts: scores are over the {int(self.is_scored.sum())} rows with kin alone"

    @cached_property
    def row_scores(self) -> Float[np.ndarray, "head row"]:
        """−ln max(Σ_j A[i,j] M[i,j], 1e-12) in nats, where M is `target_mask`: earlier kin, or BOS without kin.

        NaN for rows that have no target (`is_scored`).
        """
        target = np.where(self.has_kin, self.kin_mass, self.first)
        return np.where(self.is_scored, -np.log(np.maximum(target, SCORE_FLOOR)), np.nan)

    @cached_property
    def scores(self) -> Float[np.ndarray, " head"]:
        """Category score of each head: the mean of its rows' scores, in nats; lower is better.

        Raises NotAssessable where no row has a target.
        """
        return self.row_scores[:, self._scored_rows].mean(axis=1)

    @cached_property
    def uniform_share(self) -> Float[np.ndarray, " row"]:
        """Attention to the row's target under uniform causal attention: n_kin/(i + 1), or 1/(i + 1) without kin."""
        return np.where(self.has_kin, self.n_kin, 1.0) / (self.position_of_row + 1)

    @property
    def uniform_score(self) -> float:
        """Category score u of uniform causal attention, in nats; raises NotAssessable where no row has a target."""
        return float(-np.log(self.uniform_share[self._scored_rows]).mean())

    @property
    def _scored_rows(self) -> Bool[np.ndarray, " row"]:
        if not self.is_scored.any():
            raise NotAssessable("no row of the prompts has kin, and without BOS in front no other has a target")
        return self.is_scored

    def grouped_scores(self) -> GroupedRows:
        """Group the rows' category scores, one statistic a head."""
        return self.grouped(self.row_scores, self.is_scored[None])

    def grouped(
        self, values: Float[np.ndarray, "statistic row"], rows: Bool[np.ndarray, "#statistic row"] | None = None
    ) -> GroupedRows:
        """Sum and count row values (of all rows by default) by prompt and by the query's category.

        Row 0 of a prompt has no category: it is in the last group, which is never left out.
        """
        n_groups = len(self.prompts.words.categories) + 1
        category = self.prompts.category_at[self.prompts.rows]
        group = self.prompt_of_row * n_groups + np.where(category < 0, n_groups - 1, category)
        included = np.broadcast_to(True if rows is None else rows, values.shape)

        def by_group(weights: Float[np.ndarray, "statistic row"]) -> Float[np.ndarray, "statistic prompt category"]:
            size = len(self.prompts) * n_groups
            sums = [np.bincount(group, row, minlength=size) for row in weights]
            return np.stack(sums).reshape(len(weights), len(self.prompts), n_groups)

        return GroupedRows(by_group(np.where(included, values, 0.0)), by_group(included.astype(float)))


def _own_word(
    by_word: Float[np.ndarray, "head row word"], word_of_row: Int[np.ndarray, " row"]
) -> Float[np.ndarray, "head row"]:
    rows = np.arange(len(word_of_row))
    chosen = by_word[:, rows, word_of_row].astype(np.float64)
    chosen[:, word_of_row < 0] = 0.0
    return chosen


def survey(
    prompts: CategoryPrompts,
    heads: tuple[Head, ...],
    patterns: Iterable[tuple[slice, Float[Tensor, "_ head _ _"]]],
) -> Survey:
    """Reduce attention patterns to a survey of all heads.

    `patterns` yields batches (slice of the prompts, their patterns [prompt, head, query, key]), so that only one batch
    of patterns is in memory at a time. Prompts of one batch are of one length.
    """
    n_words, n_rows = len(prompts.words.words), len(prompts.rows[0])
    word_mass = np.zeros((len(heads), n_rows, n_words), dtype=np.float32)
    first, own = np.zeros((len(heads), n_rows)), np.zeros((len(heads), n_rows))
    for chosen, batch in patterns:
        for number, pattern in zip(range(len(prompts))[chosen], batch.float().cpu(), strict=True):
            rows = slice(*np.searchsorted(prompts.rows[0], [number, number + 1]).tolist())
            query = torch.from_numpy(prompts.rows[1][rows])
            of_rows, length = pattern[:, query], pattern.shape[-1]
            first[:, rows] = of_rows[..., 0].numpy()
            own[:, rows] = pattern.diagonal(dim1=-2, dim2=-1)[:, query].numpy()
            one_hot = np.eye(n_words + 1, dtype=np.float32)[prompts.word_at[number, :length]][:, :-1]
            of_rows *= torch.arange(length) < query[:, None]
            word_mass[:, rows] = (of_rows @ torch.from_numpy(one_hot)).numpy()
    return Survey(prompts, heads, word_mass, first, own)
