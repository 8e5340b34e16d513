"""Steering: what follows when the negative eigenvalues of W_sym are scaled by α."""

import numpy as np
import pytest

from headclaims import (
    ALPHAS,
    HALVES,
    RANDOM_HALVES,
    Eigenspace,
    NotAssessable,
    SteeredAttention,
    SteeredBlocks,
    SteeredMap,
    Variant,
    block_auc,
    diagonal,
    eigen_scatter,
    random_halves,
)


@pytest.mark.claim("alpha-moves-the-diagonal")
def test_alpha_moves_the_diagonal(claim, sets, maps, circuit):
    """Affine in α by the scatter identity: D(α) = α D₋ + D₊."""
    sets.require("groups")
    layer, groups = maps[Variant.MEAN].layer, sets.tokens.groups
    found = eigen_scatter(layer, Eigenspace.of(circuit), groups)
    if found.D <= 0:
        raise NotAssessable(f"the diagonal is not dark: D = {found.D:.3g} nats on the group tokens, at offset 0")
    steered = SteeredMap.of(circuit, layer.vectors(groups.tokens), biased=False)
    depth = np.array([diagonal(steered.at(alpha), groups.group).D.value for alpha in ALPHAS])
    line = np.polynomial.Polynomial.fit(ALPHAS, depth, 1)
    crossing = found.crossing
    largest = Eigenspace.of(circuit).largest(circuit.W_Q.shape[1])
    # Where no negative eigenvalue is kept it never crosses.
    author = min(eigen_scatter(layer, largest, groups).crossing, 1e9)
    off = float(np.abs(line(np.array(ALPHAS)) - depth).max() / max(np.ptp(depth), 1e-300))
    claim.check(
        "crossing",
        crossing,
        conditions={"crossing_at_least": crossing, "curvature": off},
        variants=[claim.variant("author", "crossing", author)],
        measured={f"D_at_{alpha:g}": float(value) for alpha, value in zip(ALPHAS, depth, strict=True)},
    )


@pytest.mark.claim("steering-keeps-categories")
def test_steering_keeps_categories(claim, audit, sets, maps, circuit, checkpoint):
    """The blocks of the group tokens under W(α), against random halves of the eigenvalues."""
    sets.require("groups")
    groups = sets.tokens.groups
    steered = SteeredMap.of(circuit, maps[Variant.MEAN].layer.vectors(groups.tokens))
    texts = checkpoint.texts(groups.tokens)
    claim.draw(steered_blocks=lambda: SteeredBlocks.of(texts, groups.group, steered))
    before, wanted = block_auc(steered.at(1.0), groups.group), claim.threshold("auc")
    if not wanted.holds(before):
        raise NotAssessable(f"no blocks to keep: AUC {before:.3g} at α = 1; wanted {wanted}")

    def of_halves():
        halves = random_halves(steered.values, HALVES, audit.settings.seed)
        return np.array([steered.kept_blocks(groups.group, half) for half in halves])

    author = SteeredMap.of(circuit, maps[Variant.MEAN].layer.vectors(groups.tokens), author=True)
    claim.check(
        "kept",
        steered.kept_blocks(groups.group),
        variants=[claim.variant("author", "kept", author.kept_blocks(groups.group))],
        measured={"auc": before},
        nulls=[audit.nulls.draw(RANDOM_HALVES, of_halves)],
    )


@pytest.mark.claim("steering-works-in-the-model")
def test_steering_works_in_the_model(claim, steering):
    """Scores steered in the head, at true positions: the word itself gains, and kin keep their share.

    Since xᵀ W₋ x ≤ 0 for every x, turning the negative part favours the word itself in any head, and random halves, of
    either sign, do not: only against other heads, each turned by its own negative part, is the swing a finding.
    """
    steered = steering.steered
    claim.draw(steered_attention=lambda: SteeredAttention.of(steered))
    claim.check(
        "swing",
        steered.swing(),
        conditions={
            "smallest_rise": steered.smallest_rise(),
            "preference": steered.preference(),
            "kept_kin": steered.kept_kin(),
        },
        measured={
            "swing_of_positive": steering.swing_of_positive,
            "kin_of_the_rest_at_1": steered.kin_of_the_rest(1.0),
            "kin_of_the_rest_at_-1": steered.kin_of_the_rest(-1.0),
            "loss_at_1": steering.loss(1.0),
            "loss_at_-1": steering.loss(-1.0),
        },
        variants=[claim.variant("author", "swing", steering.swing_of_author)],
        nulls=[steering.random_halves, steering.other_heads],
    )
