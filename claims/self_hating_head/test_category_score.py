"""Behaviour: among all heads, the target's category score is an outlier at the bottom."""

import pytest

from headclaims import (
    HeadScores,
    Pattern,
    assessed,
    gap_over_neighbours,
    gap_to_runner_up,
    outlier_ratio,
    rank_stability,
    score_gap,
    score_outlier,
    tukey_ratio,
)


@pytest.mark.claim("category-score-lowest")
def test_category_score_lowest(claim, audit, surveyed, templates, target):
    """The gap to the runner-up, chosen anew in each replicate, is above 0."""
    claim.draw(head_scores=lambda: HeadScores.of(surveyed))
    gap, position = score_gap(surveyed, target), surveyed.position(target)
    claim.draw(pattern=lambda: Pattern.of(surveyed.prompts, audit.first_pattern()))
    on_templates = assessed(templates.surveys, lambda survey: score_gap(survey, target).value)
    gaussian = audit.nulls.gaussian_survey(gap_to_runner_up)
    claim.check(
        "gap",
        gap,
        measured={
            "score": float(surveyed.scores[position]),
            "uniform_score": surveyed.uniform_score,
            "rank_stability": rank_stability(surveyed, target, audit.settings.seed),
        }
        | gaussian.quantiles(gaussian_survey_95=0.95),
        about_all_heads=True,
        nulls=[audit.nulls.permuted_labels(gap_to_runner_up), gaussian],
        variants=[claim.variant(name, "gap", value) for name, value in on_templates.items()],
    )


@pytest.mark.claim("category-score-outlier")
def test_category_score_outlier(claim, audit, surveyed, templates, target):
    """That gap is at least half the distance from the runner-up to the median of the other heads."""
    ratio, position = score_outlier(surveyed, target), surveyed.position(target)
    on_templates = assessed(templates.surveys, lambda survey: score_outlier(survey, target).value)
    gaussian = audit.nulls.gaussian_survey(outlier_ratio)
    claim.check(
        "ratio",
        ratio,
        measured={
            "tukey_ratio": tukey_ratio(surveyed.scores, position),
            "gap_over_neighbours": gap_over_neighbours(surveyed.scores, position),
        }
        | gaussian.quantiles(gaussian_survey_95=0.95),
        about_all_heads=True,
        nulls=[audit.nulls.permuted_labels(outlier_ratio), gaussian],
        variants=[claim.variant(name, "ratio", value) for name, value in on_templates.items()],
    )
