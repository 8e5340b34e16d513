"""Communities in the graph of each token's highest-scoring keys, and their agreement with semantic categories.

Needs leidenalg, igraph and scikit-learn, the extra `communities`. Axes: `edge` (source, target), `token` the graph's,
`seed` runs of the Leiden algorithm, which chance decides in part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import special
from torch import Tensor

from headclaims.cache import Cache, kept
from headclaims.errors import NotAssessable
from headclaims.measures.top_attended import form, memberships, merged
from headclaims.prompts.words import WordList
from headclaims.statistics.resampling import OverUnits, Within
from headclaims.vocabulary.scores import sweep
from headclaims.vocabulary.token_scores import TokenScores

EDGES_A_TOKEN = 4
LARGEST = 512
SEEDS = 10
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


def attention_graph(scores: TokenScores, cache: Cache | None = None) -> AttentionGraph:
    """Build the graph whose edges lead from each token to its four highest-scoring keys."""
    n = len(scores.queries)
    best = sweep(scores, torch.arange(n), EDGES_A_TOKEN, cache=cache)
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


def agreements(
    by_seed: Int[np.ndarray, "seed token"], label: Mapping[int, str], cache: Cache | None = None
) -> tuple[Within, Float[np.ndarray, " seed"]]:
    """Return the median over seeds of the `agreement`, with an interval over categories, and that of each seed.

    A category is left out with all its tokens; the communities, which are of all tokens, stay. Raises NotAssessable
    where the extra is missing.
    """
    arrays = (cache or Cache(None)).call(agreement_arrays, by_seed, label)
    each, left_out = arrays["each"], np.median(arrays["left_out"], axis=1)
    return Within(OverUnits("categories", float(np.median(each)), left_out), -1.0, 1.0), each


@kept("agreements", version=1)
def agreement_arrays(
    by_seed: Int[np.ndarray, "seed token"], label: Mapping[int, str]
) -> dict[str, Float[np.ndarray, "*axes"]]:
    """Return the `agreement` of each seed, and [category, seed] that without each category."""
    categories = _categories(label)
    tables = [_table(_members(community, label), categories) for community in by_seed]
    left_out = [
        [_agreement(np.delete(table, category, axis=0)) for table in tables]
        for category in dict.fromkeys(categories.tolist())
    ]
    return {"each": np.array([_agreement(table) for table in tables]), "left_out": np.array(left_out)}


def agreement(community: Int[np.ndarray, " token"], label: Mapping[int, str]) -> float:
    """Compute the adjusted mutual information of communities and categories over labelled tokens.

    0 is chance level, 1 identity. Raises NotAssessable where the extra is missing.
    """
    return _agreement(_table(_members(community, label), _categories(label)))


def _table(
    members: Int[np.ndarray, " labelled"], categories: Int[np.ndarray, " labelled"]
) -> Int[np.ndarray, "category community"]:
    """Count labelled tokens by category and community."""
    shape = int(categories.max()) + 1, int(members.max()) + 1
    return np.bincount(categories * shape[1] + members, minlength=shape[0] * shape[1]).reshape(shape)


def _agreement(table: Int[np.ndarray, "category community"]) -> float:
    """Compute the `agreement` of the tokens that a table counts; communities without any are none."""
    table = table[:, table.any(axis=0)]
    return float(_adjusted(table.reshape(1, -1), table.shape)[0])


def permuted_medians(
    by_seed: Int[np.ndarray, "seed token"], label: Mapping[int, str], n: int, seed: int
) -> Float[np.ndarray, " permutation"]:
    """Compute the median over seeds of the `agreement` under n permutations, each the same for all seeds.

    Raises NotAssessable where the extra is missing.
    """
    return np.asarray(np.median(permuted_agreements(by_seed, label, n, seed), axis=0))


def permuted_agreements(
    by_seed: Int[np.ndarray, "seed token"], label: Mapping[int, str], n: int, seed: int
) -> Float[np.ndarray, "seed permutation"]:
    """Compute each seed's `agreement` under n random permutations of the labels among the labelled tokens.

    Raises NotAssessable where the extra is missing.
    """
    categories, generator = _categories(label), np.random.default_rng([seed, 6])
    permuted = np.stack([generator.permutation(categories) for _ in range(n)])

    def of(members: Int[np.ndarray, " labelled"]) -> Float[np.ndarray, " permutation"]:
        shape = int(categories.max()) + 1, int(members.max()) + 1
        size = shape[0] * shape[1]
        cells = permuted * shape[1] + members + size * np.arange(n)[:, None]
        return _adjusted(np.bincount(cells.ravel(), minlength=n * size).reshape(n, size), shape)

    return np.stack([of(_members(community, label)) for community in by_seed])


def _members(community: Int[np.ndarray, " token"], label: Mapping[int, str]) -> Int[np.ndarray, " labelled"]:
    """Return the community of each labelled token, as numbers from 0."""
    return np.asarray(np.unique(community[list(label)], return_inverse=True)[1])


def _categories(label: Mapping[int, str]) -> Int[np.ndarray, " labelled"]:
    """Return the category of each labelled token, as numbers from 0."""
    return np.asarray(np.unique(list(label.values()), return_inverse=True)[1])


def _adjusted(tables: Int[np.ndarray, "table cell"], shape: tuple[int, int]) -> Float[np.ndarray, " table"]:
    """Compute (I − E I)/((H₁ + H₂)/2 − E I) of contingency tables of this shape that have the same marginals.

    The mutual information I differs among them alone: the entropies H and the expectation E I depend on the marginals.
    scikit-learn's own function checks its arguments for longer than it computes.
    """
    try:
        from sklearn.metrics.cluster import expected_mutual_information
    except ImportError as error:
        raise NotAssessable(_missing(error)) from error
    first = tables[0].reshape(shape)
    n = int(first.sum())
    both = sum(special.entr(first.sum(axis=axis) / n).sum() for axis in (0, 1))
    if both == 0:
        return np.ones(len(tables))
    expected = expected_mutual_information(first, n)
    # I = H₁ + H₂ − the entropy of the table, and at most their mean, which rounding may exceed.
    mutual = np.minimum(both - special.entr(tables / n).sum(axis=1), both / 2)
    spread = both / 2 - expected
    return np.asarray((mutual - expected) / np.copysign(max(abs(spread), np.finfo(float).eps), spread))


def _missing(error: ImportError) -> str:
    return f"communities: {error.name} is not installed; pip install 'headclaims[communities]'"


def graph_of_edges(n_tokens: int, edges: Int[Tensor, "edge 2"], scores: Float[Tensor, " edge"]) -> AttentionGraph:
    """Build a graph from recorded edges and their scores."""
    return AttentionGraph(n_tokens, edges.numpy().astype(np.int64), scores.numpy())
