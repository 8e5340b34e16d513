"""Map statistics of many heads: each against plain numpy on the same E and weights."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.cache import Cache
from headclaims.checkpoint import full
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.checkpoint.weights import QKWeights, ScoreWeights
from headclaims.circuit import effective_embedding as effective
from headclaims.circuit.effective_embedding import (
    AblatedTerms,
    Met,
    Variant,
    ablated_terms,
    effective_embedding,
    embedding_with,
)
from headclaims.measures.gaussian_map import statistics_of_gaussian_heads
from headclaims.measures.layer_map import LayerMap, scatter_plane
from headclaims.measures.map_statistics import statistics_of_heads
from headclaims.measures.similar_words import neighbours
from headclaims.measures.token_sets import CommonWords, Groups, TokenSets
from headclaims.measures.top_attended import probes
from headclaims.prompts.words import WordList, common_words, group_tokens
from headclaims.tests.word_lists import load_words, word_lists

EVERYTHING = {"words_contrast", "groups_contrast", "skew_scores", "words_depth", "groups_depth", "auc", "kin", "peak"}
SHARES = {"similar_above_self", "similar_above_dissimilar", "similar_above_variants"}
WORDS, GROUPED = {"words_depth", "words_contrast"}, {"groups_depth", "groups_contrast"}
HEADS = (Head(2, 1), Head(0, 2), Head(1, 5), Head(0, 5), Head(1, 3))  # in no order of layers
CLOSE = {"rel": 1e-4, "abs": 1e-4}  # float32 against float64
D_MODEL, D_HEAD, N_COMMON = 6, 4, 300

Array = np.ndarray
Score = Callable[[Array, Array, Array | None], Array]


def scores_by(W_Q: Array, W_K: Array, b_Q: Array | float = 0.0, b_K: Array | float = 0.0) -> Score:
    """Scores of tokens x with tokens y; `turn` is None for a token with itself, which takes the diagonal."""
    return lambda x, y, turn: ((x @ W_Q + b_Q) if turn is None else (x @ W_Q + b_Q) @ turn) @ (y @ W_K + b_K).T


def among(score: Score, x: Array, turn: Array | None) -> Array:
    """Scores among tokens, at offset 0 on the diagonal."""
    s = score(x, x, turn)
    np.fill_diagonal(s, score(x, x, None).diagonal())
    return s


def depth(s: Array, group: Array) -> float:
    """The mean over groups of what the diagonal lies below the rest, in root mean squares after double centring."""
    below, squares = [], []
    for g in set(group.tolist()):
        block = s[np.ix_(group == g, group == g)]
        n = len(block)
        below.append((block.sum() - np.trace(block)) / (n * n - n) - np.trace(block) / n)
        centre = np.eye(n) - 1 / n
        squares += np.square(centre @ block @ centre).ravel().tolist()
    return float(np.mean(below) / math.sqrt(np.mean(squares)))


def auc(s: Array, group: Array) -> float:
    """The share of in-group and cross-group pairs that the in-group score wins."""
    same = group[:, None] == group
    inside, across = s[same & ~np.eye(len(s), dtype=bool)], s[~same]
    return float((inside[:, None] > across).mean() + (inside[:, None] == across).mean() / 2)


def peak(s: Array, x: Array) -> float:
    """The smaller of rise and fall of m(c), its peak chosen on every second word and measured on the rest."""
    unit = x / np.sqrt((x * x).sum(axis=1, keepdims=True))
    cosine, n = unit @ unit.T, len(x)
    off = ~np.eye(n, dtype=bool)
    median, edge = np.quantile(cosine[np.triu_indices(n, 1)], [0.5, 0.9])
    means: list[dict[int, float]] = [{}, {}]
    for half in (0, 1):
        inside = np.outer(np.arange(n) % 2 == half, np.arange(n) % 2 == half) & off
        for k in range(100):
            held = inside & (cosine >= k / 50 - 1) & (cosine < k / 50 - 0.98)
            if held.sum() >= 100:
                means[half][k] = (s - s.diagonal()[:, None])[held].mean()
    typical = int((median + 1) * 50)
    high = [k for k in means[0] if k in means[1] and k / 50 - 1 >= edge]
    peaks = [means[0][max(high, key=means[1].__getitem__)], means[1][max(high, key=means[0].__getitem__)]]
    rise = np.mean(peaks) - np.mean([m[typical] for m in means])
    return float(min(rise, np.mean(peaks)) / math.sqrt(np.square(s[off]).mean()))


def shares(score: Score, common: CommonWords, x_of: Callable[[Tensor], Array], seed: int, turn: Array | None) -> dict:
    """Of how many words the mean score with their nearest is above the others; the sets are `neighbours`'."""
    x = x_of(common.tokens)
    nearest, random = neighbours(torch.from_numpy(x).float(), seed)
    found: dict[str, list[bool]] = {name: [] for name in SHARES}
    with_others, own = score(x, x, turn), score(x, x, None).diagonal()
    for i, variants in enumerate(common.variants):
        similar = with_others[i, nearest[i]].mean()
        found["similar_above_self"].append(similar > own[i])
        found["similar_above_dissimilar"].append(similar > with_others[i, random[i]].mean())
        if len(variants):
            found["similar_above_variants"].append(similar > score(x[i : i + 1], x_of(variants), turn).mean())
    return {name: float(np.mean(above)) for name, above in found.items()}


def contrast(W_Q: Array, W_K: Array, x: Array, group: Array) -> float:
    """The contrast b − w."""
    b, w = signed_shares(W_Q, W_K, x, group)
    return b - w


def signed_shares(W_Q: Array, W_K: Array, x: Array, group: Array) -> tuple[float, float]:
    """The shares b and w by traces with W_sym and |W_sym| as dense matrices."""
    W = (W_Q @ W_K.T + W_K @ W_Q.T) / 2
    values, vectors = np.linalg.eigh(W)
    size = (vectors * np.abs(values)) @ vectors.T
    of_groups = [x[group == g] for g in np.unique(group)]
    within = np.mean([np.cov(rows.T, ddof=1) for rows in of_groups], axis=0)
    between = np.cov(np.stack([rows.mean(axis=0) for rows in of_groups]).T, ddof=1)
    b, w = (float(np.trace(W @ S) / np.trace(size @ S)) for S in (between, within))
    return b, w


def skew_ratio(W_Q: Array, W_K: Array, x: Array) -> float:
    """The Frobenius norms of both parts' scores, formed."""
    A = (x @ W_Q) @ (x @ W_K).T
    return float(np.linalg.norm(A - A.T) / np.linalg.norm(A + A.T))


@pytest.fixture(scope="module")
def words(planted: Checkpoint) -> WordList:
    return load_words("write-up").that_count(planted.single_token, "planted")


@pytest.fixture(scope="module")
def sets(planted: Checkpoint, words: WordList) -> TokenSets:
    """All sets of the planted checkpoint, of common words the first three hundred and fifty."""
    known, vocabulary = planted.single_token, planted.vocabulary
    return TokenSets(
        Groups.of(words, known),
        Groups.of(group_tokens(word_lists().groups, known, "planted"), known),
        CommonWords.of(common_words(known, vocabulary, "planted")[:350], known, vocabulary),
        probes([words], known, vocabulary),
    )


@pytest.fixture(scope="module")
def terms(planted: Checkpoint, words: WordList) -> AblatedTerms:
    return ablated_terms(planted, 2, words, Variant.MEAN, Cache(None))


@pytest.fixture(scope="module")
def biased(planted: Checkpoint) -> Checkpoint:
    """The planted checkpoint with random biases in every head: its own are 0 on words."""

    def qk_weights(layer: int) -> QKWeights:
        weights = planted.qk_weights(layer)
        b_Q, b_K = torch.randn(2, *weights.b_Q.shape, generator=torch.Generator().manual_seed(layer)) / 2
        return replace(weights, b_Q=b_Q, b_K=b_K)

    other = copy.copy(planted)
    other.qk_weights = qk_weights
    other.score_weights = lambda layer: ScoreWeights(qk_weights(layer))
    return other


@pytest.fixture(scope="module")
def expected(biased: Checkpoint, words: WordList, sets: TokenSets) -> dict[str, list[float]]:
    """Every statistic of `HEADS`, one head after the other, from each layer's own E."""
    found: dict[str, list[float]] = {}
    assert sets.groups is not None
    assert sets.common is not None
    assert sets.probes is not None
    for head in HEADS:
        E = effective_embedding(biased, head.layer, words, Cache(None)).double().numpy()
        weights = biased.qk_weights(head.layer)
        W_Q, W_K, b_Q, b_K = (getattr(weights, n)[head.index].double().numpy() for n in ("W_Q", "W_K", "b_Q", "b_K"))
        bare, full = scores_by(W_Q, W_K), scores_by(W_Q, W_K, b_Q, b_K)
        statistics = shares(full, sets.common, lambda tokens, E=E: E[tokens], 3, None)
        for name, groups in (("words_depth", sets.words), ("groups_depth", sets.groups)):
            statistics[name] = depth(among(bare, E[groups.tokens], None), groups.group)
            contrasted = contrast(W_Q, W_K, E[groups.tokens], groups.group)
            statistics[name.replace("depth", "contrast")] = contrasted
        statistics["auc"] = auc(among(full, E[sets.groups.tokens], None), sets.groups.group)
        common = E[sets.common.tokens]
        statistics["skew_scores"] = skew_ratio(W_Q, W_K, common)
        statistics["peak"] = peak(among(full, common, None), common)
        kin, every = [], full(E[sets.probes.tokens], E, None)
        for token, category, row in zip(sets.probes.tokens, sets.probes.category, every, strict=True):
            top = np.argsort(-row, kind="stable")[:10]
            text = [biased.vocabulary[key].strip().lower() for key in top]
            own = biased.vocabulary[token].strip().lower()
            kin.append(sum(sets.probes.member[category, k] and t != own for k, t in zip(top, text, strict=True)))
        statistics["kin"] = float(np.mean(kin))
        for name, value in statistics.items():
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("at_once", [4096, 700])
def test_other_heads_are_measured_on_their_own_layers_embedding(
    biased: Checkpoint,
    sets: TokenSets,
    terms: AblatedTerms,
    expected: dict[str, list[float]],
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    """In the order that heads are given in, however the vocabulary is split."""
    monkeypatch.setattr(full, "TOKENS_AT_ONCE", at_once)
    found = statistics_of_heads(biased, HEADS, sets, terms, 64, 3, Met(1))
    assert set(found) == EVERYTHING | SHARES == set(expected)
    for name, values in expected.items():
        assert found[name].tolist() == pytest.approx(values, **CLOSE), name
    # Layers and heads differ, so that none could stand in for another.
    assert all(len({round(v, 3) for v in found[name]}) == len(HEADS) for name in ("words_depth", "auc", "peak"))


@pytest.mark.parametrize("layer", [0, 1])
def test_what_maps_of_other_heads_met_is_not_embedded_again(
    biased: Checkpoint,
    sets: TokenSets,
    terms: AblatedTerms,
    expected: dict[str, list[float]],
    monkeypatch: pytest.MonkeyPatch,
    layer: int,
) -> None:
    """E of the target's layer is held, whether or not another head is of that layer."""
    few = replace(sets, groups=None, common=None, probes=None)
    heads, met = [head for head in HEADS if head.layer != 1], Met(layer)
    found = statistics_of_heads(biased, heads, few, terms, 64, 3, met)
    of_heads = [value for head, value in zip(HEADS, expected["words_depth"], strict=True) if head in heads]
    assert found["words_depth"].tolist() == pytest.approx(of_heads, **CLOSE)
    known = met.take()
    assert known is not None
    assert known[0].tolist() == sets.words.tokens.unique().tolist()
    before = terms[0], terms[1][:layer]
    whole = embedding_with(biased, layer, before, Cache(None))
    embedded, embed_alone = [], type(biased).embed_alone

    def counted(self: Checkpoint, tokens: torch.Tensor, *arguments: Any) -> torch.Tensor:
        embedded.extend(tokens.tolist())
        return embed_alone(self, tokens, *arguments)

    monkeypatch.setattr(type(biased), "embed_alone", counted)
    E = embedding_with(biased, layer, before, Cache(None), known=known)
    assert (E - whole).abs().max() < 1e-5
    assert sorted([*embedded, *known[0].tolist()]) == list(range(len(E)))
    embedded.clear()
    assert torch.equal(embedding_with(biased, layer, before, Cache(None), known=(torch.arange(len(E)), E)), E)
    assert not embedded


def test_what_was_met_is_held_until_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, E, met = torch.arange(4), torch.ones(4, 3), Met(2)
    met.meet(1, tokens, E)
    assert met.take() is None
    met.meet(2, tokens, E)
    assert met.take() is None  # somebody came before
    for most, held in ((12, True), (11, False)):
        monkeypatch.setattr(effective, "MOST_MET", most)
        met = Met(2)
        met.meet(2, tokens, E)
        assert (met.take() is not None) == held
        assert met.take() is None


def test_statistics_of_missing_sets_are_left_out(
    biased: Checkpoint, sets: TokenSets, terms: AblatedTerms, expected: dict[str, list[float]]
) -> None:
    """Those of other sets are what they were, also where nothing asks for the whole vocabulary."""
    for kept, names in (
        ({"groups": None, "common": None, "probes": None}, WORDS),
        ({"common": None, "probes": None}, WORDS | GROUPED | {"auc"}),
        ({"groups": None, "common": None}, WORDS | {"kin"}),
        ({"groups": None, "probes": None}, WORDS | SHARES | {"peak", "skew_scores"}),
    ):
        found = statistics_of_heads(biased, HEADS, replace(sets, **kept), terms, 64, 3, Met(1))
        assert set(found) == names
        for name in names:
            assert found[name].tolist() == pytest.approx(expected[name], **CLOSE), name


def test_the_plane_has_every_head_of_the_model_on_its_own_layers_embedding(
    planted: Checkpoint, sets: TokenSets, words: WordList
) -> None:
    assert sets.groups is not None
    sizes = planted.sizes
    last = ablated_terms(planted, sizes.n_layers - 1, words, Variant.MEAN, Cache(None))
    found = scatter_plane(planted, sets.groups, last)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(
        ("within", "between"), sizes.n_layers * sizes.n_heads
    )
    for layer, head in ((0, 3), (1, 5), (2, 7)):
        x = effective_embedding(planted, layer, words, Cache(None))[sets.groups.tokens].double().numpy()
        weights = planted.qk_weights(layer)
        W_Q, W_K = (getattr(weights, name)[head].double().numpy() for name in ("W_Q", "W_K"))
        b, w = signed_shares(W_Q, W_K, x, sets.groups.group)
        place = layer * sizes.n_heads + head
        assert (found["between"][place], found["within"][place]) == pytest.approx((b, w), abs=1e-4)


def test_a_layer_that_cannot_give_a_statistic_has_nan(
    biased: Checkpoint, sets: TokenSets, terms: AblatedTerms, words: WordList
) -> None:
    """Of 122 common words layer 2 has one high bin of fifty pairs in each half, the layers before it none."""
    assert sets.common is not None
    common = CommonWords(sets.common.tokens[:122], sets.common.variants[:122])
    fewer = replace(sets, common=common, groups=None, probes=None)
    found = statistics_of_heads(biased, HEADS, fewer, terms, 64, 3, Met(1))
    assert np.isnan(found["peak"]).tolist() == [False, True, True, True, True]
    assert not any(np.isnan(values).any() for name, values in found.items() if name != "peak")
    x = effective_embedding(biased, 2, words, Cache(None))[common.tokens].double().numpy()
    weights = biased.qk_weights(2)
    of_head = (getattr(weights, n)[HEADS[0].index].double().numpy() for n in ("W_Q", "W_K", "b_Q", "b_K"))
    assert found["peak"][0] == pytest.approx(peak(among(scores_by(*of_head), x, None), x), **CLOSE)
    assert "peak" not in statistics_of_heads(biased, HEADS[1:], fewer, terms, 64, 3, Met(1))


def made_up(n_common: int = N_COMMON, turn: Tensor | None = None, variants: bool = True) -> LayerMap:
    """Eleven tokens of three groups, and common words of two variants each; E is random."""
    group = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    common = torch.arange(20, 20 + n_common)
    of_word = tuple(torch.arange(400 + i, 400 + i + 2 * variants) for i in range(n_common))
    groups = Groups(torch.arange(11).flip(0), group)
    sets = TokenSets(groups, Groups(torch.arange(3, 14), group), CommonWords(common, of_word), None)
    rows = torch.randn(len(sets.needed), D_MODEL, generator=torch.Generator().manual_seed(1))
    return LayerMap(sets, rows, turn, 5)


@pytest.mark.parametrize("d_head", [D_HEAD, 2])
@pytest.mark.parametrize("rotary", [False, True])
def test_gaussian_heads_are_those_drawn(rotary: bool, d_head: int) -> None:
    """The same draws, sixteen heads at a time from a seed of their own, W_Q before W_K, each measured by numpy.

    The span of [W_Q W_K] is all of the stream, or less.
    """
    draw = torch.Generator().manual_seed(2)
    layer = made_up(turn=torch.randn(d_head, d_head, generator=draw) if rotary else None)
    turn = None if layer.turn is None else layer.turn.double().numpy()
    sets = layer.sets
    assert sets.groups is not None
    assert sets.common is not None

    def x_of(tokens: Tensor) -> Array:
        return np.stack([layer.rows[sets.needed.tolist().index(t)].double().numpy() for t in tokens.tolist()])

    found = statistics_of_gaussian_heads(layer, range(19), d_head, seed=8)
    assert set(found) == WORDS | GROUPED | SHARES | {"peak", "skew_scores"}
    assert {len(values) for values in found.values()} == {19}
    batches = []
    for start in (0, 16):
        draw.manual_seed(int(np.random.default_rng([8, start]).integers(2**63)))
        batches.append(torch.randn(2, 16, D_MODEL, d_head, generator=draw).double().numpy())
    for head, (W_Q, W_K) in enumerate(np.concatenate(batches, axis=1)[:, :19].swapaxes(0, 1)):
        score = scores_by(W_Q, W_K)
        expected = shares(score, sets.common, x_of, 5, turn)
        for name, groups in (("words_depth", sets.words), ("groups_depth", sets.groups)):
            expected[name] = depth(among(score, x_of(groups.tokens), turn), groups.group)
            contrasted = contrast(W_Q, W_K, x_of(groups.tokens), groups.group)
            expected[name.replace("depth", "contrast")] = contrasted
        x = x_of(sets.common.tokens)
        expected["peak"] = peak(among(score, x, turn), x)
        expected["skew_scores"] = skew_ratio(W_Q, W_K, x)
        assert {name: values[head] for name, values in found.items()} == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_gaussian_heads_depend_on_the_seed_alone() -> None:
    layer = made_up()
    one, again, other = (statistics_of_gaussian_heads(layer, range(18), D_HEAD, seed) for seed in (0, 0, 1))
    rest = statistics_of_gaussian_heads(layer, range(18, 40), D_HEAD, 0)
    every = statistics_of_gaussian_heads(layer, range(40), D_HEAD, 0)
    for name, values in one.items():
        assert values.tolist() == again[name].tolist()
        assert np.concatenate([values, rest[name]]).tolist() == pytest.approx(every[name].tolist(), abs=1e-6)
        assert values.tolist() != other[name].tolist()
        assert len(every[name]) == 40


def test_gaussian_heads_give_the_statistics_that_are_named() -> None:
    layer = made_up()
    every = statistics_of_gaussian_heads(layer, range(5), D_HEAD, 0)
    for name, values in every.items():
        alone = statistics_of_gaussian_heads(layer, range(5), D_HEAD, 0, [name])
        assert {name: alone.pop(name).tolist()} == {name: pytest.approx(values.tolist(), abs=1e-6)}
        assert alone == {}
    two = statistics_of_gaussian_heads(layer, range(5), D_HEAD, 0, ["words_depth", "similar_above_self"])
    assert set(two) == {"words_depth", "similar_above_self"}


def test_statistics_that_a_layer_cannot_give_are_left_out() -> None:
    """Forty words are too few for a high bin; without variants none can be avoided; without words there is no share."""
    layer = made_up()
    always = WORDS | GROUPED | {"skew_scores"}
    few = statistics_of_gaussian_heads(made_up(n_common=40), range(2), D_HEAD, 0)
    assert set(few) == always | SHARES
    alone = statistics_of_gaussian_heads(made_up(variants=False), range(2), D_HEAD, 0)
    assert set(alone) == always | SHARES - {"similar_above_variants"} | {"peak"}
    bare = replace(layer, sets=replace(layer.sets, common=None, groups=None), rows=layer.rows[:11])
    assert set(statistics_of_gaussian_heads(bare, range(2), D_HEAD, 0)) == WORDS


@pytest.mark.parametrize(("word", "token", "variants"), [("north", 7, [8]), ("east", 0, [1, 2, 4]), ("west", 5, [])])
def test_variants_differ_in_case_and_space_alone(word: str, token: int, variants: list[int]) -> None:
    vocabulary = [" east", " East", "east", " Eastern", "EAST", " west", "eas", " north", "North", " eastern"]
    words = CommonWords.of([word], {text: i for i, text in enumerate(vocabulary)}.get, vocabulary)
    assert words.tokens.tolist() == [token]
    assert [some.tolist() for some in words.variants] == [variants]


def test_common_words_keep_their_order() -> None:
    vocabulary = ["West", " east", " west", " East", " north", "north"]
    words = CommonWords.of(["north", "east", "west"], {t: i for i, t in enumerate(vocabulary)}.get, vocabulary)
    assert words.tokens.tolist() == [4, 1, 2]
    assert [some.tolist() for some in words.variants] == [[5], [3], [0]]


def test_needed_tokens_are_those_of_all_sets_once() -> None:
    sets = TokenSets(
        Groups(torch.tensor([9, 2]), np.array([0, 0])),
        Groups(torch.tensor([2, 30]), np.array([0, 1])),
        CommonWords(torch.tensor([5, 9]), (torch.tensor([40, 1]), torch.tensor([9, 7]))),
        None,
    )
    assert sets.needed.tolist() == [1, 2, 5, 7, 9, 30, 40]
