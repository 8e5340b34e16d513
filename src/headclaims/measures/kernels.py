"""Compiled category scores of the Gaussian survey, of which an audit has tens of thousands: numba, no GIL.

`measures.gaussian_patterns` calls this and says what is computed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from headclaims.vocabulary.kernels import FAST, exponential


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
    for draw in range(len(q)):
        total = 0.0
        for n in range(n_prompts):
            _turn(q[draw], q_crossed[draw], cos, sin, token_at[n], queries)
            _turn(k[draw], k_crossed[draw], cos, sin, token_at[n], keys)
            _products(queries, keys, window, scale, s)
            for i in range(length):
                start, stop = np.uintp(max(0, i + 1 - window)), np.uintp(i + 1)
                if cap > 0:
                    for j in range(start, stop):
                        s[i, j] = cap * math.tanh(s[i, j] / cap)
                total -= math.log(max(_share(s[i], target[n, i], start, stop), floor))
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
def _products(queries: Any, keys: Any, window: int, scale: Any, s: Any) -> None:
    """Write scale · each query's products with the keys of its window, up to its own."""
    for i in range(np.uintp(queries.shape[0])):
        for j in range(np.uintp(max(np.int64(0), np.int64(i) + 1 - window)), i + np.uintp(1)):
            total = np.float32(0)
            for c in range(np.uintp(queries.shape[1])):
                total += queries[i, c] * keys[j, c]
            s[i, j] = total * scale


@njit(nogil=True, cache=True, fastmath=FAST)
def _share(s: Any, target: Any, start: Any, stop: Any) -> float:
    """Return Σ target · exp(s)/Σ exp(s) over keys from `start` up to `stop`."""
    peak = s[start]
    for j in range(start, stop):
        peak = max(peak, s[j])
    mass, total = np.float32(0), np.float32(0)
    for j in range(start, stop):
        weight = exponential(s[j] - peak)
        total += weight
        mass += weight * target[j]
    return np.float64(mass / total)
