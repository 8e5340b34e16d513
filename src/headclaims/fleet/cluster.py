"""Worker processes for many audits: of this machine, or of a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from headclaims.errors import BadInput
from headclaims.fleet.workers import PROCESSORS
from headclaims.progress import track

Job = TypeVar("Job")
Made = TypeVar("Made")


@contextmanager
def workers(scheduler: str | None = None, n: int = PROCESSORS) -> Iterator[Any]:
    """Yield a client of a Dask scheduler, or of n processes of this machine that end with the context.

    Raises BadInput where no scheduler answers at that address.
    """
    import dask
    from distributed import Client, LocalCluster

    os.environ["OMP_NUM_THREADS"] = "1"  # a process a processor: more threads would wait for one another
    settings = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.comm.timeouts.connect": "20s",
        "distributed.worker.profile.enabled": False,  # an hour of pytest's stacks is hundreds of megabytes
        # Dask's own value hands memory back after every array: a quarter of an audit's time went into getting it anew.
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**29,
        "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
    }
    with dask.config.set(settings):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout="20s", set_as_default=False)
            except (OSError, ValueError) as error:
                raise BadInput(f"--scheduler {scheduler}: {' '.join(str(error).split())}") from error
            with client:
                yield client
            return
        with (
            # No limit of memory: a worker that is over one is paused, and the sweep with it.
            LocalCluster(
                n_workers=n, threads_per_worker=1, memory_limit=0, dashboard_address=":0", silence_logs=50
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client


def in_workers(work: Callable[[Job], Made], jobs: Sequence[Job], what: str) -> list[Made]:
    """Return what `work` makes of each job, in order, computed in processes of this machine.

    `work` is a function of a module; jobs and results are what a process can be sent. What it raises is raised here.
    """
    from distributed import as_completed

    results: dict[int, Made] = {}
    with workers(n=min(PROCESSORS, len(jobs))) as client:
        numbers = {client.submit(work, job, key=f"job-{n}", pure=False): n for n, job in enumerate(jobs)}
        for future in track(as_completed(list(numbers), loop=client.loop), what, len(jobs)):
            results[numbers[future]] = future.result()
            future.release()
    return [results[n] for n in range(len(jobs))]
