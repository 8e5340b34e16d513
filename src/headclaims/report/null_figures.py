"""The null distributions of a claim, with the target marked in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headclaims.report.cells import number
from headclaims.report.claim_figures import ClaimFigures, NullValues
from headclaims.report.figure import Figure
from headclaims.report.labels import plain
from headclaims.report.plots import GREY, bar, mark, plot

BINS = 30


def null_distributions(claim: ClaimFigures, target: str) -> Figure | None:
    """Return a histogram a null population, the target's value marked; None where the claim has no null values."""
    value = claim.compared_value
    populations = [(null, values) for null in claim.nulls if (values := _known(null))]
    if value is None or not populations:
        return None
    plots, counts = [], []
    for null, values in populations:
        counted, edges = np.histogram(values, BINS, range=_span([*values, value]))
        middles, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
        bars = bar(middles.tolist(), counted.tolist(), width=width, marker={"color": GREY}, showlegend=False)
        axes = {"xaxis": {"title": plain(claim.compared.replace("_", " "))}, "yaxis": {"title": "members"}}
        plots.append(plot([bars], plain(null.population), 210, **axes, **mark(value, plain(target))))
        counts.append(
            f"of {len(null.values)} {null.population} {null.at_least} are at least as favourable{_extreme(null)}"
        )
    way = "higher" if claim.favourable == "high" else "lower"
    caption = f"Null distributions, {target} marked at {number(value)}; {way} is more favourable: {'; '.join(counts)}."
    rows: list[list[Any]] = [[null.population, v] for null, values in populations for v in values]
    rows.append([target, value])
    return Figure("Null distributions", caption, caption, plots, ["population", claim.compared], rows)


def _extreme(null: NullValues) -> str:
    """What p is of where the head was chosen among many."""
    return "" if null.chosen_among == 1 else f" (p is for the extreme of {null.chosen_among} draws, one a head)"


def _known(null: NullValues) -> list[float]:
    return [value for value in null.values if value is not None]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """A range that holds all values and has a length."""
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-12 * max(1.0, abs(high)) else (low - 0.5, high + 0.5)
