"""Scores of common words against the cosine similarity of their effective embeddings.

Axes: `word` the common words (queries, and keys among themselves), `varied` those with case or space variants, `bin`
0.02-wide bins of cosine from −1 to 1, `head` heads on the same E. Scores as in `vocabulary_scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy import sparse
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit, Rotation
from headclaims.errors import NotAssessable
from headclaims.statistics.resampling import OverTokens
from headclaims.threads import each_in_one_thread
from headclaims.vocabulary import kernels
from headclaims.vocabulary.scores import ROUNDING, TokenScores
from headclaims.vocabulary.tiles import TILE

NEAREST, RANDOM = 10, 100
BIN_WIDTH = 0.02
N_BINS = round(2 / BIN_WIDTH) + 1
"""From −1 up, each holding its lower edge; the last holds cosine 1 alone."""
PAIRS_IN_A_BIN = 50
HIGH_QUANTILE = 0.9
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class WordSpace:
    """Common words in one layer's E, and for each the mean vectors of the words it is compared with.

    `similar` is the mean of its ten nearest by cosine, `dissimilar` of a hundred drawn at random from the rest,
    `variants` of its case and space variants, for the words `varied`. As scores are linear in the key, the score with a
    mean is the mean score.
    """

    words: Float[Tensor, "word d_model"]
    similar: Float[Tensor, "word d_model"]
    dissimilar: Float[Tensor, "word d_model"]
    varied: Int[Tensor, " varied"]
    variants: Float[Tensor, "varied d_model"]


def word_space(
    words: Float[Tensor, "word d_model"], variants: Sequence[Float[Tensor, "_ d_model"]], seed: int
) -> WordSpace:
    """The space of common words; `variants[i]` are the rows of E of word i's variants, none for most."""
    nearest, random = neighbours(words, seed)
    varied = torch.tensor([i for i, rows in enumerate(variants) if len(rows)], dtype=torch.int64)
    means = [rows.mean(dim=0) for rows in variants if len(rows)]
    return WordSpace(
        words,
        _means(words, nearest),
        _means(words, random),
        varied,
        torch.stack(means) if means else words[:0],
    )


def _means(rows: Float[Tensor, "word d_model"], sets: Int[Tensor, "word member"]) -> Float[Tensor, "word d_model"]:
    """The mean row of each set."""
    n, size = sets.shape
    pointers = np.arange(0, n * size + 1, size)
    average = sparse.csr_array(
        (np.full(n * size, 1 / size, np.float32), sets.numpy().ravel(), pointers), (n, len(rows))
    )
    return torch.from_numpy(average @ rows.numpy())


def neighbours(
    words: Float[Tensor, "word d_model"], seed: int
) -> tuple[Int[Tensor, "word 10"], Int[Tensor, "word random"]]:
    """For each word the ten others of highest cosine, and a hundred (or all, if fewer) drawn from the remaining ones.

    Raises ValueError for fewer than twelve words.
    """
    n = len(words)
    if n < NEAREST + 2:
        raise ValueError(f"{n} words; wanted {NEAREST + 2} or more")
    unit = torch.nn.functional.normalize(words, dim=1)
    generator = np.random.default_rng([seed, 3])
    nearest, random = [], []
    for rows in torch.arange(n).split(ROWS_AT_ONCE):
        cosine = unit[rows] @ unit.T
        cosine[torch.arange(len(rows)), rows] = -torch.inf
        nearest.append(cosine.topk(NEAREST, dim=1).indices)
        # A word's draw: the hundred smallest of uniform numbers, itself and its nearest put last.
        lot = torch.from_numpy(generator.random((len(rows), n)))
        lot[torch.arange(len(rows)), rows] = 2.0
        lot.scatter_(1, nearest[-1], 2.0)
        random.append(lot.topk(min(RANDOM, n - NEAREST - 1), dim=1, largest=False).indices)
    return torch.cat(nearest), torch.cat(random)


@dataclass(frozen=True)
class Margins:
    """By how much a mean score exceeds another, for each word and head: positive where the claim holds of it."""

    similar_above_self: Float[Tensor, "head word"]
    similar_above_dissimilar: Float[Tensor, "head word"]
    similar_above_variants: Float[Tensor, "head varied"]


def project(
    rows: Float[Tensor, "token d_model"], W: Float[Tensor, "head d_model d_head"], b: Float[Tensor, "head d_head"]
) -> Float[Tensor, "token head d_head"]:
    """X W + b for several heads, in one product."""
    n_heads, d_model, d_head = W.shape
    return (rows @ W.transpose(0, 1).reshape(d_model, -1)).view(-1, n_heads, d_head).add_(b)


@dataclass(frozen=True)
class HeadBatch:
    """Weights of several heads that read the same E; `turn` is `vocabulary_scores.mean_rotation`."""

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "head d_model d_head"]
    b_Q: Float[Tensor, "head d_head"]
    b_K: Float[Tensor, "head d_head"]
    turn: Rotation | None

    def turned(self, queries: Float[Tensor, "token head d_head"]) -> Float[Tensor, "token head d_head"]:
        """Queries as they meet other tokens: at the mean of offsets."""
        return queries if self.turn is None else queries @ self.turn.to(queries)


@dataclass(frozen=True)
class Projected:
    """Common words as several heads' queries, at offset 0 and as they meet other words, and as their keys."""

    own: Float[Tensor, "word head d_head"]
    queries: Float[Tensor, "word head d_head"]
    keys: Float[Tensor, "word head d_head"]

    @classmethod
    def of(cls, space: WordSpace, heads: HeadBatch) -> Projected:
        """The words of a space under some heads."""
        own = project(space.words, heads.W_Q, heads.b_Q)
        return cls(own, heads.turned(own), project(space.words, heads.W_K, heads.b_K))


def margins(space: WordSpace, heads: HeadBatch, words: Projected) -> Margins:
    """Differences of mean scores, before the scale, which does not move their sign."""

    def mean_score(queries: Tensor, keys: Tensor) -> Tensor:
        return project(keys, heads.W_K, heads.b_K).mul_(queries).sum(dim=-1).T

    similar = mean_score(words.queries, space.similar)
    return Margins(
        similar - (words.own * words.keys).sum(dim=-1).T,
        similar - mean_score(words.queries, space.dissimilar),
        similar[:, space.varied] - mean_score(words.queries[space.varied], space.variants),
    )


def head_margins(space: WordSpace, circuit: QKCircuit, turn: Rotation | None) -> dict[str, Float[Tensor, " word"]]:
    """`margins` of one head, by name."""
    one = HeadBatch(circuit.W_Q[None], circuit.W_K[None], circuit.b_Q[None], circuit.b_K[None], turn)
    return {name: margin[0] for name, margin in vars(margins(space, one, Projected.of(space, one))).items()}


def share_above(margin: Float[Tensor, " word"]) -> OverTokens:
    """The share of words whose margin is above 0."""
    above = (margin > 0).double().numpy()
    return OverTokens(len(above), lambda weights: weights @ above / weights.sum(axis=1))


@dataclass(frozen=True)
class CosineBins:
    """Pairs of distinct words by the cosine of their vectors: `of_pair` is the bin, `N_BINS` on the diagonal.

    `high` are the bins that the peak is looked for in: at least 50 pairs, wholly above the 90th percentile of cosines.
    """

    of_pair: UInt8[np.ndarray, "word word"]
    high: Int[np.ndarray, " high"]


def cosine_bins(words: Float[Tensor, "word d_model"]) -> CosineBins:
    """Bins of all pairs; raises NotAssessable where none from the 90th percentile to below 1 holds 50 pairs."""
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


def lower_edge(number: Int[np.ndarray, " bin"]) -> Float[np.ndarray, " bin"]:
    """Where a bin begins."""
    return np.round(number * BIN_WIDTH - 1, 9)


@dataclass(frozen=True)
class ScoreBySimilarity:
    """Of each query and bin the sum of s(i, j) − s(i, i) over pairs and their number; and its mean square score."""

    sums: Float[np.ndarray, "word bin"]
    pairs: Float[np.ndarray, "word bin"]
    mean_square: Float[np.ndarray, " word"]
    high: Int[np.ndarray, " high"]

    @property
    def curve(self) -> Float[np.ndarray, " bin"]:
        """The mean of s(i, j) − s(i, i) by bin; NaN in bins without pairs."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.sums.sum(axis=0) / self.pairs.sum(axis=0))

    @property
    def peak_at(self) -> float:
        """The middle of the high bin with the highest mean."""
        return _middle(int(self.high[np.argmax(self.curve[self.high])]))


def _middle(number: int) -> float:
    return float(lower_edge(np.array([number]))[0] + BIN_WIDTH / 2)


def score_by_similarity(scores: TokenScores, bins: CosineBins, by_column: bool = False) -> ScoreBySimilarity:
    """Scores among common words by bin, row tile by row tile; `by_column` takes off s(j, j) in place of s(i, i)."""
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


def peak_height(
    sums: Float[np.ndarray, "*batch high"],
    pairs: Float[np.ndarray, "*batch high"],
    mean_square: Float[np.ndarray, "*batch"],
    high: Int[np.ndarray, " high"],
) -> Float[np.ndarray, "*batch"]:
    """The highest mean of s(i, j) − s(i, i) over high bins, in root mean squares of the scores.

    Where that is in the bin of cosine 1 there is no peak below 1: the statistic is then how far the rest stays below.
    NaN where no bin below 1 has a pair.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(pairs > 0, sums / pairs, -np.inf)
        below = np.where(high == N_BINS - 1, -np.inf, means).max(axis=-1)
        at_one = np.where(high == N_BINS - 1, means, -np.inf).max(axis=-1)
        height = np.where(at_one > below, below - at_one, below)
        height = np.where(np.isfinite(height), height, np.nan)
        return np.asarray(np.where(mean_square > 0, height / np.sqrt(mean_square), 0.0))


def peak(of: ScoreBySimilarity) -> OverTokens:
    """`peak_height` of a head, resampled over queries: bins stay, their means and the highest are taken anew."""
    sums, pairs = of.sums[:, of.high], of.pairs[:, of.high]

    def of_weights(weights: Float[np.ndarray, "resample token"]) -> Float[np.ndarray, " resample"]:
        return peak_height(weights @ sums, weights @ pairs, weights @ of.mean_square / weights.sum(axis=1), of.high)

    return OverTokens(len(sums), of_weights)


@dataclass(frozen=True)
class BinMoments:
    """What makes the means of high bins linear in W_QK, so that a thousand heads cost no pass over pairs each.

    Σ over a bin's pairs of x_i W y_jᵀ = ⟨W, Σ x_iᵀ y_j⟩: `pairs` holds that sum for each bin, `own` the same with x_i
    in place of y_j, `n` the number of pairs.
    """

    pairs: Float[Tensor, "high d_model d_model"]
    own: Float[Tensor, "high d_model d_model"]
    n: Float[np.ndarray, " high"]
    high: Int[np.ndarray, " high"]


def bin_moments(words: Float[Tensor, "word d_model"], bins: CosineBins) -> BinMoments:
    """Moments of the high bins of a space of words."""
    E = words.numpy()
    pairs, own, n = [], [], []
    for number in bins.high:
        adjacent = sparse.csr_array((bins.of_pair == number).astype(np.float32))
        degree = adjacent.sum(axis=1)
        pairs.append(E.T @ (adjacent @ E))
        own.append((E * degree[:, None]).T @ E)
        n.append(float(degree.sum()))
    stacked = [torch.from_numpy(np.stack(some)) for some in (pairs, own)]
    return BinMoments(stacked[0], stacked[1], np.array(n), bins.high)


def peaks_of_heads(moments: BinMoments, heads: HeadBatch, words: Projected) -> Float[np.ndarray, " head"]:
    """`peak_height` of heads without biases, before the scale, which it does not depend on."""
    q, k = words.queries.transpose(0, 1), words.keys.transpose(0, 1)
    n = q.shape[1]
    every = ((q.mT @ q).double() * (k.mT @ k).double()).sum(dim=(1, 2))
    itself = (q * k).sum(dim=-1).double().square().sum(dim=1)
    mean_square = ((every - itself) / (n * (n - 1))).numpy()
    W_turned = (heads.turned(heads.W_Q) @ heads.W_K.mT).flatten(1)
    W_own = W_turned if heads.turn is None else (heads.W_Q @ heads.W_K.mT).flatten(1)
    sums = W_turned @ moments.pairs.flatten(1).T - W_own @ moments.own.flatten(1).T
    return peak_height(sums.double().numpy(), np.broadcast_to(moments.n, sums.shape), mean_square, moments.high)


@dataclass(frozen=True)
class SimilarityCurve:
    """Scores against cosine over all pairs of distinct tokens: by bin Σ s(i, j) − s(i, i) and the number of pairs."""

    sums: Float[np.ndarray, " bin"]
    pairs: Int[np.ndarray, " bin"]
    mean_square: float

    @property
    def mean(self) -> Float[np.ndarray, " bin"]:
        """The mean of s(i, j) − s(i, i) by bin; NaN in bins without pairs."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.sums / self.pairs)

    @property
    def high(self) -> Int[np.ndarray, " high"]:
        """Bins of fifty pairs that lie wholly above the 90th percentile of cosines, to within its bin."""
        share = np.cumsum(self.pairs) / max(1, self.pairs.sum())
        edge = int(np.searchsorted(share, HIGH_QUANTILE)) + 1
        return np.flatnonzero((np.arange(len(self.pairs)) >= edge) & (self.pairs >= 2 * PAIRS_IN_A_BIN))

    @property
    def has_peak(self) -> bool:
        """Whether a high bin below 1 has fifty pairs: without one there is neither height nor place."""
        return bool((self.high < N_BINS - 1).any())

    @property
    def height(self) -> float:
        """`peak_height`, where `has_peak`."""
        high = self.high
        return float(peak_height(self.sums[high], self.pairs[high].astype(float), np.array(self.mean_square), high))

    @property
    def peak_at(self) -> float:
        """The middle of the high bin with the highest mean, where `has_peak`."""
        return _middle(int(self.high[np.argmax(self.mean[self.high])]))


def similarity_curve(
    scores: TokenScores, vectors: Float[Tensor, "token d_model"], tile: int = TILE[0]
) -> SimilarityCurve:
    """Every pair of tokens by the cosine of their vectors, tile by tile: 0.02-wide bins, as `cosine_bins` has them.

    Queries and keys of `scores` are the rows of `vectors`. A cosine is symmetric, so that half the tiles of cosines do.
    Bins are those of float64 cosines, exactly, 0 with a vector of nothing; sums are of float32 scores, in float64.
    Memory is that of the vectors once more, and a few tiles a thread.

    Raises ValueError where queries, keys and vectors are not of the same tokens, or are not finite.
    """
    n = len(vectors)
    if not len(scores.queries) == len(scores.keys) == n:
        raise ValueError(f"{len(scores.queries)} queries, {len(scores.keys)} keys, {n} vectors; wanted the same tokens")
    if not bool(vectors.isfinite().all()):
        raise ValueError("vectors hold a number that is not finite; wanted finite ones")
    scores.rounding()  # refuses what float32 doesn't hold
    norms = torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64).clamp_min(1e-300)
    unit = torch.empty(vectors.shape, dtype=torch.float32)
    for rows in torch.arange(n).split(ROWS_AT_ONCE):
        unit[rows] = (vectors[rows].double() / norms[rows, None]).float()
    itself, queries, keys = scores.itself.numpy(), scores.queries.float(), scores.keys.float()
    rounding = (vectors.shape[1] + 5) * ROUNDING * 1.01

    def strip(first_row: int) -> tuple[Float[np.ndarray, " bin"], Int[np.ndarray, " bin"], float]:
        sums, pairs, squares = np.zeros(N_BINS), np.zeros(N_BINS, dtype=np.int64), 0.0
        row = slice(first_row, first_row + tile)
        for first_column in range(first_row, n, tile):
            column = slice(first_column, first_column + tile)
            cosines = unit[row] @ unit[column].T
            forward, backward = queries[row] @ keys[column].T, keys[row] @ queries[column].T
            squares += kernels.fold_bins(
                cosines.numpy(),
                forward.numpy(),
                backward.numpy(),
                first_row,
                first_column,
                vectors.numpy(),
                norms.numpy(),
                itself,
                1 / BIN_WIDTH,
                rounding,
                sums,
                pairs,
            )
        return sums, pairs, squares

    parts = each_in_one_thread(strip, range(0, n, tile), "similarity")
    sums, pairs = sum((p[0] for p in parts), np.zeros(N_BINS)), sum((p[1] for p in parts), np.zeros(N_BINS, np.int64))
    return SimilarityCurve(sums, pairs, sum(part[2] for part in parts) / max(1, n * (n - 1)))
