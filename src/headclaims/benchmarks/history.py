"""Benchmark history: the runs of `make bench` by commit, as ratios to yardsticks timed in the same run.

Records are pytest-benchmark's own, one file a run. A machine's seconds say little about another's, or about its next
hour's: only ratios are compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tabulate import tabulate

from headclaims.errors import BadInput
from headclaims.files import as_json, write_atomically
from headclaims.report.svg import drawing

RATIO, SCALING = "ratio_to_", "scaling"
BEFORE, WORSE_BY = 5, 1.3
SHOWN = 6
TREND_FILE = "trend.json"
"""Beside the records: what the page of an audit draws the trend from."""
COLUMNS = {
    "time / bound": "ratio_to_bound",
    "time / dense way": "ratio_to_dense",
    "time / one by one": "ratio_to_one_by_one",
    "growth": "peak_growth",
    "growth / dense way": "memory_to_dense",
}
"""Of the table of a run: what each holds."""
MARKS = ("<!-- benchmarks -->", "<!-- end of benchmarks -->")


@dataclass(frozen=True)
class Run:
    """One run: its commit's first letters, when and on what it was, each benchmark's group, seconds and extra info."""

    commit: str
    when: str
    machine: str
    benchmarks: Mapping[str, Mapping[str, Any]]

    @property
    def ratios(self) -> dict[str, float]:
        """The run's ratios, by benchmark and yardstick."""
        return {
            f"{name} / {key.removeprefix(RATIO)}": float(value)
            for name, entry in self.benchmarks.items()
            for key, value in entry.items()
            if key.startswith(RATIO)
        }


def read_runs(folder: Path) -> list[Run]:
    """Read the runs in a folder and its machines' folders, in the order of their time.

    Folders further down have a history of their own. Raises BadInput for a file that is no record.
    """
    runs = []
    for path in (*folder.glob("*.json"), *folder.glob("*/*.json")):
        if path.name == TREND_FILE:
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            benchmarks = {
                one["name"].removeprefix("test_"): {
                    **one["extra_info"],
                    "group": one["group"],
                    "seconds": one["stats"]["min"],
                }
                for one in content["benchmarks"]
            }
            changed = "+" if content["commit_info"].get("dirty") else ""
            on = content["machine_info"]
            machine = ", ".join(str(on.get(part)) for part in ("cpu", "threads", "accelerator"))
            runs.append(Run(content["commit_info"]["id"][:7] + changed, content["datetime"], machine, benchmarks))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path}: no record of pytest-benchmark; wanted one of `make bench`") from error
    return sorted(runs, key=lambda run: run.when)


def last_whole(runs: Sequence[Run]) -> Run:
    """Return the last of the runs that have as many benchmarks as any; a run of some is no table of all."""
    most = max(len(run.benchmarks) for run in runs)
    return [run for run in runs if len(run.benchmarks) == most][-1]


def worse(runs: Sequence[Run]) -> list[str]:
    """Return a line for each ratio of the last run over 30 % above the median of the five before on such a machine."""
    lines = []
    earlier = [run for run in runs[:-1] if run.machine == runs[-1].machine]
    for name, ratio in runs[-1].ratios.items() if runs else ():
        before = [run.ratios[name] for run in earlier if name in run.ratios][-BEFORE:]
        if before and ratio > WORSE_BY * median(before):
            lines.append(
                f"{name}: {ratio:.3g}, {ratio / median(before):.2f} times the median of the last {len(before)}"
            )
    return lines


def trend(runs: Sequence[Run]) -> str:
    """Return the ratios of the last runs as a table, a column a commit, the latest last."""
    last = runs[-SHOWN:]
    names = list(dict.fromkeys(name for run in last for name in run.ratios))
    rows = [[name, *(f"{run.ratios[name]:.3g}" if name in run.ratios else "–" for run in last)] for name in names]
    return tabulate(rows, ["seconds / those of", *(run.commit for run in last)], disable_numparse=True)


def _not_scaling(run: Run) -> list[str]:
    return [name for name in run.ratios if run.benchmarks[name.split(" / ")[0]]["group"] != SCALING]


def write_trend(runs: Sequence[Run], path: Path) -> None:
    """Write the runs as JSON: commit, time, and those ratios that the last whole run has, scaling left out."""
    names = _not_scaling(last_whole(runs))
    content = [
        {"commit": run.commit, "when": run.when, "ratios": {n: run.ratios[n] for n in names if n in run.ratios}}
        for run in runs
    ]
    write_atomically(path, as_json({"schema": 1, "runs": content}))


def draw_trend(runs: Sequence[Run], path: Path) -> None:
    """Draw ratios over the runs, scaling left out."""
    with drawing(path, 9.0, 4.0) as figure:
        axes = figure.subplots()
        names = _not_scaling(last_whole(runs))
        for name in names:
            at = [(place, run.ratios[name]) for place, run in enumerate(runs) if name in run.ratios]
            axes.plot(*zip(*at, strict=True), marker="o", label=name)
        axes.set(yscale="log", ylabel="seconds, in those of the yardstick")
        axes.set_xticks(range(len(runs)), [run.commit for run in runs])
        if names:
            figure.legend(loc="outside right upper", fontsize="x-small")


def draw_scaling(run: Run, path: Path) -> None:
    """Draw seconds against tokens, the head's width and the number of heads, beside those of the bare product.

    Of these only what the run has several of; nothing where it has none.
    """
    entries = [e for e in run.benchmarks.values() if e["group"] == SCALING and "ratio_to_bound" in e]
    usual = {"tokens": 16_384, "d_head": 64, "heads": 1}
    along = {
        name: sorted((e for e in entries if all(e[k] == usual[k] for k in usual if k != name)), key=lambda e: e[name])
        for name in usual
    }
    along = {name: some for name, some in along.items() if len({e[name] for e in some}) > 1}
    if not along:
        return
    with drawing(path, 3.0 * len(along), 3.2) as figure:
        for axes, (name, some) in zip(figure.subplots(1, len(along), squeeze=False)[0], along.items(), strict=True):
            x, seconds = [e[name] for e in some], np.array([e["seconds"] for e in some])
            axes.plot(x, seconds, marker="o", label="sweep")
            axes.plot(x, seconds / [e["ratio_to_bound"] for e in some], linestyle="--", label="bare product")
            axes.set(xscale="log", yscale="log", xlabel=name, ylabel="seconds")
            axes.set_xticks(x, [f"{value:,}" for value in x], rotation=45, ha="right")
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            axes.legend(fontsize="x-small")


def _figure(key: str, value: float | int | None) -> str:
    """Return a ratio as text, small ones as fractions; or a growth."""
    if key == "peak_growth" and value is not None:
        return f"{value / 2**20:.0f} MiB"
    if value is None or value <= 0:
        return "–"
    return f"1/{1 / value:.0f}" if value < 0.1 else f"{value:.2f}"


def figures(run: Run) -> str:
    """Return as Markdown each benchmark's ratios and growth in memory, scaling left out, as far as the run has any."""
    entries = {name: entry for name, entry in run.benchmarks.items() if entry["group"] != SCALING}
    columns = {title: key for title, key in COLUMNS.items() if any(key in entry for entry in entries.values())}
    rows = [[name, *(_figure(key, entry.get(key)) for key in columns.values())] for name, entry in entries.items()]
    return "\n" + tabulate(rows, ["", *columns], tablefmt="github", disable_numparse=True) + "\n\n"
