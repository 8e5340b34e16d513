"""The target among all heads by category score: its gap to the runner-up, and how far it stands out.

Axes: `head` runs over all heads of the survey.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey
from headclaims.statistics.resampling import Estimate, Jackknifed, Resampled, Smallest
from headclaims.statistics.rows import GroupedRows

FEWEST_HEADS = 10
SMALLEST_GAP = 1e-12
RANK_DRAWS = 999


def gap_to_runner_up(scores: Float[np.ndarray, "*batch head"], target: int) -> Float[np.ndarray, "*batch"]:
    """Return the lowest score of the other heads minus the target's, in nats: positive iff the target is lowest."""
    return np.asarray(np.delete(scores, target, axis=-1).min(axis=-1) - scores[..., target])


def outlier_ratio(scores: Float[np.ndarray, "*batch head"], target: int) -> Float[np.ndarray, "*batch"]:
    """Divide the gap to the runner-up by the distance from the runner-up to the median of the other heads.

    (runner-up − score)/(median of the other heads − runner-up): 1 where the target lies as far below the runner-up as
    that lies below a typical head.
    """
    others = np.delete(scores, target, axis=-1)
    runner_up = others.min(axis=-1)
    # Where most other heads tie the distance is 0; the floor makes the ratio large but finite.
    spread = np.maximum(np.median(others, axis=-1) - runner_up, SMALLEST_GAP)
    return np.asarray((runner_up - scores[..., target]) / spread)


def tukey_ratio(scores: Float[np.ndarray, " head"], target: int) -> float:
    """Return how far the target lies below the lower quartile of all heads, in their interquartile ranges."""
    lower, upper = np.quantile(scores, [0.25, 0.75])
    return float((lower - scores[target]) / max(upper - lower, SMALLEST_GAP))


def gap_over_neighbours(scores: Float[np.ndarray, " head"], target: int) -> float:
    """Divide the gap to the runner-up by the median of the gaps between neighbours among the ten lowest scores."""
    typical = np.median(np.diff(np.sort(scores)[:FEWEST_HEADS]))
    return float(gap_to_runner_up(scores, target) / max(typical, SMALLEST_GAP))


def score_gap(survey: Survey, head: Head) -> Smallest:
    """Return the `gap_to_runner_up` of a head in a survey, in nats: the smallest difference to another head.

    Raises NotAssessable where it is the only head, or no row has kin.
    """
    if len(survey.heads) < 2:
        raise NotAssessable("1 head; wanted another to be the runner-up")
    position = survey.position(head)
    return Smallest(_grouped_scores(survey), lambda means: np.delete(means, position, axis=1) - means[:, [position]])


@dataclass(frozen=True)
class OutlierRatio(Estimate):
    """The `outlier_ratio` of a head, the runner-up chosen anew in each replicate.

    The interval is taken on the scale of arsinh(ratio), which is linear where the ratio is small and logarithmic where
    it is large: there it varies by multiples, as its denominator is a small difference of other heads.
    """

    rows: GroupedRows
    position: int

    @property
    def value(self) -> float:
        """The ratio on all rows."""
        return self.rows.point(lambda means: outlier_ratio(means, self.position))

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return self.rows.n_prompts

    @property
    def jackknifed(self) -> Jackknifed:
        """The arsinh of the ratio, and of those without each prompt and each category."""
        return Resampled(self.rows, lambda means: np.arcsinh(outlier_ratio(means, self.position))).jackknifed

    def unscaled(self, end: float) -> float:
        """Return the ratio of which this is the arsinh."""
        return float(np.sinh(end))


def score_outlier(survey: Survey, head: Head) -> OutlierRatio:
    """Return the `outlier_ratio` of a head in a survey, with its interval.

    Raises NotAssessable for fewer than ten heads, or where no row has kin.
    """
    if len(survey.heads) < FEWEST_HEADS:
        raise NotAssessable(f"{len(survey.heads)} heads; wanted {FEWEST_HEADS}, among which to be an outlier")
    return OutlierRatio(_grouped_scores(survey), survey.position(head))


def _grouped_scores(survey: Survey) -> GroupedRows:
    if not survey.has_kin.any():
        raise NotAssessable("no row of the prompts has kin")
    return survey.grouped_scores()


def rank_stability(survey: Survey, head: Head, seed: int, draws: int = RANK_DRAWS) -> float:
    """Return the share of bootstrap resamples of the prompts in which the head's category score is the lowest of all.

    Each draws as many prompts as there are, with replacement; a tie is no first place.
    """
    n, position = len(survey.prompts), survey.position(head)
    times = np.random.default_rng([seed, 0]).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    means = survey.grouped_scores().means(times)
    return float((gap_to_runner_up(means, position) > 0).mean())
