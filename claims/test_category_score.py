"""Behaviour: among all heads, the target's category score is an outlier at the bottom."""

import pytest

from headclaims.measures.category_score import gap_to_runner_up, outlier_ratio, score_gap, score_outlier
from headclaims.report.drawn import HeadScores, Pattern


@pytest.mark.claim("category-score-lowest")
def test_category_score_lowest(claim, surveyed, target, permuted_labels_null, first_pattern):
    """The gap to the runner-up, chosen anew in each resample, is above 0."""
    claim.draw(head_scores=lambda: HeadScores.of(surveyed))
    position = surveyed.position(target)
    claim.draw(pattern=lambda: Pattern.of(surveyed.prompts, first_pattern()))
    claim.resampled(
        "gap",
        score_gap(surveyed, target),
        measured={"score": float(surveyed.scores[position]), "uniform_score": surveyed.uniform_score},
        nulls=[permuted_labels_null(gap_to_runner_up)],
    )


@pytest.mark.claim("category-score-outlier")
def test_category_score_outlier(claim, surveyed, target, permuted_labels_null):
    """That gap is at least three times the median gap between neighbours among the ten lowest heads."""
    claim.resampled("ratio", score_outlier(surveyed, target), nulls=[permuted_labels_null(outlier_ratio)])
