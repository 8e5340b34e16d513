"""Before the head: another one attends to the token before."""

import numpy as np
import pytest

from headclaims import OTHER_HEADS, PREVIOUS, HeadValues


@pytest.mark.claim("previous-token-head-exists")
def test_previous_token_head_exists(claim, audit, previous_token_head):
    """Of the heads in earlier layers one gives the token before at least half of its attention."""
    attention = audit.repeats.attention
    others = [
        head for head in attention.heads if head.layer <= previous_token_head.layer and head != previous_token_head
    ]
    scores = dict(zip(attention.heads, attention.means(PREVIOUS), strict=True))
    claim.draw(
        heads=lambda: HeadValues(
            title="Attention to the token before",
            caption="Mean attention of each head to the token before its row's. What to see: a bright head in a layer "
            "before the target's.",
            heads=attention.heads,
            values=attention.means(PREVIOUS),
            value_title="attention",
            marked={"previous-token head": previous_token_head},
        )
    )
    claim.check(
        "score",
        attention.mean(previous_token_head, PREVIOUS),
        measured={"layer": previous_token_head.layer, "head": previous_token_head.index},
        nulls=[audit.nulls.draw(OTHER_HEADS, lambda: np.array([scores[head] for head in others]))],
    )
