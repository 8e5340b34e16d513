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
def test_category_blocks(claim, sets, other_maps, maps, score, checkpoint):
    """In-group scores stand out from cross-group ones."""
    sets.require("groups")
    groups = sets.tokens.groups

    def scores(token_map):
        return token_map.layer.among(score, groups, biased=True)

    primary = scores(maps[Variant.MEAN])
    claim.draw(blocks=lambda: Blocks.of(checkpoint.texts(groups.tokens), groups.group, primary))
    claim.check(
        "auc",
        block_auc(primary, groups.group),
        conditions={"distance": block_distance(primary, groups.group)},
        nulls=[other_maps("auc")],
        variants=under_variants(claim, maps, "auc", lambda token_map: block_auc(scores(token_map), groups.group)),
    )


@pytest.mark.claim("dark-diagonal")
def test_dark_diagonal(claim, audit, sets, other_maps, maps, score):
    """The diagonal is darker than its block, on the group tokens and on the word list.

    Biases are left out where W_QK is all of the score; inside a norm of queries and keys they stay.
    """
    sets.require("groups")
    both = {"groups": sets.tokens.groups, "words": sets.tokens.words}

    def diagonals(token_map, rotation=None):
        layer = token_map.layer
        found = {}
        for name, groups in both.items():
            x = layer.vectors(groups.tokens)
            if rotation is None:
                scores = TokenScores.of(score, x, x, layer.turn, biased=False)
            else:
                scores = TokenScores.at_offset(score, x, x, rotation, biased=False)
            found[name] = diagonal(scores.matrix().numpy(), groups.group)
        return found

    def smaller(found):
        return min(of.D.value for of in found.values())

    primary = diagonals(maps[Variant.MEAN])
    depth = {f"{name}_depth": of.relative_depth for name, of in primary.items()}
    at_offsets = {d: smaller(diagonals(maps[Variant.MEAN], R)) for d, R in audit.offset_turns.items()}
    claim.check(
        "D_groups",
        primary["groups"].D,
        conditions={"D_words": primary["words"].D},
        measured=depth,
        compared=NullStatistic("smaller depth", min(depth.values()), "high"),
        nulls=[other_maps(*depth), audit.nulls.gaussian_maps(*depth)],
        variants=[
            *(claim.variant(f"offset {d}", "D_groups", value) for d, value in at_offsets.items()),
            *under_variants(claim, maps, "D_groups", lambda token_map: smaller(diagonals(token_map))),
        ],
    )


def assess_share(claim, other_maps, maps, score, name, measured=None):
    """Judge the share of common words whose margin `name` is above 0."""

    def share(token_map):
        return share_above(head_margins(token_map.layer.space, score, token_map.layer.turn)[name])

    claim.check(
        "share",
        share(maps[Variant.MEAN]),
        measured=measured,
        nulls=[other_maps(name), claim.audit.nulls.gaussian_maps(name)],
        variants=under_variants(claim, maps, "share", lambda token_map: share(token_map).value),
    )


@pytest.mark.claim("similar-above-self")
def test_similar_above_self(claim, audit, sets, other_maps, maps, score):
    """Most common words score higher with similar words than with themselves."""
    sets.require("common")
    scores = maps[Variant.MEAN].layer.common_scores(score)
    n = len(scores.queries)
    own_rank = sweep(scores, torch.arange(n), OWN_TOP, cache=audit.cache).own_rank
    measured = {"own_in_top_four": float((own_rank < OWN_TOP).double().mean()), "words": n}
    assess_share(claim, other_maps, maps, score, "similar_above_self", measured)


@pytest.mark.claim("similar-above-dissimilar")
def test_similar_above_dissimilar(claim, sets, other_maps, maps, score):
    """Nearly all common words score higher with similar words than with random ones."""
    sets.require("common")
    assess_share(claim, other_maps, maps, score, "similar_above_dissimilar")


@pytest.mark.claim("case-variants-avoided")
def test_case_variants_avoided(claim, sets, other_maps, maps, score):
    """Most common words score lower with their own case and space variants than with similar words."""
    sets.require("common")
    sets.require("variants")
    assess_share(claim, other_maps, maps, score, "similar_above_variants")


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
    sets, maps, score, checkpoint = audit.sets, audit.maps, audit.score, audit.checkpoint
    sets.require("probes")
    asked = sets.tokens.probes

    def attended(token_map):
        scores = token_map.scores(score, torch.from_numpy(asked.tokens))
        return top_attended(asked, scores, token_map.tokens, audit.cache)

    primary = maps[Variant.MEAN]
    found, rivals = attended(primary), asked.rivals(audit.settings.seed)
    published = claim.published
    lists = published_overlap(
        published,
        checkpoint.single_token,
        checkpoint.vocabulary,
        lambda tokens: primary.scores(score, tokens),
        audit.cache,
    )
    # Of a large vocabulary nulls and variants have some tokens as keys, and are compared with the head on the same.
    among = found if rivals is None else attended(primary.among(rivals))
    compared = None if rivals is None else NullStatistic("kin among drawn tokens", among.mean_kin.value, "high")
    claim.check(
        "mean_kin",
        found.mean_kin,
        conditions={"share_itself": found.share_itself} | ({"published": min(lists.values())} if lists else {}),
        measured={"probes": len(asked.tokens)} | {f"published_{word}": n for word, n in lists.items()},
        compared=compared,
        nulls=[audit.nulls.other_maps("kin")],
        variants=under_variants(claim, maps, "mean_kin", lambda token_map: attended(token_map).mean_kin.value),
    )
