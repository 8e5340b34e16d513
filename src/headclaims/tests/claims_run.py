"""The claims run as a user runs them, `pytest claims/ …` from the root of the repository, each in a process of its own.

What a run finds of the machine is held back: its Hugging Face cache, its offline switches, its proxies.
"""

import atexit
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SET = ROOT / "claims" / "self_hating_head"
SHARED = Path("../shared/gpt2-small")
_OF_THE_MACHINE = re.compile(r"PYTEST_|HF_|HUGGINGFACE_|TRANSFORMERS_|XDG_CACHE_HOME$|COLUMNS$|(?i:.*_proxy$)")


@dataclass(frozen=True)
class ClaimsRun:
    """What a run said, how it ended, and what it left."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    reports: Path

    @property
    def first_line(self) -> str:
        """What a reader sees first."""
        return self.stdout.splitlines()[0]

    @property
    def output(self) -> str:
        """All that the run said."""
        return self.stdout + self.stderr

    @property
    def folder(self) -> Path:
        """The folder of the one record in the report folder."""
        assert self.reports.is_dir(), f"status {self.status} and no record:\n{self.output}"
        (path,) = self.reports.rglob("claims.json")
        return path.parent

    @property
    def record(self) -> dict[str, Any]:
        """claims.json."""
        return read_record(self.folder / "claims.json")

    @property
    def claims(self) -> dict[str, dict[str, Any]]:
        """The record's claims by id."""
        return {claim["id"]: claim for claim in self.record["claims"]}

    @property
    def verdicts(self) -> dict[str, tuple[str | None, list[str]]]:
        """Verdict and flags of each claim."""
        return {name: (claim["verdict"], claim["flags"]) for name, claim in self.claims.items()}

    @property
    def markdown(self) -> str:
        """claims.md."""
        return (self.folder / "claims.md").read_text(encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """A record; raises ValueError for NaN and infinity, which are no JSON."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{path}: {constant} in a record; wanted numbers alone")

    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return content


def comparable(record: dict[str, Any], *and_not: str) -> dict[str, Any]:
    """A record without when it was made, at which commit, into which folder, and without the settings named."""
    kept = {key: value for key, value in record.items() if key not in ("started", "seconds", "suite")}
    without = {"report_dir", *and_not}
    kept["settings"] = {key: value for key, value in record["settings"].items() if key not in without}
    kept["claims"] = [{k: v for k, v in claim.items() if k != "seconds"} for claim in record["claims"]]
    return kept


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """The claims of findings.toml by id, in its order."""
    text = (SET / "findings.toml").read_text(encoding="utf-8")
    claims: dict[str, dict[str, Any]] = tomllib.loads(text)["claims"]
    return claims


def environment(scratch: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Of this process, without what belongs to the machine or to the pytest around; offline unless `more` says else.

    An empty value takes a variable away.
    """
    kept = {name: value for name, value in os.environ.items() if not _OF_THE_MACHINE.match(name)}
    chosen = kept | {"HF_HOME": str(scratch / "hf"), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"} | more
    return {name: value for name, value in chosen.items() if value}


def command(*options: str | Path, reports: Path, of: str = "claims/self_hating_head") -> list[str]:
    """The command line of a run; `of` names what is run."""
    line = [sys.executable, "-m", "pytest", of, "--report-dir", reports, *options]
    return [str(word) for word in line]


@cache
def _server() -> str:
    """The socket of this process's own `run_server`, started when first asked for."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "runs"
    line = [sys.executable, "-m", "headclaims.tests.run_server", str(path)]
    process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE)
    while not path.exists():
        assert process.poll() is None, "no run can be begun: the process that begins them has ended"
        time.sleep(0.05)

    def end() -> None:
        process.terminate()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    return str(path)


def run_claims(
    *options: str | Path, reports: Path, env: Mapping[str, str] | None = None, of: str = "claims/self_hating_head"
) -> ClaimsRun:
    """Run the claims of a set to their end; the report folder is made by the run."""
    path = _server()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as printed, socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        job = {
            "arguments": command(*options, reports=reports, of=of)[3:],
            "cwd": str(ROOT),
            "env": environment(reports.parent, env or {}),
            "folder": printed,
        }
        with server.makefile("rw", encoding="utf-8") as line:
            line.write(f"{json.dumps(job)}\n")
            line.flush()
            status = int(line.readline())
        said = [Path(printed, name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
    return ClaimsRun(status, *said, time.monotonic() - start, reports)


def start_up() -> float:
    """Seconds that a process takes now to import what every run imports: a yardstick of how busy the machine is."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import numba, pytest, scipy.stats, torch"], check=True)
    return time.monotonic() - start


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complaint(run: ClaimsRun) -> str:
    """The line with which a run that could not begin has ended; raises AssertionError where there is anything else."""
    lines = [line for line in run.output.splitlines() if line.strip()]
    found = [re.search(r"headclaims: (?P<message>.+?)(?: !+)?$", line) for line in lines]
    assert lines, "the run said nothing"
    assert all(found), f"wanted one line that says what is wrong, got\n{run.output}"
    messages = {match["message"] for match in found if match}
    assert len(messages) == 1, f"wanted one line that says what is wrong, got\n{run.output}"
    return messages.pop()


Runs = Callable[..., ClaimsRun]


def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """`runs(*options)` is the run with these options, made once."""
    made: dict[tuple[str, ...], ClaimsRun] = {}

    def run_once(*options: str | Path) -> ClaimsRun:
        key = tuple(str(option) for option in options)
        if key not in made:
            made[key] = run_claims(*options, reports=tmp_path_factory.mktemp("run") / "reports")
        return made[key]

    return run_once
