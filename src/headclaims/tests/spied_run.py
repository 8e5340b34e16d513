"""`python spied_run.py LOG ARGUMENTS…` runs pytest and writes down what it does to the machine, a line of JSON each.

Processes that are started, addresses that are asked for, and paths that are written, made, moved or removed, as
Python's audit events tell of them. It imports nothing of the project.
"""

import json
import os
import runpy
import sys
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROCESSES = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
PATHS = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
    "os.utime",
)


def watch(log: int) -> None:
    """Write events to a file descriptor from now on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            # Numbers are of files that are open already; devices are no files, nor is a name that is never given.
            if not isinstance(flags, int) or not flags & WRITES or isinstance(path, int):
                return
            if flags & getattr(os, "O_TMPFILE", 0) == getattr(os, "O_TMPFILE", -1) or str(path).startswith("/dev/"):
                return
            told = [os.fspath(path)]
        elif event in PROCESSES:
            told = [str(part) for part in arguments[:2]]
        elif event in NETWORK:
            told = [str(part) for part in arguments[1:3]]
        elif event in PATHS:
            told = [os.fspath(part) for part in arguments[:2] if isinstance(part, str | bytes | os.PathLike)]
        else:
            return
        os.write(log, (json.dumps([event, *(str(part) for part in told)]) + "\n").encode())

    sys.addaudithook(hook)


if __name__ == "__main__":
    watch(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    sys.argv = ["pytest", *sys.argv[2:]]
    runpy.run_module("pytest", run_name="__main__")
