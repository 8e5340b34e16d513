"""Several tests at once: p-values adjusted for how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Benjamini–Hochberg-adjusted p-values, in the given order."""
    if not p_values:
        return []
    from scipy import stats

    return [float(p) for p in stats.false_discovery_control(np.asarray(p_values), method="bh")]
