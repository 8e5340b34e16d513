"""Many audits in one go: each what `pytest claims/` records, in one of a few processes that stay.

Loading Python's libraries takes longer than many an audit, and so does a session of pytest: a process runs one audit
after the other, without one.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from headclaims.fleet.homology import Ranking

Job = TypeVar("Job")
Made = TypeVar("Made")

ROOT = Path(__file__).parents[3]
# One process a processor, one thread each: an audit of a small model is too small for two.
PROCESSES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def audit_files(options: Sequence[str], claims: Sequence[str] = ()) -> dict[str, str]:
    """What an audit in this process leaves, by the path of the file in the report folder: of some claims or of all.

    Raises BadInput where `pytest claims/` would end with status 2.
    """
    return {
        str(ledger.folder / name): text
        for ledger in _ledgers(options, claims)
        for name, text in ledger.files(finished=True).items()
    }


def audit(options: Sequence[str], claims: Sequence[str] = ()) -> dict[str, Any]:
    """The record of an audit in this process, of some claims alone or of all.

    Raises BadInput where `pytest claims/` would end with status 2, RuntimeError where a claim ends in an error.
    """
    (ledger,) = _ledgers(options, claims)
    record: dict[str, Any] = ledger.content(finished=True)
    errors = [f"{claim['id']}: {claim['reason']}" for claim in record["claims"] if claim["verdict"] is None]
    if errors:
        raise RuntimeError(f"{' '.join(options)}: {'; '.join(errors)}")
    return record


def _ledgers(options: Sequence[str], claims: Sequence[str]) -> Iterator[Any]:
    _find_the_suite()
    from fixtures import direct

    return direct.audit(options, claims)


def homologues(target: Sequence[str], other: Sequence[str]) -> Ranking:
    """The heads of one checkpoint by likeness to the target head of another; both are options of audits."""
    _find_the_suite()
    from fixtures.homologues import ranking

    return ranking(target, other)


def _find_the_suite() -> None:
    """The claims and what wires them lie beside the library, in the suite's own folder."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


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
