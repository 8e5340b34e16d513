"""A head's scores among groups of tokens: higher within groups (bright blocks), and lower on the diagonal (dark).

Axes: `token` the tokens of all groups in order, `resample` weights of query tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from headclaims.statistics.resampling import OverTokens


def block_auc(scores: Float[np.ndarray, "token token"], group: Int[np.ndarray, " token"]) -> OverTokens:
    """Return the probability that an off-diagonal score within a group exceeds one across groups, ties counting half.

    All pairs of such scores are compared. The interval comes from resampling query tokens, keys fixed.
    """
    same = np.equal.outer(group, group)
    within, across = same & ~np.eye(len(group), dtype=bool), ~same
    wins = np.zeros((len(group), len(group)))
    # In-group scores, row after row, and the row of each.
    in_group, (row, _) = scores[within], np.nonzero(within)
    for j in range(len(group)):
        across_groups = np.sort(scores[j, across[j]])
        below, up_to = (
            np.searchsorted(across_groups, in_group, "left"),
            np.searchsorted(across_groups, in_group, "right"),
        )
        wins[:, j] = np.bincount(row, weights=(below + up_to) / 2, minlength=len(group))
    pairs = np.outer(within.sum(axis=1), across.sum(axis=1)).astype(float)

    def of_weights(weights: Float[np.ndarray, "resample token"]) -> Float[np.ndarray, " resample"]:
        above = np.einsum("ri,ij,rj->r", weights, wins, weights, optimize=True)
        return np.asarray(above / np.einsum("ri,ij,rj->r", weights, pairs, weights, optimize=True))

    return OverTokens(len(group), of_weights)


ROUNDING = 1e-5
"""Relative to the root mean square of scores; smaller differences may be rounding of float32."""


@dataclass(frozen=True)
class Diagonal:
    """For each query token, how far its score with itself lies below those with its group, and the spread of these.

    `difference[i]` is token i's mean score with the others of its group minus its score with itself, in nats;
    `square[i]` the sum of its squared scores in the group after double centring (the block's row and column means
    subtracted, its grand mean added); `size[i]` the group's size. A root mean square up to `noise` is rounding.
    """

    group: Int[np.ndarray, " token"]
    difference: Float[np.ndarray, " token"]
    square: Float[np.ndarray, " token"]
    size: Int[np.ndarray, " token"]
    noise: float

    @property
    def D(self) -> float:
        """Mean over groups of (mean off-diagonal score − mean diagonal score), in nats."""
        return float(np.mean([self.difference[self.group == g].mean() for g in np.unique(self.group)]))


def diagonal(scores: Float[np.ndarray, "token token"], group: Int[np.ndarray, " token"]) -> Diagonal:
    """Compute the `Diagonal` of scores among grouped tokens; raises ValueError for a group of one token."""
    difference, square = np.zeros(len(group)), np.zeros(len(group))
    size, raw = np.zeros(len(group), dtype=int), np.zeros(len(group))
    for g in np.unique(group):
        (members,) = np.nonzero(group == g)
        n = len(members)
        if n < 2:
            raise ValueError("a group of one token; wanted two or more")
        block = scores[np.ix_(members, members)].astype(np.float64)
        own = block.diagonal()
        difference[members] = (block.sum(axis=1) - own) / (n - 1) - own
        centred = block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()
        square[members], size[members] = np.square(centred).sum(axis=1), n
        raw[members] = np.square(block).sum(axis=1)
    return Diagonal(group, difference, square, size, ROUNDING * float(np.sqrt(raw.sum() / size.sum())))


def relative_depth(diagonal: Diagonal) -> OverTokens:
    """Return D / √(mean square of in-group scores, double-centred per group): positive iff the diagonal is dark.

    The mean square is over all in-group entries. In a resample a group without a drawn token is left out.
    """
    member = np.equal.outer(np.unique(diagonal.group), diagonal.group).astype(float)

    def of_weights(weights: Float[np.ndarray, "resample token"]) -> Float[np.ndarray, " resample"]:
        with np.errstate(invalid="ignore", divide="ignore"):
            by_group = (weights * diagonal.difference) @ member.T / (weights @ member.T)
            spread = np.sqrt(weights @ diagonal.square / (weights @ diagonal.size))
            # Where scores differ by rounding only, the diagonal is not dark.
            return np.asarray(np.where(spread > diagonal.noise, np.nanmean(by_group, axis=1) / spread, 0.0))

    return OverTokens(len(diagonal.group), of_weights)


def relative_depths(
    scores: Float[np.ndarray, "head token token"], group: Int[np.ndarray, " token"]
) -> Float[np.ndarray, " head"]:
    """Compute the `relative_depth` of many heads; raises ValueError for a group of one token."""
    labels, sizes = np.unique(group, return_counts=True)
    if sizes.min() < 2:
        raise ValueError("a group of one token; wanted two or more")
    difference, square, raw, size = (np.zeros(len(scores)) for _ in range(4))
    for g in labels:
        (members,) = np.nonzero(group == g)
        n = len(members)
        block = scores[:, members[:, None], members].astype(np.float64)
        own = np.trace(block, axis1=1, axis2=2)
        difference += ((block.sum(axis=(1, 2)) - own) / (n - 1) - own) / n / len(labels)
        rows, columns = block.mean(axis=2, keepdims=True), block.mean(axis=1, keepdims=True)
        square += np.square(block - rows - columns + block.mean(axis=(1, 2), keepdims=True)).sum(axis=(1, 2))
        raw += np.square(block).sum(axis=(1, 2))
        size += n * n
    spread, noise = np.sqrt(square / size), ROUNDING * np.sqrt(raw / size)
    return np.asarray(np.where(spread > noise, difference / np.where(spread > noise, spread, 1), 0.0))
