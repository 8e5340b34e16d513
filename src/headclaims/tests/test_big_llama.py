"""What an audit costs: a random Llama of 1.2 billion parameters, and a small one of its proportions.

Seconds and memory are those of the audit's own process. Bounds are on the time that processors spent, as the clock also
counts what other work they did.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from headclaims.tests.big_llama import SMALL, build
from headclaims.tests.claims_run import ROOT, environment

pytestmark = [pytest.mark.slow, pytest.mark.long]

PARAMETERS = 1_235_814_400
COLD, WARM = 9.5 * 60, 90
NEAR = 0.3


@dataclass(frozen=True)
class Cost:
    """What one audit took, in seconds and bytes, and the memory that its header names."""

    seconds: float
    of_processors: float
    peak: int
    named: float


def audit(folder: Path, scratch: Path, *options: str) -> Cost:
    """Audit a model in a process of its own, with as many threads as there are processors."""
    threads = len(os.sched_getaffinity(0))
    env = environment(scratch, {"HEADCLAIMS_CACHE": str(scratch / "cache"), "OMP_NUM_THREADS": str(threads)})
    line = [sys.executable, "-m", "pytest", "claims/self_hating_head", "--checkpoint", str(folder), "-p"]
    line += ["no:cacheprovider", "--report-dir", str(scratch / "reports"), *options]
    start = time.monotonic()
    with (scratch / "said").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(line, cwd=ROOT, env=env, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        said.seek(0)
        output = said.read()
    assert process.returncode in (0, 1), output
    named = re.search(r"memory: about ([\d.]+) GB at its peak", output)
    assert named is not None, output
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, float(named[1]) * 1e9)


@pytest.mark.parametrize("options", [(), ("--verdicts-only",)])
def test_the_memory_of_a_small_audit_is_near_what_its_header_names(tmp_path: Path, options: tuple[str, ...]) -> None:
    cost = audit(build(tmp_path / "small", torch.float32, **SMALL), tmp_path, *options)
    assert cost.named == pytest.approx(cost.peak, rel=NEAR)


def test_a_model_of_1_2_billion_parameters(tmp_path: Path) -> None:
    """Stored in bfloat16 it needs at most one and a half times what its weights would take in float32."""
    folder = build(tmp_path / "big", torch.bfloat16)
    cold, warm = audit(folder, tmp_path), audit(folder, tmp_path)
    print(f"cold {cold}\nwarm {warm}")
    threads = len(os.sched_getaffinity(0))
    assert cold.of_processors < threads * COLD
    assert warm.of_processors < threads * WARM
    assert max(cold.peak, warm.peak) < 1.5 * 4 * PARAMETERS
    assert cold.named == pytest.approx(cold.peak, rel=NEAR)
