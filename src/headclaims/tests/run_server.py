"""Runs begun by a process that has imported the libraries already: a fork a run, which starts in a second, not in five.

`python -m headclaims.tests.run_server SOCKET` takes one line of JSON a connection (program, arguments, folder,
environment, where to put what is printed), runs `pytest` there as a process of its own would, or `headclaims`, or a
file of Python, and answers with its exit status. Of the project and of pytest's plugins nothing is imported before the
fork, and nothing that reads the environment on import. It ends with the process that started it.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "numba", "scipy.optimize", "scipy.sparse", "scipy.spatial", "scipy.stats", "sklearn.metrics")
LONGEST = 600  # seconds


def serve(path: str) -> None:
    """Until the standard input ends: its other end is the process that asks."""
    for name in LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no one waits for those that answer
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{path}.new")
        listening.listen(64)
        Path(f"{path}.new").rename(path)  # where it can be seen, it listens
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            asked, _ = listening.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                answer(asked)
                os._exit(0)
            asked.close()


def answer(asked: socket.socket) -> None:
    """One run, from what was asked to its exit status."""
    with asked, asked.makefile("rw", encoding="utf-8") as line:
        job = json.loads(line.readline())
        running = os.fork()
        if running == 0:
            run(job)
        _, status = os.waitpid(running, 0)
        line.write(f"{os.waitstatus_to_exitcode(status)}\n")


def run(job: dict[str, Any]) -> None:
    """What `python -m pytest` does, or another program of `PROGRAMS`; ends the process."""
    signal.alarm(LONGEST)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.path[1:1] = [entry for entry in job["env"].get("PYTHONPATH", "").split(os.pathsep) if entry]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(job["folder"]) / name, os.O_WRONLY | os.O_CREAT), number)
    limit_threads(job["env"].get("OMP_NUM_THREADS"))
    # The package of this module, which pytest imports as a plugin in a process of its own.
    for name in [name for name in sys.modules if name.partition(".")[0] == "headclaims"]:
        del sys.modules[name]
    status = 70
    try:
        program = job.get("program", "pytest")
        sys.argv = [program, *job["arguments"]]
        status = PROGRAMS[program]()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def pytest_main() -> int:
    """Run pytest on the process's arguments."""
    import pytest

    return int(pytest.main())


def headclaims_main() -> int:
    """Run the command; where it begins pytest, that runs in this process."""
    from headclaims import cli

    def in_this_process(line: list[str]) -> int:
        assert line[1:3] == ["-m", "pytest"]
        sys.argv = line[2:]
        return pytest_main()

    cli.subprocess.call = in_this_process  # type: ignore[assignment]
    try:
        return cli.main()
    except SystemExit as end:  # of argparse
        return end.code if isinstance(end.code, int) else 1


def python_main() -> int:
    """Run a file of Python."""
    runpy.run_path(sys.argv[1], run_name="__main__")
    return 0


PROGRAMS = {"pytest": pytest_main, "headclaims": headclaims_main, "python": python_main}


def limit_threads(n: str | None) -> None:
    """Give the libraries, which read their own settings before the fork, as many threads as they would read now."""
    import threadpoolctl
    import torch

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(int(n or processors))
    threadpoolctl.threadpool_limits(int(n or processors))


if __name__ == "__main__":
    serve(sys.argv[1])
