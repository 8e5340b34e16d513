"""What ablations do: one figure for all claims of a group that ablate something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headclaims.checkpoint.interface import Head
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.labels import folded, plain
from headclaims.report.plots import plot, scatter
from headclaims.statistics.resampling import Estimate

SPREAD = 0.64
"""How far the kinds of one claim's effects lie apart, in distances between claims."""


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
        """Draw the effects of a group's claims, a line a claim and a colour a kind."""
        by_claim = {claim: form.effects for claim, form in forms.items() if form.effects}
        if not by_claim:
            return []
        claims = list(by_claim)[::-1]
        axis = {"tickvals": list(range(len(claims))), "ticktext": [folded(claim) for claim in claims], "title": ""}
        drawn = plot(_traces(by_claim, claims), "", 120 + 62 * len(claims), yaxis=axis, xaxis={"title": "effect"})
        primary = [f"{claim} {number(effects[0].effect)}" for claim, effects in by_claim.items()]
        caption = (
            "How far each ablation takes the category score from clean (0) to that of uniform attention (1), with 95 % "
            "intervals, by kind of ablation. What to see: effects near 0 for what the head does without, large for "
            "what it needs."
        )
        alt = f"{caption} Primary effects: {', '.join(primary)}."
        rows = [
            [claim, thresholds.get(claim, ""), one.kind, one.effect, *(one.interval or (None, None))]
            for claim, effects in by_claim.items()
            for one in effects
        ]
        columns = ["claim", "wanted", "kind", "effect", "low", "high"]
        return [Figure("What ablations do", caption, alt, [drawn], columns, rows)]


def _traces(by_claim: Mapping[str, list[Effect]], claims: list[str]) -> list[dict[str, Any]]:
    kinds = list(dict.fromkeys(one.kind for effects in by_claim.values() for one in effects))
    traces = []
    for place, kind in enumerate(kinds):
        shift = SPREAD / 2 - SPREAD * place / max(1, len(kinds) - 1)
        at = [(y + shift, one) for y, claim in enumerate(claims) for one in by_claim[claim] if one.kind == kind]
        error = {
            "array": [one.ends[1] - one.effect for _, one in at],
            "arrayminus": [one.effect - one.ends[0] for _, one in at],
        }
        hover = "%{x:.3f}<extra>" + plain(kind) + "</extra>"
        look = {"error_x": error, "mode": "markers", "name": plain(kind), "hovertemplate": hover}
        traces.append(scatter([one.effect for _, one in at], [y for y, _ in at], **look))
    return traces
