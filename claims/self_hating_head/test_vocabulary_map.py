"""Mechanism: whom the head attends to over the vocabulary, by the effective embedding alone."""

import pytest
import torch

from headclaims import (
    OTHER_HEADS,
    Blocks,
    Null,
    NullStatistic,
    TokenScores,
    Variant,
    block_auc,
    block_distance,
    diagonal,
    head_margins,
    published_overlap,
    share_above,
    sweep,
    top_attended,
)

OWN_TOP = 4


def under_variants(claim, maps, threshold, statistic):
    """A statistic of a map under the other variants of E."""
    others = [variant for variant in maps if variant is not Variant.MEAN]
    return [claim.variant(f"E {variant.value}", threshold, statistic(maps[variant])) for variant in others]


@pytest.mark.claim("category-blocks")
def test_category_blocks(claim, audit, sets, maps, circuit, checkpoint):
    """In-group scores stand out from cross-group ones."""
    sets.require("groups")
    groups = sets.tokens.groups

    def scores(token_map):
        return token_map.layer.among(circuit, groups, biased=True)

    primary = scores(maps[Variant.MEAN])
    claim.draw(blocks=lambda: Blocks.of(checkpoint.texts(groups.tokens), groups.group, primary))
    claim.check(
        "auc",
        block_auc(primary, groups.group),
        conditions={"distance": block_distance(primary, groups.group)},
        nulls=[audit.nulls.other_maps("auc")],
        variants=under_variants(claim, maps, "auc", lambda token_map: block_auc(scores(token_map), groups.group)),
    )


@pytest.mark.claim("dark-diagonal")
def test_dark_diagonal(claim, audit, sets, maps, circuit, offset_circuits):
    """The diagonal is darker than its block, on the group tokens and on the word list; biases are left out."""
    sets.require("groups")
    both = {"groups": sets.tokens.groups, "words": sets.tokens.words}

    def diagonals(token_map, at=circuit, turn=True):
        layer = token_map.layer
        found = {}
        for name, groups in both.items():
            x = layer.vectors(groups.tokens)
            scores = TokenScores.of(at, x, x, layer.turn if turn else None, biased=False)
            found[name] = diagonal(scores.matrix().numpy(), groups.group)
        return found

    def smaller(found):
        return min(of.D.value for of in found.values())

    primary = diagonals(maps[Variant.MEAN])
    depth = {f"{name}_depth": of.relative_depth for name, of in primary.items()}
    at_offsets = {d: smaller(diagonals(maps[Variant.MEAN], at, False)) for d, at in offset_circuits.items()}
    claim.check(
        "D_groups",
        primary["groups"].D,
        conditions={"D_words": primary["words"].D},
        measured=depth,
        compared=NullStatistic("smaller depth", min(depth.values()), "high"),
        nulls=[audit.nulls.other_maps(*depth), audit.nulls.gaussian_maps(*depth)],
        variants=[
            *(claim.variant(f"offset {d}", "D_groups", value) for d, value in at_offsets.items()),
            *under_variants(claim, maps, "D_groups", lambda token_map: smaller(diagonals(token_map))),
        ],
    )


def assess_share(claim, maps, circuit, name, measured=None):
    """Judge the share of common words whose margin `name` is above 0."""
    nulls = claim.audit.nulls

    def share(token_map):
        return share_above(head_margins(token_map.layer.space, circuit, token_map.layer.turn)[name])

    claim.check(
        "share",
        share(maps[Variant.MEAN]),
        measured=measured,
        nulls=[nulls.other_maps(name), nulls.gaussian_maps(name)],
        variants=under_variants(claim, maps, "share", lambda token_map: share(token_map).value),
    )


@pytest.mark.claim("similar-above-self")
def test_similar_above_self(claim, sets, maps, circuit):
    """Most common words score higher with similar words than with themselves."""
    sets.require("common")
    scores = maps[Variant.MEAN].layer.common_scores(circuit)
    n = len(scores.queries)
    own_rank = sweep(scores, torch.arange(n), OWN_TOP).own_rank
    measured = {"own_in_top_four": float((own_rank < OWN_TOP).double().mean()), "words": n}
    assess_share(claim, maps, circuit, "similar_above_self", measured)


@pytest.mark.claim("similar-above-dissimilar")
def test_similar_above_dissimilar(claim, sets, maps, circuit):
    """Nearly all common words score higher with similar words than with random ones."""
    sets.require("common")
    assess_share(claim, maps, circuit, "similar_above_dissimilar")


@pytest.mark.claim("case-variants-avoided")
def test_case_variants_avoided(claim, sets, maps, circuit):
    """Most common words score lower with their own case and space variants than with similar words."""
    sets.require("common")
    sets.require("variants")
    assess_share(claim, maps, circuit, "similar_above_variants")


@pytest.mark.claim("top-attended-are-kin")
def test_top_attended_are_kin(claim, audit):
    """The tokens that a category word attends to most are of its category, and not itself."""
    if audit.recorded_kin is not None:
        recorded = audit.recorded_kin
        claim.check(
            "mean_kin",
            recorded.mean_kin,
            conditions={"share_itself": recorded.share_itself},
            measured={"probes": len(recorded.kin)},
            nulls=[Null(OTHER_HEADS, None, missing="the file has the graph of one head")],
        )
        return
    sets, maps, circuit, checkpoint = audit.sets, audit.maps, audit.qk, audit.checkpoint
    sets.require("probes")
    asked = sets.tokens.probes

    def attended(token_map):
        return top_attended(asked, token_map.scores(circuit, torch.from_numpy(asked.tokens)))

    found = attended(maps[Variant.MEAN])
    published = claim.published
    lists = published_overlap(
        published,
        checkpoint.single_token,
        checkpoint.vocabulary,
        lambda tokens: maps[Variant.MEAN].scores(circuit, tokens),
    )
    claim.check(
        "mean_kin",
        found.mean_kin,
        conditions={"share_itself": found.share_itself} | ({"published": min(lists.values())} if lists else {}),
        measured={"probes": len(asked.tokens)} | {f"published_{word}": n for word, n in lists.items()},
        nulls=[audit.nulls.other_maps("kin")],
        variants=under_variants(claim, maps, "mean_kin", lambda token_map: attended(token_map).mean_kin.value),
    )
