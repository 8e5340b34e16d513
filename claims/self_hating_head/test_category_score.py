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


def of_all_heads(claim, surveyed, templates, target, statistic, measure, of_scores, measured):
    """Judge a statistic of the target among all heads, beside whichever head is best of those that mean nothing.

    `measured` is asked once the statistic is known to exist.
    """
    value, nulls = measure(surveyed, target), claim.audit.nulls
    gaussian = nulls.gaussian_survey(of_scores)
    on_templates = assessed(templates.surveys, lambda survey: measure(survey, target).value)
    claim.check(
        statistic,
        value,
        measured=measured() | gaussian.quantiles(gaussian_survey_95=0.95),
        about_all_heads=True,
        note=surveyed.scored_on,
        nulls=[nulls.permuted_labels(of_scores), gaussian],
        variants=[claim.variant(name, statistic, value) for name, value in on_templates.items()],
    )


@pytest.mark.claim("category-score-lowest")
def test_category_score_lowest(claim, audit, surveyed, templates, target):
    """The gap to the runner-up, chosen anew in each replicate, is above 0."""
    claim.draw(head_scores=lambda: HeadScores.of(surveyed))
    claim.draw(pattern=lambda: Pattern.of(surveyed.prompts, audit.first_pattern()))

    def measured():
        return {
            "score": float(surveyed.scores[surveyed.position(target)]),
            "uniform_score": surveyed.uniform_score,
            "rank_stability": rank_stability(surveyed, target, audit.settings.seed),
        }

    of_all_heads(claim, surveyed, templates, target, "gap", score_gap, gap_to_runner_up, measured)


@pytest.mark.claim("category-score-outlier")
def test_category_score_outlier(claim, surveyed, templates, target):
    """That gap is at least half the distance from the runner-up to the median of the other heads."""

    def measured():
        position = surveyed.position(target)
        return {
            "tukey_ratio": tukey_ratio(surveyed.scores, position),
            "gap_over_neighbours": gap_over_neighbours(surveyed.scores, position),
        }

    of_all_heads(claim, surveyed, templates, target, "ratio", score_outlier, outlier_ratio, measured)
