"""Attention to marked keys: how much of a row's attention every head gives to what the row should attend to.

Axes: `head`, `prompt`, `query` and `key` positions; `replicate` weights of the prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.statistics.resampling import Exponential, Resampled
from headclaims.statistics.rows import GroupedRows

FLOOR = 1e-12
"""What attention counts at least in a ratio: where it underflowed it is no 0."""


@dataclass(frozen=True)
class MarkedAttention:
    """Attention of heads to marked keys, summed over a prompt's rows, and how many rows there are, by name of mark."""

    heads: tuple[Head, ...]
    sums: Mapping[str, Float[np.ndarray, "head prompt"]]
    rows: Mapping[str, Float[np.ndarray, " prompt"]]

    def position(self, head: Head) -> int:
        """Return the index of a head; raises NotAssessable where its attention is lacking."""
        if head not in self.heads:
            layers = sorted({known.layer for known in self.heads})
            raise NotAssessable(f"needs attention of {head.label}: the evidence has that of layers {layers}")
        return self.heads.index(head)

    def mean(self, head: Head, mark: str) -> Resampled:
        """Return a head's mean attention to a mark over all rows that have one, with an interval over prompts.

        Raises NotAssessable where no row has.
        """
        return Resampled(self.grouped(head, mark), lambda means: means[:, 0])

    def ratio(self, head: Head, over: str, under: str) -> Exponential:
        """Return the ratio of a head's mean attention to two marks."""
        return attention_ratio(self.grouped(head, over), self.grouped(head, under))

    def means(self, mark: str) -> Float[np.ndarray, " head"]:
        """Return every head's mean attention to a mark."""
        self._require(mark)
        return np.asarray(self.sums[mark].sum(axis=1) / self.rows[mark].sum())

    def grouped(self, head: Head, mark: str) -> GroupedRows:
        """Return a head's attention to a mark, for a statistic of several."""
        self._require(mark)
        position = self.position(head)
        return GroupedRows(self.sums[mark][position][None, :, None], self.rows[mark][None, :, None])

    def _require(self, mark: str) -> None:
        if mark not in self.rows or not self.rows[mark].sum():
            raise NotAssessable(f"no row has a {mark} to attend to")


def attention_ratio(over: GroupedRows, under: GroupedRows) -> Exponential:
    """Return the ratio of two means over the same prompts, with an interval over prompts, of its logarithm."""
    both = GroupedRows(np.concatenate([over.sums, under.sums]), np.concatenate([over.counts, under.counts]))
    return Exponential(Resampled(both, lambda means: _log(means[:, 0]) - _log(means[:, 1])))


def _log(attention: Float[np.ndarray, " replicate"]) -> Float[np.ndarray, " replicate"]:
    return np.asarray(np.log(np.maximum(attention, FLOOR)))


def marked_attention(
    heads: Sequence[Head],
    marks: Mapping[str, Bool[np.ndarray, "prompt query key"]],
    patterns: Iterable[tuple[slice, Float[Tensor, "_ head _ _"]]],
) -> MarkedAttention:
    """Sum the attention of heads to marked keys; `patterns` yields batches (slice of the prompts, their patterns).

    Patterns are [prompt, head, query, key]; those of prompts that end before the longest have no more rows than they.
    """
    n = len(next(iter(marks.values())))
    sums = {name: np.zeros((len(heads), n)) for name in marks}
    for some, pattern in patterns:
        for name, mark in marks.items():
            length = pattern.shape[-1]
            chosen = torch.from_numpy(mark[some, :length, :length]).to(pattern.device)
            sums[name][:, some] = torch.einsum("phqk,pqk->hp", pattern.float(), chosen.float()).cpu().numpy()
    rows = {name: mark.any(axis=2).sum(axis=1).astype(float) for name, mark in marks.items()}
    return MarkedAttention(tuple(heads), sums, rows)
