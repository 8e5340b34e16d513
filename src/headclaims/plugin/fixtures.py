"""The two fixtures that are enough for a claim: `audit` and `claim`."""

from __future__ import annotations

import pytest

from headclaims.audit.audit import Audit
from headclaims.claim.claim import Claim
from headclaims.plugin.session import AuditParameter
from headclaims.plugin.stages import CLAIM, claim_of


@pytest.fixture(scope="session")
def audit(request: pytest.FixtureRequest) -> Audit:
    """The audit of one head: everything a claim may ask about it."""
    parameter = getattr(request, "param", None)
    if not isinstance(parameter, AuditParameter):
        pytest.fail(
            "the fixture `audit` is for tests of a claim set: wanted a folder with findings.toml around the test"
        )
    return parameter.fresh()


@pytest.fixture
def claim(request: pytest.FixtureRequest, audit: Audit) -> Claim:
    """The claim that the test's mark names; its entry goes into the record with the test's report."""
    asserted = claim_of(request.node)
    if asserted is None:
        pytest.fail("a test with the fixture `claim` and no mark; wanted @pytest.mark.claim(<id>)")
    parameter, claim_id = asserted
    request.node.stash[CLAIM] = claim = Claim(claim_id, parameter.run.claim_set, audit)
    return claim
