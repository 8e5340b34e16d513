"""How far to trust the suite itself: counterfeits, power and benchmarks, from files above the page's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headclaims.report.figure import Figure
from headclaims.report.labels import folded
from headclaims.report.plots import heatmap, plot, scatter

CODES = {"stands": 0.0, "lapses": 0.5, "falls": 1.0}
COLOURS = [[0.0, "#2a9d74"], [0.5, "#c9c9c9"], [1.0, "#d1495b"]]


def suite_files(folder: Path) -> dict[str, Path]:
    """Return the files of the suite's own figures, by figure, in a folder or the nearest one above it that holds some.

    These are `trials/matrix.json`, `trials/power.json` and `benchmarks/trend.json`.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        files = {name: place / path for name, (path, _) in FIGURES.items() if (place / path).is_file()}
        if files:
            return files
    return {}


def suite_figure(name: str, path: Path) -> Figure:
    """Return one of the suite's figures from its file; raises ValueError, KeyError or the like for a damaged one."""
    return FIGURES[name][1](json.loads(path.read_text(encoding="utf-8")))


def counterfeits(matrix: dict[str, Any]) -> Figure:
    """Draw what became of every claim on every counterfeit."""
    happened, expected = matrix["found"], matrix["expected"]
    names, claims = list(happened), list(happened["planted"])
    mark = {"stands": "", "lapses": "o", "falls": "x"}
    z = [[CODES[happened[name][claim]] for name in names] for claim in claims]
    text = [[mark[happened[name][claim]] for name in names] for claim in claims]
    promised = [[expected[name][claim] for name in names] for claim in claims]
    cells = heatmap(
        z, names, claims, colorscale=COLOURS, zmin=0, zmax=1, showscale=False, text=text, texttemplate="%{text}",
        textfont={"size": 8, "color": "#000"}, xgap=1, ygap=1, customdata=promised,
        hovertemplate="%{y} on %{x}<br>expected: %{customdata}<extra></extra>",
    )  # fmt: skip
    axis = {"type": "category", "tickfont": {"size": 9}, "showgrid": False, "ticks": ""}
    upright, downwards = axis | {"tickangle": -90, "automargin": True}, axis | {"autorange": "reversed"}
    drawn = plot([cells], "", 640, xaxis=upright, yaxis=downwards)
    rows = [[claim, name, expected[name][claim], happened[name][claim]] for claim in claims for name in names]
    against = sum(e not in ("free", f) for _, _, e, f in rows)
    caption = (
        f"Every claim on {len(names) - 1} counterfeits, the planted checkpoint with one thing changed or weights at "
        f"random: x falls, o is not assessable, the rest stand. {against} of {len(rows)} cells are against what was "
        "expected beforehand. What to see: a red cell in every row of an empirical claim, on a counterfeit that leaves "
        "most others standing."
    )
    return Figure("Counterfeits", caption, caption, [drawn], ["claim", "counterfeit", "expected", "found"], rows)


def power(study: dict[str, Any]) -> Figure:
    """Draw how often a claim is supported by the strength of what was planted."""
    strengths = study["strengths"]
    plots, rows = [], []
    for name, claims in study["supported"].items():
        lines = [scatter(strengths, shares, name=claim, mode="lines+markers") for claim, shares in claims.items()]
        axes = {"xaxis": {"title": "strength"}, "yaxis": {"range": [-0.03, 1.03], "title": "supported"}}
        plots.append(plot(lines, name, 280, showlegend=True, **axes))
        rows += [
            [name, claim, s, share]
            for claim, shares in claims.items()
            for s, share in zip(strengths, shares, strict=True)
        ]
    caption = (
        f"The share of {study['seeds']} seeds on which a claim is supported, by how strongly its property is planted. "
        "What to see: from which strength on a claim tells; a leak must make its claim fall."
    )
    return Figure("Power", caption, caption, plots, ["property", "claim", "strength", "share"], rows)


def trend(history: dict[str, Any]) -> Figure:
    """Draw the ratios of benchmarks to their yardsticks, run by run."""
    runs = history["runs"]
    names = list(runs[-1]["ratios"])
    at = [f"{place + 1}: {run['commit']}" for place, run in enumerate(runs)]
    lines = [
        scatter(at, [run["ratios"].get(name) for run in runs], name=folded(name), mode="lines+markers")
        for name in names
    ]
    ratio = {"type": "log", "title": "seconds / those of the yardstick"}
    drawn = plot(lines, "", 380, xaxis={"type": "category"}, yaxis=ratio)
    rows = [
        [run["commit"], run["when"], name, run["ratios"][name]]
        for run in runs
        for name in names
        if name in run["ratios"]
    ]
    caption = (
        "What computing over the vocabulary costs, in seconds of a yardstick timed in the same run, over "
        f"{len(runs)} recorded runs of the benchmarks. What to see: lines that don't rise."
    )
    return Figure("Benchmark trend", caption, caption, [drawn], ["commit", "when", "ratio", "value"], rows)


FIGURES: dict[str, tuple[str, Callable[[dict[str, Any]], Figure]]] = {
    "counterfeits": ("trials/matrix.json", counterfeits),
    "power": ("trials/power.json", power),
    "benchmarks": ("benchmarks/trend.json", trend),
}
