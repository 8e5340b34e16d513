"""A session: the claim sets and heads under audit, as parameters of the `audit` fixture."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from headclaims.audit.audit import Audit, now
from headclaims.audit.settings import Settings
from headclaims.audit.workspace import Workspace
from headclaims.claim.claim_set import ClaimSet


@dataclass(frozen=True, eq=False)
class SetRun:
    """One claim set over one checkpoint, an audit a head. The audits here only name heads: fixtures make their own."""

    claim_set: ClaimSet
    workspace: Workspace
    audits: Sequence[Audit]


@dataclass(frozen=True, eq=False)
class AuditParameter:
    """Which audit a test is of."""

    run: SetRun
    audit: Audit

    @property
    def key(self) -> str:
        """What tells the audit from the others of a session."""
        return f"{self.run.claim_set.name}/{self.audit.target.label}"

    def fresh(self) -> Audit:
        """Return an audit of this head that holds nothing yet: what it computes goes with the fixture."""
        return replace(self.audit, started=now(), clock=time.monotonic())


@dataclass(eq=False)
class Session:
    """All that a run of pytest audits."""

    settings: Settings
    runs: Sequence[SetRun]
    notices: Sequence[str] = ()
    without: Mapping[Path, str] = field(default_factory=dict)
    """Folders of sets that have nothing to say of the checkpoint, with the reason: their tests are not collected."""
    parameters: dict[Path, list[AuditParameter]] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = {
            run.claim_set.folder: [AuditParameter(run, audit) for audit in run.audits] for run in self.runs
        }

    def set_of(self, path: Path) -> ClaimSet | None:
        """Return the claim set that a test file lies in."""
        # Folders of sets are resolved; pytest leaves links in a path as they are.
        resolved = path.resolve()
        return next((run.claim_set for run in self.runs if run.claim_set.folder in (resolved, *resolved.parents)), None)

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Leave out the tests of a set that has nothing to say of the checkpoint."""
        return True if collection_path.resolve() in self.without else None

    def pytest_report_header(self) -> list[str]:
        """Say what is audited."""
        lines = list(self.notices)
        for run in self.runs:
            lines += [f"claim set: {run.claim_set.name}, {run.claim_set.write_up.title}"] if len(self.runs) > 1 else []
            first = run.audits[0]
            many = f"target heads: {len(run.audits)}, chosen by {first.chosen_by}" if len(run.audits) > 1 else None
            lines += first.header(many)
        return lines

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make the audits of a set parameters of its tests; one audit alone leaves no mark on their names."""
        claim_set = self.set_of(metafunc.definition.path) if "audit" in metafunc.fixturenames else None
        if claim_set is not None:
            parameters = self.parameters[claim_set.folder]
            ids: list[Any] = [parameter.audit.target.label for parameter in parameters]
            metafunc.parametrize(
                "audit", parameters, indirect=True, scope="session", ids=ids if len(ids) > 1 else [pytest.HIDDEN_PARAM]
            )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist what the controller settled."""
        settled: dict[str, Any] = {}
        for run in self.runs:
            targets = [(audit.target.layer, audit.target.index) for audit in run.audits]
            settled[run.claim_set.name] = {"targets": targets}
            if self.settings.checkpoint is None:
                settled[run.claim_set.name]["default"] = (run.workspace.checkpoint.spec, run.workspace.why)
        node.workerinput["headclaims"] = settled
