"""Adjustment of p-values for multiple testing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Benjamini and Hochberg's method; returns them in the given order.

    The i-th smallest of n becomes the least of p_j n/j over j ≥ i, at most 1. These are the numbers of
    `scipy.stats.false_discovery_control`, whose import would take a second audit a tenth of its time.
    """
    if not p_values:
        return []
    n, order = len(p_values), np.argsort(p_values)
    scaled = np.asarray(p_values, dtype=float)[order] * (n / np.arange(1, n + 1, dtype=float))
    least = np.minimum.accumulate(scaled[::-1])[::-1].clip(0, 1)
    return [float(p) for p in least[np.argsort(order)]]
