"""Scores of common words against their similarity: by plain loops over words, pairs and heads."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.errors import NotAssessable
from headclaims.measures.head_batch import HeadBatch, Projected
from headclaims.measures.similar_words import head_margins, margins, neighbours, share_above, word_space
from headclaims.measures.similarity_peak import (
    CosineBins,
    bin_moments,
    cosine_bins,
    cross_fitted,
    peak,
    peak_of_scores,
    peaks_of_heads,
    score_by_similarity,
)
from headclaims.statistics.resampling import OverUnits
from headclaims.vocabulary.cosine import (
    N_BINS,
    SimilarityCurve,
    _compiled,
    _on_device,
    lower_edge,
    similarity_curve,
)
from headclaims.vocabulary.token_scores import TokenScores

D_MODEL, D_HEAD, HEADS = 6, 4, 3
N_WORDS = 300
Curve = Callable[[TokenScores, Tensor, int], SimilarityCurve]
EXACT = {"rel": 2e-4, "abs": 2e-4}  # float32


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(x: Tensor, y: Tensor) -> float:
    a, b = x.double().numpy(), y.double().numpy()
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def many_words(seed: int = 0) -> Tensor:
    """Words enough for high bins to hold fifty pairs each; three of them come thrice."""
    words = drawn(N_WORDS - 6, D_MODEL, seed=seed)
    return torch.cat([words, words[:3], words[:3]])


def heads_of(rotary: bool, biased: bool = True) -> HeadBatch:
    """Random heads; their turn is any matrix, since nothing here needs it to be a rotation."""
    W_Q, W_K = drawn(2, HEADS, D_MODEL, D_HEAD, seed=10)
    b_Q, b_K = drawn(2, HEADS, D_HEAD, seed=11) * (1.0 if biased else 0.0)
    return HeadBatch(W_Q, W_K, b_Q, b_K, drawn(D_HEAD, D_HEAD, seed=12) if rotary else None)


def score(heads: HeadBatch, head: int, x: Tensor, y: Tensor, own: bool = False) -> float:
    """The score of two tokens, unscaled, in float64; a token's with itself is at offset 0."""
    W_Q, W_K, b_Q, b_K = (w[head].double().numpy() for w in (heads.W_Q, heads.W_K, heads.b_Q, heads.b_K))
    q = x.double().numpy() @ W_Q + b_Q
    if heads.turn is not None and not own:
        q = q @ heads.turn.double().numpy()
    return float(q @ (y.double().numpy() @ W_K + b_K))


def token_scores(heads: HeadBatch, head: int, words: Tensor) -> TokenScores:
    """Scores for `score_by_similarity`, put together here."""
    q, k = words @ heads.W_Q[head] + heads.b_Q[head], words @ heads.W_K[head] + heads.b_K[head]
    return TokenScores(q if heads.turn is None else q @ heads.turn, k, (q * k).sum(dim=1))


def test_neighbours_are_the_ten_nearest_and_others_at_random() -> None:
    words = drawn(130, D_MODEL, seed=1) * torch.linspace(0.1, 9, 130)[:, None]  # lengths don't count
    nearest, random = neighbours(words, seed=0)
    lots = np.random.default_rng([0, 3]).random((130, 130))
    assert nearest.shape == (130, 10)
    assert random.shape == (130, 100)
    for i in range(130):
        order = sorted((j for j in range(130) if j != i), key=lambda j, i=i: -cosine(words[i], words[j]))
        assert nearest[i].tolist() == order[:10]
        by_lot = [j for j in np.argsort(lots[i]).tolist() if j not in {i, *order[:10]}]
        assert random[i].tolist() == by_lot[:100]
    # Each of the 119 that remain is as likely: in 130 rows a word is drawn 100 times in the mean, give or take 5.
    times = torch.bincount(random.reshape(-1), minlength=130)
    assert abs(float(times.double().std())) < 15
    assert torch.equal(neighbours(words, seed=0)[1], random)
    assert not torch.equal(neighbours(words, seed=1)[1], random)


def test_all_the_rest_are_taken_where_there_are_fewer_than_a_hundred() -> None:
    nearest, random = neighbours(drawn(13, D_MODEL, seed=2), seed=0)
    for i in range(13):
        assert {i, *nearest[i].tolist(), *random[i].tolist()} == set(range(13))
        assert random.shape == (13, 2)
    with pytest.raises(ValueError, match="11 words; wanted 12"):
        neighbours(drawn(11, D_MODEL, seed=2), seed=0)


@pytest.mark.parametrize("rotary", [True, False])
def test_margins_are_differences_of_mean_scores(rotary: bool) -> None:
    words = drawn(115, D_MODEL, seed=3)
    variants = [drawn(i % 4, D_MODEL, seed=20 + i) for i in range(115)]
    space, heads = word_space(words, variants, seed=7), heads_of(rotary)
    nearest, random = neighbours(words, seed=7)
    varied = [i for i in range(115) if i % 4]
    assert space.varied.tolist() == varied
    found = margins(space, heads, Projected(space.words, heads))
    for head in range(HEADS):

        def mean(i: int, keys: Tensor, head: int = head) -> float:
            return float(np.mean([score(heads, head, words[i], key) for key in keys]))

        similar = [mean(i, words[nearest[i]]) for i in range(115)]
        above_self = [similar[i] - score(heads, head, words[i], words[i], own=True) for i in range(115)]
        above_dissimilar = [similar[i] - mean(i, words[random[i]]) for i in range(115)]
        above_variants = [similar[i] - mean(i, variants[i]) for i in varied]
        assert found["similar_above_self"][head].tolist() == pytest.approx(above_self, **EXACT)
        assert found["similar_above_dissimilar"][head].tolist() == pytest.approx(above_dissimilar, **EXACT)
        assert found["similar_above_variants"][head].tolist() == pytest.approx(above_variants, **EXACT)
        circuit = QKCircuit(heads.W_Q[head], heads.W_K[head], heads.b_Q[head], heads.b_K[head], 0.5)
        one = head_margins(space, circuit, heads.turn)
        assert one["similar_above_self"].tolist() == pytest.approx(above_self, **EXACT)
        assert one["similar_above_variants"].tolist() == pytest.approx(above_variants, **EXACT)


def test_a_space_without_variants_has_none() -> None:
    words = drawn(12, D_MODEL, seed=4)
    space = word_space(words, [words[:0]] * 12, seed=0)
    assert space.varied.tolist() == []
    assert space.variants.shape == (0, D_MODEL)


def test_the_share_counts_margins_above_zero() -> None:
    share = share_above(torch.tensor([0.1, 0.0, -3.0, 5.0]))
    assert share.value == 0.5
    # Two of four words: 1/3 of the rest without one above, 2/3 without one at or below.
    assert share.jackknifed.left_out["words"].ravel().tolist() == [1 / 3, 2 / 3, 2 / 3, 1 / 3]


def test_bins_begin_at_minus_one_and_hold_their_lower_edge() -> None:
    """Angles between vectors of a plane whose cosines are edges, middles, −1 and 1."""
    wanted = [-1.0, -0.99, -0.98, -0.5, 0.0, 0.01, 0.5, 0.94, 0.96, 0.999, 1.0]
    plane = [[1.0, 0.0]] * 11 + [[c, math.sqrt(1 - c * c)] for c in wanted]
    # A crowd across the plane, some of whose cosines are a little below 1, so that bins are high.
    crowd = [[0.0, 0.0, math.cos(i / 30), math.sin(i / 30)] for i in range(160)]
    words = torch.tensor([[*pair, 0.0, 0.0] for pair in plane] + crowd, dtype=torch.float64)
    of_pair = cosine_bins(words).of_pair[:22, :22]
    assert of_pair[0, 11:].tolist() == [0, 0, 1, 25, 50, 50, 75, 97, 98, 99, 100]
    assert of_pair[11:, 0].tolist() == of_pair[0, 11:].tolist()
    assert of_pair.diagonal().tolist() == [N_BINS] * 22 == [101] * 22
    assert lower_edge(np.array([0, 1, 50, 97, 100])).tolist() == [-1, -0.98, 0, 0.94, 1]


def cosines_of(words: Tensor) -> np.ndarray:
    """All cosines, exact to float64; those of equal vectors 1."""
    unit = words.double().numpy() / np.sqrt(np.square(words.double().numpy()).sum(axis=1, keepdims=True))
    cosines = unit @ unit.T
    cosines[cosines > 1 - 1e-9] = 1.0
    return np.asarray(cosines)


def test_high_bins_are_above_the_ninetieth_percentile_below_one_and_hold_fifty_pairs_in_each_half() -> None:
    words = torch.cat([many_words(), many_words()[-1:].expand(30, -1)])  # many pairs of cosine 1
    bins, cosines = cosine_bins(words), cosines_of(words)
    n = len(words)
    pairs = [cosines[i, j] for i in range(n) for j in range(i)]
    in_bin = np.zeros((2, 101))
    for half in (0, 1):
        for i in range(half, n, 2):
            for j in range(half, i, 2):
                in_bin[half, int((cosines[i, j] + 1) * 50 + 1e-7)] += 1
    median, edge = np.quantile(pairs, [0.5, 0.9])
    above = [k for k in range(100) if k / 50 - 1 >= edge]
    assert bins.high.tolist() == [k for k in above if in_bin[:, k].min() >= 50]
    assert 1 < len(bins.high) < len(above)
    assert in_bin[:, 100].min() >= 50  # of cosine 1, and not high
    assert bins.typical == int((median + 1) * 50)
    assert (bins.of_pair == bins.of_pair.T).all()
    with pytest.raises(NotAssessable, match="holds 50 pairs in each half of 60 words"):
        cosine_bins(words[:60])


@pytest.mark.parametrize("rotary", [True, False])
def test_scores_by_bin_are_those_of_loops(rotary: bool) -> None:
    words, heads = many_words(), heads_of(rotary)
    bins, s = cosine_bins(words), matrix(heads, 1, words)
    found = score_by_similarity(token_scores(heads, 1, words), bins)
    cosines, own = cosines_of(words), [score(heads, 1, x, x, own=True) for x in words]
    sums, pairs = np.zeros((N_WORDS, N_BINS)), np.zeros((N_WORDS, N_BINS))
    for i in range(N_WORDS):
        for j in range(N_WORDS):
            if i != j:
                number = int((cosines[i, j] + 1) * 50 + 1e-7)
                sums[i, number] += s[i, j] - own[i]
                pairs[i, number] += 1
    assert found.pairs.tolist() == pairs.tolist()
    assert found.sums == pytest.approx(sums, rel=1e-3, abs=2e-3)
    held = pairs.sum(axis=0) > 0
    means = sums.sum(axis=0)[held] / pairs.sum(axis=0)[held]
    assert found.curve[held] == pytest.approx(means, rel=1e-3, abs=1e-3)
    assert np.isnan(found.curve[~held]).all()
    mean = {b: sums[:, b].sum() / pairs[:, b].sum() for b in range(N_BINS) if pairs[:, b].sum() >= 100}
    edge = np.quantile(cosines[np.triu_indices(N_WORDS, 1)], 0.9)
    high = [b for b in mean if b / 50 - 1 >= edge and b < 100]
    assert set(bins.high) < set(high)
    best = max(high, key=lambda b: mean[b])
    assert found.peak_at == pytest.approx(best / 50 - 0.99)
    assert found.full.tolist() == list(mean)
    assert found.lead == pytest.approx(mean[best] - max(m for b, m in mean.items() if b not in high), abs=1e-3)


def matrix(heads: HeadBatch, head: int, words: Tensor) -> np.ndarray:
    """All scores among words, by `score`'s formula."""
    W_Q, W_K, b_Q, b_K = (w[head].double().numpy() for w in (heads.W_Q, heads.W_K, heads.b_Q, heads.b_K))
    x = words.double().numpy()
    turn = np.eye(D_HEAD) if heads.turn is None else heads.turn.double().numpy()
    return np.asarray((x @ W_Q + b_Q) @ turn @ (x @ W_K + b_K).T)


def peak_by_loops(
    s: np.ndarray, own: np.ndarray, bins: CosineBins, chosen: tuple[int, int] | None = None, without: int | None = None
) -> tuple[float, float, tuple[int, int]]:
    """Rise and fall over the root mean square, and the bins chosen in either half, one word left out of the means."""
    n = len(s)
    means = []
    for half in (0, 1):
        members = [i for i in range(half, n, 2) if i != without]
        block = bins.of_pair[np.ix_(members, members)]
        above = s[np.ix_(members, members)] - own[members][:, None]
        means.append({b: above[block == b].mean() for b in (bins.typical, *bins.high)})
    if chosen is None:
        first, second = (max(bins.high, key=lambda b, m=m: m[b]) for m in means)
        chosen = (int(first), int(second))
    # Measured in the one half at the other's choice.
    peaks = [means[0][chosen[1]], means[1][chosen[0]]]
    rise = np.mean([p - m[bins.typical] for p, m in zip(peaks, means, strict=True)])
    root = math.sqrt(np.square(s[~np.eye(n, dtype=bool)]).mean())
    return float(rise) / root, float(np.mean(peaks)) / root, chosen


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
def test_the_peak_is_chosen_on_one_half_and_measured_on_the_other(rotary: bool, by_column: bool) -> None:
    """Each word left out, as query and as key, by loops; by column no value changes, as pairs go both ways."""
    words, heads = many_words(), heads_of(rotary)
    bins = cosine_bins(words)
    found = peak(token_scores(heads, 1, words), bins, by_column)
    s, own = matrix(heads, 1, words), np.array([score(heads, 1, x, x, own=True) for x in words])
    rise, fall, chosen = peak_by_loops(s, own, bins)
    assert found.values == pytest.approx([rise, fall], rel=1e-3, abs=1e-4)
    assert found.value == pytest.approx(min(rise, fall), rel=1e-3, abs=1e-4)
    for i in (0, 1, 2, 57, 298, 299):
        expected = peak_by_loops(s, own, bins, chosen, without=i)[:2]
        assert found.left_out["words"][i] - found.values == pytest.approx(
            np.array(expected) - [rise, fall], rel=2e-2, abs=2e-5
        )
    interval = found.interval()
    assert interval is not None
    assert interval.unit == "words"


@pytest.mark.parametrize("by_column", [True, False])
def test_the_peak_of_capped_scores(by_column: bool) -> None:
    """The cap of each product, and of the mean over offsets of each; words left out as queries and as keys."""
    words, heads = many_words(), heads_of(True)
    bins, bare = cosine_bins(words), token_scores(heads, 1, words)
    capped = TokenScores(bare.queries, bare.keys, bare.own, 4.0)
    s = 4 * np.tanh(matrix(heads, 1, words) / 4)
    own = 4 * np.tanh(np.array([score(heads, 1, x, x, own=True) for x in words]) / 4)
    rise, fall, chosen = peak_by_loops(s, own, bins)
    found = peak(capped, bins, by_column)
    assert found.values == pytest.approx([rise, fall], rel=1e-3, abs=1e-4)
    assert abs(found.value - peak(bare, bins).value) > 1e-3
    for i in (0, 57, 299):
        expected = peak_by_loops(s, own, bins, chosen, without=i)[:2]
        assert found.left_out["words"][i] - found.values == pytest.approx(
            np.array(expected) - [rise, fall], rel=2e-2, abs=2e-5
        )
    assert peak_of_scores(capped.matrix(), bins) == pytest.approx(min(rise, fall), rel=1e-3, abs=1e-4)
    assert peak_of_scores(bare.matrix(), bins) == pytest.approx(peak(bare, bins).value, rel=1e-3, abs=1e-4)
    curve = similarity_curve(capped, words)
    for number in (bins.typical, *bins.high.tolist()):
        above = (s - own[:, None])[bins.of_pair == number]
        assert curve.mean[number] == pytest.approx(above.mean(), rel=1e-3, abs=1e-4)


def peak_of_curve(curve: Callable[[np.ndarray], np.ndarray]) -> OverUnits:
    """The peak of scores that are a function of the cosine, whose own score is 0."""
    words = many_words()
    s = torch.from_numpy(curve(cosines_of(words)))
    # Any matrix is queries times keys.
    scores = TokenScores(s, torch.eye(N_WORDS, dtype=torch.float64), torch.zeros(N_WORDS))
    return peak(scores, cosine_bins(words))


@pytest.mark.parametrize(
    ("curve", "rise", "fall"),
    [
        (lambda c: 1 - 4 * (c - 0.6) ** 2, True, True),  # at cosine 0 it is below 0
        (lambda c: 1 - c, False, True),  # falls throughout: highest where cosines are low
        (lambda c: c - 1, True, False),  # rises throughout, to the own score
        (lambda c: np.zeros_like(c), False, False),
    ],
    ids=["peak", "falls", "rises", "flat"],
)
def test_a_peak_both_rises_and_falls(curve: Callable[[np.ndarray], np.ndarray], rise: bool, fall: bool) -> None:
    found = peak_of_curve(curve)
    assert [bool(value > 0) for value in found.values] == [rise, fall]
    interval = found.interval()
    assert interval is not None
    assert (interval.low > 0) == (rise and fall)


def test_the_best_of_noise_is_no_peak() -> None:
    """The highest of many bins is above the typical one by chance: cross-fitted it is not, in the mean of many heads.

    Scores are noise about −1. Were the peak taken where it was chosen it would rise by a standard error and a half.
    """
    words = many_words()
    bins = cosine_bins(words)
    assert len(bins.high) >= 5
    draw, rises, naive = np.random.default_rng(4), [], []
    for _ in range(40):
        s = torch.from_numpy(draw.standard_normal((N_WORDS, N_WORDS)) - 1)
        scores = TokenScores(s, torch.eye(N_WORDS, dtype=torch.float64), torch.zeros(N_WORDS))
        rises.append(peak(scores, bins).values[0])
        curve = score_by_similarity(scores, bins).curve
        naive.append(curve[bins.high].max() - curve[bins.typical])
    error = np.std(rises) / math.sqrt(40)
    assert abs(np.mean(rises)) < 3 * error
    assert np.mean(naive) > 5 * np.std(naive) / math.sqrt(40)


def test_cross_fitting_by_hand() -> None:
    """Halves in the typical bin and in three high ones: the first is highest at the third, the second at the second."""
    means = np.array([[[1.0, 2, 3, 5], [0.5, 1, 4, 2]]])
    assert cross_fitted(means).tolist() == [[((3 - 1) + (2 - 0.5)) / 2, (3 + 2) / 2]]


@pytest.mark.parametrize("rotary", [True, False])
def test_moments_give_the_peaks_of_loops(rotary: bool) -> None:
    """For heads without biases."""
    words = many_words(seed=30)
    heads, bins = heads_of(rotary, biased=False), cosine_bins(words)
    expected = []
    for head in range(HEADS):
        own = np.array([score(heads, head, x, x, own=True) for x in words])
        expected.append(min(peak_by_loops(matrix(heads, head, words), own, bins)[:2]))
    space = word_space(words, [words[:0]] * len(words), seed=0)
    found = peaks_of_heads(bin_moments(words, bins), heads, Projected(space.words, heads))
    assert found == pytest.approx(np.array(expected), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("by", [_compiled, _on_device], ids=["compiled", "on-device"])
@pytest.mark.parametrize("tile", [1, 7, 64, 500])
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_the_curve_of_all_pairs(by: Curve, tile: int, rotary: bool, cap: float | None) -> None:
    """Every pair at once in float64; two vectors equal, two opposite, many cosines on the edge of a bin."""
    draw = np.random.default_rng(12)
    n = 130
    vectors = draw.standard_normal((n, 5)) + 2 * draw.standard_normal((6, 5))[np.arange(n) % 6]
    vectors[40:80] = draw.integers(-2, 3, size=(40, 5))
    vectors[7], vectors[9] = vectors[100], -vectors[101]
    vectors[11] = vectors[12] = 0
    x = torch.from_numpy(vectors).float()
    q, k = (torch.from_numpy(draw.standard_normal((n, 3))).float() for _ in range(2))
    own = torch.from_numpy(draw.standard_normal(n)) if rotary else None
    found = by(TokenScores(q, k, own, cap), x, tile)
    s = (q.double() @ k.double().T).numpy()
    itself = s.diagonal() if own is None else own.numpy()
    if cap is not None:
        s, itself = cap * np.tanh(s / cap), cap * np.tanh(itself / cap)
    norms = np.maximum(np.linalg.norm(x.double().numpy(), axis=1), 1e-300)
    unit = x.double().numpy() / norms[:, None]
    cosines = np.clip(unit @ unit.T, -1, 1)
    cosines[cosines > 1 - 1e-9] = 1.0
    bins, off = np.floor((cosines + 1) / 0.02 + 1e-9).astype(int), ~np.eye(n, dtype=bool)
    assert found.pairs.tolist() == np.bincount(bins[off], minlength=101).tolist()
    above = (s - itself[:, None])[off]
    assert found.sums == pytest.approx(np.bincount(bins[off], weights=above, minlength=101), abs=1e-3)
    assert found.mean_square == pytest.approx(np.square(s[off]).mean(), rel=1e-6)


def test_the_curve_on_a_device_is_that_of_the_processor() -> None:
    """At a width at which float32 leaves one pair in some two hundred in doubt."""
    x = drawn(700, 600, seed=4) + drawn(1, 600, seed=5)
    scores = TokenScores(drawn(700, 8, seed=6), drawn(700, 8, seed=7))
    here, there = _compiled(scores, x, 256), _on_device(scores, x, 300)
    assert here.pairs.tolist() == there.pairs.tolist()
    assert here.sums == pytest.approx(there.sums, abs=1e-3)
    assert here.mean_square == pytest.approx(there.mean_square, rel=1e-6)


def test_the_peak_of_the_curve_is_that_of_common_words() -> None:
    """The same pairs, so the same bins from the 90th percentile on, give or take the one it lies in."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(400, 6, generator=draw)
    q, k = torch.randn(2, 400, 4, generator=draw)
    scores, bins = TokenScores(q, k), cosine_bins(x)
    curve, of_words = similarity_curve(scores, x), score_by_similarity(scores, bins)
    assert curve.mean[curve.high] == pytest.approx(of_words.curve[curve.high], abs=1e-5)
    assert set(bins.high) - set(curve.high) <= {curve.high[0] - 1}
    assert curve.typical == bins.typical
    few = similarity_curve(TokenScores(q[:9], k[:9]), x[:9])
    assert curve.has_peak
    assert curve.height == pytest.approx(height_of(curve), rel=1e-6)
    assert not few.has_peak
    one = similarity_curve(TokenScores(q[:1], k[:1]), x[:1])
    assert (one.pairs.sum(), one.has_peak) == (0, False)


def height_of(curve: SimilarityCurve) -> float:
    """The highest mean over high bins, above 0 and above the bin of the median, in root mean squares."""
    highest = max(curve.sums[b] / curve.pairs[b] for b in curve.high)
    typical = curve.sums[curve.typical] / curve.pairs[curve.typical]
    return min(highest, highest - typical) / math.sqrt(curve.mean_square)


@pytest.mark.parametrize("what", ["queries", "vectors"])
def test_a_curve_of_other_tokens_or_of_infinities_is_refused(what: str) -> None:
    one = torch.ones(4, 2)
    with pytest.raises(ValueError, match="wanted the same tokens"):
        similarity_curve(TokenScores(one[:3] if what == "queries" else one, one), one[:3] if what == "vectors" else one)
    bad = one / torch.tensor([[1.0, 0.0]])
    with pytest.raises(ValueError, match="not finite"):
        similarity_curve(TokenScores(bad if what == "queries" else one, one), bad if what == "vectors" else one)
