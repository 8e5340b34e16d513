"""Progress: on a terminal, after two seconds, and nowhere else."""

import os
import pty
import select
import subprocess
import sys

from headclaims.progress import track

SLOW = """
import time
from headclaims import progress
progress.onto_terminal()
progress.DELAY = {delay}
import sys
sys.stderr = open("/dev/null", "w")  # as pytest does while tests run
print(sum(progress.track((time.sleep(0.05) or n for n in range(20)), "twenty things", 20)))
"""


def on_a_terminal(code: str) -> str:
    """What standard error gets of it where that is a terminal."""
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.DEVNULL, check=True, timeout=60)
    os.close(theirs)
    said = b""
    while select.select([ours], [], [], 0.1)[0]:
        try:
            said += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    return said.decode()


def test_a_bar_after_some_time_on_a_terminal() -> None:
    assert "twenty things" in on_a_terminal(SLOW.format(delay=0.1))
    assert on_a_terminal(SLOW.format(delay=30)) == ""


def test_nothing_where_there_is_no_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW.format(delay=0.0)], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("190\n", "")
    assert list(track([3, 1], "two things")) == [3, 1]
