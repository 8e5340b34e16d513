"""Figures of the head's map over tokens: blocks of groups, similarity, steering."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from headclaims.report.drawn import (
    Blocks,
    Similarity,
    SteeredBlocks,
)
from headclaims.report.figures import (
    BLUE,
    GREY,
    ORANGE,
    SIGNED,
    SIZED,
    Figure,
    heatmap,
    plot,
    token_axes,
)
from headclaims.report.table import number


def blocks(of: Blocks) -> Figure:
    """Scores among group tokens: all, and by the symmetric and the skew part."""
    full = np.array(of.scores)
    parts = {"all": full, "symmetric part": (full + full.T) / 2, "skew part": (full - full.T) / 2}
    at, axes = token_axes(of.tokens)
    reach = float(np.abs(full).max()) or 1.0
    hover = "%{y} → %{x}: %{z:.3f} nats<extra></extra>"
    look = {"colorscale": SIGNED, "zmin": -reach, "zmax": reach, "hovertemplate": hover}
    last = len(parts) - 1
    plots = [
        plot([heatmap(z.round(4).tolist(), at, at, showscale=i == last, **look)], name, 320, **axes)
        for i, (name, z) in enumerate(parts.items())
    ]
    caption = (
        "Scores among the group tokens, groups one after the other, in nats before the softmax; query rows over key "
        "columns. What to see: bright blocks on the diagonal, a diagonal darker than its block, and how little "
        "of it is skew."
    )
    group = np.array(of.group)
    inside = np.equal.outer(group, group) & ~np.eye(len(group), dtype=bool)
    alt = (
        f"{caption} Means: in the group {number(full[inside].mean())}, on the diagonal "
        f"{number(full.diagonal().mean())}, "
        f"across groups {number(full[~np.equal.outer(group, group)].mean())} nats."
    )
    rows = [
        [of.tokens[i], of.tokens[j], *(round(float(z[i, j]), 5) for z in parts.values())]
        for i in range(len(full))
        for j in range(len(full))
    ]
    return Figure("blocks", "Blocks of group tokens", caption, alt, plots, ["query", "key", *parts], rows)


def similarity(of: Similarity) -> Figure:
    """Score against cosine similarity, with band and counts."""
    band = go.Scatter(
        x=of.cosine + of.cosine[::-1], y=of.high + of.low[::-1], fill="toself", mode="lines", line={"width": 0},
        fillcolor="rgba(47,134,209,.3)", name="95 % over words", hoverinfo="skip",
    )  # fmt: skip
    curve = go.Scatter(
        x=of.cosine, y=of.mean, mode="lines+markers", marker={"size": 4}, line={"color": BLUE}, name="common words"
    )
    data = [band, curve]
    if any(value is not None for value in of.vocabulary):
        whole = {"x": of.cosine, "y": of.vocabulary, "line": {"color": ORANGE, "dash": "dot"}}
        data.append(go.Scatter(mode="lines", name="whole vocabulary", **whole))
    counts = go.Bar(x=of.cosine, y=of.pairs, marker={"color": GREY}, showlegend=False)
    top = int(np.argmax(of.mean))
    title = {"title": "cosine of E"}
    plots = [
        plot(
            data,
            "score less own score",
            340,
            xaxis=title,
            yaxis={"title": "nats", "zeroline": True, "zerolinecolor": GREY},
        ),
        plot([counts], "pairs of common words", 340, xaxis=title, yaxis={"type": "log", "title": "pairs"}, bargap=0),
    ]
    caption = (
        "The mean of s(i, j) − s(i, i) by the cosine of i and j, in bins that hold fifty pairs. What to see: "
        "whether it rises "
        f"above 0 with similarity and peaks before 1. Its highest is {number(of.mean[top])} nats at "
        f"{of.cosine[top]:.2f}."
    )
    columns = ["cosine", "mean", "low", "high", "pairs", "vocabulary"]
    rows = [list(row) for row in zip(of.cosine, of.mean, of.low, of.high, of.pairs, of.vocabulary, strict=True)]
    return Figure("similarity", "Score against similarity", caption, caption, plots, columns, rows)


def steered_blocks(of: SteeredBlocks) -> Figure:
    """Blocks of group tokens strip by strip over α, with the diagonal and in-group means."""
    at, axes = token_axes(of.tokens)
    small = {"showticklabels": False, "title": ""}
    axes = {name: axis | small for name, axis in axes.items()}
    same = np.equal.outer(of.group, of.group)
    inside = np.array(of.scores)[:, same]
    look = {"colorscale": SIZED, "zmin": float(inside.min()), "zmax": float(inside.max()), "showscale": False}
    hover = "%{y} → %{x}: %{z:.3f} nats<extra></extra>"
    plots = [
        plot(
            [heatmap(z, at, at, hovertemplate=hover, **look)],
            f"α = {alpha:g}",
            200,
            margin={"l": 8, "r": 8, "t": 28, "b": 8},
            **axes,
        )
        for alpha, z in zip(of.alphas, of.scores, strict=True)
    ]
    lines = [
        go.Scatter(x=of.alphas, y=values, name=name, mode="lines+markers")
        for name, values in (("diagonal", of.diagonal), ("rest of the group", of.in_group))
    ]
    plots.append(plot(lines, "means", 260, xaxis={"title": "α", "autorange": "reversed"}, yaxis={"title": "nats"}))
    bright = [f"{a:g}" for a, d, g in zip(of.alphas, of.diagonal, of.in_group, strict=True) if d > g]
    caption = (
        "Blocks of the group tokens as the negative eigenvalues of W_sym are scaled by α, from 1.1 down to −1. "
        "What to see: "
        "the diagonal turning from dark to bright while the blocks stay; colours span the scores within groups. "
        f"It is brighter than its group at {'no α' if not bright else 'α = ' + ', '.join(bright)}."
    )
    rows = [
        [alpha, of.tokens[i], of.tokens[j], value]
        for alpha, z in zip(of.alphas, of.scores, strict=True)
        for i, row in enumerate(z)
        for j, value in enumerate(row)
    ]
    return Figure(
        "steered-blocks", "Steering the map", caption, caption, plots, ["alpha", "query", "key", "score"], rows
    )
