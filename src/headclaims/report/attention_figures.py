"""Figures of what the head attends to: in all heads, on a prompt, ablated, steered."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from headclaims.report.drawn import (
    Effect,
    HeadScores,
    Pattern,
    SteeredAttention,
)
from headclaims.report.figures import (
    SIZED,
    Figure,
    folded,
    frame,
    heatmap,
    plain,
    plot,
    rows_axis,
)
from headclaims.report.table import number


def head_scores(of: HeadScores, target: tuple[int, int]) -> Figure:
    """The category score by layer and head, the target outlined."""
    layers = sorted({layer for layer, _ in of.heads})
    n = 1 + max(head for _, head in of.heads)
    grid: list[list[float | None]] = [[None] * n for _ in layers]
    for (layer, head), score in zip(of.heads, of.scores, strict=True):
        grid[layers.index(layer)][head] = score
    ranked = [of.heads[i] for i in np.argsort(of.scores, kind="stable")]
    best = [f"L{layer}H{head} {number(grid[layers.index(layer)][head] or 0)}" for layer, head in ranked[:3]]
    y, hover = [str(layer) for layer in layers], "L%{y}H%{x}: %{z:.3f} nats<extra></extra>"
    shown = heatmap(grid, list(range(n)), y, colorscale=SIZED, reversescale=True, hovertemplate=hover)
    axes = {"xaxis": {"title": "head", "dtick": 1 if n <= 16 else None}, "yaxis": rows_axis("layer", y)}
    label, placed = f"L{target[0]}H{target[1]}", f"The evidence lacks L{target[0]}H{target[1]}."
    outline = []
    if target in ranked:
        outline = [frame((target[1], layers.index(target[0])))]
        placed = f"The outlined target {label} is number {1 + ranked.index(target)} of {len(ranked)}."
    drawn = plot([shown], "", 90 + 24 * max(len(layers), 6), shapes=outline, **axes)
    caption = (
        f"Category score of each head, in nats: lower is better. {placed} Lowest are {', '.join(best)} nats; uniform "
        f"attention scores {number(of.uniform)}. What to see: whether one head stands apart."
    )
    rows = [[f"L{a}H{b}", a, b, score] for (a, b), score in zip(of.heads, of.scores, strict=True)]
    columns = ["head", "layer", "index", "score"]
    return Figure("head-scores", "Score by layer and head", caption, caption, [drawn], columns, rows)


def pattern(of: Pattern) -> Figure:
    """The target's attention on one prompt beside what the category score wants of it."""
    n = len(of.words)
    at = [f"{i} {plain(word)}" for i, word in enumerate(of.words)]
    attention = [row + [None] * (n - len(row)) for row in of.attention]
    wanted = [[int(j in set(keys)) if j <= i else None for j in range(n)] for i, keys in enumerate(of.targets)]
    hover = "%{y} → %{x}: %{z:.3f}<extra></extra>"
    axis = {"showticklabels": False, "ticks": "", "type": "category", "showgrid": False}
    axes = {"xaxis": axis | {"title": "key"}, "yaxis": axis | {"title": "query", "autorange": "reversed"}}
    plots = [
        plot([heatmap(attention, at, at, colorscale=SIZED, hovertemplate=hover)], "attention", 330, **axes),
        plot(
            [heatmap(wanted, at, at, colorscale=SIZED, showscale=False, hovertemplate=hover)],
            "its target",
            330,
            **axes,
        ),
    ]
    mass = np.mean([sum(row[j] for j in keys) for row, keys in zip(of.attention, of.targets, strict=True)])
    caption = (
        "The head's attention on the first prompt, query rows over key columns, beside its target: earlier words "
        "of the "
        f"category that are not the same word, or BOS where there are none. A row's target has {mass:.0%} of its "
        "attention in the mean. What to see: bright cells where the target is, and a dark diagonal."
    )
    rows = [
        [i, of.words[i], j, of.words[j], value, int(j in of.targets[i])]
        for i, row in enumerate(of.attention)
        for j, value in enumerate(row)
    ]
    return Figure(
        "pattern", "Attention on a prompt, and its target", caption, caption, plots,
        ["query", "query word", "key", "key word", "attention", "target"], rows,
    )  # fmt: skip


def effects(of: dict[str, list[Effect]], thresholds: dict[str, str]) -> Figure:
    """Effects of ablations with their intervals, claim by claim and by kind."""
    claims = list(of)[::-1]
    kinds = list(dict.fromkeys(one.kind for some in of.values() for one in some))
    data = []
    for place, kind in enumerate(kinds):
        at = [(y, one) for y, claim in enumerate(claims) for one in of[claim] if one.kind == kind]
        reach = [one.interval or (one.effect, one.effect) for _, one in at]
        data.append(
            go.Scatter(
                x=[one.effect for _, one in at],
                y=[y + 0.32 - 0.64 * place / max(1, len(kinds) - 1) for y, _ in at],
                error_x={
                    "array": [high - one.effect for (_, one), (_, high) in zip(at, reach, strict=True)],
                    "arrayminus": [one.effect - low for (_, one), (low, _) in zip(at, reach, strict=True)],
                },
                mode="markers",
                name=plain(kind),
                hovertemplate="%{x:.3f}<extra>" + plain(kind) + "</extra>",
            )
        )
    axis = {"tickvals": list(range(len(claims))), "ticktext": [folded(claim) for claim in claims], "title": ""}
    drawn = plot(data, "", 120 + 62 * len(claims), yaxis=axis, xaxis={"title": "effect"})
    primary = [f"{claim} {number(some[0].effect)}" for claim, some in of.items()]
    caption = (
        "How far each ablation takes the category score from clean (0) to that of uniform attention (1), with 95 % "
        "intervals, by kind of ablation. What to see: effects near 0 for what the head does without, large for "
        "what it needs."
    )
    rows = [
        [claim, thresholds.get(claim, ""), one.kind, one.effect, *(one.interval or (None, None))]
        for claim, some in of.items()
        for one in some
    ]
    return Figure(
        "effects", "What ablations do", caption, f"{caption} Primary effects: {', '.join(primary)}.", [drawn],
        ["claim", "wanted", "kind", "effect", "low", "high"], rows,
    )  # fmt: skip


def steered_attention(of: SteeredAttention) -> Figure:
    """Attention to the word itself, per kin and to all kin by α, in the model."""
    columns = {"itself and copies": of.itself, "per kin": of.per_kin, "all kin": of.kin}
    lines = [go.Scatter(x=of.alphas, y=y, name=name, mode="lines+markers") for name, y in columns.items()]
    drawn = plot(
        lines,
        "",
        320,
        xaxis={"title": "α", "autorange": "reversed"},
        yaxis={"title": "attention", "rangemode": "tozero"},
    )
    last = -1
    caption = (
        "In the model, on rows with kin: attention to the word itself and its copies, to each kin, and to all "
        "kin, by α. What "
        "to see: the first rising as α falls, above the second at −1, while the third stays. "
        f"At α = {of.alphas[last]:g}: {number(of.itself[last])}, {number(of.per_kin[last])} and {number(of.kin[last])}."
    )
    rows = [list(row) for row in zip(of.alphas, *columns.values(), strict=True)]
    return Figure("steered-attention", "Steering in the model", caption, caption, [drawn], ["alpha", *columns], rows)
