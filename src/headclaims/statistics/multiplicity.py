"""Adjustment of p-values for multiple testing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Benjamini and Hochberg's method; returns them in the given order."""
    if not p_values:
        return []
    # As scipy.stats does, which takes longer to import than all else that a record needs.
    n, order = len(p_values), np.argsort(p_values)
    scaled = np.asarray(p_values, dtype=float)[order] * (n / np.arange(1, n + 1, dtype=float))
    least = np.minimum.accumulate(scaled[::-1])[::-1].clip(0, 1)
    return [float(p) for p in least[np.argsort(order)]]
