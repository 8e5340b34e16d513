"""Worker processes: results in the order of their jobs, and errors raised where the work was asked for."""

import os
import resource
import time

import numpy as np
import pytest
from distributed import KilledWorker

from headclaims.errors import BadInput
from headclaims.fleet.cluster import in_workers


def late(seconds: float) -> tuple[float, int, str | None]:
    """Wait, and return how long, in which process, and on how many threads it is to compute."""
    time.sleep(seconds)
    return seconds, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def faults(job: int) -> int:
    """Make and drop an array of 2 MB two hundred times, and return how many pages the process had to ask for."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        np.ones(2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def refusing(job: int) -> int:
    """Refuse one job, as an audit refuses what can't be one."""
    if job == 1:
        raise BadInput("job 1: no such checkpoint")
    return job


def dying(job: int) -> int:
    """End the process of one job, as the system ends one that is out of memory."""
    if job == 1:
        os._exit(9)
    return job


def test_results_are_in_the_order_of_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first job ends last."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    seconds = [1.5, 0.0, 0.3, 0.0]
    results = in_workers(late, seconds, "jobs")
    assert [waited for waited, _, _ in results] == seconds
    assert os.getpid() not in {process for _, process, _ in results}
    assert {threads for _, _, threads in results} == {"1"}


def test_what_work_raises_is_raised() -> None:
    with pytest.raises(BadInput, match=r"^job 1: no such checkpoint$"):
        in_workers(refusing, range(3), "jobs")


def test_a_process_that_dies_ends_the_work() -> None:
    """A study that goes on without a result would count something else than it says."""
    with pytest.raises(KilledWorker):
        in_workers(dying, range(3), "jobs")


def test_a_worker_keeps_the_memory_of_one_array_for_the_next() -> None:
    """An array of 2 MB is 512 pages: two hundred of them would be 102,400, had each to be asked for anew."""
    assert max(in_workers(faults, [0], "jobs")) < 20_000
