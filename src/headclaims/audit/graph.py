"""The graph of whom tokens attend to most, its communities, and the nulls of their agreement with categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headclaims.audit.nulls import OTHER_HEADS, PERMUTED_LABELS
from headclaims.cache import kept
from headclaims.checkpoint.interface import Capability
from headclaims.checkpoint.recorded import RecordedGraph
from headclaims.circuit.effective_embedding import Variant
from headclaims.errors import NotAssessable
from headclaims.measures.communities import (
    AttentionGraph,
    attention_graph,
    communities,
    graph_of_edges,
    labels,
    permuted_agreements,
)
from headclaims.statistics.nulls import DRAWS, Null

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit


@dataclass(frozen=True)
class Attended:
    """A graph with its tokens as text, the category of those that have one, and its communities.

    `permuted_labels` is the agreement of communities with labels dealt anew, `other_heads` that of other heads' graphs.
    """

    graph: AttentionGraph
    texts: Sequence[str]
    labels: Mapping[int, str]
    communities: np.ndarray
    permuted_labels: Null
    other_heads: Null


def attended(audit: Audit) -> Attended:
    """Return the graph that was recorded, or that of the map of common words.

    Raises NotAssessable where the evidence gives neither, or a recorded graph is that of another head.
    """
    checkpoint = audit.checkpoint
    checkpoint.require(Capability.GRAPH)
    if isinstance(checkpoint, RecordedGraph):
        if checkpoint.target != audit.target:
            raise NotAssessable(
                f"needs the graph of {audit.target.label}: the file has that of {checkpoint.target.label}"
            )
        graph = graph_of_edges(len(checkpoint.graph_tokens), checkpoint.edges, checkpoint.edge_scores)
        texts: Sequence[str] = checkpoint.graph_tokens
        categories = labels(texts, audit.workspace.lists.every)
        others = Null(OTHER_HEADS, None, missing="the file has the graph of one head")
    else:
        sets = audit.sets
        sets.require("common")
        sets.require("labels")
        layer = audit.maps[Variant.MEAN].layer
        graph = attention_graph(layer.common_scores(audit.qk))
        texts = checkpoint.texts(layer.common.tokens)
        assert sets.tokens.labels is not None
        categories = dict(sets.tokens.labels)
        others = audit.nulls.other_maps("ami")
    community = communities(graph)
    permuted = audit.cached(permuted_agreement_arrays, community, categories, DRAWS, audit.settings.seed)["ami"]
    return Attended(graph, texts, categories, community, Null(PERMUTED_LABELS, permuted), others)


@kept("permuted-agreements", version=4)
def permuted_agreement_arrays(
    community: np.ndarray, categories: Mapping[int, str], n: int, seed: int
) -> dict[str, np.ndarray]:
    """Return the adjusted mutual information of communities with n permutations of the labels."""
    return {"ami": permuted_agreements(community, categories, n, seed)}
