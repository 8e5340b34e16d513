"""A head's scores among groups of tokens: higher within groups (bright blocks), and lower on the diagonal (dark).

Axes: `token` the tokens of all groups in order, `replicate` all groups, then all but each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from headclaims.statistics.resampling import OverUnits, mean_over


def block_auc(scores: Float[np.ndarray, "token token"], group: Int[np.ndarray, " token"]) -> float:
    """Return the probability that an off-diagonal score within a group exceeds one across groups, ties counting half.

    All pairs of such scores are compared. It has no interval: near 1 one over groups covers 66 % only.
    """
    same = np.equal.outer(group, group)
    within, across = scores[same & ~np.eye(len(group), dtype=bool)], np.sort(scores[~same])
    wins = np.searchsorted(across, within, "left") + np.searchsorted(across, within, "right")
    return float(wins.sum() / 2 / (len(within) * len(across)))


def block_distance(scores: Float[np.ndarray, "token token"], group: Int[np.ndarray, " token"]) -> OverUnits:
    """Return d = (m_in − m_out)/√(s²_in + s²_out) of off-diagonal scores, with an interval over groups.

    m and s² are mean and variance of the scores within groups and of those across. Where both are normal the AUC is
    Φ(d), 0.90 at d = 1.2816. A group is left out as queries and as keys. d is 0 where scores differ by rounding only.
    """
    same = np.equal.outer(group, group)
    member = np.equal.outer(np.unique(group), group).astype(float)
    # The variance is taken of scores less their mean, for precision.
    centred = scores.astype(np.float64) - scores.mean()
    powers = np.stack([np.ones_like(centred), centred, np.square(centred)])

    def by_pair(included: Bool[np.ndarray, "token token"]) -> Float[np.ndarray, "power group group"]:
        return np.asarray(member @ (powers * included) @ member.T)

    def without_each(sums: Float[np.ndarray, "power group group"]) -> Float[np.ndarray, "power replicate"]:
        """Return the sums over all pairs of groups, first of all groups, then of all but each."""
        total = sums.sum(axis=(1, 2))[:, None]
        own = np.diagonal(sums, axis1=1, axis2=2)
        return np.concatenate([total, total - sums.sum(axis=1) - sums.sum(axis=2) + own], axis=1)

    def moments(sums: Float[np.ndarray, "power replicate"]) -> tuple[np.ndarray, np.ndarray]:
        mean = sums[1] / sums[0]
        return mean, sums[2] / sums[0] - mean**2

    noise = ROUNDING * float(np.sqrt(np.square(scores, dtype=np.float64).mean()))
    with np.errstate(invalid="ignore", divide="ignore"):
        m_in, variance_in = moments(without_each(by_pair(same & ~np.eye(len(group), dtype=bool))))
        m_out, variance_out = moments(without_each(by_pair(~same)))
        gap, spread = m_in - m_out, np.sqrt(np.maximum(variance_in, 0) + np.maximum(variance_out, 0))
        d = np.where(np.maximum(abs(gap), spread) > noise, gap / np.maximum(spread, noise), 0.0)
    return OverUnits("groups", float(d[0]), d[1:])


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
    def D(self) -> OverUnits:
        """Mean over groups of (mean off-diagonal score − mean diagonal score) in nats, with an interval over groups.

        It is 0 where scores differ by rounding only.
        """
        by_group = np.array([self.difference[self.group == g].mean() for g in np.unique(self.group)])
        return mean_over("groups", by_group if self.spread > self.noise else 0 * by_group)

    @property
    def spread(self) -> float:
        """Root mean square of the double-centred in-group scores, in nats."""
        return float(np.sqrt(self.square.sum() / self.size.sum()))

    @property
    def relative_depth(self) -> float:
        """D over `spread`: positive iff the diagonal is dark; 0 where scores differ by rounding only.

        Nulls are compared on it, as heads' scores differ in scale. Its own interval errs on the low side by 6 to 8 %.
        """
        return self.D.value / self.spread if self.spread > self.noise else 0.0


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


def relative_depths(
    scores: Float[np.ndarray, "head token token"], group: Int[np.ndarray, " token"]
) -> Float[np.ndarray, " head"]:
    """Compute the `Diagonal.relative_depth` of many heads; raises ValueError for a group of one token."""
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
