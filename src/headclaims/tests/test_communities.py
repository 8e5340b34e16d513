"""Communities of the attention graph: by hand, on graphs whose communities are plain, on labels of known agreement."""

import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score

from headclaims.errors import NotAssessable
from headclaims.measures.communities import (
    AttentionGraph,
    agreement,
    agreements,
    attention_graph,
    communities,
    graph_of_edges,
    labels,
    permuted_agreements,
    permuted_medians,
)
from headclaims.prompts.words import WordList
from headclaims.vocabulary.token_scores import TokenScores


def unscored(n: int, edges: np.ndarray) -> AttentionGraph:
    """A graph whose scores don't matter."""
    return AttentionGraph(n, edges, np.ones(len(edges)))


def cliques(*members: list[int], and_edges: tuple[tuple[int, int], ...] = ()) -> AttentionGraph:
    """All edges both ways among each of these sets of tokens, own ones included, and some more."""
    edges = [(i, j) for clique in members for i in clique for j in clique]
    return unscored(sum(map(len, members)), np.array([*edges, *and_edges]))


def test_edges_go_to_the_four_highest_keys() -> None:
    draw = np.random.default_rng(0)
    q, k, own = (torch.from_numpy(draw.normal(size=shape)).float() for shape in ((9, 3), (9, 3), (9,)))
    matrix = (q @ k.T).numpy()
    np.fill_diagonal(matrix, own.numpy())
    best = [sorted(range(9), key=lambda j, row=row: -row[j])[:4] for row in matrix]
    graph = attention_graph(TokenScores(q, k, own))
    assert graph.n_tokens == 9
    assert graph.edges.shape == (36, 2)
    assert sorted(map(tuple, graph.edges.tolist())) == sorted((i, j) for i, row in enumerate(best) for j in row)
    assert graph.scores == pytest.approx([matrix[i, j] for i, row in enumerate(best) for j in row])
    itself = sum(i in row for i, row in enumerate(best))
    assert 0 < itself < 9
    assert graph.own_share == pytest.approx(itself / 9)


def test_own_share_by_hand() -> None:
    edges = torch.tensor([[0, 0], [0, 1], [1, 0], [2, 2], [3, 1]])
    graph = graph_of_edges(5, edges, torch.arange(5.0))
    assert graph.own_share == 2 / 5
    assert graph.edges.tolist() == edges.tolist()
    assert graph.scores.tolist() == [0, 1, 2, 3, 4]


def test_two_cliques_are_two_communities() -> None:
    """Tokens mixed, one edge between the cliques, and own edges that say nothing."""
    even, odd = list(range(0, 24, 2)), list(range(1, 24, 2))
    graph = cliques(even, odd, and_edges=((0, 1),))
    found = communities(graph)
    assert len(set(found[even].tolist())) == len(set(found[odd].tolist())) == 1
    assert found[0] != found[1]
    assert found.shape == (24,)


def test_own_edges_join_nothing() -> None:
    """Own edges, counted, would part tokens that their two mutual edges join."""
    pairs = unscored(4, np.array([(0, 1), (1, 0), (2, 3), (3, 2)] + [(i, i) for i in range(4)] * 50))
    found = communities(pairs).tolist()
    assert found[0] == found[1] != found[2] == found[3]


def test_the_same_seed_finds_the_same() -> None:
    """On a random graph, where chance decides much."""
    draw = np.random.default_rng(1)
    graph = unscored(200, draw.integers(200, size=(800, 2)))
    found = [communities(graph, seed=0) for _ in range(2)] + [communities(graph, seed=5)]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_edges_have_a_direction() -> None:
    """Directed modularity, Σ over pairs together of (A_ij − k_i^out k_j^in/m)/m, is higher after no single move."""
    draw = np.random.default_rng(2)
    hubs = draw.integers(6, size=(40, 4))
    edges = np.array([(i, h) for i, row in enumerate(hubs) for h in set(row.tolist()) if h != i])
    n, m = 40, len(edges)
    A = np.zeros((n, n))
    A[edges[:, 0], edges[:, 1]] = 1
    surplus = A - np.outer(A.sum(axis=1), A.sum(axis=0)) / m

    def modularity(partition: np.ndarray) -> float:
        return float(surplus[np.equal.outer(partition, partition)].sum() / m)

    found = communities(unscored(n, edges))
    for token in range(n):
        for other in range(int(found.max()) + 2):
            moved = found.copy()
            moved[token] = other
            assert modularity(moved) <= modularity(found) + 1e-12


COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey", "orange", "violet", "silver", "gold")
FRUIT = ("apple", "plum", "pear", "fig", "lemon", "grape", "melon", "Orange", "date", "lime", "kiwi", "mango")
LISTS = (
    WordList(
        "one",
        {"colours": COLOURS, "numbers": ("one", "two"), "years": ("1918",)},
        digits={"numbers": 2, "years": 4},
    ),
    WordList("two", {"fruit": FRUIT, "colours": ("teal",)}),
)
PLAIN = [" " + word for word in (*COLOURS, *FRUIT) if word.casefold() != "orange"]  # 11 and 11
OTHERS = [f" {n}" for n in range(20, 26)]


def test_labels_are_categories_of_any_form() -> None:
    """By hand: a text, and its label or None."""
    told = [
        (" Red", "colours"),
        ("BLUE", "colours"),
        ("teal", "colours"),  # of the second list's colours
        (" orange", None),  # a fruit as well
        (" Orange", None),
        (" 69", "numbers"),
        ("07", "numbers"),
        (" 2024", "years"),
        (" 1918", "years"),
        (" 123", None),
        (" 7", None),
        ("12345", None),
        ("٤٢", None),  # digits, but not ASCII
        ("two", "numbers"),
        (" reds", None),
        ("", None),
    ]
    expected = {i: label for i, (_, label) in enumerate(told) if label}
    at = len(told)
    expected |= {at + i: "colours" if i < 11 else "fruit" for i in range(22)}
    assert labels([text for text, _ in told] + PLAIN, LISTS) == expected


def test_digits_are_no_word_of_a_list_that_does_not_say_so() -> None:
    words = WordList("plain", {"colours": COLOURS, "fruit": FRUIT, "numbers": ("one",)})
    found = labels([*PLAIN, *PLAIN, *OTHERS, " 1918"], (words,))
    assert sorted(found) == list(range(44))


@pytest.mark.parametrize("n", [29, 30])
def test_thirty_labelled_tokens_are_enough(n: int) -> None:
    texts = [*([*PLAIN, *PLAIN][:n]), " nothing", " orange"]
    if n == 30:
        assert len(labels(texts, LISTS)) == 30
        return
    with pytest.raises(NotAssessable, match="29 tokens of the graph are in a category; wanted 30"):
        labels(texts, LISTS)


def test_agreement_is_one_for_the_same_and_nought_by_chance() -> None:
    draw = np.random.default_rng(3)
    names, kind = np.array(["a", "b", "c"]), draw.integers(3, size=600)
    label = {200 + i: str(names[k]) for i, k in enumerate(kind)}
    community = np.full(1000, 9)  # of tokens without a label no account is taken
    community[200:800] = np.array([7, 0, 4])[kind]
    assert agreement(community, label) == pytest.approx(1)
    community[200:800] = draw.integers(3, size=600)
    assert abs(agreement(community, label)) < 0.02
    # Twenty communities of thirty have mutual information by chance alone: adjusted for.
    community[200:800] = draw.permutation(np.repeat(np.arange(20), 30))
    assert abs(agreement(community, label)) < 0.03


def test_permuted_labels_are_of_the_same_numbers_and_seeded() -> None:
    """Two of four labels of a kind: dealt anew two of six deals keep the pairs, and four part both."""
    label = {3: "a", 0: "a", 5: "b", 2: "b"}
    community = np.array([0, 9, 1, 0, 9, 1])  # of tokens 1 and 4, which have no label, no account is taken
    parted = agreement(community, {3: "a", 0: "b", 5: "a", 2: "b"})
    (found,) = permuted_agreements(community[None], label, n=300, seed=0)
    assert found.shape == (300,)
    same = found > 0.9
    assert found[same] == pytest.approx(1)
    assert found[~same] == pytest.approx(parted)
    assert parted < 0
    assert 70 < same.sum() < 130  # 100 in the mean, give or take 8
    assert np.array_equal(found, permuted_agreements(community[None], label, n=300, seed=0)[0])
    assert not np.array_equal(found, permuted_agreements(community[None], label, n=300, seed=1)[0])


def test_permuted_agreements_are_scikit_learn_s() -> None:
    """Each deal by the library's whole computation; one community and one category agree by its convention."""
    draw = np.random.default_rng(8)
    label = {2 * i: f"category {i % 7}" for i in range(90)}
    community = draw.integers(5, size=180)
    by_seed = np.stack([community, draw.integers(9, size=180)])
    found, other = permuted_agreements(by_seed, label, n=20, seed=3)
    deals = np.random.default_rng([3, 6])
    categories = np.array([i % 7 for i in range(90)])
    expected = [adjusted_mutual_info_score(deals.permutation(categories), community[::2]) for _ in range(20)]
    assert found == pytest.approx(np.array(expected), abs=1e-12)
    deals = np.random.default_rng([3, 6])
    expected = [adjusted_mutual_info_score(deals.permutation(categories), by_seed[1, ::2]) for _ in range(20)]
    assert other == pytest.approx(np.array(expected), abs=1e-12)
    assert permuted_agreements(np.zeros((1, 9), dtype=int), dict.fromkeys(range(4), "a"), 2, 0).tolist() == [[1, 1]]


def test_communities_that_are_the_categories_agree_by_1_and_no_more() -> None:
    """Whatever their sizes: rounding does not carry the agreement beyond its bound."""
    draw = np.random.default_rng(11)
    found = []
    for n in range(3, 40):
        kind = draw.integers(n, size=5 * n)
        label = {i: f"category {k}" for i, k in enumerate(kind.tolist())}
        found.append(agreement(draw.permutation(n)[kind], label))
    assert found == pytest.approx([1.0] * len(found), abs=1e-12)
    assert max(found) <= 1


def test_agreement_over_seeds_is_the_median_and_leaves_categories_out_whole() -> None:
    """Against scikit-learn on the labels that are left; tokens of a category go, communities stay."""
    draw = np.random.default_rng(9)
    kind = draw.integers(4, size=80)
    same = np.concatenate([kind, np.zeros(20, dtype=int)])
    by_seed = np.stack([np.where(draw.random(100) < 0.4, draw.integers(4, size=100), same) for _ in range(5)])
    label = {i: f"category {kind[i]}" for i in range(80)}
    found, each = agreements(by_seed, label)
    expected = [adjusted_mutual_info_score(kind, community[:80]) for community in by_seed]
    assert each == pytest.approx(np.array(expected))
    assert found.value == pytest.approx(np.median(expected))
    left_out = {}
    for out in range(4):
        rest = np.flatnonzero(kind != out)
        left_out[out] = np.median([adjusted_mutual_info_score(kind[rest], community[rest]) for community in by_seed])
    in_order = [left_out[int(k)] for k in dict.fromkeys(kind)]
    assert found.jackknifed.left_out["categories"].ravel() == pytest.approx(np.array(in_order))
    assert len(set(np.round(each, 6))) > 2


def test_permuted_medians_are_of_the_same_deals_for_every_seed() -> None:
    draw = np.random.default_rng(10)
    by_seed, label = draw.integers(5, size=(3, 60)), {i: f"category {i % 4}" for i in range(60)}
    deals = np.random.default_rng([7, 6])
    expected = []
    for _ in range(15):
        dealt = deals.permutation(np.arange(60) % 4)
        expected.append(np.median([adjusted_mutual_info_score(dealt, community) for community in by_seed]))
    assert permuted_medians(by_seed, label, 15, 7) == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("missing", ["leidenalg", "igraph"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(NotAssessable, match=rf"{missing} is not installed; pip install 'headclaims\[communities\]'"):
        communities(cliques([0, 1], [2, 3]))


def test_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics.cluster", None)
    with pytest.raises(NotAssessable, match=r"sklearn.*is not installed; pip install 'headclaims\[communities\]'"):
        agreement(np.array([0, 1]), {0: "a", 1: "b"})


def test_no_community_is_larger_than_512() -> None:
    """Two sets of 600, all attending to four of their own: without a bound leidenalg makes either one community."""
    igraph, leidenalg = pytest.importorskip("igraph"), pytest.importorskip("leidenalg")
    edges = [(i, 600 * part + j) for part in (0, 1) for i in range(600 * part, 600 * part + 600) for j in range(4)]
    edges = [(i, j) for i, j in edges if i != j]
    unbound = leidenalg.find_partition(
        igraph.Graph(n=1200, edges=edges, directed=True), leidenalg.ModularityVertexPartition, seed=0
    )
    assert max(unbound.sizes()) == 600
    found = communities(unscored(1200, np.array(edges)))
    assert 100 < np.bincount(found).max() <= 512
