"""Mechanism: the previous-token head's output, in the head's keys, is what it matches tokens with."""

import numpy as np
import pytest

from headclaims import OTHER_HEADS, TARGET, CompositionMatrix, NotAssessable, attention_ratio


@pytest.mark.claim("k-composition")
def test_k_composition(claim, audit, previous_token_head):
    """By weights alone: of all earlier heads the previous-token head composes most with the head's keys."""
    target, compositions = audit.target, audit.repeats.compositions("keys")

    def ratios():
        found = []
        for head in compositions.heads:
            if head.layer > previous_token_head.layer and head != target:
                try:
                    found.append(compositions.above_others(previous_token_head, head))
                except NotAssessable:
                    continue  # a head whose weights are zero
        return np.array(found)

    claim.draw(matrix=lambda: CompositionMatrix.of(compositions, previous_token_head, target))
    claim.check(
        "ratio",
        compositions.above_others(previous_token_head, target),
        measured={
            "composition": compositions.of(previous_token_head, target),
            "layer": previous_token_head.layer,
            "head": previous_token_head.index,
        },
        nulls=[audit.nulls.draw(OTHER_HEADS, ratios)],
    )


def kept_without(audit, ablated, through):
    """The target's score without a head in its keys, or queries, over its score."""
    without, attention = audit.repeats.without(ablated, through), audit.repeats.attention
    return attention_ratio(without.grouped(audit.target, TARGET), attention.grouped(audit.target, TARGET))


@pytest.mark.claim("keys-carry-it")
def test_keys_carry_it(claim, audit, previous_token_head):
    """With keys of a run without the previous-token head, and queries as they were, the match is lost."""
    audit.repeats.attention.position(audit.target)
    others = audit.repeats.earlier_beside(previous_token_head)
    claim.check(
        "ratio",
        kept_without(audit, previous_token_head, "keys"),
        measured={"layer": previous_token_head.layer, "head": previous_token_head.index},
        nulls=[
            audit.nulls.draw(
                "other heads ablated", lambda: np.array([kept_without(audit, head, "keys").value for head in others])
            )
        ],
    )


@pytest.mark.claim("queries-do-not")
def test_queries_do_not(claim, audit, previous_token_head):
    """With queries of a run without the previous-token head, and keys as they were, the match stays."""
    claim.check("ratio", kept_without(audit, previous_token_head, "queries"))
