"""Audits in a process that stays: pytest runs in it, one audit after the other.

Loading Python's libraries takes longer than many an audit. What an audit records here is what `pytest <set>` records;
of pytest's plugins only its own and this one are loaded, and of the configuration around the set nothing that would
add arguments or turn warnings into errors.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from headclaims.errors import BadInput
from headclaims.record.record import RECORD_FILE
from headclaims.uncollected import keep_uncollected

# One process a processor, one thread each: an audit of a small model is too small for two.
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
REFUSAL = "headclaims: "
ALWAYS = (
    *("--import-mode=importlib", "--capture=no", "--tb=no", "--no-header", "--no-summary", "-q"),
    *("--disable-plugin-autoload", "-p", "headclaims.plugin"),
    *("-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:unraisableexception", "-p", "no:logging"),
    *(
        "-o",
        "addopts=",
        "-o",
        "filterwarnings=",
        "-o",
        "required_plugins=",
        "-o",
        "strict=false",
        "-o",
        "strict_config=false",
    ),
)


class _Selected:
    """Leaves the tests of some claims alone in a run."""

    def __init__(self, claims: Sequence[str]) -> None:
        self.claims = claims

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drop the tests of other claims."""
        items[:] = [item for item in items if self._is_of_one(item)]

    def _is_of_one(self, item: pytest.Item) -> bool:
        marker = item.get_closest_marker("claim")
        return marker is not None and marker.args[0] in self.claims


def audit_files(claim_sets: Sequence[Path], options: Sequence[str], claims: Sequence[str] = ()) -> dict[str, str]:
    """Run one audit in this process and return its files as {path in the report folder: text}.

    `options` are those of `pytest <sets>`; `claims` limits the audit to those ids. Raises BadInput where pytest would
    end with status 2 and one line, RuntimeError with what pytest said where it left no record otherwise.
    """
    _settle()
    with tempfile.TemporaryDirectory() as reports:
        arguments = [*map(str, claim_sets), *ALWAYS, *options, "--report-dir", reports]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            status = pytest.main(arguments, plugins=[_Selected(claims)] if claims else [])
        gc.collect(0)
        _spare_what_stays()
        paths = sorted(path for path in Path(reports).rglob("*") if path.is_file())
        files = {str(path.relative_to(reports)): path.read_text(encoding="utf-8") for path in paths}
    said = [line for line in printed.getvalue().splitlines() if line.strip()]
    refusals = [line for line in said if REFUSAL in line]
    if status == pytest.ExitCode.INTERRUPTED and refusals:
        raise BadInput(refusals[0].partition(REFUSAL)[2].rstrip(" !"))
    if not files:
        raise RuntimeError(f"pytest ended with status {int(status)} and no record: {' '.join(said[-3:])}")
    return files


def audit(claim_set: Path, options: Sequence[str], claims: Sequence[str] = ()) -> dict[str, Any]:
    """Run one audit of one set and head in this process and return its record.

    Raises as `audit_files` does, and RuntimeError where a claim ends in an error.
    """
    files = audit_files([claim_set], options, claims)
    (text,) = (text for name, text in files.items() if Path(name).name == RECORD_FILE)
    record: dict[str, Any] = json.loads(text)
    errors = [f"{claim['id']}: {claim['reason']}" for claim in record["claims"] if claim["verdict"] is None]
    if errors:
        raise RuntimeError(f"{' '.join(options)}: {'; '.join(errors)}")
    return record


@cache
def _settle() -> None:
    """Load what every audit needs, and settle what an audit would otherwise settle for itself."""
    import torch

    import headclaims.plugin.begin  # noqa: F401
    from headclaims.checkpoint.held import hold_the_last
    from headclaims.checkpoint.quiet import quiet_for_good

    hold_the_last()
    torch.set_num_threads(1)
    quiet_for_good()


@cache
def _spare_what_stays() -> None:
    """Take what the first audit has loaded out of all garbage collections: each would look through it again."""
    gc.collect()
    keep_uncollected()
