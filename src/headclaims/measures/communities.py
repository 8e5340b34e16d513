"""Communities in the graph of each token's highest-scoring keys, and their agreement with semantic categories.

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
from headclaims.measures.top_attended import form, memberships, merged
from headclaims.prompts.words import WordList
from headclaims.vocabulary.scores import TokenScores, sweep

EDGES_A_TOKEN = 4
LARGEST = 512
ITERATIONS = 2
FEWEST_LABELLED = 30


@dataclass(frozen=True)
class AttentionGraph:
    """Directed edges from each token to its highest-scoring keys, possibly itself among them, with their scores."""

    n_tokens: int
    edges: Int[np.ndarray, "edge 2"]
    scores: Float[np.ndarray, " edge"]

    @property
    def own_share(self) -> float:
        """Share of tokens with an edge to themselves, which are among their own four highest keys."""
        return float((self.edges[:, 0] == self.edges[:, 1]).sum() / self.n_tokens)


def attention_graph(scores: TokenScores) -> AttentionGraph:
    """Build the graph whose edges lead from each token to its four highest-scoring keys."""
    n = len(scores.queries)
    best = sweep(scores, torch.arange(n), EDGES_A_TOKEN)
    edges = np.stack([np.repeat(np.arange(n), EDGES_A_TOKEN), best.keys.numpy().ravel()], axis=1)
    return AttentionGraph(n, edges, best.scores.numpy().ravel())


def communities(graph: AttentionGraph, seed: int = 0) -> Int[np.ndarray, " token"]:
    """Return each token's community, found by the Leiden algorithm: directed modularity, at most 512 tokens each.

    It runs for two iterations, leidenalg's default; running until nothing moves would take four times as long, for a
    modularity higher by some thousandths. Raises NotAssessable, with what to install, where the extra is missing.
    """
    try:
        import igraph
        import leidenalg
    except ImportError as error:
        raise NotAssessable(_missing(error)) from error
    others = graph.edges[graph.edges[:, 0] != graph.edges[:, 1]]
    directed = igraph.Graph(n=graph.n_tokens, edges=others.tolist(), directed=True)
    partition = leidenalg.ModularityVertexPartition(directed)
    optimiser = leidenalg.Optimiser()
    # leidenalg ignores max_comm_size unless the constraint is enforced.
    optimiser.max_comm_size, optimiser.community_constraint_enforcement = LARGEST, 1
    optimiser.set_rng_seed(seed)
    optimiser.optimise_partition(partition, n_iterations=ITERATIONS)
    return np.array(partition.membership)


def labels(texts: Sequence[str], lists: Sequence[WordList]) -> dict[int, str]:
    """Return {token: category} for the tokens that are a word of a list, in any case and with or without space.

    Numbers have the categories that the lists' `digits` say; a token in several categories is left out. Raises
    NotAssessable for fewer than 30 tokens.
    """
    members = memberships(lists, merged(words.categories for words in lists))
    category_of = {}
    for token, text in enumerate(texts):
        categories = [member.name for member in members if form(text) in member]
        if len(categories) == 1:
            category_of[token] = categories[0]
    if len(category_of) < FEWEST_LABELLED:
        raise NotAssessable(
            f"communities: {len(category_of)} tokens of the graph are in a category; wanted {FEWEST_LABELLED}"
        )
    return category_of


def agreement(community: Int[np.ndarray, " token"], label: Mapping[int, str]) -> float:
    """Compute the adjusted mutual information of communities and categories over labelled tokens.

    0 is chance level, 1 identity. Raises NotAssessable where the extra is missing.
    """
    tokens = list(label)
    return _ami([label[token] for token in tokens], community[tokens].tolist())


def permuted_agreements(
    community: Int[np.ndarray, " token"], label: Mapping[int, str], n: int, seed: int
) -> Float[np.ndarray, " permutation"]:
    """Compute the `agreement` under n random permutations of the labels among the labelled tokens.

    In (I − E I)/((H₁ + H₂)/2 − E I) a permutation changes the mutual information I alone: the entropies H and the
    expectation E I depend on the marginals. Raises NotAssessable where the extra is missing.
    """
    try:
        from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information
    except ImportError as error:
        raise NotAssessable(_missing(error)) from error
    tokens, generator = list(label), np.random.default_rng([seed, 6])
    _, members = np.unique(community[tokens], return_inverse=True)
    _, categories = np.unique([label[token] for token in tokens], return_inverse=True)
    table = contingency_matrix(categories, members)
    expected = expected_mutual_information(contingency_matrix(categories, members, sparse=True), len(tokens))
    entropy_sum = sum(special.entr(table.sum(axis=axis) / len(tokens)).sum() for axis in (0, 1))
    if entropy_sum == 0:
        return np.ones(n)
    counts = np.stack(
        [
            np.bincount(generator.permutation(categories) * table.shape[1] + members, minlength=table.size)
            for _ in range(n)
        ]
    )
    # I = H₁ + H₂ − the entropy of the table.
    mutual = entropy_sum - special.entr(counts / len(tokens)).sum(axis=1)
    return np.asarray((mutual - expected) / (entropy_sum / 2 - expected))


def _ami(categories: Sequence[str], members: Sequence[int]) -> float:
    try:
        from sklearn.metrics import adjusted_mutual_info_score
    except ImportError as error:
        raise NotAssessable(_missing(error)) from error
    return float(adjusted_mutual_info_score(categories, members))


def _missing(error: ImportError) -> str:
    return f"communities: {error.name} is not installed; pip install 'headclaims[communities]'"


def graph_of_edges(n_tokens: int, edges: Int[Tensor, "edge 2"], scores: Float[Tensor, " edge"]) -> AttentionGraph:
    """Build a graph from recorded edges and their scores."""
    return AttentionGraph(n_tokens, edges.numpy().astype(np.int64), scores.numpy())
