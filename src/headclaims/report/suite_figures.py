"""What is known of the suite itself, whatever is audited: its counterfeits, its power, its benchmarks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from headclaims.benchmarks.history import SCALING, read_runs
from headclaims.report.figures import Figure, folded, heatmap, plot

CODES = {"stands": 0.0, "lapses": 0.5, "falls": 1.0}
COLOURS = [[0.0, "#2a9d74"], [0.5, "#c9c9c9"], [1.0, "#d1495b"]]


def suite_figures(reports: Path) -> Iterator[Figure]:
    """Those whose numbers are in the suite's own report folder."""
    for path, figure in (("matrix.json", counterfeits), ("power.json", power)):
        kept = reports / "counterfeits" / path
        if kept.is_file():
            yield figure(json.loads(kept.read_text(encoding="utf-8")))
    runs = read_runs(reports / "benchmarks")
    if runs:
        yield trend(runs)


def counterfeits(of: dict[str, Any]) -> Figure:
    """The matrix of claims against counterfeits."""
    found, expected = of["found"], of["expected"]
    names, claims = list(found), list(found["planted"])
    mark = {"stands": "", "lapses": "o", "falls": "x"}
    z = [[CODES[found[name][claim]] for name in names] for claim in claims]
    text = [[mark[found[name][claim]] for name in names] for claim in claims]
    wanted = [[expected[name][claim] for name in names] for claim in claims]
    shown = heatmap(
        z, names, claims, colorscale=COLOURS, zmin=0, zmax=1, showscale=False, text=text, texttemplate="%{text}",
        textfont={"size": 8, "color": "#000"}, xgap=1, ygap=1, customdata=wanted,
        hovertemplate="%{y} on %{x}<br>expected: %{customdata}<extra></extra>",
    )  # fmt: skip
    axis = {"type": "category", "tickfont": {"size": 9}, "showgrid": False, "ticks": ""}
    drawn = plot(
        [shown], "", 640, xaxis=axis | {"tickangle": -90, "automargin": True}, yaxis=axis | {"autorange": "reversed"}
    )
    rows = [[claim, name, expected[name][claim], found[name][claim]] for claim in claims for name in names]
    against = sum(e not in ("free", f) for _, _, e, f in rows)
    caption = (
        f"Every claim on {len(names) - 1} counterfeits, the planted checkpoint with one thing changed or weights "
        "at random: x falls, o is not "
        f"assessable, the rest stand. {against} of {len(rows)} cells are against what was expected beforehand. What to "
        "see: a red cell in every row of an empirical claim, on a counterfeit that leaves most others standing."
    )
    return Figure(
        "counterfeits", "Counterfeits", caption, caption, [drawn], ["claim", "counterfeit", "expected", "found"], rows
    )


def power(of: dict[str, Any]) -> Figure:
    """How often a claim is supported by the strength of what was planted."""
    plots, rows = [], []
    for name, claims in of["supported"].items():
        lines = [go.Scatter(x=of["strengths"], y=at, name=claim, mode="lines+markers") for claim, at in claims.items()]
        axes = {"xaxis": {"title": "strength"}, "yaxis": {"range": [-0.03, 1.03], "title": "supported"}}
        plots.append(plot(lines, name, 280, showlegend=True, **axes))
        rows += [[name, claim, s, y] for claim, at in claims.items() for s, y in zip(of["strengths"], at, strict=True)]
    caption = (
        f"The share of {of['seeds']} seeds on which a claim is supported, by how strongly its property is "
        "planted. What to "
        "see: from which strength on a claim tells; a leak must make its claim fall."
    )
    return Figure("power", "Power", caption, caption, plots, ["property", "claim", "strength", "share"], rows)


def trend(runs: list[Any]) -> Figure:
    """Ratios of benchmarks to their yardsticks, run by run."""
    last = runs[-1]
    names = [name for name in last.ratios if last.benchmarks[name.split(" / ")[0]]["group"] != SCALING]
    at = [f"{place + 1}: {run.commit}" for place, run in enumerate(runs)]
    lines = [
        go.Scatter(x=at, y=[run.ratios.get(name) for run in runs], name=folded(name), mode="lines+markers")
        for name in names
    ]
    axes = {"xaxis": {"type": "category"}, "yaxis": {"type": "log", "title": "seconds / those of the yardstick"}}
    drawn = plot(lines, "", 380, **axes)
    rows = [[run.commit, run.when, name, run.ratios[name]] for run in runs for name in names if name in run.ratios]
    caption = (
        "What computing over the vocabulary costs, in seconds of a yardstick timed in the same run, over "
        f"{len(runs)} recorded "
        "runs of the benchmarks. What to see: lines that don't rise."
    )
    return Figure(
        "benchmarks", "Benchmark trend", caption, caption, [drawn], ["commit", "when", "ratio", "value"], rows
    )
