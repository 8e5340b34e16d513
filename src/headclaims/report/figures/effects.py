"""What ablations do: one figure for all claims of a group that ablate something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headclaims.checkpoint.interface import Head
from headclaims.report.cells import ends, number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.labels import folded, plain
from headclaims.report.plots import COLOURS, GREY, plot, scatter
from headclaims.statistics.resampling import Estimate

ROW = 17
"""Pixels of a row, one kind of ablation of one claim."""
DASHED = {"color": GREY, "width": 1, "dash": "dash"}
SMALL, LARGE = "effects that should be small", "effects that should be large"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down")
"""One fewer would repeat with the colours."""


@dataclass
class Effect:
    """The effect of one kind of ablation, with its 95 % interval; none with fewer than ten prompts."""

    kind: str
    effect: float
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, kind: str, effect: Estimate) -> Effect:
        """Take an effect and its interval."""
        interval = effect.interval()
        ends = None if interval is None else (rounded(interval.low), rounded(interval.high))
        return cls(kind, rounded(effect.value), ends)

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, or the effect itself twice."""
        return self.interval or (self.effect, self.effect)


@figure_form("effects")
@dataclass
class Effects:
    """The effects of ablating what a claim names, by kind of ablation, the claim's own kind first."""

    effects: list[Effect]

    @classmethod
    def of(cls, by_kind: Mapping[str, Estimate]) -> Effects:
        """Take effects by kind, with their intervals."""
        return cls([Effect.of(kind, effect) for kind, effect in by_kind.items()])

    @classmethod
    def figures_together(
        cls,
        forms: Mapping[str, Effects],
        thresholds: Mapping[str, str],
        target: Head,  # noqa: ARG003  # the same for any head
    ) -> list[AnyFigure]:
        """Draw the effects of a group's claims, a row a kind; those that should be small by themselves."""
        by_claim = {claim: form.effects for claim, form in forms.items() if form.effects}
        if not by_claim:
            return []
        kinds = list(dict.fromkeys(one.kind for effects in by_claim.values() for one in effects))
        sides: dict[str, dict[str, list[Effect]]] = {SMALL: {}, LARGE: {}}
        for claim, effects in by_claim.items():
            sides[SMALL if "≤" in thresholds.get(claim, "") else LARGE][claim] = effects
        plots = [_plot(title, some, kinds, thresholds) for title, some in sides.items() if some]
        primary = [f"{claim} {number(effects[0].effect)}" for claim, effects in by_claim.items()]
        caption = (
            "How far each ablation takes the category score from clean (0) to that of uniform attention (1), with 95 % "
            "intervals, a row a kind of ablation, the primary one on top; dashed is what is wanted. What to see: "
            "effects near 0 for what the head does without, large for what it needs."
        )
        alt = f"{caption} Primary effects: {', '.join(primary)}."
        rows = [
            [claim, thresholds.get(claim, ""), one.kind, one.effect, *(one.interval or (None, None))]
            for claim, effects in by_claim.items()
            for one in effects
        ]
        columns = ["claim", "wanted", "kind", "effect", "low", "high"]
        return [Figure("What ablations do", caption, alt, plots, columns, rows)]


def _plot(
    title: str, by_claim: Mapping[str, list[Effect]], kinds: list[str], thresholds: Mapping[str, str]
) -> dict[str, Any]:
    """Return a plot with a row an effect, from the top in the claims' order, and a gap between claims."""
    rows: dict[str, list[int]] = {}
    for claim, effects in by_claim.items():
        first = 1 + max((row for some in rows.values() for row in some), default=-2) + 1
        rows[claim] = list(range(first, first + len(effects)))
    n_rows = 1 + max(row for some in rows.values() for row in some)
    traces = []
    for place, kind in enumerate(kinds):
        at = [
            (row, one)
            for claim, effects in by_claim.items()
            for row, one in zip(rows[claim], effects, strict=True)
            if one.kind == kind
        ]
        if at:
            traces.append(_trace(kind, place, at))
    lines = [
        {"type": "line", "x0": x, "x1": x, "y0": some[0] - 0.7, "y1": some[-1] + 0.7, "line": DASHED}
        for claim, some in rows.items()
        for x in _edges(thresholds.get(claim, ""))
    ]
    axis = {
        "tickvals": [(some[0] + some[-1]) / 2 for some in rows.values()],
        "ticktext": [folded(claim) for claim in rows],
        "range": [n_rows - 0.2, -0.8],
        "showgrid": False,
    }
    return plot(traces, title, 110 + ROW * n_rows, yaxis=axis, shapes=lines)


def _trace(kind: str, place: int, at: list[tuple[int, Effect]]) -> dict[str, Any]:
    effects = [one for _, one in at]
    error = {
        "array": [one.ends[1] - one.effect for one in effects],
        "arrayminus": [one.effect - one.ends[0] for one in effects],
        "thickness": 2,
        "width": 4,
    }
    marker = {"color": COLOURS[place % len(COLOURS)], "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 6}
    said = ["" if one.interval is None else f" {ends(one.interval)}" for one in effects]
    hover = "%{x:.3f}%{customdata}<extra>" + plain(kind) + "</extra>"
    look = {"error_x": error, "marker": marker, "mode": "markers", "name": plain(kind), "hovertemplate": hover}
    return scatter([one.effect for one in effects], [row for row, _ in at], customdata=said, **look)


def _edges(threshold: str) -> list[float]:
    """Return where the threshold lies, on both sides of 0 for one of a magnitude; nothing for no threshold."""
    value = threshold.rpartition(" ")[2]
    try:
        edge = float(value)
    except ValueError:
        return []
    return [-edge, edge] if threshold.startswith("|·|") else [edge]
