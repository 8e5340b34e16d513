"""The ledgers of a session, one an audit: what tests report is collected, and written as records."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from headclaims.claim.claim import errored
from headclaims.files import as_json, write_atomically
from headclaims.plugin.session import AuditParameter, Session
from headclaims.plugin.stages import ENTRY, FIGURES, OF
from headclaims.plugin.summary import is_homologous, summarise
from headclaims.record.entries import ClaimEntry
from headclaims.record.record import DISCOVERY, MARKDOWN_FILE, PARTIAL, RECORD_FILE, REPLICATION, record, record_folder
from headclaims.record.settle import settle
from headclaims.report.figures_file import FIGURES_FILE, PAGE_FILE, figures_json
from headclaims.report.markdown import markdown
from headclaims.report.scorecard import scorecard


class Ledger:
    """The entries of one audit as its tests report them."""

    def __init__(self, parameter: AuditParameter, alone: bool) -> None:
        self.audit, self.claim_set = parameter.audit, parameter.run.claim_set
        self.entries: dict[str, ClaimEntry] = {}
        self.seconds: dict[str, float] = {}
        self.figures: dict[str, Any] = {}
        self.folder: Path | None = None
        self.error: str | None = None
        self.is_written = False
        self._alone = alone
        """Whether the session is this audit's alone, and its loading too."""

    def take(self, claim_id: str, report: pytest.TestReport) -> None:
        """Enter what a stage of a claim took, and what came of it."""
        self.seconds[claim_id] = self.seconds.get(claim_id, 0.0) + report.duration
        carried = dict(report.user_properties)
        if FIGURES in carried:
            self.figures[claim_id] = json.loads(str(carried[FIGURES]))
        if ENTRY in carried:
            self.entries[claim_id] = ClaimEntry.from_json(json.loads(str(carried[ENTRY])))
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message if crash else str(report.longrepr)
            self.entries[claim_id] = errored(self.claim_set, claim_id, message)

    @property
    def claims(self) -> list[ClaimEntry]:
        """The entries in the order of `findings.toml`."""
        return [self.entries[name] for name in self.claim_set.claims if name in self.entries]

    @property
    def covers_the_set(self) -> bool:
        """Whether every claim of the set was judged, or ended in an error."""
        return set(self.entries) == set(self.claim_set.claims)

    @property
    def evidence_of(self) -> str:
        """Whether this is the write-up's own head of its own checkpoint: what is found elsewhere is replicated."""
        target = self.audit.target
        discovered = self.claim_set.discovered_on(target, self.audit.checkpoint.fingerprint(target.layer))
        return DISCOVERY if discovered else REPLICATION

    @property
    def is_whole(self) -> bool:
        """Whether every claim of the set has a verdict."""
        return {claim.id for claim in self.claims if claim.verdict is not None} == set(self.claim_set.claims)

    def content(self, finished: bool) -> dict[str, Any]:
        """Return the record; it is complete where the run finished and every claim has a verdict."""
        claims = self.claims
        for claim in claims:
            claim.seconds = round(self.seconds[claim.id], 3)
        settle(claims, self.covers_the_set)
        audit, checkpoint, target, stated = self.audit, self.audit.checkpoint, self.audit.target, self.claim_set
        sizes = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab")
        return record(
            complete=finished and self.is_whole,
            started=audit.started,
            seconds=time.monotonic() - audit.clock if self._alone else sum(self.seconds.values()),
            checkpoint={
                "spec": checkpoint.spec,
                "kind": checkpoint.kind,
                "name": checkpoint.name,
                "revision": checkpoint.revision,
                "fingerprint": checkpoint.fingerprint(target.layer),
                "identity": checkpoint.identity,
                "prompts_begin_with": checkpoint.prompts_begin_with,
                "capabilities": [capability.value for capability in checkpoint.capabilities],
                "files": None if checkpoint.sources is None else [asdict(one) for one in checkpoint.sources],
                **{size: getattr(checkpoint.sizes, size) or None for size in sizes},
            },
            target={
                "layer": target.layer,
                "head": target.index,
                "label": target.label,
                "chosen_by": audit.chosen_by,
                "chosen_on": audit.workspace.chosen_on,
            },
            claim_set={"name": stated.name, "version": stated.write_up.version, "sha256": stated.digest},
            settings=audit.settings.model_dump()
            | {
                "head": audit.settings.head or stated.defaults.head_on(checkpoint),
                "words": audit.settings.words or stated.word_lists.default,
            }
            | {name.replace("-", "_"): head.label for name, head in audit.workspace.named_heads.items()},
            claims=claims,
            evidence_of=self.evidence_of,
            scorecard=scorecard(
                [(sentence.says, sentence.claims) for sentence in stated.write_up.sentences],
                claims,
                audit.settings.verdicts_only,
            ),
        )

    @property
    def _record_folder(self) -> Path:
        """Where the record belongs."""
        checkpoint, label = self.audit.checkpoint, self.audit.target.label
        folder = record_folder(checkpoint.name, checkpoint.identity, self.claim_set.name, label)
        return self.audit.settings.report_folder / folder

    def write(self, finished: bool, partial: bool) -> None:
        """Write the record, and the page where one is asked for; an error of the disk is kept as `error`."""
        content = self.content(finished)
        folder = self._record_folder / PARTIAL if partial else self._record_folder
        try:
            write_atomically(folder / RECORD_FILE, as_json(content))
            workspace = self.audit.workspace
            write_atomically(
                folder / MARKDOWN_FILE,
                markdown(content, self.claims, workspace.prompts_in_words, workspace.why),
            )
            self._write_page(folder, content)
        except OSError as error:
            # What was found is said all the same.
            self.error = f"no record: {error}"
            return
        self.folder, self.is_written = folder, True

    def _write_page(self, folder: Path, content: dict[str, Any]) -> None:
        if not self.audit.settings.page:
            for stale in (FIGURES_FILE, PAGE_FILE):
                (folder / stale).unlink(missing_ok=True)
            return
        # Drawing takes a library that no other run needs.
        from headclaims.report.page import write_page

        stated = self.claim_set.claims
        figures = {c.id: self.figures.get(c.id, {"definition": stated[c.id].definition}) for c in self.claims}
        write_atomically(folder / FIGURES_FILE, figures_json(content, figures))
        write_page(folder)


class Ledgers:
    """All ledgers of a session, in the process that reports: the controller, or the only one."""

    def __init__(self, session: Session, config: pytest.Config) -> None:
        parameters = [parameter for some in session.parameters.values() for parameter in some]
        self.session, self.config = session, config
        self.of = {parameter.key: Ledger(parameter, alone=len(parameters) == 1) for parameter in parameters}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take up what a test's report carries; a record is written as soon as it is whole.

        What it carries for the ledger alone goes no further: `--junitxml` would print it.
        """
        carried = dict(report.user_properties)
        if OF not in carried:
            return
        key, claim_id = json.loads(str(carried[OF]))
        ledger = self.of[key]
        ledger.take(claim_id, report)
        report.user_properties = [one for one in report.user_properties if one[0] not in (OF, ENTRY, FIGURES)]
        if report.when == "teardown" and ledger.is_whole and len(self.of) > 1:
            ledger.write(finished=True, partial=self._is_partial(ledger))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the records that are not yet, whatever happened, and settle the exit status."""
        if "hypothesis" not in sys.modules and session.config.pluginmanager.has_plugin("hypothesispytest"):
            # Its plugin would import it now, which takes half a second, to find that it has nothing to say.
            session.config.pluginmanager.unregister(name="hypothesispytest")
        finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        for ledger in self.of.values():
            if ledger.entries and not ledger.is_written:
                ledger.write(finished, self._is_partial(ledger))
        if any(ledger.error for ledger in self.of.values()):
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        elif finished and any(ledger.entries for ledger in self.of.values()):
            session.exitstatus = self._status(exitstatus)

    def _status(self, exitstatus: int) -> int:
        """Return 5 where nothing was assessed; under `--head all` 0 where a head is homologous, else 1."""
        ledgers = [ledger for ledger in self.of.values() if ledger.entries]
        if not any(claim.assessed for ledger in ledgers for claim in ledger.claims):
            return exitstatus if exitstatus else int(pytest.ExitCode.NO_TESTS_COLLECTED)
        ruled = [ledger for ledger in ledgers if ledger.claim_set.write_up.homologous is not None]
        if self.session.settings.head != "all" or len(ruled) < len(ledgers):
            return exitstatus
        return int(not any(is_homologous(ledger.claim_set, ledger.claims) for ledger in ruled))

    def _is_partial(self, ledger: Ledger) -> bool:
        """Return whether the run covers some claims of the set alone."""
        option, invoked_in = self.config.option, self.config.invocation_params.dir
        if option.keyword or option.markexpr or option.deselect:
            return True
        folder = ledger.claim_set.folder
        named = [(invoked_in / argument.split("::")[0]).resolve() for argument in self.config.args]
        inside = [path for path in named if folder in path.parents]
        return bool(inside) and not any(path == folder or path in folder.parents for path in named)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print each audit's verdicts, and what came of many heads."""
        for run in self.session.runs:
            ledgers = [self.of[parameter.key] for parameter in self.session.parameters[run.claim_set.folder]]
            summarise(terminalreporter, run.claim_set, [ledger for ledger in ledgers if ledger.entries])
