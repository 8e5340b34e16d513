"""Effects of ablations on heads: changes of attention patterns and of the category score.

Axes: `prompt`, `query` and `key` positions, `head` heads.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from headclaims.checkpoint.interface import Head
from headclaims.measures.category_score import Survey
from headclaims.statistics.resampling import Resampled


def row_variation(
    clean: Float[np.ndarray, "*head prompt query key"], changed: Float[np.ndarray, "*head prompt query key"]
) -> Float[np.ndarray, "*head prompt query"]:
    """Return the total variation distance of each row (half L1): 0 unchanged, 1 disjoint."""
    return np.asarray(np.abs(clean - changed).sum(axis=-1, dtype=np.float64) / 2)


def total_variation(
    clean: Float[np.ndarray, "*head prompt query key"], changed: Float[np.ndarray, "*head prompt query key"]
) -> Float[np.ndarray, "*head"]:
    """Return the total variation distance averaged over all rows."""
    return np.asarray(row_variation(clean, changed).mean(axis=(-2, -1)))


def mean_variation(survey: Survey, rows: Float[np.ndarray, "prompt query"]) -> Resampled:
    """Return the mean of rows' total variation, with an interval over prompts and categories of the query."""
    return Resampled(survey.grouped(rows[survey.prompts.rows][None]), lambda means: means[:, 0])


def relative_variation(
    variation: Float[np.ndarray, " head"], without_embedding: Float[np.ndarray, " head"]
) -> Float[np.ndarray, " head"]:
    """Divide total variation by that under ablation of the embedding, so that heads of any kind are comparable."""
    return np.asarray(variation / np.maximum(without_embedding, 1e-12))


def effect(clean: Survey, changed: Survey, head: Head) -> Resampled:
    """Return an ablation's effect on a head's category score: (score after − score clean)/(u − score clean).

    u is the category score of uniform causal attention, so that 0 is no effect and 1 means that the head does no better
    than uniform attention. Both surveys must be of the same prompts.
    """
    values = np.stack(
        [
            changed.row_scores[changed.position(head)],
            clean.row_scores[clean.position(head)],
            -np.log(clean.uniform_share),
        ]
    )
    return Resampled(
        clean.grouped(values, clean.is_scored[None]),
        lambda means: (means[:, 0] - means[:, 1]) / (means[:, 2] - means[:, 1]),
    )


def margin_below_uniform(clean: Survey, head: Head) -> Resampled:
    """Return the margin u − score, in nats: how strongly the head is a category head, and the unit of `effect`."""
    values = np.stack([clean.row_scores[clean.position(head)], -np.log(clean.uniform_share)])
    return Resampled(clean.grouped(values, clean.is_scored[None]), lambda means: means[:, 1] - means[:, 0])


def median_prompt_score(survey: Survey, head: Head) -> float:
    """Return the median over prompts of the category score, in nats, as the write-up reports it for ablations."""
    by_prompt = survey.grouped(survey.row_scores[[survey.position(head)]], survey.is_scored[None])
    return float(np.median(by_prompt.sums.sum(axis=2) / by_prompt.counts.sum(axis=2)))
