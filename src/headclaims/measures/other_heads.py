"""The other heads of a model: the null population of statistics that any head has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headclaims.checkpoint.interface import Head

MOST_OTHER_HEADS = 48


def other_heads(target: Head, heads: Sequence[Head], seed: int, most: int = MOST_OTHER_HEADS) -> list[Head]:
    """At most `most` heads beside the target: all of its layer first, the rest drawn by seed."""
    beside = [head for head in heads if head.layer == target.layer and head != target][:most]
    elsewhere = [head for head in heads if head.layer != target.layer]
    drawn = np.random.default_rng(seed).permutation(len(elsewhere))[: most - len(beside)]
    return beside + [elsewhere[i] for i in sorted(drawn)]
