"""Adjustment of p-values for multiple testing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Benjamini and Hochberg's method; returns them in the given order."""
    if not p_values:
        return []
    from scipy import stats

    return [float(p) for p in stats.false_discovery_control(np.asarray(p_values), method="bh")]
