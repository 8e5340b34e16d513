"""Mechanism: what the head needs of the components before it, and what it does without."""

from typing import Any

import pytest

from headclaims import Component, Effects, Kind, NotAssessable, NullStatistic, Part, Variant, attentions

POSITION, EMBEDDING = Component(Part.POSITION), Component(Part.EMBEDDING)


def assess(claim, ablations, components, favourable=None, kinds=tuple(Kind), further=None):
    """Judge the effect of ablating components, and how far rows move where that has a threshold.

    Without `favourable` there is no null; `further` are arguments of `claim.check`.
    """
    if claim.audit.settings.verdicts_only:
        kinds, favourable = (Kind.MEAN,), None
    under = {kind: ablations.target_under(components, kind) for kind in kinds}
    shown = {kind.value: ablated.effect for kind, ablated in under.items()}
    claim.draw(effects=lambda: Effects.of(shown))
    primary = under.pop(Kind.MEAN)
    also: dict[str, Any] = {"conditions": {}, "measured": {}} | (further or {})
    if favourable is not None:
        relative = ablations.relative(components)
        also["nulls"] = [ablations.null(relative)]
        also["compared"] = NullStatistic("relative_variation", float(relative[0]), favourable)
    if claim.has_threshold("total_variation"):
        also["conditions"] = {"total_variation": primary.moved} | also["conditions"]
    also["measured"] |= {"total_variation": primary.variation, "clean_score": float(ablations.clean.scores[0])}
    if Kind.AUTHOR in under:
        also["measured"]["median_score"] = under[Kind.AUTHOR].median_score
    variants = [claim.variant(kind.value, "effect", ablated.effect.value) for kind, ablated in under.items()]
    claim.check("effect", primary.effect, variants=variants, **also)


def require_before(target, what):
    """Raises NotAssessable for a target in layer 0, before which there is none of it."""
    if target.layer == 0:
        raise NotAssessable(f"{target.label} is in layer 0: {what}")


def without_rotary(kinds, checkpoint):
    """With rotary positions the rotation is removed: there is one kind of that."""
    return kinds if checkpoint.learned_positions else (Kind.MEAN,)


@pytest.mark.claim("position-embedding-irrelevant")
def test_position_embedding_irrelevant(claim, ablations, category_head, checkpoint):
    """Without positions the pattern and its category score stay where they are."""
    category_head()
    # At each position the position embedding is its own mean over prompts: that kind would change nothing.
    kinds = tuple(kind for kind in Kind if kind is not Kind.POSITION_MEAN)
    assess(claim, ablations, [POSITION], "low", without_rotary(kinds, checkpoint))


@pytest.mark.claim("first-attention-irrelevant")
def test_first_attention_irrelevant(claim, ablations, category_head, target):
    """Every attention before the target is ablated by itself; the largest effect and the largest variation decide."""
    category_head()
    require_before(target, "no attention comes before it")
    ablated = {attention: ablations.target_under([attention]) for attention in attentions(target.layer)}
    strongest = max(ablated, key=lambda attention: abs(ablated[attention].effect.value))
    moving = max(ablated, key=lambda attention: ablated[attention].variation)
    further = {
        "conditions": {"total_variation": ablated[moving].moved},
        "measured": {"attention": strongest.layer, "moving_attention": moving.layer},
    }
    assess(claim, ablations, [strongest], "low", further=further)


@pytest.mark.claim("position-and-attention-jointly-irrelevant")
def test_position_and_attention_jointly_irrelevant(claim, ablations, category_head, target):
    """Positions and every attention before the target are ablated together."""
    category_head()
    require_before(target, "no attention comes before it")
    assess(claim, ablations, [POSITION, *attentions(target.layer)], "low")


@pytest.mark.claim("embedding-essential")
def test_embedding_essential(claim, ablations, category_head):
    """Without the token embedding nothing tells one word from another."""
    category_head()
    assess(claim, ablations, [EMBEDDING])


@pytest.mark.claim("direct-path-matters")
def test_direct_path_matters(claim, ablations, category_head, target):
    """The token embedding counts for the target past layer 0, not only by what layer 0 makes of it."""
    category_head()
    require_before(target, "it reads the embedding itself")
    assess(claim, ablations, [Component(Part.DIRECT_PATH)], "high")


@pytest.mark.claim("first-mlp-essential")
def test_first_mlp_essential(claim, ablations, category_head, target):
    """Without MLP 0 at least half of what the head does is gone."""
    category_head()
    require_before(target, "no MLP comes before it")
    assess(claim, ablations, [Component(Part.MLP, 0)], "high")


@pytest.mark.claim("effective-embedding-sufficient")
def test_effective_embedding_sufficient(claim, ablations, category_head, target):
    """E alone gives nearly the head's own pattern and category score."""
    category_head()
    patterns = ablations.patterns_from_E
    relative = ablations.relative_of(patterns)
    primary = ablations.of_pattern(patterns[0])
    variants = () if claim.audit.settings.verdicts_only else (Variant.ZERO, Variant.AUTHOR)
    others = {variant: ablations.from_E(variant, [target])[0] for variant in variants}
    under = {f"E {variant.value}": ablations.of_pattern(pattern).effect for variant, pattern in others.items()}
    shown = {f"E {Variant.MEAN.value}": primary.effect} | under
    claim.draw(effects=lambda: Effects.of(shown))
    claim.check(
        "effect",
        primary.effect,
        conditions={"total_variation": primary.moved},
        nulls=[ablations.null(relative)],
        compared=NullStatistic("relative_variation", float(relative[0]), "low"),
        variants=[claim.variant(name, "effect", effect.value) for name, effect in under.items()],
    )
