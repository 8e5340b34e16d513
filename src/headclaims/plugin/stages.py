"""The stages of a test of a claim: what the evidence lacks is a skip, what is measured goes into the report."""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import NoReturn

import pytest

from headclaims.claim.claim import Claim, not_assessable
from headclaims.errors import BadInput, NotAssessable, NotSupported
from headclaims.plugin.properties import claim_properties
from headclaims.plugin.session import AuditParameter, Session
from headclaims.record.entries import ClaimEntry
from headclaims.refusal import refusal

CLAIM = pytest.StashKey[Claim]()
OF, ENTRY, FIGURES = "headclaims-claim", "headclaims-entry", "headclaims-figures"
"""Names under which a report carries which claim it is of, its entry and its figures."""


class Stages:
    """Hooks around the tests of claims; they act on no other test."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, object, object]:
        """Import the tests of a set under the engine's own warning filters."""
        with own_warnings(self.session.set_of(collector.path) is not None):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Set a claim up; where its fixtures find the evidence lacking it is skipped with the reason."""
        __tracebackhide__ = True
        asserted = claim_of(item)
        if asserted is not None:
            parameter, claim_id = asserted
            if claim_id not in parameter.run.claim_set.claims:
                _end(BadInput(f"{item.path}: claim {claim_id!r} is not in {parameter.run.claim_set.folder}"))
            item.user_properties.append((OF, json.dumps([parameter.key, claim_id])))
        try:
            with own_warnings(asserted is not None):
                return (yield)
        except NotAssessable as error:
            _skip(item, error)
        except BadInput as error:
            _end(error)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a claim: it passes if supported, fails with what was found, or is skipped with the reason."""
        try:
            with own_warnings(claim_of(item) is not None):
                return (yield)
        except NotAssessable as error:
            _skip(item, error)
        except NotSupported as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        except BadInput as error:
            _end(error)
        finally:
            claim = item.stash.get(CLAIM, None)
            if claim is not None and claim.concluded:
                _carry(item, claim.entry)
            if claim is not None and self.session.settings.page:
                item.user_properties.append((FIGURES, json.dumps(asdict(claim.figures()))))


def claim_of(item: pytest.Item) -> tuple[AuditParameter, str] | None:
    """Return the audit and the id of the claim that a test asserts; None for any other test."""
    callspec = getattr(item, "callspec", None)
    parameter = callspec.params.get("audit") if callspec is not None else None
    marker = item.get_closest_marker("claim")
    if not isinstance(parameter, AuditParameter) or marker is None or not marker.args:
        return None
    return parameter, marker.args[0]


@contextmanager
def own_warnings(applies: bool) -> Iterator[None]:
    """Apply the engine's own warning filters: numbers gone wrong are errors, deprecations are ignored."""
    if not applies:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        warnings.simplefilter("error", RuntimeWarning)
        yield


def _carry(item: pytest.Item, entry: ClaimEntry) -> None:
    """Put an entry into the reports of a test: whole for the ledger, and in words for `--junitxml`."""
    item.user_properties += [(ENTRY, json.dumps(asdict(entry))), *claim_properties(entry)]


def _skip(item: pytest.Item, error: NotAssessable) -> NoReturn:
    __tracebackhide__ = True
    asserted = claim_of(item)
    if asserted is not None:
        parameter, claim_id = asserted
        entry = not_assessable(parameter.run.claim_set, claim_id, error)
        _carry(item, entry)
    raise pytest.skip.Exception(f"not assessable: {error}") from None


def _end(error: BadInput) -> NoReturn:
    """End the run with status 2 and one line: the set itself is wrong, not what it says of the head."""
    raise pytest.exit.Exception(refusal(error), returncode=2) from None
