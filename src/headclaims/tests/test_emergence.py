"""Emergence: values and turns of verdicts by step, by hand, and from a sweep over checkpoints on disk."""

import json
import shutil
from pathlib import Path

import pytest

from headclaims.cli import main
from headclaims.fleet.emergence import Point, series, turns, write
from headclaims.fleet.plan import Plan
from headclaims.tests.claims_run import SET
from headclaims.tests.evidence_files import kin_attention, recorded_attention
from headclaims.tests.markdown_pages import cells
from headclaims.tests.test_sweep import here

STEPS = (0, 10, 200)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps run their audits here."""
    monkeypatch.setattr("headclaims.fleet.sweep.workers", here)


def point(step: int, verdict: str | None) -> Point:
    """A claim at a step."""
    return Point(step, "L1H5", verdict, "x", 1.0, None)


def test_turns_are_the_steps_at_which_the_verdict_is_another() -> None:
    assert turns([point(0, "supported"), point(1, "supported")]) == []
    path = ["not supported", "not supported", "undecided", "supported", None, "supported"]
    assert turns([point(step, verdict) for step, verdict in enumerate(path)]) == [
        "step 2: not supported → undecided",
        "step 3: undecided → supported",
        "step 4: supported → error",
        "step 5: error → supported",
    ]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A run whose L1H5 sees hardly any kin at step 0, and step 10 not at all; at step 200 it attends to them."""
    for step, on_kin in zip(STEPS, (0.02, None, 0.9), strict=True):
        if on_kin is not None:
            of = recorded_attention(rule=lambda _, prompt, at=on_kin: kin_attention(prompt, at))  # type: ignore[misc]
            of.write(tmp_path / f"step{step}.safetensors")
    path = tmp_path / "plan.toml"
    path.write_text(
        f"""
        report_dir = "{tmp_path}/sweep"
        [settings]
        set = "{SET}"
        no_cache = true
        [[rule]]
        checkpoint = "{tmp_path}/step{{step}}.safetensors"
        step = [200, 0, 10]
        [[audit]]
        checkpoint = "{tmp_path}/step0.safetensors"
        """,
        encoding="utf-8",
    )
    return path


@pytest.mark.usefixtures("in_this_process")
def test_a_sweep_over_steps_says_when_a_claim_emerges(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(plan), "--workers", "1"]) == 1
    assert f"by training step: {plan.parent}/sweep/emergence.html" in capsys.readouterr().out
    (one,) = series(Plan.read(plan))
    assert one.name == f"{plan.parent}/step{{step}}.safetensors, set {SET}"
    assert one.notices == ["no record at steps 10"]
    kin = one.claims["attends-within-category"]
    assert [(p.step, p.verdict) for p in kin] == [(0, "not supported"), (200, "supported")]
    assert kin[0].value is not None
    assert kin[1].value is not None
    assert kin[1].value / kin[0].value == pytest.approx(0.9 / 0.02, rel=1e-3)
    content = json.loads((plan.parent / "sweep" / "emergence.json").read_text(encoding="utf-8"))
    (kept,) = content["series"]
    assert kept["notices"] == ["no record at steps 10"]
    assert kept["claims"]["attends-within-category"]["turns"] == ["step 200: not supported → supported"]
    assert kept["claims"]["inertia"]["turns"] == []
    lines = (plan.parent / "sweep" / "emergence.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if "attends-within-category" in line]
    _, turns, statistic = cells(line)[:3]
    assert turns == "step 200: not supported → supported"
    assert statistic.startswith("ratio")
    assert "attends-within-category" in (plan.parent / "sweep" / "emergence.svg").read_text(encoding="utf-8")
    page = (plan.parent / "sweep" / "emergence.html").read_text(encoding="utf-8")
    assert "step 200: not supported → supported" in page
    assert "no record at steps 10." in page
    assert "<figure" in page


def test_a_plan_without_steps_has_no_emergence(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f'report_dir = "{tmp_path}/sweep"\n[[audit]]\ncheckpoint = "a"', encoding="utf-8")
    assert write(Plan.read(path)) is None
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("in_this_process")
def test_heads_that_differ_by_step_are_said_and_every_head_is_its_own_series(plan: Path) -> None:
    """At step 0 no head attends to kin and chance chooses; under `--head all` each head has a series."""
    text = plan.read_text(encoding="utf-8").replace("step = [200, 0, 10]", 'step = [200, 0]\nhead = ["auto", "all"]')
    plan.write_text(text, encoding="utf-8")
    assert main(["sweep", str(plan), "--workers", "1"]) == 0
    found = series(Plan.read(plan))
    assert len(found) == 1 + 24
    auto = found[0]
    assert [point.head for point in auto.claims["suppresses-self"]][1] == "L1H5"
    assert len(auto.notices) == 1
    assert auto.notices[0].startswith("not the same head at every step: step 0 L")
    assert auto.notices[0].endswith(", step 200 L1H5")
    assert [one.name.rsplit(", ", 1)[1] for one in found[1:]] == [
        f"L{layer}H{head}" for layer in range(3) for head in range(8)
    ]
    assert all(not one.notices for one in found[1:])
    page = (plan.parent / "sweep" / "emergence.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 25
    assert not (plan.parent / "sweep" / "emergence.svg").exists()


@pytest.mark.usefixtures("in_this_process")
def test_several_sets_and_several_heads_are_series_of_their_own(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim of one id in two sets, or of two heads, would have two points a step otherwise."""
    second = plan.parent / "second_set"
    shutil.copytree(SET, second)
    monkeypatch.setattr("headclaims.fleet.plan.find_sets", lambda *_: [SET, second])
    text = plan.read_text(encoding="utf-8").replace(f'set = "{SET}"', 'head = "L1H5,L0H1"')
    plan.write_text(text.replace("step = [200, 0, 10]", "step = [200, 0]"), encoding="utf-8")
    assert main(["sweep", str(plan), "--workers", "1"]) == 0
    found = series(Plan.read(plan))
    run = f"{plan.parent}/step{{step}}.safetensors, head L1H5,L0H1"
    assert sorted(one.name for one in found) == [
        f"{run}, {name}, {label}" for name in ("second_set", "self_hating_head") for label in ("L0H1", "L1H5")
    ]
    for one in found:
        assert one.notices == []
        assert all([p.step for p in points] == [0, 200] for points in one.claims.values())
