"""The other heads of a model, which are the null population of statistics that every head has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headclaims.checkpoint.interface import Head

MOST_OTHER_HEADS = 48


def other_heads(target: Head, heads: Sequence[Head], seed: int, most: int = MOST_OTHER_HEADS) -> list[Head]:
    """Choose at most `most` heads other than the target: first those of its layer, then a seeded draw from the rest."""
    beside = [head for head in heads if head.layer == target.layer and head != target][:most]
    elsewhere = [head for head in heads if head.layer != target.layer]
    drawn = np.random.default_rng(seed).permutation(len(elsewhere))[: most - len(beside)]
    return beside + [elsewhere[i] for i in sorted(drawn)]
