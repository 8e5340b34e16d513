"""Scores of common words as a function of the cosine similarity of their effective embeddings, and their peak.

Axes: `word` the common words (as queries and as keys), `bin` bins of cosine as in `vocabulary.cosine`, `high` the bins
among which the peak is sought, `head` heads on the same E.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy import sparse
from torch import Tensor

from headclaims.errors import NotAssessable
from headclaims.measures.head_batch import HeadBatch, Projected
from headclaims.statistics.resampling import OverTokens
from headclaims.vocabulary.cosine import (
    BIN_WIDTH,
    HIGH_QUANTILE,
    N_BINS,
    PAIRS_IN_A_BIN,
    ROWS_AT_ONCE,
    lower_edge,
    middle,
    peak_height,
)
from headclaims.vocabulary.scores import TokenScores


@dataclass(frozen=True)
class CosineBins:
    """Pairs of words by the cosine of their vectors: `of_pair` is the bin of each, `N_BINS` on the diagonal.

    `high` are the bins among which the peak is sought: those that hold at least 50 pairs and lie wholly above the 90th
    percentile of cosines.
    """

    of_pair: UInt8[np.ndarray, "word word"]
    high: Int[np.ndarray, " high"]


def cosine_bins(words: Float[Tensor, "word d_model"]) -> CosineBins:
    """Sort all pairs of words into bins of cosine.

    Raises NotAssessable where no bin from the 90th percentile to below 1 holds 50 pairs.
    """
    unit = torch.nn.functional.normalize(words.double(), dim=1)
    n = len(words)
    of_pair, upper = np.empty((n, n), dtype=np.uint8), []
    for rows in torch.arange(n).split(ROWS_AT_ONCE):
        cosine = (unit[rows] @ unit.T).clamp(-1, 1).numpy()
        # Equal vectors have cosine 1, give or take rounding.
        cosine[cosine > 1 - 1e-9] = 1.0
        of_pair[rows] = np.floor((cosine + 1) / BIN_WIDTH + 1e-9)
        upper.append(cosine[np.arange(n) > rows.numpy()[:, None]])
    np.fill_diagonal(of_pair, N_BINS)
    edge = float(np.quantile(np.concatenate(upper), HIGH_QUANTILE))
    pairs = np.bincount(of_pair.reshape(-1), minlength=N_BINS)[:N_BINS] / 2
    high = np.flatnonzero((lower_edge(np.arange(N_BINS)) >= edge) & (pairs >= PAIRS_IN_A_BIN))
    if not (high < N_BINS - 1).any():
        raise NotAssessable(
            f"no bin of cosines from their 90th percentile, {edge:.3f}, to below 1 holds {PAIRS_IN_A_BIN} pairs"
        )
    return CosineBins(of_pair, high)


@dataclass(frozen=True)
class ScoreBySimilarity:
    """For each query i and bin, Σ_j s(i, j) − s(i, i) and the number of pairs; for each query its mean square score."""

    sums: Float[np.ndarray, "word bin"]
    pairs: Float[np.ndarray, "word bin"]
    mean_square: Float[np.ndarray, " word"]
    high: Int[np.ndarray, " high"]

    @property
    def curve(self) -> Float[np.ndarray, " bin"]:
        """Mean of s(i, j) − s(i, i) in each bin; NaN in bins without pairs."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.sums.sum(axis=0) / self.pairs.sum(axis=0))

    @property
    def peak_at(self) -> float:
        """Cosine at the middle of the high bin with the highest mean."""
        return middle(int(self.high[np.argmax(self.curve[self.high])]))


def score_by_similarity(scores: TokenScores, bins: CosineBins, by_column: bool = False) -> ScoreBySimilarity:
    """Sum scores among common words by bin; `by_column` subtracts s(j, j) instead of s(i, i)."""
    n = len(scores.queries)
    sums, pairs, square = np.zeros((n, N_BINS)), np.zeros((n, N_BINS)), np.zeros(n)
    itself = scores.itself.to(scores.queries)
    for rows in torch.arange(n).split(ROWS_AT_ONCE):
        block = scores.queries[rows] @ scores.keys.T
        block[torch.arange(len(rows)), rows] = 0.0
        number = rows.numpy()
        square[number] = block.double().square().sum(dim=1).numpy() / (n - 1)
        block -= itself if by_column else itself[rows, None]
        cell = bins.of_pair[number].astype(np.int64) + np.arange(len(number))[:, None] * (N_BINS + 1)
        shape = (len(number), N_BINS + 1)
        size = len(number) * (N_BINS + 1)
        pairs[number] = np.bincount(cell.ravel(), minlength=size).reshape(shape)[:, :N_BINS]
        summed = np.bincount(cell.ravel(), weights=block.numpy().ravel(), minlength=size)
        sums[number] = summed.reshape(shape)[:, :N_BINS]
    return ScoreBySimilarity(sums, pairs, square, bins.high)


def peak(scores: ScoreBySimilarity) -> OverTokens:
    """Return the `peak_height` of a head, with an interval over queries.

    In each resample the means of the bins and the highest of them are computed anew; the bins stay.
    """
    sums, pairs, high = scores.sums[:, scores.high], scores.pairs[:, scores.high], scores.high

    def of_weights(weights: Float[np.ndarray, "resample token"]) -> Float[np.ndarray, " resample"]:
        return peak_height(weights @ sums, weights @ pairs, weights @ scores.mean_square / weights.sum(axis=1), high)

    return OverTokens(len(sums), of_weights)


@dataclass(frozen=True)
class BinMoments:
    """Moments by which the mean scores of high bins are linear in W_QK, so that no head needs a pass over all pairs.

    Over the pairs (i, j) of a bin Σ x_i W x_jᵀ = ⟨W, Σ x_iᵀ x_j⟩: `pairs` holds Σ x_iᵀ x_j of each high bin, `own` its
    Σ x_iᵀ x_i, and `n` the number of its pairs.
    """

    pairs: Float[Tensor, "high d_model d_model"]
    own: Float[Tensor, "high d_model d_model"]
    n: Float[np.ndarray, " high"]
    high: Int[np.ndarray, " high"]


def bin_moments(words: Float[Tensor, "word d_model"], bins: CosineBins) -> BinMoments:
    """Compute the moments of the high bins from the words' rows of E."""
    E = words.numpy()
    pairs, own, n = [], [], []
    for number in bins.high:
        adjacent = sparse.csr_array((bins.of_pair == number).astype(np.float32))
        degree = adjacent.sum(axis=1)
        pairs.append(E.T @ (adjacent @ E))
        own.append((E * degree[:, None]).T @ E)
        n.append(float(degree.sum()))
    stacked = [torch.from_numpy(np.stack(moments)) for moments in (pairs, own)]
    return BinMoments(stacked[0], stacked[1], np.array(n), bins.high)


def peaks_of_heads(moments: BinMoments, heads: HeadBatch, words: Projected) -> Float[np.ndarray, " head"]:
    """Compute the `peak_height` of heads without biases; it does not depend on the scale, which is left out."""
    q, k = words.queries.transpose(0, 1), words.keys.transpose(0, 1)
    n = q.shape[1]
    all_squares = ((q.mT @ q).double() * (k.mT @ k).double()).sum(dim=(1, 2))
    own_squares = (q * k).sum(dim=-1).double().square().sum(dim=1)
    mean_square = ((all_squares - own_squares) / (n * (n - 1))).numpy()
    W_turned = (heads.turned(heads.W_Q) @ heads.W_K.mT).flatten(1)
    W_own = W_turned if heads.turn is None else (heads.W_Q @ heads.W_K.mT).flatten(1)
    sums = W_turned @ moments.pairs.flatten(1).T - W_own @ moments.own.flatten(1).T
    return peak_height(sums.double().numpy(), np.broadcast_to(moments.n, sums.shape), mean_square, moments.high)
