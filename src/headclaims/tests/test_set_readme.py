"""The README of a claim set: its catalogue is that of findings.toml and thresholds.toml, and says what records say."""

import json
import re
from pathlib import Path

import pytest

from headclaims.claim.catalogue import MARKS, README_FILE, catalogue, conditions, write_catalogue
from headclaims.claim.claim_set import ClaimSet, Limit
from headclaims.claim.shipped import shipped_sets
from headclaims.errors import BadInput
from headclaims.tests.claims_run import ROOT

TESTS = 'import pytest\n\n\n@pytest.mark.claim("one")\ndef test_one(claim):\n    pass\n'
FINDINGS = """
[write_up]
title = "A *title*"
head = "L1H2"
authors = "A. Uthor"
year = 2020

[claims.one]
statement = "x | y < z"
definition = "a_b = A[i,j] ≥ 2"
needs = "attention"
source = "§ 3"
reported = { share = { value = 0.5, tolerance = 0.05, kind = "rounded" } }
"""
THRESHOLDS = '[one]\nshare = { relation = "≥", value = 0.5 }\neffect = { relation = "|·| ≤", value = 0.10 }\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small claim set without a README."""
    files = {"findings.toml": FINDINGS, "thresholds.toml": THRESHOLDS, "test_one.py": TESTS}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", shipped_sets())
def test_the_sets_that_ship_have_a_current_one(name: str) -> None:
    """`headclaims catalogue` writes it anew."""
    path = shipped_sets()[name] / README_FILE
    text = path.read_text(encoding="utf-8")
    assert text.split(MARKS[0])[1].split(MARKS[1])[0] == "\n" + catalogue(ClaimSet.read(path.parent))


def test_a_new_one_has_each_claim_once(folder: Path) -> None:
    lines = write_catalogue(folder).read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {folder.name}"
    assert "Write-up: A *title* (A. Uthor, 2020). By default head L1H2 of `gpt2` is audited." in lines
    (row,) = [re.split(r" *(?<!\\)\| *", line) for line in lines if line.startswith("| [one]")]
    assert row[1:-1] == ["[one](#one)", r"x \| y &lt; z", "share ≥ 0.5; abs(effect) ≤ 0.1", "attention"]
    start = lines.index("### one")
    assert lines[start + 2 : start + 6] == [
        r"a\_b = A\[i,j\] ≥ 2",
        "",
        "- in the write-up: § 3",
        "- reported: share 0.5 ± 0.05 (rounded)",
    ]


def test_what_stands_around_it_stays(folder: Path) -> None:
    (folder / README_FILE).write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n", encoding="utf-8")
    text = write_catalogue(folder).read_text(encoding="utf-8")
    assert text.startswith(f"before\n{MARKS[0]}\n")
    assert text.endswith(f"{MARKS[1]}\nafter\n")
    assert "old" not in text
    assert write_catalogue(folder).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("text", ["mine alone\n", f"{MARKS[0]}\n", f"{MARKS[0]}\n{MARKS[0]}\n{MARKS[1]}\n"])
def test_a_file_without_marks_is_refused(folder: Path, text: str) -> None:
    (folder / README_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="wanted the line <!-- catalogue -->"):
        write_catalogue(folder)
    assert (folder / README_FILE).read_text(encoding="utf-8") == text


def test_conditions_read_as_sentences_do() -> None:
    assert conditions({"effect": Limit("|·| ≤", 0.1), "gap": Limit(">", 0)}) == "abs(effect) ≤ 0.1; gap > 0"


def test_evidence_and_nulls_are_those_of_the_records() -> None:
    """On the planted checkpoint all nulls are there; real GPT-2's weights and patterns assess what needs no model."""
    claims = ClaimSet.read(shipped_sets()["self_hating_head"]).claims
    planted, real = (
        {claim["id"]: claim for claim in json.loads((ROOT / path).read_text(encoding="utf-8"))["claims"]}
        for path in ("reports/examples/planted/claims.json", "reports/examples/gpt2-small/claims.json")
    )
    stated = {claim_id: claim.nulls for claim_id, claim in claims.items()}
    assert stated == {claim_id: [null["population"] for null in one["nulls"]] for claim_id, one in planted.items()}
    without = {claim_id for claim_id, one in real.items() if one["verdict"] == "not assessable"}
    # Of whom tokens attend to most the recorded graph tells, by the edges that it has.
    assert {claim_id for claim_id, claim in claims.items() if claim.needs == "model"} == without | {
        "top-attended-are-kin"
    }
