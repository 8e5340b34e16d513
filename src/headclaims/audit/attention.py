"""Attention of heads on prompts, from runs of the model, a few prompts at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Checkpoint, Head, pattern_name, patterns_of
from headclaims.progress import track
from headclaims.prompts.category import CategoryPrompts

FEWEST_AT_ONCE = 8
MOST_AT_ONCE = 2**28
"""Numbers of patterns that are held in memory for all layers at once; beyond, one layer at a time."""


def all_fit(prompts: CategoryPrompts, n_heads: int) -> bool:
    """Whether the patterns of so many heads on prompts are to be held in memory at once."""
    return n_heads * prompts.word_at.size * prompts.length <= MOST_AT_ONCE


def attention_of(
    checkpoint: Checkpoint,
    tokens: Int[Tensor, "prompt position"],
    heads: Sequence[Head],
    fewest: int = FEWEST_AT_ONCE,
) -> Float[np.ndarray, "head prompt query key"]:
    """Run the model and return the patterns of heads, at least `fewest` prompts a run."""
    names = [pattern_name(layer) for layer in sorted({head.layer for head in heads})]
    batches = track(tokens.split(checkpoint.sizes.prompts_at_once(tokens.shape[1], fewest)), "attention")
    return np.concatenate([patterns_of(checkpoint.run(some, record=names), heads) for some in batches], axis=1)
