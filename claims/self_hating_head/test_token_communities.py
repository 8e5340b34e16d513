"""Mechanism: the graph of whom tokens attend to most falls into communities that are categories."""

import numpy as np
import pytest

from headclaims import Threshold, TokenGraph, VariantResult, agreements


@pytest.mark.claim("communities-are-semantic")
def test_communities_are_semantic(claim, audit, attended):
    """Communities agree with categories more than permuted labels do at their 95th percentile."""
    found, permuted = attended.communities, attended.permuted_labels
    first = found[0]
    claim.draw(token_map=lambda: TokenGraph.of(attended.texts, attended.graph, first, attended.labels))
    stated = claim.threshold("quantile")

    def above(values):
        return Threshold(stated.relation, float(np.quantile(values, stated.value)))

    ami, by_seed = agreements(found, attended.labels, audit.cache)
    variants = []
    if attended.words is not None:
        of_words = agreements(found, attended.words, audit.cache)[0].value
        variants = [VariantResult("no digits", of_words, above(attended.permuted_words).holds(of_words))]
    claim.check(
        "ami",
        ami,
        threshold=above(permuted.values),
        nulls=[permuted, attended.other_heads],
        variants=variants,
        measured={
            "lowest_ami": by_seed.min(),
            "highest_ami": by_seed.max(),
            "communities": len(set(first.tolist())),
            "labelled": len(attended.labels),
            "own_in_top_four": attended.graph.own_share,
        },
    )
