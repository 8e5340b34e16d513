"""The beginning of a run: sets are read, the checkpoint is loaded, or one line says why not."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from headclaims import __version__
from headclaims.audit.prepare import audits, open_workspace
from headclaims.audit.settings import Settings
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.claim.claim_set import ClaimSet
from headclaims.errors import BadInput, OfAnotherSet
from headclaims.plugin.ledger import Ledgers
from headclaims.plugin.options import left_out, read_named_heads, read_settings
from headclaims.plugin.properties import SuiteProperties
from headclaims.plugin.session import Session, SetRun
from headclaims.plugin.stages import Stages
from headclaims.progress import onto_terminal
from headclaims.refusal import refusal
from headclaims.uncollected import keep_uncollected


@cache
def _spare_imports() -> None:
    """Take what was imported and loaded out of garbage collections, once: pytest's last two would look through it."""
    keep_uncollected()


def begin(config: pytest.Config, folders: Sequence[Path]) -> int | None:
    """Open a session over claim sets, or print one line and return status 2."""
    onto_terminal()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = read_settings(config)
            sets = [ClaimSet.read(folder) for folder in folders]
            if settings.checkpoint == "planted:list":
                print(*map(counterfeit_list, dict.fromkeys(one.defaults.construction for one in sets)), sep="\n\n")
                return 0
            session = open_session(config, settings, sets)
    except Exception as error:
        # Whatever goes wrong before claims run: whose fault it is says the log.
        print(refusal(error), file=sys.stderr)
        return 2
    _spare_imports()
    config.pluginmanager.register(session, "headclaims-session")
    config.pluginmanager.register(Stages(session), "headclaims-stages")
    if not hasattr(config, "workerinput"):
        ledgers = Ledgers(session, config)
        config.pluginmanager.register(ledgers, "headclaims-ledgers")
        config.pluginmanager.register(SuiteProperties(ledgers, config), "headclaims-properties")
        for folder, reason in session.without.items():
            print(f"headclaims {__version__}: {folder.name} left out: {reason}", flush=True)
        for run in session.runs:
            why = f" ({run.workspace.why})" if run.workspace.why else ""
            labels = ", ".join(audit.target.label for audit in run.audits[:3])
            heads = labels if len(run.audits) <= 3 else f"{len(run.audits)} heads"
            named = f" by {run.claim_set.name}" if len(session.runs) > 1 else ""
            print(
                f"headclaims {__version__}: auditing {run.workspace.checkpoint.spec}, {heads}{named}{why}", flush=True
            )
    return None


def open_session(config: pytest.Config, settings: Settings, sets: Sequence[ClaimSet]) -> Session:
    """Load the checkpoint once for all sets and choose the heads; a worker of pytest-xdist takes what was settled.

    Of several sets those that have nothing to say of the checkpoint are left out.
    """
    if settings.mutate is not None and len(sets) > 1:
        raise BadInput(f"--mutate {settings.mutate}: {len(sets)} claim sets; wanted one, whose target is changed")
    settled = getattr(config, "workerinput", {}).get("headclaims", {})
    runs: list[SetRun] = []
    without: dict[Path, OfAnotherSet] = {}
    for claim_set in sets:
        checkpoint = runs[-1].workspace.checkpoint if runs else None
        try:
            runs.append(_open_set(config, settings, claim_set, settled.get(claim_set.name, {}), checkpoint))
        except OfAnotherSet as error:
            without[claim_set.folder] = error
    if not runs:
        raise next(iter(without.values()))
    return Session(settings, runs, left_out(config), {folder: str(error) for folder, error in without.items()})


def _open_set(
    config: pytest.Config,
    settings: Settings,
    claim_set: ClaimSet,
    settled: Mapping[str, Any],
    checkpoint: Checkpoint | None,
) -> SetRun:
    """Choose a set's heads, on a checkpoint that another set has loaded where it is the same."""
    named = read_named_heads(config, claim_set.write_up.named_heads)
    workspace = open_workspace(
        settings, claim_set.word_lists, claim_set.defaults, checkpoint, settled.get("default"), named
    )
    targets = [Head(*head) for head in settled["targets"]] if "targets" in settled else None
    return SetRun(claim_set, workspace, audits(workspace, claim_set.defaults, targets))


def counterfeit_list(construction: str) -> str:
    """Return the counterfeits of a construction, and the first sentence of what each changes."""
    from headclaims.checkpoint.planted.constructions import constructions

    described = constructions()[construction].descriptions
    return "\n".join(f"planted:{name:20}{what}" for name, what in described.items())
