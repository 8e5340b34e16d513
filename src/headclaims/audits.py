"""Many audits in one go: each the suite itself, `pytest claims/`, in one of a few processes that stay.

Loading Python's libraries takes longer than many an audit, so a process runs one audit after the other. What an audit
prints is kept and shown where it leaves no record.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# One process a processor, one thread each: an audit of a small model is too small for two.
PROCESSES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def audit(options: Sequence[str], claims: Sequence[str] = ("claims",)) -> dict[str, Any]:
    """The record of an audit in this process; raises RuntimeError, with what it printed, where it leaves none."""
    import pytest

    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(printed), redirect_stderr(printed):
        os.chdir(ROOT)
        # What an earlier audit imported can't be rewritten again, and needn't be.
        quiet = ["-p", "no:cacheprovider", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        status = pytest.main([*claims, *options, *quiet, "--report-dir", folder])
        records = list(Path(folder).glob("*/claims.json"))
        if records:
            found: dict[str, Any] = json.loads(records[0].read_text(encoding="utf-8"))
            if found["complete"] or claims != ("claims",):
                return found
    raise RuntimeError(f"no complete record of {' '.join(options)}, status {status}:\n{printed.getvalue()[-2000:]}")


def _prepare() -> None:
    import torch

    torch.set_num_threads(1)


def audits(jobs: Sequence[Sequence[str]], claims: Sequence[str] = ("claims",)) -> Iterator[tuple[int, dict[str, Any]]]:
    """Records as they are done, each with its job's number. Must be called from a module that can be imported."""
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn, initializer=_prepare) as pool:
        running = {pool.submit(audit, job, claims): number for number, job in enumerate(jobs)}
        for done in as_completed(running):
            yield running[done], done.result()
