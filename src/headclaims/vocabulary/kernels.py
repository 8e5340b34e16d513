"""Compiled folds of one tile of float32 scores into the running results of each row: numba, one thread a call, no GIL.

Rounding of float32 never decides which key is higher: scores closer than its bound are compared by their products in
float64, summed in the order of the factors. So ranks are those of a dense float64 computation, whatever the tile.
`vocabulary.scores` and `vocabulary.cosine` call these functions and say what is computed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import config, njit, types
from numba.extending import intrinsic

from headclaims.cache import cache_folder

# Compiled code is kept with all else that is, rather than beside this file.
config.CACHE_DIR = config.CACHE_DIR or str(cache_folder() / "kernels")

CHUNK = 128
"""Number of scores processed together: they fit the first-level cache, and their counts are exact in float32."""
LOG2_E = np.float32(1 / math.log(2))
# 2^r on [0, 1): a polynomial of degree 6, fitted at Chebyshev nodes, with an error below 2e-8.
_NODES = np.cos((np.arange(64) + 0.5) * np.pi / 64) / 2 + 0.5
C0, C1, C2, C3, C4, C5, C6 = np.polynomial.Polynomial.fit(_NODES, 2.0**_NODES, 6).convert().coef.astype(np.float32)
SMALLEST_EXPONENT = np.float32(-126)
# The compiler may reorder sums and fuse a product with a sum; all numbers are finite.
FAST = {"nnan", "ninf", "nsz", "contract", "reassoc"}


@intrinsic
def _float_of_bits(typing: Any, bits: Any) -> Any:  # noqa: ARG001
    """Reinterpret the bits of an int32 as a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@njit(nogil=True, cache=True)
def product(q: Any, k: Any) -> float:
    """Compute Σ q_i k_i in float64, summed in the order of i."""
    total = 0.0
    for i in range(q.shape[0]):
        total += np.float64(q[i]) * np.float64(k[i])
    return total


@njit(nogil=True, cache=True)
def own_products(queries: Any, keys: Any, own_key: Any) -> Any:
    """Compute each query's product with its own key, in float64."""
    own = np.empty(queries.shape[0])
    for i in range(queries.shape[0]):
        own[i] = product(queries[i], keys[own_key[i]])
    return own


@njit(nogil=True, cache=True, fastmath=FAST)
def _counts(s: Any, low: Any, high: Any) -> Any:
    """Return the highest score, the number of scores above `high`, and the number not below `low`."""
    highest, above, not_below = s[0], np.float32(0), np.float32(0)
    for j in range(s.shape[0]):
        highest = max(highest, s[j])
        above += np.float32(1) if s[j] > high else np.float32(0)
        not_below += np.float32(1) if s[j] >= low else np.float32(0)
    return highest, above, not_below


@njit(nogil=True, cache=True, fastmath=FAST)
def _sum_of_exponentials(s: Any, peak: Any) -> Any:
    """Compute Σ exp(s − peak) for scores not above the peak; terms under 2⁻¹²⁶ count as 2⁻¹²⁶."""
    total = np.float32(0)
    for j in range(s.shape[0]):
        y = max((s[j] - peak) * LOG2_E, SMALLEST_EXPONENT)
        whole = np.floor(y)
        r = y - whole
        power = C0 + r * (C1 + r * (C2 + r * (C3 + r * (C4 + r * (C5 + r * C6)))))
        total += power * _float_of_bits(np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)))
    return total


@njit(nogil=True, cache=True)
def _sum_of_capped(s: Any, peak: float, cap: float) -> float:
    """Compute Σ exp(cap·tanh(s/cap) − cap·tanh(peak/cap)), in float64."""
    total, highest = 0.0, cap * math.tanh(peak / cap)
    for j in range(s.shape[0]):
        total += math.exp(cap * math.tanh(np.float64(s[j]) / cap) - highest)
    return total


@njit(nogil=True, cache=True)
def _insert(scores: Any, keys: Any, score: float, key: int) -> None:
    """Insert a key into a row's sorted best, in place; keys arrive in ascending order, so ties go to the smaller."""
    place = scores.shape[0] - 1
    while place > 0 and scores[place - 1] < score:
        scores[place], keys[place] = scores[place - 1], keys[place - 1]
        place -= 1
    scores[place], keys[place] = score, key


@njit(nogil=True, cache=True)
def fold(
    tile: Any,
    first_row: int,
    first_key: int,
    queries: Any,
    keys: Any,
    own_key: Any,
    own: Any,
    rounding: Any,
    causal: bool,
    cap: float,
    best: Any,
    which: Any,
    above: Any,
    peak: Any,
    total: Any,
) -> None:
    """Fold a tile [row, key] of products into the running results of rows `first_row`…, in place.

    In row i, that of query i, `own[i]` replaces the product with key `own_key[i]`; a product in float32 is off by at
    most `rounding[i]`; with `causal`, keys after the own one are left out. The results are the `best` scores with their
    keys (`which`), the number of keys `above` the own one, and the highest score (`peak`) with `total`, which is
    Σ exp(score − peak), or with a `cap` above 0 the same of both capped.
    """
    k = best.shape[1]
    for r in range(tile.shape[0]):
        i = first_row + r
        n = tile.shape[1]
        if causal:
            n = min(n, own_key[i] - first_key + 1)
        if first_key <= own_key[i] < first_key + n:
            tile[r, own_key[i] - first_key] = np.float32(own[i])
        low, high = np.float32(own[i] - rounding[i]), np.float32(own[i] + rounding[i])
        # Without rounding, a key with an equal score cannot enter the best, as it comes later.
        exactly = rounding[i] == 0
        entry_score = np.float32(best[i, k - 1] - rounding[i])
        for start in range(0, n, CHUNK):
            s = tile[r, start : min(start + CHUNK, n)]
            highest, sure, possible = _counts(s, low, high)
            above[i] += int(sure)
            if possible > sure:
                for j in range(s.shape[0]):
                    key = first_key + start + j
                    if low <= s[j] <= high and key != own_key[i]:
                        exact = own[i] if exactly else product(queries[i], keys[key])
                        above[i] += int(exact > own[i] or (exact == own[i] and key < own_key[i]))
            if highest > entry_score or (highest == entry_score and not exactly):
                for j in range(s.shape[0]):
                    if s[j] > entry_score or (s[j] == entry_score and not exactly):
                        key = first_key + start + j
                        exact = own[i] if key == own_key[i] else product(queries[i], keys[key])
                        if exact > best[i, k - 1]:
                            _insert(best[i], which[i], exact, key)
                            entry_score = np.float32(best[i, k - 1] - rounding[i])
            if highest > peak[i]:
                if cap > 0:
                    total[i] *= math.exp(cap * (math.tanh(peak[i] / cap) - math.tanh(highest / cap)))
                else:
                    total[i] *= math.exp(peak[i] - highest)
                peak[i] = highest
            if cap > 0:
                total[i] += _sum_of_capped(s, peak[i], cap)
            else:
                total[i] += _sum_of_exponentials(s, np.float32(peak[i]))


@njit(nogil=True, cache=True)
def fold_bins(
    cosines: Any,
    forward: Any,
    backward: Any,
    first_row: int,
    first_column: int,
    rows: Any,
    norms: Any,
    itself: Any,
    per_unit: float,
    rounding: float,
    sums: Any,
    pairs: Any,
) -> float:
    """Add both scores of each pair i < j of a tile to the bin of its cosine, in place; returns Σ s² over them.

    `forward[i, j]` is the score of query i with key j, `backward[i, j]` that of query j with key i; from each, the
    query's score with itself is subtracted. A cosine in float32 is off by at most `rounding`: that close to the edge of
    a bin it is computed again in float64.
    """
    squares = 0.0
    last = sums.shape[0] - 1
    for r in range(cosines.shape[0]):
        i = first_row + r
        for c in range(max(0, i + 1 - first_column), cosines.shape[1]):
            j = first_column + c
            place = (np.float64(cosines[r, c]) + 1) * per_unit
            number = int(place)
            if place - number < rounding * per_unit or number + 1 - place < rounding * per_unit:
                exact = product(rows[i], rows[j]) / norms[i] / norms[j]
                # Equal vectors have cosine 1 up to rounding.
                place = (min(max(exact, -1.0), 1.0) + 1) * per_unit + 1e-9
                number = last if exact > 1 - 1e-9 else int(place)
            sums[number] += (forward[r, c] - itself[i]) + (backward[r, c] - itself[j])
            pairs[number] += 2
            squares += np.float64(forward[r, c]) ** 2 + np.float64(backward[r, c]) ** 2
    return squares
