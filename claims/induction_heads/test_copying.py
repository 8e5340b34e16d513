"""Weights: the head raises the logit of what it attends to."""

import pytest

from headclaims import HeadValues, copied_share


@pytest.mark.claim("copies")
def test_copies(claim, audit):
    """Of plain tokens the share whose own token is among the ten highest logits of E W_OV W_U."""
    repeats = audit.repeats
    own = repeats.copying[audit.target]
    claim.draw(
        heads=lambda: HeadValues(
            title="Copying by layer and head",
            caption="Share of plain tokens whose own logit is among the ten that a head raises most; of very many "
            "heads a draw. What to see: whether the target copies and most others don't.",
            heads=list(repeats.copying),
            values=[of["copied"].mean() for of in repeats.copying.values()],
            value_title="share copied",
        )
    )
    claim.check("share", copied_share(own["copied"]), nulls=[repeats.copying_null("copied")])


@pytest.mark.claim("copying-eigenvalues")
def test_copying_eigenvalues(claim, audit):
    """The eigenvalues of E W_OV W_U over plain tokens are positive rather than negative."""
    repeats = audit.repeats
    own = repeats.copying[audit.target]
    claim.draw(
        heads=lambda: HeadValues(
            title="Positive and negative eigenvalues by layer and head",
            caption="Sum of the real parts of the eigenvalues of each head's E W_OV W_U over tokens, over that of "
            "their magnitudes. What to see: whether the target is near 1.",
            heads=list(repeats.copying),
            values=[float(of["positive"]) for of in repeats.copying.values()],
            value_title="positive share",
        )
    )
    claim.check(
        "positive_share",
        own["positive"],
        variants=[claim.variant("centred", "positive_share", own["centred"])],
        nulls=[repeats.copying_null("positive"), repeats.gaussian_copying()],
    )
