"""Audits still say what they said before the house was rebuilt: verdicts, flags and numbers to 1e-9."""

import json
from pathlib import Path

import pytest

from headclaims.tests.claims_run import ROOT, read_record
from headclaims.tests.golden_records import FOLDER, audits, differences, essence
from headclaims.tests.guest_repository import run_in
from headclaims.tests.real_gpt2 import needs_attention, needs_weights

NEEDS = {"recorded-attention": needs_attention, "attention-weights": needs_weights}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(path.stem, marks=NEEDS.get(path.stem, ())) for path in sorted(FOLDER.glob("*.json"))]
)
def test_an_audit_says_what_it_said(name: str, tmp_path: Path) -> None:
    # A process of its own, with as many threads as the records were made with: one thread rounds otherwise.
    reports = tmp_path / "reports"
    command = ("pytest", "claims/", "--report-dir", reports, *audits(tmp_path)[name])
    done = run_in(ROOT, *command, env={"OMP_NUM_THREADS": "", "HF_HOME": str(tmp_path / "hf")})
    (path,) = reports.rglob("claims.json")
    assert done.status in (0, 1), done.said
    expected = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert list(differences(expected, essence(read_record(path)))) == []


def test_a_difference_is_seen() -> None:
    """The comparison itself can fail: by a number, a flag, a claim that is missing."""
    claim = {"measured": {"gap": 1.0}, "flags": ["distinctive"], "interval": None}
    assert list(differences([claim], [claim])) == []
    assert list(differences([claim], [claim | {"measured": {"gap": 1.0 + 1e-8}}])) != []
    assert list(differences([claim], [claim | {"flags": []}])) != []
    assert list(differences([claim], [])) != []
    assert list(differences([claim], [claim | {"interval": [0.0, 1.0]}])) != []
