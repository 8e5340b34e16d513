"""Emergence as a README has it: a table in Markdown of when verdicts turn, and the statistics by step as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from headclaims.files import write_atomically
from headclaims.report.svg import drawing

if TYPE_CHECKING:
    from headclaims.fleet.emergence import Point

COLUMNS, PANEL = 4, (2.4, 1.7)
"""Panels a row, and inches of one."""
MOST_PANELS = 60
"""Of more the page alone has figures: a drawing of them shows nothing."""
COLOUR = "#1f77b4"


def write_table(path: Path, head: Sequence[str], runs: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Write the rows of each training run, under its name where there are several."""
    tables = [
        (f"{name}\n\n" if len(runs) > 1 else "") + tabulate(rows, head, "github", disable_numparse=True)
        for name, rows in runs.items()
    ]
    write_atomically(path, "\n\n".join(tables) + "\n")


def draw(path: Path, runs: Mapping[str, Mapping[str, Sequence[Point]]]) -> None:
    """Draw a panel a claim that was assessed at some step: its statistic with the interval, filled where supported.

    Of more than sixty panels nothing is drawn.
    """
    panels = [
        (f"{claim}, {name}" if len(runs) > 1 else claim, known, [point.step for point in points])
        for name, claims in runs.items()
        for claim, points in claims.items()
        if (known := [point for point in points if point.value is not None])
    ]
    if not 0 < len(panels) <= MOST_PANELS:
        return
    n_rows = -(-len(panels) // COLUMNS)
    with drawing(path, PANEL[0] * COLUMNS, PANEL[1] * n_rows) as figure:
        axes = figure.subplots(n_rows, COLUMNS, squeeze=False).ravel()
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis, (title, points, steps) in zip(axes, panels, strict=False):
            _panel(axis, title, points, steps)


def _panel(axis: Any, title: str, points: Sequence[Point], steps: Sequence[int]) -> None:
    # Steps stand at equal distances: they are chosen close together where something happens.
    place = {step: number for number, step in enumerate(steps)}
    x, y = [place[point.step] for point in points], [point.value for point in points]
    axis.plot(x, y, color=COLOUR, linewidth=1)
    reach = [(at, *point.interval) for at, point in zip(x, points, strict=True) if point.interval is not None]
    if reach:
        axis.vlines(*zip(*reach, strict=True), color=COLOUR, linewidth=0.7)
    for is_filled in (True, False):
        some = [number for number, point in enumerate(points) if (point.verdict == "supported") is is_filled]
        look = {"markerfacecolor": COLOUR if is_filled else "white", "markeredgecolor": COLOUR, "markersize": 4}
        axis.plot([x[number] for number in some], [y[number] for number in some], "o", **look)
    shown = [number for number in range(len(steps)) if number % 2 == (len(steps) - 1) % 2]
    axis.set_title(title, fontsize=7)
    axis.set_xticks(shown, [str(steps[number]) for number in shown])
    axis.tick_params(labelsize=6)
    axis.set_ylabel(points[0].statistic, fontsize=6)
    axis.set_xlim(-0.5, len(steps) - 0.5)
