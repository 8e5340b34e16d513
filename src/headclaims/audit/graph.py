"""The graph of whom tokens attend to most, its communities, and the nulls of their agreement with categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headclaims.audit.nulls import OTHER_HEADS, PERMUTED_LABELS
from headclaims.cache import kept
from headclaims.checkpoint.interface import Capability, Graph
from headclaims.circuit.effective_embedding import Variant
from headclaims.errors import NotAssessable
from headclaims.measures.communities import (
    FEWEST_LABELLED,
    SEEDS,
    AttentionGraph,
    attention_graph,
    communities,
    graph_of_edges,
    labels,
    permuted_medians,
)
from headclaims.measures.top_attended import TopAttended, probes, top_edges
from headclaims.statistics.nulls import DRAWS, Null

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit


@dataclass(frozen=True)
class Attended:
    """A graph with its tokens as text, the category of those that have one, and its communities [seed, token].

    `permuted_labels` is the agreement of communities with labels dealt anew, `other_heads` that of other heads' graphs
    by one seed each. `words` are the labels without the categories of digits, None where too few are left, and
    `permuted_words` their agreement dealt anew.
    """

    graph: AttentionGraph
    texts: Sequence[str]
    labels: Mapping[int, str]
    communities: np.ndarray
    permuted_labels: Null
    other_heads: Null
    words: Mapping[int, str] | None
    permuted_words: np.ndarray | None


def attended(audit: Audit) -> Attended:
    """Return the graph that was recorded, or that of the map of common words.

    Raises NotAssessable where the evidence gives neither, or a recorded graph is that of another head.
    """
    checkpoint = audit.checkpoint
    checkpoint.require(Capability.GRAPH)
    recorded = recorded_graph(audit)
    if recorded is not None:
        graph = graph_of_edges(len(recorded.tokens), recorded.edges, recorded.scores)
        texts: Sequence[str] = recorded.tokens
        categories = labels(texts, audit.workspace.lists.every)
        others = Null(OTHER_HEADS, None, missing="the file has the graph of one head")
    else:
        sets = audit.sets
        sets.require("common")
        sets.require("labels")
        layer = audit.maps[Variant.MEAN].layer
        graph = attention_graph(layer.common_scores(audit.score), audit.cache)
        texts = checkpoint.texts(layer.common.tokens)
        assert sets.tokens.labels is not None
        categories = dict(sets.tokens.labels)
        others = audit.nulls.other_maps("ami")
    by_seed = audit.cached(communities_by_seed, graph, SEEDS)["community"]
    digits = {name for one in audit.workspace.lists.every for name in one.digits}
    words = {token: name for token, name in categories.items() if name not in digits}

    def permuted(tokens: Mapping[int, str]) -> np.ndarray:
        return audit.cached(permuted_agreement_arrays, by_seed, tokens, DRAWS, audit.settings.seed)["ami"]

    enough = len(words) >= FEWEST_LABELLED and len(set(words.values())) > 1
    return Attended(
        graph,
        texts,
        categories,
        by_seed,
        Null(PERMUTED_LABELS, permuted(categories)),
        others,
        words if enough else None,
        permuted(words) if enough else None,
    )


@kept("communities", version=1)
def communities_by_seed(graph: AttentionGraph, seeds: int) -> dict[str, np.ndarray]:
    """Return the communities that the Leiden algorithm finds by each of so many seeds."""
    return {"community": np.stack([communities(graph, seed) for seed in range(seeds)])}


@kept("permuted-agreements", version=6)
def permuted_agreement_arrays(
    by_seed: np.ndarray, categories: Mapping[int, str], n: int, seed: int
) -> dict[str, np.ndarray]:
    """Return the agreement of communities with n permutations of the labels, the median over seeds."""
    return {"ami": permuted_medians(by_seed, categories, n, seed)}


def recorded_kin(audit: Audit) -> TopAttended | None:
    """Return what category words attend to most by a recorded graph's edges; None for other evidence.

    Raises NotAssessable where the graph is that of another head, or too few categories have words with edges.
    """
    graph = recorded_graph(audit)
    if graph is None:
        return None
    place = {text: number for number, text in enumerate(graph.tokens)}
    return top_edges(probes(audit.workspace.lists.every, place.get, graph.tokens), graph.edges.numpy())


def recorded_graph(audit: Audit) -> Graph | None:
    """Return the target's recorded graph, None where there is no recorded one; raises NotAssessable for other heads."""
    graphs, target = audit.checkpoint.graphs, audit.target
    if graphs and target not in graphs:
        labels_of_graphs = ", ".join(head.label for head in sorted(graphs))
        raise NotAssessable(f"needs the graph of {target.label}: the evidence has that of {labels_of_graphs}")
    return graphs.get(target)
