"""Figures of the eigenspectrum, and of scatter in its eigenspaces, over all heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from headclaims.report.drawn import (
    ScatterPlane,
    Spectrum,
)
from headclaims.report.figures import (
    BLUE,
    GREY,
    RED,
    Figure,
    mark,
    plain,
    plot,
)
from headclaims.report.table import number


def spectrum(of: Spectrum, target: str) -> Figure:
    """The eigenvalues of W_sym, and the count of negative ones in all heads."""
    values = np.array(of.eigenvalues)
    leading = np.zeros(len(values), dtype=bool)
    leading[np.argsort(-np.abs(values), kind="stable")[: of.d_head]] = True
    order = np.argsort(-values)
    bars = [
        go.Bar(
            x=np.flatnonzero(chosen[order]).tolist(), y=values[order][chosen[order]].tolist(), name=name,
            marker={"color": colour, "line": {"width": 0}}, opacity=opacity,
        )
        for name, chosen, colour, opacity in (
            ("positive, leading", leading & (values >= 0), BLUE, 1.0),
            ("negative, leading", leading & (values < 0), RED, 1.0),
            ("the rest", ~leading, GREY, 0.7),
        )
    ]  # fmt: skip
    own = of.negative[of.heads.index(target)]
    counted = np.bincount(of.negative, minlength=of.d_head + 1)
    bar = go.Bar(x=list(range(len(counted))), y=counted.tolist(), marker={"color": BLUE}, showlegend=False)
    plots = [
        plot(bars, "eigenvalues of W_sym", 320, bargap=0, xaxis={"title": "rank"}, yaxis={"title": "eigenvalue"}),
        plot(
            [bar], "negative ones in all heads", 320, bargap=0.05,
            xaxis={"title": f"negative of the {of.d_head} leading"}, yaxis={"title": "heads"},
            **mark(own, plain(target)),
        ),
    ]  # fmt: skip
    caption = (
        f"Of the {of.d_head} eigenvalues largest in magnitude {own} are negative in {target}; over "
        f"{len(of.heads)} heads "
        f"the count runs from {min(of.negative)} to {max(of.negative)}, median "
        f"{number(float(np.median(of.negative)))}. "
        "What to see: whether the target stands apart from other heads. That half are negative is what algebra "
        "makes likely."
    )
    rows: list[list[Any]] = [["eigenvalue", int(leading[i]), float(values[i])] for i in order]
    rows += [[f"negative of {head}", "", count] for head, count in zip(of.heads, of.negative, strict=True)]
    return Figure("spectrum", "Eigenspectrum", caption, caption, plots, ["what", "leading", "value"], rows)


def scatter_plane(of: ScatterPlane, target: str) -> Figure:
    """Scatter within and between groups of all heads, the target marked."""
    place = of.heads.index(target)
    rest = [i for i in range(len(of.heads)) if i != place]

    def points(some: Sequence[int], **look: Any) -> go.Scatter:
        return go.Scatter(
            x=[of.within[i] for i in some],
            y=[of.between[i] for i in some],
            text=[of.heads[i] for i in some],
            mode="markers",
            hovertemplate="%{text}: within %{x:.3f}, between %{y:.3f}<extra></extra>",
            **look,
        )

    data = [
        points(rest, name="other heads", marker={"color": GREY, "size": 7, "opacity": 0.8}),
        points([place], name=target, marker={"color": RED, "size": 14, "symbol": "star"}),
    ]
    zero = {"range": [-1.05, 1.05], "zeroline": True, "zerolinecolor": GREY}
    axes = {"xaxis": zero | {"title": "within groups"}, "yaxis": zero | {"title": "between groups"}}
    lower = (
        sum(w <= of.within[place] and b >= of.between[place] for w, b in zip(of.within, of.between, strict=True)) - 1
    )
    caption = (
        "How far scatter lies in positive directions of W_sym, from −1 to 1: of tokens within their group, and "
        "of group "
        f"means. What to see: the finding is a head far to the upper left. {target} is at "
        f"{number(of.within[place])} within, "
        f"{number(of.between[place])} between; of {len(rest)} other heads {lower} are at least as far out on both."
    )
    rows = [list(row) for row in zip(of.heads, of.within, of.between, strict=True)]
    drawn = plot(data, "", 420, **axes)
    return Figure(
        "scatter", "Scatter of groups in all heads", caption, caption, [drawn], ["head", "within", "between"], rows
    )
