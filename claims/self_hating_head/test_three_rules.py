"""Behaviour: the head attends to kin, not to the word itself, and to BOS without kin; rival readings are ruled out."""

import numpy as np
import pytest

from headclaims import (
    OTHER_HEADS,
    TokenPairs,
    VariantResult,
    assessed,
    bos_fallback,
    identity_share,
    kin_above_nearest,
    kin_evenness,
    kin_preference,
    self_above_unrelated,
    self_suppression,
    succession_ratios,
)


def of_survey(claim, templates, surveyed, target, statistic, measure, compared=True, **further):
    """Judge a statistic of one head of the survey, beside other heads and on templates."""
    nulls = [claim.audit.nulls.other_heads(lambda head: measure(surveyed, head))] if compared else []
    on_templates = assessed(templates.surveys, lambda survey: measure(survey, target).value)
    claim.check(
        statistic,
        measure(surveyed, target),
        nulls=nulls,
        variants=[claim.variant(name, statistic, value) for name, value in on_templates.items()],
        **further,
    )


def of_both(claim, name, main, condition):
    """Return a variant of a claim that has a condition beside its statistic, each given as (name, value)."""
    holds = all(claim.threshold(statistic).holds(value) for statistic, value in (main, condition))
    return VariantResult(name, main[1], holds)


@pytest.mark.claim("attends-within-category")
def test_attends_within_category(claim, templates, surveyed, target):
    """On rows with kin, mean kin mass is at least twice what uniform attention gives."""
    of_survey(claim, templates, surveyed, target, "ratio", kin_preference)


@pytest.mark.claim("suppresses-self")
def test_suppresses_self(claim, templates, surveyed, target):
    """Attention per kin exceeds that to the own position and that per earlier copy."""
    of_survey(claim, templates, surveyed, target, "log_ratio", self_suppression)


@pytest.mark.claim("self-above-unrelated")
def test_self_above_unrelated(claim, templates, surveyed, target):
    """The own position draws more than an unrelated word does: the word is ranked below its kin, not shut out."""
    of_survey(claim, templates, surveyed, target, "log_ratio", self_above_unrelated, compared=False)


@pytest.mark.claim("kin-above-nearest-category")
def test_kin_above_nearest_category(claim, templates, surveyed, target):
    """Kin draw at least twice what words of the nearest other category do, in the mean over categories."""
    nearest = kin_above_nearest(surveyed, target)
    pairs = zip(nearest.names, nearest.rivals, nearest.by_category, strict=True)
    measured = {f"{category} over {rival}": float(ratio) for category, rival, ratio in pairs}
    measured["least"] = nearest.least[0]
    of_survey(claim, templates, surveyed, target, "log_ratio", kin_above_nearest, measured=measured)


@pytest.mark.claim("kin-evenly")
def test_kin_evenly(claim, templates, surveyed, target):
    """Attention is spread over a row's kin rather than given to one partner."""
    of_survey(claim, templates, surveyed, target, "evenness", kin_evenness, compared=False)


@pytest.mark.claim("identity-explains-scores")
def test_identity_explains_scores(claim, audit, templates, target):
    """Which two words a score is between tells at least four fifths of the variance of scores."""
    on_templates = assessed(templates.patterns, lambda drawn: identity_share(TokenPairs.of(drawn[0]), drawn[1]).value)
    claim.check(
        "r_squared",
        audit.identity.share(target),
        nulls=[audit.nulls.other_heads(audit.identity.value)],
        variants=[claim.variant(name, "r_squared", value) for name, value in on_templates.items()],
    )


@pytest.mark.claim("falls-back-to-bos")
def test_falls_back_to_bos(claim, audit, pairs, templates, target):
    """Without kin the last word attends to BOS, and clearly more than where it has kin."""
    alone, difference = bos_fallback(pairs, target)

    others = [head for head in pairs.heads if head != target]

    def of_others():
        return np.array([bos_fallback(pairs, head)[1].value for head in others])

    others_in_front = {**templates.pairs, **audit.bare_pairs}
    on_variants = assessed(others_in_front, lambda drawn: bos_fallback(drawn, target))
    claim.check(
        "paired_difference",
        difference,
        conditions={"bos_without_kin": alone},
        nulls=[audit.nulls.draw(OTHER_HEADS, of_others, heads=others)],
        variants=[
            of_both(claim, name, ("paired_difference", of_pairs.value), ("bos_without_kin", without.value))
            for name, (without, of_pairs) in on_variants.items()
        ],
    )


@pytest.mark.claim("kinship-not-succession")
def test_kinship_not_succession(claim, successions, templates, target):
    """Neither the next nor the previous word of an ordered category draws more than twice what other kin do."""
    surveyed, prompts = successions
    successor, predecessor = succession_ratios(surveyed, target, prompts.place)
    on_templates = assessed(templates.successions, lambda drawn: succession_ratios(drawn[0], target, drawn[1].place))
    claim.check(
        "successor_ratio",
        successor,
        conditions={"predecessor_ratio": predecessor},
        variants=[
            of_both(claim, name, ("successor_ratio", following.value), ("predecessor_ratio", preceding.value))
            for name, (following, preceding) in on_templates.items()
        ],
    )
