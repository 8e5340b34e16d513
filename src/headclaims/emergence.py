"""Emergence: what each claim's statistic is by training step, and the steps at which its verdict turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from headclaims.ledger import ClaimEntry, as_json, write_atomically
from headclaims.plan import Job, Plan
from headclaims.report.figures import BLUE, Figure, plot
from headclaims.report.page import Table, sheet
from headclaims.report.reading import read_record
from headclaims.report.table import number
from headclaims.sweep import records


@dataclass(frozen=True)
class Point:
    """A claim at a step; no value where it wasn't assessed."""

    step: int
    verdict: str | None
    statistic: str | None
    value: float | None
    interval: list[float] | None


@dataclass(frozen=True)
class Series:
    """The claims of one training run and head, by step; `missing` are steps without a record."""

    name: str
    claims: Mapping[str, list[Point]]
    missing: list[int]


def turns(points: Sequence[Point]) -> list[str]:
    """The steps at which the verdict is another than at the step before."""
    found = []
    for before, after in pairwise(points):
        if after.verdict != before.verdict:
            found.append(f"step {after.step}: {before.verdict or 'error'} → {after.verdict or 'error'}")
    return found


def series(plan: Plan) -> list[Series]:
    """The training runs of a plan that were audited at several steps, in the order of the plan."""
    of: dict[str, list[Job]] = {}
    for job in plan.jobs:
        if "step" in job.about:
            of.setdefault(_run(job), []).append(job)
    found = []
    for name, jobs in of.items():
        points: dict[str, list[Point]] = {}
        missing = []
        for job in sorted(jobs, key=lambda job: int(job.about["step"])):
            there = records(plan.report_dir / job.name)
            if len(there) != 1:
                missing.append(int(job.about["step"]))
                continue
            for claim in read_record(there[0]).claims:
                points.setdefault(claim.id, []).append(_point(int(job.about["step"]), claim))
        found.append(Series(name, points, missing))
    return found


def _run(job: Job) -> str:
    """What is the same at all steps."""
    differing = ("checkpoint", "step", "revision", "run")
    return ", ".join(
        [job.about["run"], *(f"{key} {value}" for key, value in job.about.items() if key not in differing)]
    )


def _point(step: int, claim: ClaimEntry) -> Point:
    statistic, value = claim.statistic or (None, None)
    return Point(step, claim.verdict, statistic, None if value is None else float(value), claim.interval)


def table(of: Series) -> Table:
    """A line a claim: when its verdict turned, and what it was first and last; with a figure."""
    rows = [
        [
            claim,
            "; ".join(turns(points)) or f"none: {points[0].verdict or 'error'}",
            _shown(points[0]),
            _shown(points[-1]),
        ]
        for claim, points in of.claims.items()
    ]
    head = ["claim", "verdict turns at", "at the first step", "at the last step"]
    return Table(of.name, head, rows, [figure(of)] if of.claims else [])


def _shown(point: Point) -> str:
    return "–" if point.value is None else f"{point.statistic} {number(point.value)}"


def figure(of: Series) -> Figure:
    """A small plot a claim: its statistic by step, with the interval."""
    plots: list[go.Figure] = []
    rows: list[list[Any]] = []
    for claim, points in of.claims.items():
        known = [point for point in points if point.value is not None]
        reach: list[Any] = [point.interval or [point.value, point.value] for point in known]
        line = go.Scatter(
            x=[str(point.step) for point in known],
            y=[point.value for point in known],
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
        plots.append(plot([line], claim, 220, xaxis=axis | {"title": "step"}))
        rows += [[claim, p.step, p.verdict, p.statistic, p.value, *(p.interval or (None, None))] for p in points]
    caption = (
        "Each claim's statistic by training step, with its 95 % interval; filled where the claim is supported. "
        "What to see: "
        "the step from which it is."
    )
    columns = ["claim", "step", "verdict", "statistic", "value", "low", "high"]
    name = "".join(c if c.isalnum() else "-" for c in of.name)
    return Figure(f"emergence-{name}", "By training step", caption, caption, plots, columns, rows)


def write(plan: Plan) -> Path | None:
    """`emergence.json` and `emergence.html` in the plan's folder; None where the plan has no steps."""
    found = series(plan)
    if not found:
        return None
    content = [
        {
            "run": one.name,
            "missing": one.missing,
            "claims": {
                claim: {"turns": turns(points), "points": [asdict(point) for point in points]}
                for claim, points in one.claims.items()
            },
        }
        for one in found
    ]
    write_atomically(plan.report_dir / "emergence.json", as_json({"schema": 1, "series": content}))
    notices = [f"{one.name}: no record at steps {', '.join(map(str, one.missing))}." for one in found if one.missing]
    page = sheet(f"Emergence: {plan.name}", notices, [table(one) for one in found])
    path = plan.report_dir / "emergence.html"
    write_atomically(path, page)
    return path
