"""Sweeps: every audit of a plan has a record or a reason, once, whatever is stopped, damaged or killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.cli import main
from headclaims.fleet.plan import Job, Plan
from headclaims.fleet.sweep import Outcome, by_model, failures, is_done, keep, records, run_job, sweep
from headclaims.tests.claims_run import ROOT, SET, comparable, environment, read_record, run_claims
from headclaims.tests.evidence_files import kin_attention, partial_weights, recorded_attention
from headclaims.tests.record_schema import departures

KILLED = "the process that audited it died twice"


def write_plan(folder: Path, text: str, **settings: object) -> Path:
    """A plan of audits by one claim set, with some settings of all; its records go beside it."""
    path = folder / "plan.toml"
    everywhere = "\n".join(f"{name} = {json.dumps(value)}" for name, value in ({"set": str(SET)} | settings).items())
    path.write_text(f'report_dir = "{folder / "sweep"}"\n[settings]\n{everywhere}\n{text}', encoding="utf-8")
    return path


def command(plan: Path, *options: str) -> list[str]:
    """The command line of a sweep."""
    return [sys.executable, "-m", "headclaims.cli", "sweep", str(plan), *options]


def done(folder: Path) -> list[Path]:
    """The audits of a sweep that are done."""
    return sorted(path.parent for path in folder.glob("*/done"))


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """Two files, and one cut short."""
    recorded_attention(length=16).write(tmp_path / "recorded.safetensors")
    partial_weights().write(tmp_path / "partial.safetensors")
    whole = (tmp_path / "partial.safetensors").read_bytes()
    (tmp_path / "damaged.safetensors").write_bytes(whole[: len(whole) // 2])
    return tmp_path


@contextmanager
def here(*_: object) -> Iterator[Any]:
    """A client whose worker is a thread of this process: one that needs no libraries loaded."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps run their audits here."""
    monkeypatch.setattr("headclaims.fleet.sweep.workers", here)


def test_every_audit_has_a_record_or_a_reason(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_plan(
        evidence,
        f"""
        [[rule]]
        checkpoint = [{", ".join(f'"{evidence}/{name}.safetensors"' for name in ("recorded", "partial", "damaged"))}]
        head = ["L1H5", "L9H9"]
        """,
        no_cache=True,
    )
    assert main(["sweep", str(path), "--workers", "1"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"6 audits: 2 with a record, 4 failed; 6 run now, 0 done before; in {evidence / 'sweep'}"
    plan = Plan.read(path)
    assert len(done(plan.report_dir)) == 6
    for job in plan.jobs:
        folder = plan.report_dir / job.name
        bad = "damaged" in job.about["checkpoint"] or job.about["head"] == "L9H9"
        assert (folder / "failure.json").is_file() is bad
        assert len(records(folder)) == (0 if bad else 1)
        if bad:
            failure = json.loads((folder / "failure.json").read_text(encoding="utf-8"))
            assert failure["audit"] == dict(job.about)
            assert ("damaged" in failure["reason"]) or ("L9H9" in failure["reason"])
            assert "Traceback" not in failure["reason"]
        else:
            record = read_record(records(folder)[0] / "claims.json")
            assert departures(record) == []
            alone = run_claims("--no-cache", *job.options, reports=evidence / f"alone-{job.name}")
            assert comparable(record) == comparable(alone.record)
    # What is done is not done again; what failed is, where that is asked for.
    before = {file: file.stat().st_mtime_ns for file in plan.report_dir.rglob("*.json")}
    assert main(["sweep", str(path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("6 audits: 2 with a record, 4 failed; 0 run now, 6 done")
    assert {file: file.stat().st_mtime_ns for file in plan.report_dir.rglob("*.json")} == before
    (evidence / "damaged.safetensors").write_bytes((evidence / "partial.safetensors").read_bytes())
    assert main(["sweep", str(path), "--workers", "1", "--again"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("6 audits: 3 with a record, 3 failed; 4 run now, 2 done")


def test_an_audit_that_is_begun_anew_leaves_no_failure(tmp_path: Path) -> None:
    job = Job({"checkpoint": "a"})
    keep(tmp_path, job, Outcome(None, "out of luck"))
    assert is_done(tmp_path)
    keep(tmp_path, job, Outcome({"a/claims.json": "{}"}, None))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["claims.json", "done"]


def test_whatever_goes_wrong_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("out of\nluck")

    monkeypatch.setattr("headclaims.fleet.sweep.audit_files", broken)
    assert run_job([SET], ["--checkpoint", "a"]) == Outcome(None, "ZeroDivisionError: out of luck")
    monkeypatch.undo()
    assert run_job([SET], ["--checkpoint", "/nowhere"]).reason == (
        "/nowhere: no such file or folder, nor the form of a hub id (name or owner/name)"
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A Dask scheduler with two workers, each a process of its own; the scheduler's address."""
    from distributed import LocalCluster

    os.environ["OMP_NUM_THREADS"] = "1"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as local:
        yield local.scheduler_address


@pytest.mark.slow
@pytest.mark.long
def test_a_sweep_on_a_cluster_that_is_killed_halfway_goes_on_where_it_was(tmp_path: Path, cluster: str) -> None:
    """24 audits of six random checkpoints, one of them damaged: 24 records or reasons, none made twice."""
    folders = [random_folder(seed, clustered=seed % 2 == 1) for seed in range(5)]
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((folders[0] / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
    (broken / "model.safetensors").write_bytes((folders[0] / "model.safetensors").read_bytes()[:5000])
    named = ", ".join(f'"{folder}"' for folder in [*folders, broken])
    path = write_plan(
        tmp_path,
        f"""
        [[rule]]
        checkpoint = [{named}]
        head = ["L1H5", "auto"]
        seed = [0, 1]
        """,
        prompts=8,
        seq_len=24,
        verdicts_only=True,
        no_cache=True,
    )
    plan = Plan.read(path)
    assert len(plan.jobs) == 24
    started = subprocess.Popen(
        command(path, "--scheduler", cluster), cwd=ROOT, env=environment(tmp_path, {}), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while len(done(plan.report_dir)) < 8:
        assert started.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline, "the sweep takes for ever"
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.wait()
    halfway = {path: (path / "done").stat().st_mtime_ns for path in done(plan.report_dir)}
    assert 8 <= len(halfway) < 24
    resumed = subprocess.run(
        command(path, "--scheduler", cluster),
        cwd=ROOT,
        env=environment(tmp_path, {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 1, resumed.stderr
    summary = f"24 audits: 20 with a record, 4 failed; {24 - len(halfway)} run now, {len(halfway)} done"
    assert sum(line.startswith(summary) for line in resumed.stdout.splitlines()) == 1
    assert {path: (path / "done").stat().st_mtime_ns for path in halfway} == halfway
    assert len(done(plan.report_dir)) == 24
    assert len(records(plan.report_dir)) == 20
    assert sorted(failures(plan)) == sorted(job.name for job in plan.jobs if "broken" in job.about["checkpoint"])
    for folder in records(plan.report_dir):
        record = read_record(folder / "claims.json")
        assert departures(record) == []
        assert record["complete"]


@pytest.mark.slow
@pytest.mark.long
def test_a_worker_that_dies_is_noticed_and_its_audit_tried_once_more(evidence: Path) -> None:
    """The first process that takes the deadly audit dies, and so does the next; the others have their records."""
    path = write_plan(
        evidence,
        f"""
        [[audit]]
        checkpoint = "{evidence}/recorded.safetensors"
        [[audit]]
        checkpoint = "{evidence}/partial.safetensors"
        [[audit]]
        checkpoint = "deadly"
        """,
        no_cache=True,
    )
    deaths = evidence / "deaths"
    script = f"""
import os, sys
from pathlib import Path
import headclaims.fleet.sweep
from headclaims.fleet.sweep import Outcome, run_job
def mortal(claim_sets, options):
    if "deadly" in options:
        with open({str(deaths)!r}, "a") as file:
            file.write("x")
        os._exit(9)
    return run_job(claim_sets, options)
if __name__ == "__main__":
    headclaims.fleet.sweep.run_job = mortal
    from headclaims.cli import main
    sys.exit(main(["sweep", {str(path)!r}, "--workers", "1"]))
"""
    program = evidence / "program.py"
    program.write_text(script, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(program)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 1, run.stderr
    plan = Plan.read(path)
    assert list(failures(plan).values()) == [KILLED]
    assert deaths.read_text(encoding="utf-8") == "xx"
    assert len(records(plan.report_dir)) == 2


def test_a_scheduler_that_is_not_there_is_one_line(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_plan(evidence, f'[[audit]]\ncheckpoint = "{evidence}/recorded.safetensors"')
    assert main(["sweep", str(path), "--scheduler", "nonsense"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headclaims: --scheduler nonsense: ")


@dataclass(frozen=True)
class Sample:
    """What a sweep and its worker have done: audits, seconds of a processor, and bytes of memory held."""

    audits: int
    seconds: float
    memory: int

    @classmethod
    def take(cls, audits: int, sweeping: psutil.Process) -> "Sample":
        """Look at the process of a sweep; its worker is the largest of all that it has started."""
        worker = max(sweeping.children(recursive=True), key=_memory)
        both = (sweeping, worker)
        return cls(audits, sum(sum(process.cpu_times()[:4]) for process in both), sum(map(_memory, both)))


def _memory(process: psutil.Process) -> int:
    """Resident bytes; 0 of a process that has ended, as one that asks git for the commit does soon."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@pytest.mark.parametrize("audits", [40, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.long])])
def test_many_audits_of_recorded_attention_in_one_process(tmp_path: Path, audits: int) -> None:
    """Three a second of a processor and more after start-up, and flat memory: of 1,000, 36 KiB an audit is too much."""
    for number in range(20):
        kin = recorded_attention(1, 48, layers=(1,), rule=lambda _, prompt, at=number: kin_attention(prompt, at / 20))
        kin.write(tmp_path / f"{number}.safetensors")
    files = ", ".join(f'"{tmp_path}/{number}.safetensors"' for number in range(20))
    path = write_plan(
        tmp_path,
        f"""
        [[rule]]
        checkpoint = [{files}]
        seed = {list(range(audits // 20))}
        """,
        no_cache=True,
    )
    plan = Plan.read(path)
    assert len(plan.jobs) == audits
    started = subprocess.Popen(command(path, "--workers", "1"), cwd=ROOT, stdout=subprocess.DEVNULL)
    sweeping = psutil.Process(started.pid)
    samples: list[Sample] = []
    while started.poll() is None:
        n = len(done(plan.report_dir))
        if audits // 10 <= n < audits:  # from when libraries are loaded until the workers end
            samples.append(Sample.take(n, sweeping))
        time.sleep(0.1)
    assert started.wait() == 0
    assert len(done(plan.report_dir)) == audits
    assert failures(plan) == {}
    first, last = samples[0], samples[-1]
    assert (last.audits - first.audits) / (last.seconds - first.seconds) >= 3
    assert last.memory - first.memory < 32 * 2**20


@pytest.mark.usefixtures("in_this_process")
def test_a_record_that_is_incomplete_is_a_failure_that_can_be_tried_again(evidence: Path) -> None:
    path = write_plan(evidence, f'[[audit]]\ncheckpoint = "{evidence}/recorded.safetensors"\nno_cache = true')
    plan = Plan.read(path)
    assert main(["sweep", str(path), "--workers", "1"]) == 0
    (folder,) = records(plan.report_dir)
    content = read_record(folder / "claims.json")
    (folder / "claims.json").write_text(json.dumps(content | {"complete": False}), encoding="utf-8")
    assert main(["sweep", str(path)]) == 1
    assert list(failures(plan).values()) == [f"incomplete: {folder}"]
    assert main(["sweep", str(path), "--workers", "1", "--again"]) == 0
    assert read_record(folder / "claims.json")["complete"]


@pytest.mark.usefixtures("in_this_process")
def test_a_page_where_the_plan_asks_for_one(evidence: Path) -> None:
    path = write_plan(evidence, f'[[audit]]\ncheckpoint = "{evidence}/recorded.safetensors"\npage = true')
    assert main(["sweep", str(path), "--workers", "1"]) == 0
    (folder,) = records(Plan.read(path).report_dir)
    assert sorted(one.name for one in folder.iterdir()) == ["claims.json", "claims.md", "figures.json", "index.html"]


@pytest.mark.parametrize("report_dir", ["{evidence}/recorded.safetensors", "a\\u0000b"])
def test_a_folder_that_can_not_be_written_is_one_line(
    evidence: Path, report_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = evidence / "plan.toml"
    where = report_dir.format(evidence=evidence)
    path.write_text(f'report_dir = "{where}"\n[[audit]]\ncheckpoint = "a"', encoding="utf-8")
    assert main(["sweep", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headclaims: report_dir ")


def test_a_damaged_reason_is_a_reason(tmp_path: Path) -> None:
    path = write_plan(tmp_path, '[[audit]]\ncheckpoint = "a"')
    plan = Plan.read(path)
    folder = plan.report_dir / plan.jobs[0].name
    keep(folder, plan.jobs[0], Outcome(None, "out of luck"))
    (folder / "failure.json").write_text("{", encoding="utf-8")
    assert failures(plan) == {plan.jobs[0].name: f"{folder / 'failure.json'} is damaged"}


def test_sweeping_nothing_new_starts_no_worker(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_plan(evidence, f'[[audit]]\ncheckpoint = "{evidence}/recorded.safetensors"')
    plan = Plan.read(path)
    keep(plan.report_dir / plan.jobs[0].name, plan.jobs[0], Outcome({}, None))
    monkeypatch.setattr("headclaims.fleet.sweep.workers", None)
    assert sweep(plan) == (0, 1)


def test_audits_of_one_model_follow_each_other() -> None:
    """In the plan's order but for that: a worker holds one model."""
    listed = [("a", 0, 1), ("b", 0, 1), ("a", 1, 1), ("b", 0, 0), ("a", 0, 0), ("c", 0, 0)]
    jobs = [Job({"checkpoint": name, "step": step, "seed": seed}) for name, step, seed in listed]
    found = [tuple(job.about.values()) for job in by_model(jobs)]
    assert found == [("a", 0, 1), ("a", 0, 0), ("b", 0, 1), ("b", 0, 0), ("a", 1, 1), ("c", 0, 0)]
