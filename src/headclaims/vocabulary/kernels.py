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

LANES = 8
"""Copies of bins that successive pairs are added to by turns; a power of 2."""
CHUNK = 128
"""Number of scores that are looked through again where one of them matters."""
LOG2_E = np.float32(1 / math.log(2))
# 2^r = 1 + r·p(r) on [−1/2, 1/2]: p of degree 4, fitted at Chebyshev nodes; the relative error is below 2e-7.
_NODES = np.cos((np.arange(64) + 0.5) * np.pi / 64) / 2
_FITTED = np.polynomial.Polynomial.fit(_NODES, (2.0**_NODES - 1) / _NODES, 4, w=np.abs(_NODES) * 2.0**-_NODES)
C1, C2, C3, C4, C5 = _FITTED.convert().coef.astype(np.float32)
ONE_IN_EXPONENT = np.float32(2**23)
"""By how much the bits of a float32, read as an integer, grow from one power of 2 to the next."""
EXPONENT_OF_ONE = np.float32(127)
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
def _counts(s: Any, start: Any, n: Any, low: Any, high: Any, entry: Any) -> Any:
    """Return the number of scores above `high`, the number not below `low`, and the number above `entry`.

    Counts are what the compiler does for many scores at once; of a highest score it makes a loop.
    """
    above, not_below, entering = np.int32(0), np.int32(0), np.int32(0)
    for step in range(n):
        j = start + np.uintp(step)
        # Numba's sum of two int32 is an int64, of which half as many fit a register.
        above = np.int32(above + np.int32(s[j] > high))
        not_below = np.int32(not_below + np.int32(s[j] >= low))
        entering = np.int32(entering + np.int32(s[j] > entry))
    return above, not_below, entering


@njit(nogil=True, cache=True, fastmath=FAST)
def exponential(x: Any) -> Any:
    """Compute exp(x) of a float32 not above 0, at least 2⁻¹²⁶; inlined into loops, of many numbers at once."""
    y = max(x * LOG2_E, SMALLEST_EXPONENT)
    whole = np.rint(y)
    r = y - whole
    power = np.float32(1) + r * (C1 + r * (C2 + r * (C3 + r * (C4 + r * C5))))
    return power * _float_of_bits(np.int32((whole + EXPONENT_OF_ONE) * ONE_IN_EXPONENT))


@njit(nogil=True, cache=True, fastmath=FAST)
def _sum_of_exponentials(s: Any, peak: Any) -> Any:
    """Compute Σ exp(s − peak) for scores not above the peak."""
    total = np.float32(0)
    for j in range(s.shape[0]):
        total += exponential(s[j] - peak)
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
def _entry(lowest: float, rounding: float) -> Any:
    """Return the float32 above which a key may enter the best: one with an equal score may too, if there is rounding.

    Without rounding a key with an equal score cannot, as it comes later.
    """
    entry = np.float32(lowest - rounding)
    return entry if rounding == 0 else np.nextafter(entry, np.float32(-np.inf))


@njit(nogil=True, cache=True)
def _gather(s: Any, start: int, stop: int, entry: Any, places: Any, n: int) -> int:
    """Append the places of scores above `entry` to the first n `places`; return how many these are then."""
    for j in range(start, stop):
        places[np.uintp(n)] = j
        n += int(s[np.uintp(j)] > entry)
    return n


@njit(nogil=True, cache=True)
def _products(q: Any, keys: Any, first_key: int, places: Any, n: int, exact: Any) -> None:
    """Compute the `product` of q with n keys, four at a time: of one alone each sum waits for the one before."""
    for start in range(0, n - n % 4, 4):
        k0, k1 = keys[first_key + places[start]], keys[first_key + places[start + 1]]
        k2, k3 = keys[first_key + places[start + 2]], keys[first_key + places[start + 3]]
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for i in range(q.shape[0]):
            of_query = np.float64(q[i])
            t0 += of_query * np.float64(k0[i])
            t1 += of_query * np.float64(k1[i])
            t2 += of_query * np.float64(k2[i])
            t3 += of_query * np.float64(k3[i])
        exact[start], exact[start + 1], exact[start + 2], exact[start + 3] = t0, t1, t2, t3
    for place in range(n - n % 4, n):
        exact[place] = product(q, keys[first_key + places[place]])


@njit(nogil=True, cache=True, fastmath=FAST)
def _raise(highest: Any, s: Any, start: Any) -> None:
    """Raise each of the highest scores to the one in its place, if that is higher, in place."""
    for place in range(highest.shape[0]):
        highest[place] = max(highest[place], s[start + np.uintp(place)])


@njit(nogil=True, cache=True)
def _reached_by(s: Any, n: int, k: int) -> Any:
    """Return a score that k of the first n scores reach at least, nearly the k-th highest; −∞ where they are few.

    It is the k-th of the highest of every CHUNK-th score, each of which is another key's.
    """
    if n < CHUNK or k > CHUNK:
        return np.float32(-np.inf)
    highest = s[:CHUNK].copy()
    for start in range(CHUNK, n - CHUNK + 1, CHUNK):
        _raise(highest, s, np.uintp(start))
    best = np.full(k, np.float32(-np.inf))
    for score in highest:
        place = k
        while place > 0 and best[place - 1] < score:
            if place < k:
                best[place] = best[place - 1]
            place -= 1
        if place < k:
            best[place] = score
    return best[k - 1]


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
    places, exact_of = np.empty(tile.shape[1], dtype=np.int64), np.empty(tile.shape[1])
    for r in range(tile.shape[0]):
        i = first_row + r
        n = tile.shape[1]
        if causal:
            n = min(n, own_key[i] - first_key + 1)
        if first_key <= own_key[i] < first_key + n:
            tile[r, own_key[i] - first_key] = np.float32(own[i])
        low, high = np.float32(own[i] - rounding[i]), np.float32(own[i] + rounding[i])
        exactly = rounding[i] == 0
        entry, row = _entry(best[i, k - 1], rounding[i]), tile[r]
        # Before there are k best, most keys would enter: a key further below what k keys reach is none of them.
        if best[i, k - 1] == -np.inf:
            least = np.nextafter(np.float32(_reached_by(row, n, k) - 2 * rounding[i]), np.float32(-np.inf))
            entry = max(entry, least)
        n_entering = 0
        for start in range(0, n, CHUNK):
            stop = min(start + CHUNK, n)
            sure, possible, entering = _counts(row, np.uintp(start), stop - start, low, high, entry)
            above[i] += sure
            if possible > sure:
                for j in range(start, stop):
                    key = first_key + j
                    if low <= row[j] <= high and key != own_key[i]:
                        exact = own[i] if exactly else product(queries[i], keys[key])
                        above[i] += int(exact > own[i] or (exact == own[i] and key < own_key[i]))
            if entering > 0:
                n_entering = _gather(row, start, stop, entry, places, n_entering)
        if n_entering > 0:
            _products(queries[i], keys, first_key, places, n_entering, exact_of)
            # A score above the peak, which is as high as the best up to rounding, is one of these.
            highest = peak[i]
            for place in range(n_entering):
                key = first_key + places[place]
                highest = max(highest, np.float64(row[places[place]]))
                exact = own[i] if key == own_key[i] else exact_of[place]
                if exact > best[i, k - 1]:
                    _insert(best[i], which[i], exact, key)
            if highest > peak[i]:
                if cap > 0:
                    total[i] *= math.exp(cap * (math.tanh(peak[i] / cap) - math.tanh(highest / cap)))
                else:
                    total[i] *= math.exp(peak[i] - highest)
                peak[i] = highest
        if n > 0:
            s = tile[r, :n]
            if cap > 0:
                total[i] += _sum_of_capped(s, peak[i], cap)
            else:
                total[i] += _sum_of_exponentials(s, np.float32(peak[i]))


@njit(nogil=True, cache=True, fastmath=FAST)
def _dot(x: Any, y: Any) -> float:
    """Compute Σ x_i y_i in float64, summed in any order: ten times as fast as `product`, and as good but for ties."""
    total = 0.0
    for i in range(x.shape[0]):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@njit(nogil=True, cache=True, fastmath=FAST)
def _place(
    cosines: Any, scores: Any, own: float, itself: Any, per_unit: Any, margin: Any, number: Any, both: Any
) -> None:
    """Find each pair's bin (`number`, −1 where it is in doubt) and what it adds (`both`).

    The pairs are of one query with successive keys, whose scores with themselves are `own` and `itself`.
    """
    for c in range(cosines.shape[0]):
        place = (cosines[c] + np.float32(1)) * per_unit
        whole = np.int32(place)
        beyond = place - np.float32(whole)
        number[c] = whole if margin <= beyond <= np.float32(1) - margin else np.int32(-1)
        both[c] = (scores[c] - own) - itself[c]


@njit(nogil=True, cache=True)
def fold_bins(
    cosines: Any,
    scores: Any,
    first_row: int,
    first_column: int,
    rows: Any,
    norms: Any,
    itself: Any,
    per_unit: float,
    margin: float,
    added: Any,
) -> None:
    """Add both scores of each pair i < j of a tile to the bin of its cosine, in place.

    `scores[i, j]` is the sum of both, from each of which the query's score with itself is subtracted. A cosine within
    `margin` of the edge of a bin, in widths of one, is computed again in float64. `added` [LANES, bin, 2] holds sums
    and numbers of pairs, in one place as they are added together, to be added up over lanes: most successive pairs
    fall into the same few bins, and are added in different lanes so that none waits for the one before.
    """
    last = added.shape[1] - 1
    number, both = np.empty(cosines.shape[1], dtype=np.int32), np.empty(cosines.shape[1])
    for r in range(cosines.shape[0]):
        i = first_row + r
        start = max(0, i + 1 - first_column)
        n = cosines.shape[1] - start
        if n <= 0:
            continue
        _place(
            cosines[r, start:],
            scores[r, start:],
            itself[i],
            itself[first_column + start : first_column + start + n],
            np.float32(per_unit),
            np.float32(margin),
            number,
            both,
        )
        for c in range(n):
            place = int(number[c])
            if place < 0:
                j = first_column + start + c
                exact = _dot(rows[i], rows[j]) / norms[i] / norms[j]
                # Equal vectors have cosine 1 up to rounding.
                place = last if exact > 1 - 1e-9 else int((min(max(exact, -1.0), 1.0) + 1) * per_unit + 1e-9)
            lane, bin_ = np.uintp(c & (LANES - 1)), np.uintp(place)
            added[lane, bin_, 0] += both[c]
            added[lane, bin_, 1] += 2.0
