"""The token map: communities of the graph of whom tokens attend to most, laid out on a plane.

Needs igraph, of the extra `communities`. Axes: `edge` (source, target), `token` the graph's.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Float

from headclaims.errors import NotAssessable
from headclaims.report.drawn import TokenGraph
from headclaims.report.figures import told_apart
from headclaims.report.table import number

WITHIN, ACROSS = 8.0, 0.2
ITERATIONS = 1000
NAMED_BY = 3


def layout(graph: TokenGraph) -> Float[np.ndarray, "token 2"]:
    """Fruchterman–Reingold, edges within a community pulling forty times as hard as those across, in [−1, 1]².

    Raises NotAssessable, with what to install, where igraph is missing.
    """
    try:
        import igraph
    except ImportError as error:
        raise NotAssessable("the token map needs igraph; pip install 'headclaims[communities]'") from error
    edges = [(a, b) for a, b in graph.edges if a != b]
    weights = [WITHIN if graph.community[a] == graph.community[b] else ACROSS for a, b in edges]
    # igraph draws from Python's own generator unless it is given another.
    igraph.set_random_number_generator(random.Random(0))
    try:
        drawn = igraph.Graph(n=len(graph.tokens), edges=edges)
        found = np.array(
            drawn.layout_fruchterman_reingold(niter=ITERATIONS, weights=weights or None, grid=True).coords, dtype=float
        ).reshape(-1, 2)
    finally:
        igraph.set_random_number_generator(random)
    found -= (found.max(axis=0) + found.min(axis=0)) / 2
    return np.asarray(found / max(float(np.abs(found).max()), 1e-12))


def central(graph: TokenGraph) -> list[list[int]]:
    """For each community its tokens that most others of it attend to, most first; ties by number."""
    asked = Counter(b for a, b in graph.edges if a != b and graph.community[a] == graph.community[b])
    members: dict[int, list[int]] = {}
    for token, community in enumerate(graph.community):
        members.setdefault(community, []).append(token)
    return [sorted(members[c], key=lambda token: -asked[token])[:NAMED_BY] for c in sorted(members)]


def token_map(graph: TokenGraph) -> dict[str, Any]:
    """What the page's map is drawn from, and what is said of it."""
    tokens = told_apart(graph.tokens)
    names = [", ".join(tokens[token] for token in some) for some in central(graph)]
    sizes = Counter(graph.community)
    own = len({a for a, b in graph.edges if a == b})
    place = {community: number for number, community in enumerate(sorted(sizes))}
    said = "; ".join(f"{name} ({sizes[c]})" for name, c in zip(names, sorted(sizes), strict=True))
    return {
        "tokens": tokens,
        "edges": [list(edge) for edge in graph.edges],
        "scores": graph.scores,
        "community": [place[c] for c in graph.community],
        "category": {str(token): name for token, name in graph.category.items()},
        "names": names,
        "at": np.round(layout(graph), 4).tolist(),
        "caption": (
            f"{len(graph.tokens):,} tokens and, for each, those it attends to most ({len(graph.edges):,} edges), in "
            f"{len(names)} communities named by the tokens that most of their own attend to. What to see: "
            "communities that "
            f"are categories, and hardly a token that attends to itself ({number(100 * own / len(graph.tokens))} "
            "% do). "
            "Nearness is drawn by community, not measured: only edges and scores are evidence."
        ),
        "alt": f"Communities by their most central tokens, with their sizes: {said}.",
    }
