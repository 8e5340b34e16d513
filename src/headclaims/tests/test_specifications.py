"""Specification curves: shares and order by hand, from records of a plan's folders."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from headclaims.cli import main
from headclaims.fleet.plan import Plan
from headclaims.fleet.specifications import Specification, curves, share, table, write
from headclaims.record.entries import ClaimEntry, VariantEntry
from headclaims.statistics.verdict import Flag, Verdict
from headclaims.tests.report_folders import claim, record


def plan_of(tmp_path: Path, by_seed: dict[int, Sequence[ClaimEntry]]) -> Plan:
    """A plan over seeds, as if it had run, with these claims under each."""
    path = tmp_path / "plan.toml"
    path.write_text(
        f'report_dir = "{tmp_path}/sweep"\n[[rule]]\ncheckpoint = ["planted"]\nseed = {list(by_seed)}\n',
        encoding="utf-8",
    )
    plan = Plan.read(path)
    for job in plan.jobs:
        content = record(by_seed[job.about["seed"]], name="planted", spec="planted")
        content["settings"] |= {"seed": job.about["seed"], "words": "write-up"}
        folder = plan.report_dir / job.name / "a-record"
        folder.mkdir(parents=True)
        (folder / "claims.json").write_text(json.dumps(content), encoding="utf-8")
    return plan


def ratio(value: float, verdict: Verdict = Verdict.SUPPORTED, **variants: tuple[float, bool]) -> ClaimEntry:
    """A claim with variants (value, holds)."""
    made = [VariantEntry(name, *one) for name, one in variants.items()]
    return claim("ratio", verdict, measured={"ratio": value}, variants=made)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Seed 7 comes first; of six specifications of one claim four hold, of the others one or none is to be seen."""
    lacking = claim("patchy", Verdict.NOT_ASSESSABLE, reason="no words")
    fixed = claim("fixed", measured={"count": 33})
    algebra = claim("algebra", flags=[Flag.BY_CONSTRUCTION], measured={"x": 1.0})
    return plan_of(
        tmp_path,
        {
            7: [ratio(3.0, commas=(2.0, True), zero=(0.5, False)), lacking, fixed, algebra],
            8: [ratio(4.0, commas=(2.5, True)), claim("patchy", measured={"x": 1.0}), fixed, algebra],
            9: [ratio(1.0, Verdict.UNDECIDED), claim("patchy", measured={"x": 2.0}), fixed, algebra],
        },
    )


def test_specifications_are_in_order_and_say_what_they_are(plan: Plan) -> None:
    (one,) = curves(plan)
    assert one.name == "L1H2 of planted, my_claims"
    assert one.claims["ratio"] == [
        Specification("seed 7, zero", 0.5, False),
        Specification("seed 9", 1.0, False),
        Specification("seed 7, commas", 2.0, True),
        Specification("seed 8, commas", 2.5, True),
        Specification("seed 7", 3.0, True, is_primary=True),
        Specification("seed 8", 4.0, True),
    ]
    assert list(one.claims) == ["ratio", "patchy"]
    assert one.notices == [
        "patchy could not be assessed under 1 of 3 settings",
        "the same under every specification: fixed",
    ]


def test_conditional_is_a_share(plan: Plan) -> None:
    (one,) = curves(plan)
    assert share(one.claims["ratio"]) == "4 of 6 (67 %)"
    made = table(one)
    assert made.rows[0] == ["ratio", "4 of 6 (67 %)", "3", "0.5", "4", "seed 7, zero; seed 9"]
    assert made.rows[1] == ["patchy", "2 of 2 (100 %)", "–", "1", "2", ""]
    (figure,) = made.figures
    (trace,) = figure.plots[0]["data"]
    assert trace["y"] == [0.5, 1.0, 2.0, 2.5, 3.0, 4.0]
    assert trace["marker"]["symbol"] == ["circle-open", "circle-open", "circle", "circle", "diamond", "circle"]


def test_a_sweep_writes_the_curves(plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("headclaims.fleet.sweep.sweep", lambda *_: (0, 3))
    assert main(["sweep", str(plan.report_dir.parent / "plan.toml")]) in (0, 1)
    assert f"by specification: {plan.report_dir}/specifications.html" in capsys.readouterr().out
    (kept,) = json.loads((plan.report_dir / "specifications.json").read_text(encoding="utf-8"))["curves"]
    assert kept["claims"]["ratio"]["holds"] == 4
    assert len(kept["claims"]["ratio"]["specifications"]) == 6
    page = (plan.report_dir / "specifications.html").read_text(encoding="utf-8")
    assert "4 of 6 (67 %)" in page


def test_one_record_has_no_curve(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {0: [ratio(1.0, commas=(2.0, True))]})
    assert curves(plan) == []
    assert write(plan) is None
