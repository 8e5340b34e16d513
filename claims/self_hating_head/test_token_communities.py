"""Mechanism: the graph of whom tokens attend to most falls into communities that are categories."""

import numpy as np
import pytest

from headclaims import Threshold, TokenGraph, agreement


@pytest.mark.claim("communities-are-semantic")
def test_communities_are_semantic(claim, attended):
    """Communities agree with categories more than permuted labels do at their 95th percentile."""
    found, permuted = attended.communities, attended.permuted_labels
    claim.draw(token_map=lambda: TokenGraph.of(attended.texts, attended.graph, found, attended.labels))
    stated = claim.threshold("quantile")
    claim.check(
        "ami",
        agreement(found, attended.labels),
        threshold=Threshold(stated.relation, float(np.quantile(permuted.values, stated.value))),
        nulls=[permuted, attended.other_heads],
        measured={
            "communities": len(set(found.tolist())),
            "labelled": len(attended.labels),
            "own_in_top_four": attended.graph.own_share,
        },
    )
