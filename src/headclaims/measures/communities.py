"""Communities of the graph of whom tokens attend to most, and whether they are semantic.

Needs leidenalg, igraph and scikit-learn, the extra `communities`. Axes: `edge` (source, target), `token` the graph's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import special
from torch import Tensor

from headclaims.errors import NotAssessable
from headclaims.measures.top_attended import Membership, form, merged
from headclaims.prompts.words import WordList
from headclaims.vocabulary.scores import TokenScores, sweep

EDGES_A_TOKEN = 4
LARGEST = 512
ITERATIONS = 2
FEWEST_LABELLED = 30


@dataclass(frozen=True)
class AttentionGraph:
    """Directed edges from each token to those it attends to most, itself possibly among them, with their scores."""

    n_tokens: int
    edges: Int[np.ndarray, "edge 2"]
    scores: Float[np.ndarray, " edge"]

    @property
    def own_share(self) -> float:
        """The share of tokens with an edge to themselves: themselves among their own top four."""
        return float((self.edges[:, 0] == self.edges[:, 1]).sum() / self.n_tokens)


def attention_graph(scores: TokenScores) -> AttentionGraph:
    """Edges above each row's 1 − 4/N quantile: to a token's four highest keys among N tokens."""
    n = len(scores.queries)
    best = sweep(scores, torch.arange(n), EDGES_A_TOKEN)
    edges = np.stack([np.repeat(np.arange(n), EDGES_A_TOKEN), best.keys.numpy().ravel()], axis=1)
    return AttentionGraph(n, edges, best.scores.numpy().ravel())


def communities(graph: AttentionGraph, seed: int = 0) -> Int[np.ndarray, " token"]:
    """The community of each token: Leiden, directed modularity, at most 512 tokens each, seeded.

    Two iterations, as leidenalg's `find_partition` does by default: until nothing moves takes four times as long, for
    a modularity higher by some thousandths.

    Raises NotAssessable, with what to install, where the extra is missing.
    """
    try:
        import igraph
        import leidenalg
    except ImportError as error:
        raise NotAssessable(_missing(error)) from error
    others = graph.edges[graph.edges[:, 0] != graph.edges[:, 1]]
    directed = igraph.Graph(n=graph.n_tokens, edges=others.tolist(), directed=True)
    found = leidenalg.ModularityVertexPartition(directed)
    optimiser = leidenalg.Optimiser()
    # Without the second, leidenalg takes no notice of the first.
    optimiser.max_comm_size, optimiser.community_constraint_enforcement = LARGEST, 1
    optimiser.set_rng_seed(seed)
    optimiser.optimise_partition(found, n_iterations=ITERATIONS)
    return np.array(found.membership)


def labels(texts: Sequence[str], lists: Sequence[WordList]) -> dict[int, str]:
    """The category of each token that is a word of a list, in any form; two- and four-digit numbers as in `DIGITS`.

    A token that is in several categories has none. Raises NotAssessable for fewer than 30.
    """
    members = [Membership.of(name, words) for name, words in merged(words.categories for words in lists).items()]
    found = {}
    for number, text in enumerate(texts):
        named = [member.name for member in members if form(text) in member]
        if len(named) == 1:
            found[number] = named[0]
    if len(found) < FEWEST_LABELLED:
        raise NotAssessable(
            f"communities: {len(found)} tokens of the graph are in a category; wanted {FEWEST_LABELLED}"
        )
    return found


def agreement(community: Int[np.ndarray, " token"], label: Mapping[int, str]) -> float:
    """Adjusted mutual information of communities and categories over labelled tokens: 0 is chance, 1 the same."""
    tokens = list(label)
    return _ami([label[token] for token in tokens], community[tokens].tolist())


def permuted_agreements(
    community: Int[np.ndarray, " token"], label: Mapping[int, str], n: int, seed: int
) -> Float[np.ndarray, " permutation"]:
    """`agreement` with the labels dealt anew among the labelled tokens.

    Of (I − E I)/((H₁ + H₂)/2 − E I) a permutation moves the mutual information I alone: the rest is of the marginals.
    """
    try:
        from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information
    except ImportError as error:
        raise NotAssessable(_missing(error)) from error
    tokens, generator = list(label), np.random.default_rng([seed, 6])
    _, found = np.unique(community[tokens], return_inverse=True)
    _, categories = np.unique([label[token] for token in tokens], return_inverse=True)
    table = contingency_matrix(categories, found)
    expected = expected_mutual_information(contingency_matrix(categories, found, sparse=True), len(tokens))
    both = sum(special.entr(table.sum(axis=axis) / len(tokens)).sum() for axis in (0, 1))
    if both == 0:
        return np.ones(n)
    counts = np.stack(
        [
            np.bincount(generator.permutation(categories) * table.shape[1] + found, minlength=table.size)
            for _ in range(n)
        ]
    )
    # I = H₁ + H₂ − H of the table.
    mutual = both - special.entr(counts / len(tokens)).sum(axis=1)
    return np.asarray((mutual - expected) / (both / 2 - expected))


def _ami(categories: Sequence[str], found: Sequence[int]) -> float:
    try:
        from sklearn.metrics import adjusted_mutual_info_score
    except ImportError as error:
        raise NotAssessable(_missing(error)) from error
    return float(adjusted_mutual_info_score(categories, found))


def _missing(error: ImportError) -> str:
    return f"communities: {error.name} is not installed; pip install 'headclaims[communities]'"


def graph_of_edges(n_tokens: int, edges: Int[Tensor, "edge 2"], scores: Float[Tensor, " edge"]) -> AttentionGraph:
    """A recorded graph."""
    return AttentionGraph(n_tokens, edges.numpy().astype(np.int64), scores.numpy())
