"""Compiled category scores of the Gaussian survey, of which an audit has tens of thousands: numba, no GIL.

`measures.gaussian_patterns` calls this and says what is computed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from headclaims.vocabulary.kernels import FAST, exponential

LOWEST = np.float32(-3.4e38)


@njit(nogil=True, cache=True)
def category_scores(
    q: Any,
    k: Any,
    q_crossed: Any,
    k_crossed: Any,
    cos: Any,
    sin: Any,
    token_at: Any,
    target: Any,
    scale: Any,
    cap: Any,
    window: int,
    floor: float,
) -> Any:
    """Return of each draw −ln of the target's share of exp(score), at least `floor`, the mean over rows.

    Vectors x [draw, token, d_head] stand at position p as x cos[p] + crossed sin[p]. The score is scale · q kᵀ, or with
    a `cap` above 0 the same capped; a row sees `window` keys up to its own.
    """
    n_prompts, length = token_at.shape
    shape = (length, q.shape[2])
    queries, keys = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    s, scores = np.empty((length, length), dtype=np.float32), np.empty(len(q))
    peaks = np.empty(length, dtype=np.float32)
    for draw in range(len(q)):
        total = 0.0
        for n in range(n_prompts):
            _turn(q[draw], q_crossed[draw], cos, sin, token_at[n], queries)
            _turn(k[draw], k_crossed[draw], cos, sin, token_at[n], keys)
            _products(queries, keys, window, scale, s, peaks)
            for i in range(length):
                start, stop = np.uintp(max(0, i + 1 - window)), np.uintp(i + 1)
                if cap > 0:
                    for j in range(start, stop):
                        s[i, j] = cap * math.tanh(s[i, j] / cap)
                    peaks[i] = cap * math.tanh(peaks[i] / cap)
                total -= math.log(max(_share(s[i], peaks[i], target[n, i], start, stop), floor))
        scores[draw] = total / (n_prompts * length)
    return scores


@njit(nogil=True, cache=True, fastmath=FAST)
def _turn(x: Any, crossed: Any, cos: Any, sin: Any, token_at: Any, out: Any) -> None:
    """Write x[t] cos[p] + crossed[t] sin[p] of the token t at each position p."""
    for p in range(np.uintp(out.shape[0])):
        t = np.uintp(token_at[p])
        for c in range(np.uintp(out.shape[1])):
            out[p, c] = x[t, c] * cos[p, c] + crossed[t, c] * sin[p, c]


@njit(nogil=True, cache=True, fastmath=FAST)
def _products(queries: Any, keys: Any, window: int, scale: Any, s: Any, peaks: Any) -> None:
    """Write scale · each query's products with the keys of its window, up to its own, and the highest of them.

    Four keys are taken together: sums that don't wait for one another.
    """
    four = np.uintp(4)
    for i in range(np.uintp(queries.shape[0])):
        j, stop = np.uintp(max(np.int64(0), np.int64(i) + 1 - window)), i + np.uintp(1)
        peak = LOWEST
        while j + four <= stop:
            second, third, fourth = j + np.uintp(1), j + np.uintp(2), j + np.uintp(3)
            a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for column in range(np.uintp(queries.shape[1])):
                x = queries[i, column]
                a += x * keys[j, column]
                b += x * keys[second, column]
                c += x * keys[third, column]
                d += x * keys[fourth, column]
            s[i, j], s[i, second], s[i, third], s[i, fourth] = a * scale, b * scale, c * scale, d * scale
            peak = max(peak, max(max(s[i, j], s[i, second]), max(s[i, third], s[i, fourth])))
            j += four
        while j < stop:
            a = np.float32(0)
            for column in range(np.uintp(queries.shape[1])):
                a += queries[i, column] * keys[j, column]
            s[i, j] = a * scale
            peak = max(peak, s[i, j])
            j += np.uintp(1)
        peaks[i] = peak


@njit(nogil=True, cache=True, fastmath=FAST)
def _share(s: Any, peak: Any, target: Any, start: Any, stop: Any) -> float:
    """Return Σ target · exp(s)/Σ exp(s) over keys from `start` up to `stop`; `peak` is the highest s."""
    mass, total = np.float32(0), np.float32(0)
    for j in range(start, stop):
        weight = exponential(s[j] - peak)
        total += weight
        mass += weight * target[j]
    return np.float64(mass / total)
