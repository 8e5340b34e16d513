"""What the claims of this set share."""

import pytest


@pytest.fixture
def previous_token_head(audit):
    """The head before the target's layer that attends most to the token before, or the one that the auditor named."""
    return audit.repeats.previous_token_head(audit.named_head("previous-token-head"))
