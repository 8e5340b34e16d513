"""Weights: the head raises the logit of what it attends to."""

import pytest

from headclaims import copied_share


@pytest.mark.claim("copies")
def test_copies(claim, audit):
    """Of plain tokens the share whose own token is among the ten highest logits of E W_OV W_U."""
    repeats = audit.repeats
    own = repeats.copying[audit.target]
    claim.check("share", copied_share(own["copied"]), nulls=[repeats.copying_null("copied")])


@pytest.mark.claim("copying-eigenvalues")
def test_copying_eigenvalues(claim, audit):
    """The eigenvalues of E W_OV W_U over plain tokens are positive rather than negative."""
    repeats = audit.repeats
    own = repeats.copying[audit.target]
    claim.check(
        "positive_share",
        own["positive"],
        variants=[claim.variant("centred", "positive_share", own["centred"])],
        nulls=[repeats.copying_null("positive"), repeats.gaussian_copying()],
    )
