"""The token map: communities of the graph of whom tokens attend to most, laid out on a plane.

Drawing it needs igraph, of the extra `communities`. Axes: `edge` (source, target), `token` the graph's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.communities import AttentionGraph
from headclaims.report.cells import number
from headclaims.report.figure import AnyFigure, ScriptedFigure
from headclaims.report.figures.form import figure_form
from headclaims.report.figures.rounding import rounded
from headclaims.report.labels import told_apart

WITHIN, ACROSS = 8.0, 0.2
"""How hard edges within a community pull, and those across."""
ITERATIONS = 1000
NAMED_BY = 3


@figure_form("token-map")
@dataclass
class TokenGraph:
    """Whom each token attends to most: edges (source, target) with their scores, communities, and known categories."""

    tokens: list[str]
    edges: list[tuple[int, int]]
    scores: list[float]
    community: list[int]
    category: dict[int, str]

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        graph: AttentionGraph,
        community: Int[np.ndarray, " token"],
        category: Mapping[int, str],
    ) -> TokenGraph:
        """Take a graph, its communities numbered by size, the largest first."""
        label, size = np.unique(community, return_counts=True)
        rank = {int(one): number for number, one in enumerate(label[np.argsort(-size, kind="stable")])}
        return cls(
            list(texts),
            [(int(a), int(b)) for a, b in graph.edges],
            rounded(graph.scores),
            [rank[int(one)] for one in community],
            dict(category),
        )

    def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002  # the same for any head
        """Lay the graph out for the page's own script; raises NotAssessable where igraph is missing."""
        tokens = told_apart(self.tokens)
        names = [", ".join(tokens[token] for token in members) for members in central(self)]
        sizes = Counter(self.community)
        own = len({a for a, b in self.edges if a == b})
        place = {community: number for number, community in enumerate(sorted(sizes))}
        content = {
            "tokens": tokens,
            "edges": [list(edge) for edge in self.edges],
            "scores": self.scores,
            "community": [place[c] for c in self.community],
            "category": {str(token): name for token, name in self.category.items()},
            "names": names,
            "at": np.round(layout(self), 4).tolist(),
        }
        caption = (
            f"{len(self.tokens):,} tokens and, for each, those it attends to most ({len(self.edges):,} edges), in "
            f"{len(names)} communities named by the tokens that most of their own attend to. What to see: communities "
            f"that are categories, and hardly a token that attends to itself ({number(100 * own / len(self.tokens))} "
            "% do). Nearness is drawn by community, not measured: only edges and scores are evidence. Click a token, "
            "or search for it; drag to move, + and − to zoom."
        )
        listed = "; ".join(f"{name} ({sizes[c]})" for name, c in zip(names, sorted(sizes), strict=True))
        alt = f"Communities by their most central tokens, with their sizes: {listed}."
        return [ScriptedFigure("The token map", caption, alt, "token-map", content)]


def layout(graph: TokenGraph) -> Float[np.ndarray, "token 2"]:
    """Return places in [−1, 1]² by Fruchterman and Reingold, edges within a community forty times as strong as others.

    The same graph gives the same places. Raises NotAssessable, with what to install, where igraph is missing.
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
        coordinates = drawn.layout_fruchterman_reingold(niter=ITERATIONS, weights=weights or None, grid=True).coords
    finally:
        igraph.set_random_number_generator(random)
    places = np.array(coordinates, dtype=float).reshape(-1, 2)
    places -= (places.max(axis=0) + places.min(axis=0)) / 2
    return np.asarray(places / max(float(np.abs(places).max()), 1e-12))


def central(graph: TokenGraph) -> list[list[int]]:
    """Return the three tokens of each community that most others of it attend to, most first; ties by number."""
    attended = Counter(b for a, b in graph.edges if a != b and graph.community[a] == graph.community[b])
    members: dict[int, list[int]] = {}
    for token, community in enumerate(graph.community):
        members.setdefault(community, []).append(token)
    return [sorted(members[c], key=lambda token: -attended[token])[:NAMED_BY] for c in sorted(members)]
