"""Emergence: what each claim's statistic is by training step, and the steps at which its verdict turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from headclaims.files import as_json, write_atomically
from headclaims.fleet.emergence_drawing import draw, write_table
from headclaims.fleet.plan import Job, Plan
from headclaims.fleet.sweep import records
from headclaims.record.entries import ClaimEntry
from headclaims.record.reading import Record, read_record
from headclaims.report.cells import number
from headclaims.report.figure import Figure, Plot
from headclaims.report.labels import plain
from headclaims.report.plots import BLUE, plot, scatter
from headclaims.report.sheet import Table, sheet


@dataclass(frozen=True)
class Point:
    """A claim at a step, of the head that was audited there; no value where it wasn't assessed."""

    step: int
    head: str
    verdict: str | None
    statistic: str | None
    value: float | None
    interval: list[float] | None


@dataclass(frozen=True)
class Series:
    """The claims of one training run, by step; what has to be known of it, as steps without a record."""

    name: str
    claims: Mapping[str, list[Point]]
    notices: list[str]


def turns(points: Sequence[Point]) -> list[str]:
    """Return, a line each, the steps at which the verdict is another than at the step before."""
    changes = []
    for before, after in pairwise(points):
        if after.verdict != before.verdict:
            changes.append(f"step {after.step}: {before.verdict or 'error'} → {after.verdict or 'error'}")
    return changes


def series(plan: Plan) -> list[Series]:
    """Return the training runs of a plan that were audited at several steps, in the order of the plan."""
    runs: dict[str, list[Job]] = {}
    for job in plan.jobs:
        if "step" in job.about:
            runs.setdefault(_run(job), []).append(job)
    return [one for name, jobs in runs.items() for one in _series_of_run(plan, name, jobs)]


def _series_of_run(plan: Plan, name: str, jobs: Sequence[Job]) -> list[Series]:
    """Return one series, or one a claim set where there are several, and one a head where several were audited."""
    read = {job.name: [read_record(folder) for folder in records(plan.report_dir / job.name)] for job in jobs}
    sets = {_set_name(record) for one in read.values() for record in one}
    by_name: dict[str, dict[str, list[Point]]] = {}
    missing, incomplete = [], []
    for job in sorted(jobs, key=lambda job: int(job.about["step"])):
        step = int(job.about["step"])
        missing += [] if read[job.name] else [step]
        for record in read[job.name]:
            incomplete += [] if record.complete else [step]
            label = record.target.label
            parts = [name, *([_set_name(record)] if len(sets) > 1 else [])]
            parts += [label] if _is_of_several_heads(job) else []
            points = by_name.setdefault(", ".join(parts), {})
            for claim in record.claims:
                points.setdefault(claim.id, []).append(_point(step, label, claim))
    notices = [f"no record at steps {', '.join(map(str, missing))}"] if missing else []
    notices += [f"incomplete records at steps {', '.join(map(str, sorted(set(incomplete))))}"] if incomplete else []
    return [Series(one, claims, [*notices, *_heads(claims)]) for one, claims in by_name.items()] or [
        Series(name, {}, notices)
    ]


def _is_of_several_heads(job: Job) -> bool:
    head = str(job.about.get("head"))
    return head == "all" or "," in head


def _set_name(record: Record) -> str:
    """Return the name of a record's claim set; empty of one of schema 1, which has none."""
    return record.claim_set.name if record.claim_set is not None else ""


def _heads(claims: Mapping[str, list[Point]]) -> list[str]:
    """Where `--head auto` chose another head at another step: a verdict may turn by that alone."""
    points = next(iter(claims.values()))
    if len({point.head for point in points}) == 1:
        return []
    return ["not the same head at every step: " + ", ".join(f"step {point.step} {point.head}" for point in points)]


def _run(job: Job) -> str:
    """What is the same at all steps."""
    differing = ("checkpoint", "step", "revision", "run", "no_cache", "page", "device")
    return ", ".join(
        [job.about["run"], *(f"{key} {value}" for key, value in job.about.items() if key not in differing)]
    )


def _point(step: int, head: str, claim: ClaimEntry) -> Point:
    statistic, value = claim.statistic or (None, None)
    return Point(step, head, claim.verdict, statistic, None if value is None else float(value), claim.interval)


def table(run: Series) -> Table:
    """Return a row a claim: when its verdict turned, and its statistic first and last; with a figure below."""
    rows = [
        [
            claim,
            "; ".join(turns(points)) or f"none: {points[0].verdict or 'error'}",
            _shown(points[0]),
            _shown(points[-1]),
        ]
        for claim, points in run.claims.items()
    ]
    head = ["claim", "verdict turns at", "at the first step", "at the last step"]
    drawn = figure(run)
    return Table(run.name, head, rows, [drawn] if drawn.plots else [])


def _shown(point: Point) -> str:
    return "–" if point.value is None else f"{point.statistic} {number(point.value)}"


def figure(run: Series) -> Figure:
    """Return a small plot a claim: its statistic by step, with the 95 % interval."""
    plots: list[Plot] = []
    rows: list[list[Any]] = []
    for claim, points in run.claims.items():
        rows += [
            [claim, p.step, p.head, p.verdict, p.statistic, p.value, *(p.interval or (None, None))] for p in points
        ]
        known = [point for point in points if point.value is not None]
        if not known:
            continue
        reach: list[Any] = [point.interval or [point.value, point.value] for point in known]
        line = scatter(
            [str(point.step) for point in known],
            [point.value for point in known],
            error_y={
                "array": [r[1] - p.value for p, r in zip(known, reach, strict=True)],
                "arrayminus": [p.value - r[0] for p, r in zip(known, reach, strict=True)],
            },
            marker={
                "color": BLUE,
                "size": 8,
                "symbol": ["circle" if p.verdict == "supported" else "circle-open" for p in known],
            },
            mode="lines+markers",
        )
        axis = {"type": "category", "categoryorder": "array", "categoryarray": [str(p.step) for p in points]}
        plots.append(plot([line], plain(claim), 220, xaxis=axis | {"title": "step"}))
    caption = (
        "The statistic of each claim that could be assessed by training step, with its 95 % interval; filled where the "
        "claim is supported. What to see: the step from which it is."
    )
    columns = ["claim", "step", "head", "verdict", "statistic", "value", "low", "high"]
    return Figure("By training step", caption, caption, plots, columns, rows)


def write(plan: Plan) -> Path | None:
    """Write `emergence.json`, `.md`, `.svg` and `.html`, and return the last's path; None without steps."""
    runs = series(plan)
    if not runs:
        return None
    content = [
        {
            "run": one.name,
            "notices": one.notices,
            "claims": {
                claim: {"turns": turns(points), "points": [asdict(point) for point in points]}
                for claim, points in one.claims.items()
            },
        }
        for one in runs
    ]
    write_atomically(plan.report_dir / "emergence.json", as_json({"schema": 1, "series": content}))
    notices = [f"{one.name}: {notice}." for one in runs for notice in one.notices]
    tables = [table(one) for one in runs]
    write_table(plan.report_dir / "emergence.md", tables[0].head, {one.title: one.rows for one in tables})
    draw(plan.report_dir / "emergence.svg", {one.name: one.claims for one in runs})
    page = sheet(f"Emergence: {plan.name}", notices, tables)
    path = plan.report_dir / "emergence.html"
    write_atomically(path, page)
    return path
