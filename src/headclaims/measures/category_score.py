"""The category score, and the survey of all heads by it.

Attention patterns are reduced once to what every behavioural statistic needs: for each row the attention to BOS, to
the own position, and to each word of the list at earlier positions. Category labels enter afterwards, so that the same
reduction serves the measurement and its permuted labels.

Axes: `head` runs over all heads of the survey, `row` over all query positions of all prompts. Kin of a word are the
other words of its category.
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
    `bos[h, row]` that to position 0, and `own[h, row]` that to position i. Rows run over prompts, then positions.
    """

    prompts: CategoryPrompts
    heads: tuple[Head, ...]
    word_mass: Float[np.ndarray, "head row word"]
    bos: Float[np.ndarray, "head row"]
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

    @cached_property
    def word_of_row(self) -> Int[np.ndarray, " row"]:
        """Word at each row's query position, −1 where there is none of the list."""
        return self.prompts.word_at.reshape(-1)

    @cached_property
    def is_first(self) -> Bool[np.ndarray, " row"]:
        """Whether a row is that of position 0."""
        return np.tile(np.arange(self.prompts.length) == 0, len(self.prompts))

    @cached_property
    def is_counted(self) -> Bool[np.ndarray, " row"]:
        """Whether a row enters statistics: that of a word of the list, or of position 0."""
        return (self.word_of_row >= 0) | self.is_first

    @cached_property
    def word_counts(self) -> Float[np.ndarray, "row word"]:
        """Number of positions 1 ≤ j < i of the row's prompt that hold each word."""
        one_hot = np.eye(len(self.prompts.words.words) + 1)[self.prompts.word_at][..., :-1]
        before = np.cumsum(one_hot, axis=1) - one_hot
        return before.reshape(-1, before.shape[-1])

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
    def row_scores(self) -> Float[np.ndarray, "head row"]:
        """−ln max(Σ_j A[i,j] M[i,j], 1e-12) in nats, where M is `target_mask`: earlier kin, or BOS without kin.

        Raises NotAssessable where prompts don't begin with BOS.
        """
        if not self.prompts.begin_with_bos:
            raise NotAssessable("recorded prompts do not begin with BOS: rows without kin have no target")
        target = np.where(self.has_kin, self.kin_mass, self.bos)
        return -np.log(np.maximum(target, SCORE_FLOOR))

    @cached_property
    def scores(self) -> Float[np.ndarray, " head"]:
        """Category score of each head: the mean of its counted rows' scores, in nats; lower is better."""
        return self.row_scores[:, self.is_counted].mean(axis=1)

    @cached_property
    def uniform_share(self) -> Float[np.ndarray, " row"]:
        """Attention to the row's target under uniform causal attention: n_kin/(i + 1), or 1/(i + 1) without kin."""
        seen = np.tile(np.arange(1, self.prompts.length + 1), len(self.prompts))
        return np.where(self.has_kin, self.n_kin, 1.0) / seen

    @property
    def uniform_score(self) -> float:
        """Category score u of uniform causal attention, in nats."""
        return float(-np.log(self.uniform_share[self.is_counted]).mean())

    def grouped(
        self, values: Float[np.ndarray, "statistic row"], rows: Bool[np.ndarray, "#statistic row"] | None = None
    ) -> GroupedRows:
        """Sum and count row values (of all counted rows by default) by prompt and by the query's category.

        Row 0 of a prompt has no category: it is in the last group, which is never left out. Rows of other tokens that
        are no words of the list enter nothing.
        """
        n_categories = len(self.prompts.words.categories)
        category = np.where(self.prompts.category_at < 0, n_categories, self.prompts.category_at)
        member = np.eye(n_categories + 1)[category]
        shape = (len(values), len(self.prompts), self.prompts.length)
        included = np.broadcast_to(self.is_counted if rows is None else rows & self.is_counted, values.shape)
        sums = np.einsum("snr,nrc->snc", np.where(included, values, 0.0).reshape(shape), member)
        counts = np.einsum("snr,nrc->snc", included.astype(float).reshape(shape), member)
        return GroupedRows(sums, counts)


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
    patterns: Iterable[tuple[slice, Float[Tensor, "_ head query key"]]],
) -> Survey:
    """Reduce attention patterns to a survey of all heads.

    `patterns` yields batches (slice of the prompts, their patterns for `heads` in this order), so that only one batch
    of patterns is in memory at a time.
    """
    n_words, length = len(prompts.words.words), prompts.length
    shape = (len(heads), len(prompts), length)
    word_mass = np.zeros((*shape, n_words), dtype=np.float32)
    bos, own = np.zeros(shape), np.zeros(shape)
    earlier = torch.tril(torch.ones(length, length), diagonal=-1)
    for chosen, pattern in patterns:
        pattern = pattern.float().cpu()
        one_hot = np.eye(n_words + 1, dtype=np.float32)[prompts.word_at[chosen]][..., :-1]
        mass = torch.einsum("phqk,pkw->hpqw", pattern * earlier, torch.from_numpy(one_hot))
        word_mass[:, chosen] = mass.numpy()
        bos[:, chosen] = pattern[..., 0].transpose(0, 1).numpy()
        own[:, chosen] = pattern.diagonal(dim1=-2, dim2=-1).transpose(0, 1).numpy()
    rows = len(prompts) * length
    return Survey(
        prompts,
        heads,
        word_mass.reshape(len(heads), rows, n_words),
        bos.reshape(len(heads), rows),
        own.reshape(len(heads), rows),
    )
