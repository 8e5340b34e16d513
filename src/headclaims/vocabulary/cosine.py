"""Scores as a function of the cosine similarity of the tokens' vectors: bins of cosine, and the mean score in each.

Axes: `token` tokens, `bin` 0.02-wide bins of cosine from −1 to 1, `high` the bins among which a peak is sought.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.threads import each_in_one_thread
from headclaims.vocabulary import on_device, where
from headclaims.vocabulary.on_device import DeviceBins
from headclaims.vocabulary.pairs import Pairs
from headclaims.vocabulary.tiles import TILE
from headclaims.vocabulary.token_scores import ROUNDING, TokenScores

BIN_WIDTH = 0.02
N_BINS = round(2 / BIN_WIDTH) + 1
"""Bins start at −1 and contain their lower edge; the last contains cosine 1 alone."""
PAIRS_IN_A_BIN = 50
HIGH_QUANTILE = 0.9
ROWS_AT_ONCE, ROWS_AT_ONCE_ON_DEVICE = 512, 2**14


def lower_edge(number: Int[np.ndarray, " bin"]) -> Float[np.ndarray, " bin"]:
    """Return the lower edges of bins, as cosines."""
    return np.round(number * BIN_WIDTH - 1, 9)


def middle(number: int) -> float:
    """Return the middle of a bin, as a cosine."""
    return float(lower_edge(np.array([number]))[0] + BIN_WIDTH / 2)


@dataclass(frozen=True)
class SimilarityCurve:
    """Scores by cosine over all pairs of distinct tokens: for each bin Σ s(i, j) − s(i, i) and the number of pairs."""

    sums: Float[np.ndarray, " bin"]
    pairs: Int[np.ndarray, " bin"]
    mean_square: float

    @property
    def mean(self) -> Float[np.ndarray, " bin"]:
        """Mean of s(i, j) − s(i, i) in each bin; NaN in bins without pairs."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.sums / self.pairs)

    @property
    def typical(self) -> int:
        """The bin that holds the median cosine."""
        return int(np.searchsorted(np.cumsum(self.pairs), self.pairs.sum() / 2))

    @property
    def high(self) -> Int[np.ndarray, " high"]:
        """Bins of at least fifty unordered pairs, above the one with the 90th percentile of cosines and below 1."""
        share = np.cumsum(self.pairs) / max(1, self.pairs.sum())
        edge = int(np.searchsorted(share, HIGH_QUANTILE)) + 1
        held = (np.arange(N_BINS) >= edge) & (self.pairs >= 2 * PAIRS_IN_A_BIN)
        return np.flatnonzero(held[: N_BINS - 1])

    @property
    def has_peak(self) -> bool:
        """Whether there is a high bin, without which `height` and `peak_at` are undefined."""
        return bool(len(self.high))

    @property
    def height(self) -> float:
        """How far the highest high bin's mean is above 0 and above the typical bin's, the smaller of both.

        In units of the scores' root mean square; 0 where all scores are 0. Requires `has_peak`.
        """
        highest, typical = self.mean[self.high].max(), self.mean[self.typical]
        return float(min(highest, highest - typical) / self.mean_square**0.5) if self.mean_square > 0 else 0.0

    @property
    def peak_at(self) -> float:
        """Cosine at the middle of the high bin with the highest mean; requires `has_peak`."""
        return middle(int(self.high[np.argmax(self.mean[self.high])]))


def similarity_curve(
    scores: TokenScores, vectors: Float[Tensor, "token d_model"], tile: int | None = None
) -> SimilarityCurve:
    """Add up the scores of all pairs of tokens by the cosine of their vectors, tile by tile, in 0.02-wide bins.

    Queries and keys of `scores` are those of the rows of `vectors`. As cosines are symmetric, half the tiles suffice.
    Bins are exactly those of float64 cosines (0 for a zero vector); sums are of float32 scores, in float64. Memory is
    one more copy of the vectors, and a few tiles a thread. It runs where `sweep` does, but on the processor where an
    accelerator has no float64.

    Raises ValueError where queries, keys and vectors are not of the same tokens, or are not finite.
    """
    n = len(vectors)
    if not len(scores.queries) == len(scores.keys) == n:
        raise ValueError(f"{len(scores.queries)} queries, {len(scores.keys)} keys, {n} vectors; wanted the same tokens")
    if not bool(vectors.isfinite().all()):
        raise ValueError("vectors hold a number that is not finite; wanted finite ones")
    place = where.with_float64(scores.queries.device)
    scores, vectors = scores.to(place.device), vectors.to(place.device)
    scores.rounding()  # raises ValueError where float32 cannot hold the scores
    if place.compiled:
        return _compiled(scores, vectors, tile or TILE[0])
    return _on_device(scores, vectors, tile or on_device.SIDE)


def _unit(vectors: Float[Tensor, "token d_model"]) -> tuple[Float[Tensor, "token d_model"], Float[Tensor, " token"]]:
    """Return the vectors' directions in float32, rounded from float64, and their lengths in float64."""
    norms = torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64).clamp_min(1e-300)
    unit = torch.empty(vectors.shape, dtype=torch.float32, device=vectors.device)
    at_once = ROWS_AT_ONCE if vectors.device.type == "cpu" else ROWS_AT_ONCE_ON_DEVICE
    for rows in torch.arange(len(vectors)).split(at_once):
        unit[rows] = (vectors[rows].double() / norms[rows, None]).float()
    return unit, norms


def _margin(d_model: int) -> float:
    """Return by how many bins the place of a cosine in float32 is off at most.

    The place, a number of up to 2/`BIN_WIDTH`, is computed from the cosine in float32, too, in two steps.
    """
    return ((d_model + 5) * ROUNDING * 1.01 + 4 * torch.finfo(torch.float32).eps) / BIN_WIDTH


def _compiled(scores: TokenScores, vectors: Float[Tensor, "token d_model"], tile: int) -> SimilarityCurve:
    """Compute the curve on the processor: torch computes each tile, and a compiled kernel folds it."""
    from headclaims.vocabulary import kernels

    n = len(vectors)
    unit, norms = _unit(vectors)
    pairs_of, itself = Pairs.of(scores), scores.itself.numpy()

    def strip(first_row: int) -> tuple[Float[np.ndarray, "bin 2"], float]:
        added, squares = np.zeros((kernels.LANES, N_BINS, 2)), 0.0
        row = slice(first_row, min(first_row + tile, n))
        height = row.stop - first_row
        # Fresh memory for each tile would cost as much as folding it.
        buffers = torch.empty(2, height * tile)
        for first_column in range(first_row, n, tile):
            column = slice(first_column, min(first_column + tile, n))
            width = column.stop - first_column
            cosines, sums = (buffer[: height * width].view(height, width) for buffer in buffers)
            both, of_both = pairs_of.scores(row, column, sums)
            squares += float(of_both)
            kernels.fold_bins(
                torch.mm(unit[row], unit[column].T, out=cosines).numpy(),
                both.numpy(),
                first_row,
                first_column,
                vectors.numpy(),
                norms.numpy(),
                itself,
                1 / BIN_WIDTH,
                _margin(vectors.shape[1]),
                added,
            )
        return added.sum(axis=0), squares

    parts = each_in_one_thread(strip, range(0, n, tile), "similarity")
    sums, pairs = sum((added for added, _ in parts), np.zeros((N_BINS, 2))).T
    squares = pairs_of.squares + sum(of_strip for _, of_strip in parts)
    return SimilarityCurve(sums, pairs.astype(np.int64), squares / max(1, n * (n - 1)))


def _on_device(scores: TokenScores, vectors: Float[Tensor, "token d_model"], tile: int) -> SimilarityCurve:
    """Compute the curve on the vectors' device, whichever that is: by fused kernels, or by torch operators."""
    n, (unit, norms) = len(vectors), _unit(vectors)
    fused = where.fused_kernels(vectors.device)
    kind = fused.FusedBins if fused else DeviceBins
    folds = kind(scores, vectors, unit, norms, BIN_WIDTH, N_BINS, _margin(vectors.shape[1]))
    with where.current(vectors.device):
        sums, pairs, squares = folds.run(tile)
    return SimilarityCurve(sums.numpy(), pairs.numpy(), squares / max(1, n * (n - 1)))
