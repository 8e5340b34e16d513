"""The other heads of a model, which are the null population of statistics that every head has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headclaims.checkpoint.interface import Head

MOST_OTHER_HEADS = 48
"""Other heads of whom a statistic takes runs of the model, or a map of each in a large model."""
MOST_WITH_ALL_MAPS = 200
"""Heads of a model in which every other head's map is taken."""


def other_heads(target: Head, heads: Sequence[Head], seed: int, most: int | None = MOST_OTHER_HEADS) -> list[Head]:
    """Return the heads other than the target, in the given order; of more than `most` a seeded draw, all alike."""
    others = [head for head in heads if head != target]
    if most is None or len(others) <= most:
        return others
    drawn = np.random.default_rng(seed).permutation(len(others))[:most]
    return [others[i] for i in sorted(drawn)]
