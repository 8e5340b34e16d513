"""Forms of figure: their numbers by hand and by other routes."""

import numpy as np
import pytest

from headclaims.checkpoint.interface import Head
from headclaims.measures.category_blocks import diagonal
from headclaims.measures.category_score import Survey
from headclaims.measures.communities import AttentionGraph
from headclaims.measures.similarity_peak import ScoreBySimilarity
from headclaims.measures.steering import ALPHAS, Steered, SteeredMap
from headclaims.prompts.category import CategoryPrompts
from headclaims.prompts.words import WordList
from headclaims.report.figures.attention_pattern import Pattern
from headclaims.report.figures.blocks import Blocks
from headclaims.report.figures.head_scores import HeadScores
from headclaims.report.figures.similarity_curve import Similarity
from headclaims.report.figures.steered_attention import SteeredAttention
from headclaims.report.figures.steered_blocks import SteeredBlocks
from headclaims.report.figures.token_map import TokenGraph
from headclaims.vocabulary.cosine import N_BINS, SimilarityCurve

WORDS = WordList("by hand", {"colours": ("red", "blue"), "animals": ("dog", "cat")})
# BOS red dog blue cat red: red has blue as kin from row 5 on, blue has red, cat has dog.
PROMPTS = CategoryPrompts(WORDS, np.array([[-1, 0, 2, 1, 3, 0]]), None, np.arange(1))
DRAW = np.random.default_rng(0)


def surveyed(patterns: np.ndarray) -> Survey:
    """Patterns [head, query, key] of the one prompt, reduced by hand."""
    heads = tuple(Head(1, i) for i in range(len(patterns)))
    mass = np.zeros((len(patterns), 6, 4))
    for row in range(6):
        for key in range(1, row):
            mass[:, row, PROMPTS.word_at[0, key]] += patterns[:, row, key]
    own = np.stack([p.diagonal() for p in patterns])
    return Survey(PROMPTS, heads, mass, patterns[:, :, 0], own)


def uniform() -> np.ndarray:
    """Uniform causal attention."""
    tri = np.tri(6)
    return np.asarray(tri / tri.sum(axis=1, keepdims=True))


def test_scores_are_those_of_the_survey_by_head() -> None:
    found = HeadScores.of(surveyed(uniform()[None]))
    # Rows 0 to 5 want BOS, BOS, BOS, red (1), dog (2), blue (3): one key each of 1, 2, … 6.
    expected = np.log([1, 2, 3, 4, 5, 6]).mean()
    assert found.heads == [(1, 0)]
    assert found.scores == [pytest.approx(expected, rel=1e-4)]
    assert found.uniform == pytest.approx(expected, rel=1e-4)


def test_a_pattern_has_its_targets() -> None:
    found = Pattern.of(PROMPTS, uniform())
    assert found.words == ["BOS", "red", "dog", "blue", "cat", "red"]
    assert found.targets == [[0], [0], [0], [1], [2], [3]]
    assert [len(row) for row in found.attention] == [1, 2, 3, 4, 5, 6]
    assert found.attention[2] == [0.33333] * 3


def test_similarity_keeps_the_bins_that_hold_fifty_pairs() -> None:
    """Every query has the mean 2 in bin 60 and −1 in bin 70; bin 80 holds 49 pairs, the last one is cosine 1."""
    n = 100
    pairs = np.zeros((n, N_BINS))
    pairs[:, 60], pairs[:, 70], pairs[:, N_BINS - 1] = 4, 2, 1
    pairs[:98, 80] = 1
    sums = np.zeros((n, N_BINS))
    sums[:, 60], sums[:, 70], sums[:, N_BINS - 1] = 8, -2, 3
    vocabulary = np.zeros(N_BINS, dtype=np.int64)
    vocabulary[[60, 70]] = 100, 99
    curve = SimilarityCurve(vocabulary * 5.0, vocabulary, 1.0)
    found = Similarity.of(ScoreBySimilarity(sums, pairs, 60), curve)
    assert found.cosine == [0.21, 0.41, 1.0]
    assert found.mean == found.low == found.high == [2, -1, 3]
    assert found.pairs == [200, 100, 50]
    assert found.vocabulary == [5, None, None]


def test_the_band_of_similarity_is_as_wide_as_a_mean_of_normal_draws() -> None:
    n, sigma = 400, 3.0
    pairs, sums = np.zeros((n, N_BINS)), np.zeros((n, N_BINS))
    pairs[:, 50], sums[:, 50] = 1, DRAW.normal(7, sigma, n)
    found = Similarity.of(ScoreBySimilarity(sums, pairs, 50), None)
    assert found.vocabulary == [None]
    half = 1.96593 * sums[:, 50].std(ddof=1) / np.sqrt(n)  # t(399)
    assert (found.high[0] - found.low[0]) / 2 == pytest.approx(half, rel=1e-3)
    assert found.low[0] < found.mean[0] < found.high[0]


def test_steered_means_differ_by_D() -> None:
    """In-group mean less diagonal mean is D of `category_blocks`, at every α."""
    group = np.array([0, 0, 0, 1, 1, 1, 1])
    y, values = DRAW.normal(size=(7, 4)), np.array([-2.0, -1.0, 1.0, 3.0])
    steered = SteeredMap(values, y, (y * values) @ y.T)
    found = SteeredBlocks.of(list("abcdefg"), group, steered)
    assert found.alphas == list(ALPHAS)
    assert found.group == group.tolist()
    for alpha, scores, own, rest in zip(ALPHAS, found.scores, found.diagonal, found.in_group, strict=True):
        by_hand = (y * np.where(values < 0, alpha * values, values)) @ y.T
        assert np.array(scores) == pytest.approx(by_hand, rel=1e-4, abs=1e-4)
        assert rest - own == pytest.approx(diagonal(by_hand, group).D.value, rel=1e-3)


def test_steered_attention_is_that_of_rows_with_kin() -> None:
    """Uniform rows: row 3 and 4 have one kin and no copy, row 5 one kin and one copy."""
    clean = surveyed(uniform()[None])
    found = SteeredAttention.of(Steered(clean, dict.fromkeys(ALPHAS, clean), Head(1, 0)))
    assert found.itself == [pytest.approx((1 / 4 + 1 / 5 + 2 / 6) / 3, rel=1e-4)] * len(ALPHAS)
    assert found.per_kin == found.kin == [pytest.approx((1 / 4 + 1 / 5 + 1 / 6) / 3, rel=1e-4)] * len(ALPHAS)


def test_communities_are_numbered_by_size() -> None:
    graph = AttentionGraph(5, np.array([[0, 1], [1, 1], [4, 0]]), np.array([3.0, 2.0, 1.0]))
    found = TokenGraph.of(list("abcde"), graph, np.array([7, 3, 3, 3, 7]), {1: "letters"})
    assert found.community == [1, 0, 0, 0, 1]
    assert found.edges == [(0, 1), (1, 1), (4, 0)]
    assert found.scores == [3, 2, 1]
    assert found.category == {1: "letters"}


def test_blocks_are_the_scores() -> None:
    scores = DRAW.normal(size=(3, 3))
    found = Blocks.of(["a", "b", "c"], np.array([0, 0, 1]), scores)
    assert np.array(found.scores) == pytest.approx(scores, rel=1e-4)
    assert found.group == [0, 0, 1]
