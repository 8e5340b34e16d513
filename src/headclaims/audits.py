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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

Job = TypeVar("Job")
Made = TypeVar("Made")

ROOT = Path(__file__).parents[2]
# One process a processor, one thread each: an audit of a small model is too small for two.
PROCESSES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def audit(options: Sequence[str], claims: Sequence[str] = ()) -> dict[str, Any]:
    """The record of an audit in this process, of some claims alone or of all.

    Raises RuntimeError, with what was printed, where it leaves none, is broken off, or a claim ended in an error.
    """
    import pytest

    printed = io.StringIO()
    chosen = ["-k", " or ".join(f"test_{claim.replace('-', '_')}" for claim in claims)] if claims else []
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(printed), redirect_stderr(printed):
        os.chdir(ROOT)
        # What an earlier audit imported can't be rewritten again, and needn't be; five collections of the garbage of
        # all of them would look for errors that there is no one to show.
        quiet = ["--disable-plugin-autoload", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "-q"]
        quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        status = pytest.main(["claims", *chosen, *options, *quiet, "--report-dir", folder])
        records = list(Path(folder).glob("*/claims.json"))
        if records:
            found: dict[str, Any] = json.loads(records[0].read_text(encoding="utf-8"))
            concluded = sum(claim["verdict"] is not None for claim in found["claims"])
            if found["complete"] or concluded == len(claims) > 0:
                return found
    raise RuntimeError(f"no complete record of {' '.join(options)}, status {status}:\n{printed.getvalue()[-2000:]}")


def _prepare() -> None:
    import torch

    torch.set_num_threads(1)


def in_processes(work: Callable[[Job], Made], jobs: Sequence[Job]) -> Iterator[tuple[int, Made]]:
    """What `work` makes of each job as it is done, with the job's number. Both must be what a process can be sent."""
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn, initializer=_prepare) as pool:
        running = {pool.submit(work, job): number for number, job in enumerate(jobs)}
        for done in as_completed(running):
            yield running[done], done.result()
