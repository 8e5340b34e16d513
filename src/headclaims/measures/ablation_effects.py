"""What ablations do to heads: changes of attention patterns, and effects on the category score.

Axes: `prompt`, `query` and `key` positions, `head` heads.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from headclaims.checkpoint.interface import Head
from headclaims.measures.category_score import Survey
from headclaims.statistics.resampling import Resampled


def total_variation(
    clean: Float[np.ndarray, "*head prompt query key"], changed: Float[np.ndarray, "*head prompt query key"]
) -> Float[np.ndarray, "*head"]:
    """Half the L1 distance of rows, averaged over all rows of all prompts: 0 unchanged, 1 wholly elsewhere."""
    distance = np.abs(clean - changed).sum(axis=-1, dtype=np.float64) / 2
    return np.asarray(distance.mean(axis=(-2, -1)))


def relative_variation(
    variation: Float[np.ndarray, " head"], without_embedding: Float[np.ndarray, " head"]
) -> Float[np.ndarray, " head"]:
    """Total variation over that under ablation of the embedding: what makes heads of any kind comparable."""
    return np.asarray(variation / np.maximum(without_embedding, 1e-12))


def effect(clean: Survey, changed: Survey, head: Head) -> Resampled:
    """(score after − score clean)/(u − score clean): 0 no effect, 1 as good as uniform attention.

    u is the category score of uniform causal attention. Both surveys are of the same prompts.
    """
    values = np.stack(
        [
            changed.row_scores[changed.position(head)],
            clean.row_scores[clean.position(head)],
            -np.log(clean.uniform_share),
        ]
    )
    return Resampled(clean.grouped(values), lambda means: (means[:, 0] - means[:, 1]) / (means[:, 2] - means[:, 1]))


def margin_below_uniform(clean: Survey, head: Head) -> Resampled:
    """The margin u − score, in nats: how much of a category head it is, and what effects are measured in."""
    values = np.stack([clean.row_scores[clean.position(head)], -np.log(clean.uniform_share)])
    return Resampled(clean.grouped(values), lambda means: means[:, 1] - means[:, 0])


def median_prompt_score(of: Survey, head: Head) -> float:
    """The median over prompts of the category score, in nats: what the write-up reports of ablations."""
    rows = of.row_scores[of.position(head)].reshape(len(of.prompts), of.prompts.length)
    return float(np.median(rows.mean(axis=1)))
