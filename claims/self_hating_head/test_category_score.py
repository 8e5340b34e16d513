"""Behaviour: among all heads, the target's category score is an outlier at the bottom."""

import pytest

from headclaims import HeadScores, Pattern, gap_to_runner_up, outlier_ratio, score_gap, score_outlier


@pytest.mark.claim("category-score-lowest")
def test_category_score_lowest(claim, audit, surveyed, target):
    """The gap to the runner-up, chosen anew in each resample, is above 0."""
    claim.draw(head_scores=lambda: HeadScores.of(surveyed))
    position = surveyed.position(target)
    claim.draw(pattern=lambda: Pattern.of(surveyed.prompts, audit.first_pattern()))
    claim.check(
        "gap",
        score_gap(surveyed, target),
        measured={"score": float(surveyed.scores[position]), "uniform_score": surveyed.uniform_score},
        nulls=[audit.nulls.permuted_labels(gap_to_runner_up)],
        of_interval=lambda interval: {"rank_stability": interval.share_above(0.0)},
    )


@pytest.mark.claim("category-score-outlier")
def test_category_score_outlier(claim, audit, surveyed, target):
    """That gap is at least three times the median gap between neighbours among the ten lowest heads."""
    claim.check("ratio", score_outlier(surveyed, target), nulls=[audit.nulls.permuted_labels(outlier_ratio)])
