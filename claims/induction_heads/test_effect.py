"""Effect: what the head writes is worth something to the next token."""

import numpy as np
import pytest

from headclaims import OTHER_HEADS, HeadValues, per_prompt


@pytest.mark.claim("writes-the-target")
def test_writes_the_target(claim, audit):
    """Directly through the final norm and the unembedding, the head raises the logit of the token it attends to."""
    effects = audit.repeats.effects
    others = [head for head in effects if head != audit.target]
    claim.draw(
        heads=lambda: HeadValues(
            title="Direct effect by layer and head",
            caption="What each head adds directly to the logit of the token that followed last time, over the mean "
            "plain token's, in nats. What to see: which heads predict the repetition.",
            heads=list(effects),
            values=[of.mean() for of in effects.values()],
            value_title="nats",
        )
    )
    claim.check(
        "effect",
        per_prompt(effects[audit.target]),
        nulls=[
            audit.nulls.draw(OTHER_HEADS, lambda: np.array([effects[head].mean() for head in others]), heads=others)
        ],
    )


@pytest.mark.claim("loss-needs-it")
def test_loss_needs_it(claim, audit):
    """Without the head second halves lose more than first ones do."""
    repeats = audit.repeats
    claim.check("difference", repeats.loss_of(audit.target), nulls=[repeats.others(repeats.loss_of)])
