"""A repository of somebody else's, with a claim set of theirs, a configuration of theirs and tests of theirs."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headclaims.tests.claims_run import environment

# The example of the design, word for word.
ATTENDS_TO_PREVIOUS = '''"""Behaviour: the head attends to the token before."""
import numpy as np
import pytest
from headclaims import per_prompt

@pytest.mark.claim("attends-to-previous")
def test_attends_to_previous(claim, audit):
    def share(head):
        attention = audit.attention(head)                       # [prompt, query, key]
        return per_prompt(np.diagonal(attention, -1, 1, 2).mean(axis=1))

    claim.check("share", share(audit.target), nulls=[audit.nulls.other_heads(share)])
'''
OWN_FIXTURE = """import pytest

@pytest.fixture
def to_bos(audit):
    return audit.attention(audit.target)[:, :, 0]
"""
FIGURES = """import pytest
from headclaims import Bars, HeatMap, Line

@pytest.mark.claim("inertia")
def test_inertia(claim, audit, to_bos):
    x = list(range(5))
    claim.draw(a_line=lambda: Line(title="A line", caption="BOS", x=x, series={"bos": to_bos[0, :5]}))
    claim.draw(a_second_line=lambda: Line(title="Another", caption="same", x=x, series={"bos": to_bos[1, :5]}))
    claim.draw(some_bars=lambda: Bars(title="Some bars", caption="two", labels=["a", "b"], values=to_bos[0, :2]))
    claim.draw(a_map=lambda: HeatMap(title="A map", caption="all", matrix=to_bos[:2, :2], rows="pq", columns="01"))
    claim.check("mass", float(to_bos[:, 1:].mean()))
"""
FINDINGS = """[write_up]
title = "A guest's finding"
head = "L1H5"

[claims.attends-to-previous]
statement = "It attends to the token before"

[claims.inertia]
statement = "An id that a shipped set has, too"
"""
THRESHOLDS = """[attends-to-previous]
share = { relation = "<", value = 0.5 }

[inertia]
mass = { relation = "≥", value = 0.0 }
"""
CONFIGURATION = """[project]
name = "guest"
version = "0"

[tool.pytest.ini_options]
addopts = "--import-mode=prepend -ra"
filterwarnings = ["error"]
testpaths = ["tests"]
"""


@dataclass(frozen=True)
class Done:
    """How a command ended, and all that it said."""

    status: int
    said: str


def write_guest(folder: Path, configuration: str = CONFIGURATION) -> Path:
    """Write the repository; its claim set is `my_claims`."""
    files = {
        "pyproject.toml": configuration,
        "tests/test_own.py": "def test_own():\n    assert True\n",
        "my_claims/findings.toml": FINDINGS,
        "my_claims/thresholds.toml": THRESHOLDS,
        "my_claims/conftest.py": OWN_FIXTURE,
        "my_claims/test_previous.py": ATTENDS_TO_PREVIOUS,
        "my_claims/test_figures.py": FIGURES,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run_in(folder: Path, *command: str | Path, env: Mapping[str, str] | None = None) -> Done:
    """Run a command of the environment under test (`pytest`, `headclaims`) in a folder."""
    program = {"pytest": ["-m", "pytest"], "headclaims": ["-m", "headclaims.cli"]}[str(command[0])]
    line = [sys.executable, *program, *map(str, command[1:])]
    source = os.pathsep.join(filter(None, [(env or {}).get("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]))
    variables = environment(folder, {**(env or {}), "PYTHONPATH": source})
    done = subprocess.run(line, cwd=folder, env=variables, capture_output=True, text=True, timeout=500, check=False)
    return Done(done.returncode, done.stdout + done.stderr)
