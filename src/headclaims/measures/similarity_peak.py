"""Scores of common words as a function of the cosine similarity of their effective embeddings, and their peak.

m(c) is the mean of s(i, j) − s(i, i) over the pairs of words in a bin of cosine. It peaks below 1 where a bin of high
cosine lies above that of the median cosine, and above 0, the score of each word with itself. The highest of several
bins is too high by chance: it is chosen on one half of the words and measured on the other, both ways.

Axes: `word` the common words (as queries and as keys), `half` their two halves, `bin` bins of cosine as in
`vocabulary.cosine`, `chosen` the typical bin and then the high ones, `head` heads on the same E.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy import sparse
from torch import Tensor

from headclaims.circuit.head_score import capped
from headclaims.errors import NotAssessable
from headclaims.measures.head_batch import HeadBatch, Projected
from headclaims.statistics.resampling import OverUnits
from headclaims.vocabulary.cosine import (
    BIN_WIDTH,
    HIGH_QUANTILE,
    N_BINS,
    PAIRS_IN_A_BIN,
    ROWS_AT_ONCE,
    lower_edge,
    middle,
)
from headclaims.vocabulary.token_scores import TokenScores

ROUNDING = 1e-9
"""Of the root mean square score; means no larger are rounding of float64 sums."""


@dataclass(frozen=True)
class CosineBins:
    """Pairs of words by the cosine of their vectors: `of_pair` is the bin of each, `N_BINS` on the diagonal.

    `high` are the bins among which the peak is sought: they lie wholly above the 90th percentile of cosines, from the
    bin `first` on, and wholly below 1, and hold at least 50 pairs in each half of the words. `typical` is the bin of
    the median cosine.
    """

    of_pair: UInt8[np.ndarray, "word word"]
    typical: int
    first: int
    high: Int[np.ndarray, " high"]

    @cached_property
    def adjacent(self) -> list[list[sparse.csr_array]]:
        """For each half of the words and each chosen bin, which words of the half are a pair of the bin: 1, else 0."""
        chosen = [self.typical, *self.high.tolist()]
        place = np.full(N_BINS + 1, -1, dtype=np.int8)
        place[chosen] = np.arange(len(chosen))
        blocks = [place[self.of_pair[np.ix_(half, half)]] for half in halves(len(self.of_pair))]
        return [_where_each(block, len(chosen)) for block in blocks]

    @cached_property
    def pairs(self) -> list[list[tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]]]:
        """For each half and each chosen bin its pairs: places in a flat matrix of scores, and the queries' numbers."""
        n, pairs = len(self.of_pair), []
        for half, adjacent in zip(halves(n), self.adjacent, strict=True):
            of_half = [(half[row], half[column]) for row, column in (A.nonzero() for A in adjacent)]
            pairs.append([(torch.from_numpy(q * n + k), torch.from_numpy(q)) for q, k in of_half])
        return pairs


NUMBERS_AT_ONCE = 2**24
"""Numbers of W_QK of several heads that are formed together: 64 MiB."""


def halves(n: int) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]:
    """Return the two halves of n words, every second one: words come by frequency, which both halves span."""
    return np.arange(0, n, 2), np.arange(1, n, 2)


def _where_each(block: Int[np.ndarray, "word word"], numbers: int) -> list[sparse.csr_array]:
    """Return for each number from 0 where it stands in a block: 1, else 0."""
    n, (flat,) = len(block), np.nonzero(block.ravel() >= 0)
    number = block.ravel()[flat]
    flat = flat[np.argsort(number, kind="stable")]
    matrices = []
    for places in np.split(flat, np.cumsum(np.bincount(number, minlength=numbers))[:-1]):
        row, column = (part.astype(np.int32) for part in np.divmod(places, n))
        pointers = np.searchsorted(row, np.arange(n + 1)).astype(np.int32)
        matrices.append(sparse.csr_array((np.ones(len(places), np.float32), column, pointers), shape=(n, n)))
    return matrices


def cosine_bins(words: Float[Tensor, "word d_model"]) -> CosineBins:
    """Sort all pairs of words into bins of cosine.

    Raises NotAssessable where no high bin, or not the typical one, holds 50 pairs in each half.
    """
    unit = torch.nn.functional.normalize(words.double(), dim=1)
    n = len(words)
    of_pair, upper = np.empty((n, n), dtype=np.uint8), []
    for rows in torch.arange(n).split(ROWS_AT_ONCE):
        start = int(rows[0])
        cosine = (unit[rows] @ unit[start:].T).clamp(-1, 1).numpy()
        # Equal vectors have cosine 1, give or take rounding.
        cosine[cosine > 1 - 1e-9] = 1.0
        of_pair[rows, start:] = _bin(cosine)
        upper.append(cosine[np.arange(start, n) > rows.numpy()[:, None]])
    # A pair is in one bin both ways: each cosine is computed once.
    of_pair = np.where(np.tri(n, dtype=bool), of_pair.T, of_pair)
    np.fill_diagonal(of_pair, N_BINS)
    median, edge = np.quantile(np.concatenate(upper), [0.5, HIGH_QUANTILE])
    in_halves = [np.bincount(of_pair[np.ix_(h, h)].ravel(), minlength=N_BINS + 1)[:N_BINS] / 2 for h in halves(n)]
    full, typical = np.min(in_halves, axis=0) >= PAIRS_IN_A_BIN, int(_bin(median))
    first = max(typical + 1, int((lower_edge(np.arange(N_BINS)) < edge).sum()))
    high = first + np.flatnonzero(full[first : N_BINS - 1])
    if not len(high) or not full[typical]:
        raise NotAssessable(
            f"no bin of cosines from their 90th percentile, {edge:.3f}, to below 1, or not that of their median, "
            f"{median:.3f}, holds {PAIRS_IN_A_BIN} pairs in each half of {n} words"
        )
    return CosineBins(of_pair, typical, first, high)


def _bin(cosine: Float[np.ndarray, "*shape"] | float) -> Float[np.ndarray, "*shape"]:
    return np.asarray(np.floor((np.asarray(cosine) + 1) / BIN_WIDTH + 1e-9))


@dataclass(frozen=True)
class ScoreBySimilarity:
    """For each query i and bin, Σ_j s(i, j) − s(i, i) over all words j, and the number of pairs.

    `first` is the lowest bin wholly above the 90th percentile of cosines.
    """

    sums: Float[np.ndarray, "word bin"]
    pairs: Float[np.ndarray, "word bin"]
    first: int

    @property
    def curve(self) -> Float[np.ndarray, " bin"]:
        """Mean of s(i, j) − s(i, i) in each bin; NaN in bins without pairs."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.sums.sum(axis=0) / self.pairs.sum(axis=0))

    @property
    def full(self) -> Int[np.ndarray, " full"]:
        """Bins that hold fifty pairs."""
        return np.flatnonzero(self.pairs.sum(axis=0) >= 2 * PAIRS_IN_A_BIN)

    @property
    def high(self) -> Int[np.ndarray, " high"]:
        """Bins that hold fifty pairs, wholly above the 90th percentile of cosines and wholly below 1."""
        return self.full[(self.full >= self.first) & (self.full < N_BINS - 1)]

    @property
    def peak_at(self) -> float:
        """Cosine at the middle of the high bin with the highest mean."""
        return middle(int(self.high[np.argmax(self.curve[self.high])]))

    @property
    def lead(self) -> float:
        """By how much the highest high bin is above every other bin that holds fifty pairs, in nats."""
        rest = np.setdiff1d(self.full, self.high)
        return float(self.curve[self.high].max() - self.curve[rest].max(initial=-np.inf))


def score_by_similarity(scores: TokenScores, bins: CosineBins) -> ScoreBySimilarity:
    """Sum scores among all common words by bin."""
    n = len(scores.queries)
    sums, pairs = np.zeros((n, N_BINS)), np.zeros((n, N_BINS))
    itself = scores.itself.to(scores.queries)
    for rows in torch.arange(n).split(ROWS_AT_ONCE):
        number = rows.numpy()
        block = capped(scores.queries[rows] @ scores.keys.T, scores.cap) - itself[rows, None]
        cell = bins.of_pair[number].astype(np.int64) + np.arange(len(number))[:, None] * (N_BINS + 1)
        shape = (len(number), N_BINS + 1)
        size = len(number) * (N_BINS + 1)
        pairs[number] = np.bincount(cell.ravel(), minlength=size).reshape(shape)[:, :N_BINS]
        summed = np.bincount(cell.ravel(), weights=block.numpy().ravel(), minlength=size)
        sums[number] = summed.reshape(shape)[:, :N_BINS]
    return ScoreBySimilarity(sums, pairs, bins.first)


def cross_fitted(means: Float[np.ndarray, "*batch half chosen"]) -> Float[np.ndarray, "*batch 2"]:
    """Return rise and fall of the peak from the mean of each half in the typical bin, the first, and the high ones.

    The peak is the high bin with the highest mean in the other half; rise = its mean less that of the typical bin,
    fall = its mean less 0; both are averaged over the halves.
    """
    best = means[..., ::-1, 1:].argmax(axis=-1)[..., None]
    peak = np.take_along_axis(means[..., 1:], best, axis=-1)[..., 0]
    return np.stack([(peak - means[..., 0]).mean(axis=-1), peak.mean(axis=-1)], axis=-1)


def peak(scores: TokenScores, bins: CosineBins, by_column: bool = False) -> OverUnits:
    """Return the smaller of rise and fall over the scores' root mean square, with an interval over words.

    A word is left out as query and as key; bins, the peak's place and the root mean square stay. `by_column` subtracts
    s(j, j) in place of s(i, i): since a pair is in one bin both ways this changes no mean, but what a word adds to it.
    """
    itself, scale = scores.itself.double().numpy(), _root_mean_square(scores)
    sums, pairs, of_word, degrees = [], [], [], []
    for half, adjacent in zip(halves(len(itself)), bins.adjacent, strict=True):
        q, k, own = scores.queries[half].double().numpy(), scores.keys[half].double().numpy(), itself[half]
        degree = np.stack([A.sum(axis=1) for A in adjacent], axis=1)
        if scores.cap is None:
            as_query = np.stack([(q * (A @ k)).sum(axis=1) for A in adjacent], axis=1)
            as_key = np.stack([(k * (A @ q)).sum(axis=1) for A in adjacent], axis=1)
        else:
            values = capped(torch.from_numpy(q @ k.T), scores.cap).numpy()
            as_query = np.stack([A.multiply(values).sum(axis=1) for A in adjacent], axis=1)
            as_key = np.stack([A.multiply(values.T).sum(axis=1) for A in adjacent], axis=1)
        of_other = np.stack([A @ own for A in adjacent], axis=1)
        of_itself = degree * own[:, None]
        as_query -= of_other if by_column else of_itself
        as_key -= of_itself if by_column else of_other
        sums.append(as_query.sum(axis=0))
        pairs.append(degree.sum(axis=0))
        of_word.append(as_query + as_key)
        degrees.append(degree)
    means = np.stack(sums) / np.stack(pairs)
    if np.abs(means).max() <= ROUNDING * scale:  # every score is the same, to rounding
        return OverUnits("words", np.zeros(2), np.zeros((len(itself), 2)))
    best = means[::-1, 1:].argmax(axis=1) + 1
    value, left_out = cross_fitted(means), np.empty((len(itself), 2))
    for h, half in enumerate(halves(len(itself))):
        with np.errstate(invalid="ignore", divide="ignore"):
            without = (sums[h] - of_word[h]) / (pairs[h] - 2 * degrees[h])
        moved = (without - means[h])[:, [best[h], 0]] / 2
        left_out[half] = value + np.stack([moved[:, 0] - moved[:, 1], moved[:, 0]], axis=1)
    return OverUnits("words", value / scale, left_out / scale)


def _root_mean_square(scores: TokenScores) -> float:
    """Return the root mean square score of two different words; 1 where all are 0."""
    if scores.cap is not None:
        return _root_mean_square_of(scores.matrix())
    n = len(scores.queries)
    return (scores.sum_of_squares / (n * (n - 1))) ** 0.5 or 1.0


def _root_mean_square_of(matrix: Float[Tensor, "word word"]) -> float:
    every, own = (torch.linalg.vector_norm(s).double().square() for s in (matrix, matrix.diagonal()))
    n = len(matrix)
    return max(0.0, float(every - own) / (n * (n - 1))) ** 0.5 or 1.0


def peak_of_scores(matrix: Float[Tensor, "word word"], bins: CosineBins) -> float:
    """Return the value of `peak` from all scores of words, in one pass: quicker than the sparse products, for nulls."""
    flat, itself, size = matrix.flatten(), matrix.diagonal().double(), _root_mean_square_of(matrix)

    def mean_above(places: Int[Tensor, " pair"], query: Int[Tensor, " pair"]) -> float:
        return float((flat.take(places).sum(dtype=torch.float64) - itself.take(query).sum()) / len(places))

    means = np.array([[mean_above(*pairs) for pairs in of_half] for of_half in bins.pairs])
    if np.abs(means).max() <= ROUNDING * size:
        return 0.0
    return float(cross_fitted(means).min() / size)


@dataclass(frozen=True)
class BinMoments:
    """Moments by which the mean scores of bins are linear in W_QK, so that no head needs a pass over all pairs.

    Over the pairs (i, j) of a bin Σ x_i W x_jᵀ = ⟨W, Σ x_iᵀ x_j⟩: `pairs` holds Σ x_iᵀ x_j of each half of the words
    and each chosen bin, `own` their Σ x_iᵀ x_i, and `n` the number of their pairs.
    """

    pairs: Float[Tensor, "half chosen d_model d_model"]
    own: Float[Tensor, "half chosen d_model d_model"]
    n: Float[np.ndarray, "half chosen"]


def bin_moments(words: Float[Tensor, "word d_model"], bins: CosineBins) -> BinMoments:
    """Compute the moments of the chosen bins from the words' rows of E."""
    d_model, both = words.shape[1], bins.adjacent
    # Filled in place: in a wide model these matrices are the largest that its map needs.
    pairs, own = (np.empty((2, len(both[0]), d_model, d_model), dtype=np.float32) for _ in range(2))
    n = np.empty((2, len(both[0])))
    for h, (half, adjacent) in enumerate(zip(halves(len(words)), both, strict=True)):
        E = words[half].numpy()
        for number, A in enumerate(adjacent):
            degree = A.sum(axis=1)
            np.matmul(E.T, A @ E, out=pairs[h, number])
            np.matmul((E * degree[:, None]).T, E, out=own[h, number])
            n[h, number] = degree.sum()
    return BinMoments(torch.from_numpy(pairs), torch.from_numpy(own), n)


def peaks_of_heads(moments: BinMoments, heads: HeadBatch, words: Projected) -> Float[np.ndarray, " head"]:
    """Compute the `peak` of heads without biases; it does not depend on the scale, which is left out."""
    q, k = words.queries.transpose(0, 1), words.keys.transpose(0, 1)
    n = q.shape[1]
    all_squares = ((q.mT @ q).double() * (k.mT @ k).double()).sum(dim=(1, 2))
    own_squares = (q * k).sum(dim=-1).double().square().sum(dim=1)
    mean_square = ((all_squares - own_squares) / (n * (n - 1))).clamp_min(0).numpy()
    at_once = max(1, NUMBERS_AT_ONCE // heads.W_Q.shape[1] ** 2)
    sums = torch.cat([_sums(moments, heads, slice(i, i + at_once)) for i in range(0, len(heads.W_Q), at_once)])
    means = sums.double().numpy().reshape(-1, *moments.n.shape) / moments.n
    return cross_fitted(means).min(axis=-1) / np.sqrt(np.where(mean_square > 0, mean_square, 1.0))


def _sums(moments: BinMoments, heads: HeadBatch, some: slice) -> Float[Tensor, "head moment"]:
    """Return the sums of scores over the pairs of each chosen bin, less those of words with themselves."""
    W_Q, W_K = heads.W_Q[some], heads.W_K[some]
    W_turned = (heads.turned(W_Q) @ W_K.mT).flatten(1)
    W_own = W_turned if heads.turn is None else (W_Q @ W_K.mT).flatten(1)
    return W_turned @ moments.pairs.flatten(2).flatten(0, 1).T - W_own @ moments.own.flatten(2).flatten(0, 1).T
