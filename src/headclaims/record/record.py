"""The record of an audit, `claims.json`: one entry a claim, and all that another person needs to check it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headclaims import __version__
from headclaims.record.entries import ClaimEntry, SentenceEntry, counts
from headclaims.record.environment import environment

SCHEMA = 2
RECORD_FILE, MARKDOWN_FILE = "claims.json", "claims.md"
PARTIAL = "partial"
"""The folder, inside that of a record, of runs of some claims alone."""
DISCOVERY, REPLICATION = "discovery", "replication"


def record(
    *,
    complete: bool,
    started: str,
    seconds: float,
    checkpoint: Mapping[str, Any],
    target: Mapping[str, Any],
    claim_set: Mapping[str, Any],
    settings: Mapping[str, Any],
    claims: Sequence[ClaimEntry],
    evidence_of: str,
    scorecard: Sequence[SentenceEntry] = (),
) -> dict[str, Any]:
    """Return an audit as JSON, schema 2.

    `claim_set` are its name, version and the sha256 of its findings and thresholds; `evidence_of` is
    `DISCOVERY` for the write-up's own head of its own checkpoint, elsewhere `REPLICATION`;
    `scorecard` answers the write-up's sentences, in a set that lists some.
    """
    return {
        "schema": SCHEMA,
        "complete": complete,
        "suite": {"name": "headclaims", "version": __version__, "commit": commit(Path(__file__))},
        "claim_set": dict(claim_set),
        "started": started,
        "seconds": round(seconds, 3),
        "checkpoint": dict(checkpoint),
        "target": dict(target),
        "evidence_of": evidence_of,
        "counts": counts(claims),
        "scorecard": [asdict(sentence) for sentence in scorecard],
        "settings": dict(settings),
        "environment": environment(str(settings["device"])),
        "claims": [asdict(claim) for claim in claims],
    }


def commit(file: Path) -> str | None:
    """Return the commit of the checkout that a file belongs to; None where git doesn't track it, as in a venv."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=file.parent, capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None


def record_folder(checkpoint: str, identity: str, claim_set: str, head: str) -> Path:
    """Return where in a report folder a record belongs: `<checkpoint>-<8 of its identity>/<set>/<head>`."""
    return Path(f"{checkpoint}-{identity[:8]}") / claim_set / head
