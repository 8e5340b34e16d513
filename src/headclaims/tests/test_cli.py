"""What the command loads: `--help` nothing that is heavy, and a comparison of records no model's libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headclaims import cli
from headclaims.fleet.compare import WRITERS
from headclaims.tests.report_folders import write_folder

HEAVY = ("torch", "scipy", "transformers", "transformer_lens", "pandas", "plotly", "matplotlib", "distributed", "numba")


def loaded(*arguments: str) -> tuple[set[str], float]:
    """The modules that a command loads, and the seconds of a processor that it takes."""
    script = f"""
import json, sys
from headclaims.cli import main
try:
    main({list(arguments)!r})
except SystemExit:
    pass
print(json.dumps(list(sys.modules)), file=sys.stderr)
"""
    before = os.times()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return set(json.loads(done.stderr.splitlines()[-1])), spent


def test_help_loads_nothing_heavy() -> None:
    modules, seconds = loaded("--help")
    assert not modules & {*HEAVY, "numpy", "pydantic"}
    assert seconds < 1


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_a_comparison_of_records_loads_no_models_libraries(form: str, tmp_path: Path) -> None:
    folders = [str(write_folder(tmp_path / name, with_figures=False)) for name in ("one", "two")]
    modules, seconds = loaded("compare", *folders, "--format", form)
    assert "headclaims.fleet.compare" in modules
    assert not modules & {*HEAVY}
    assert seconds < 1


def test_output_that_nobody_reads_on_ends_quietly(tmp_path: Path) -> None:
    """As of `headclaims compare … | head`: the status is that of a broken pipe, 128 and 13."""
    folders = [str(write_folder(tmp_path / name, with_figures=False)) for name in ("one", "two")]
    command = [sys.executable, "-m", "headclaims.cli", "compare", *folders]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_formats_are_those_that_are_written() -> None:
    assert tuple(WRITERS) == cli.FORMATS


@pytest.mark.parametrize(
    "module", ["headclaims.record.entries", "headclaims.record.reading", "headclaims.statistics.verdict"]
)
def test_records_are_read_without_models_libraries(module: str) -> None:
    script = f"import sys, {module}; print(sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
