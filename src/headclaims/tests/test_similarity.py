"""Scores of common words against their similarity: by plain loops over words, pairs and heads."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.errors import NotAssessable
from headclaims.measures.head_batch import HeadBatch, Projected
from headclaims.measures.similar_words import head_margins, margins, neighbours, share_above, word_space
from headclaims.measures.similarity_peak import bin_moments, cosine_bins, peak, peaks_of_heads, score_by_similarity
from headclaims.vocabulary.cosine import N_BINS, SimilarityCurve, lower_edge, peak_height, similarity_curve
from headclaims.vocabulary.scores import TokenScores

D_MODEL, D_HEAD, HEADS = 6, 4, 3
N_WORDS = 130
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
    assert nearest.shape == (130, 10)
    assert random.shape == (130, 100)
    for i in range(130):
        order = sorted((j for j in range(130) if j != i), key=lambda j, i=i: -cosine(words[i], words[j]))
        assert nearest[i].tolist() == order[:10]
        assert len(set(random[i].tolist())) == 100
        assert not set(random[i].tolist()) & {i, *order[:10]}
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
    found = margins(space, heads, Projected.of(space.words, heads))
    for head in range(HEADS):

        def mean(i: int, keys: Tensor, head: int = head) -> float:
            return float(np.mean([score(heads, head, words[i], key) for key in keys]))

        similar = [mean(i, words[nearest[i]]) for i in range(115)]
        above_self = [similar[i] - score(heads, head, words[i], words[i], own=True) for i in range(115)]
        above_dissimilar = [similar[i] - mean(i, words[random[i]]) for i in range(115)]
        above_variants = [similar[i] - mean(i, variants[i]) for i in varied]
        assert found.similar_above_self[head].tolist() == pytest.approx(above_self, **EXACT)
        assert found.similar_above_dissimilar[head].tolist() == pytest.approx(above_dissimilar, **EXACT)
        assert found.similar_above_variants[head].tolist() == pytest.approx(above_variants, **EXACT)
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
    assert share.of_weights(np.array([[3.0, 1, 0, 0], [0, 2, 2, 0], [1, 0, 1, 2]])).tolist() == [0.75, 0, 0.75]


def test_bins_begin_at_minus_one_and_hold_their_lower_edge() -> None:
    """Angles between vectors of a plane whose cosines are edges, middles, −1 and 1."""
    wanted = [-1.0, -0.99, -0.98, -0.5, 0.0, 0.01, 0.5, 0.94, 0.96, 0.999, 1.0]
    plane = [[1.0, 0.0]] * 11 + [[c, math.sqrt(1 - c * c)] for c in wanted]
    # A crowd across the plane, some of whose cosines are a little below 1, so that a bin is high.
    crowd = [[0.0, 0.0, math.cos(i / 15), math.sin(i / 15)] for i in range(60)]
    words = torch.tensor([[*pair, 0.0, 0.0] for pair in plane] + crowd, dtype=torch.float64)
    of_pair = cosine_bins(words).of_pair[:22, :22]
    assert of_pair[0, 11:].tolist() == [0, 0, 1, 25, 50, 50, 75, 97, 98, 99, 100]
    assert of_pair[11:, 0].tolist() == of_pair[0, 11:].tolist()
    assert of_pair.diagonal().tolist() == [N_BINS] * 22 == [101] * 22
    assert lower_edge(np.array([0, 1, 50, 97, 100])).tolist() == [-1, -0.98, 0, 0.94, 1]


def test_high_bins_are_above_the_ninetieth_percentile_and_hold_fifty_pairs() -> None:
    words = many_words()
    bins = cosine_bins(words)
    pairs = [cosine(words[i], words[j]) for i in range(N_WORDS) for j in range(i)]
    in_bin = [sum(lower <= c < lower + 0.02 for c in pairs) for lower in (k / 50 - 1 for k in range(100))]
    edge = np.quantile(pairs, 0.9)
    above = [k for k in range(100) if k / 50 - 1 >= edge]
    assert bins.high.tolist() == [k for k in above if in_bin[k] >= 50]
    assert 1 < len(bins.high) < len(above)
    assert in_bin[bins.high[0] - 1] >= 50  # the bin that holds the percentile is not wholly above it
    # Three words thrice: nine pairs of cosine 1, too few for a high bin.
    assert (bins.of_pair == 100).sum() == 18
    with pytest.raises(NotAssessable, match="holds 50 pairs"):
        cosine_bins(words[:30])


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("by_column", [True, False])
def test_scores_by_bin_are_those_of_loops(rotary: bool, by_column: bool) -> None:
    words, heads = many_words(), heads_of(rotary)
    bins = cosine_bins(words)
    found = score_by_similarity(token_scores(heads, 1, words), bins, by_column)
    sums, pairs, square = np.zeros((N_WORDS, N_BINS)), np.zeros((N_WORDS, N_BINS)), np.zeros(N_WORDS)
    own = [score(heads, 1, x, x, own=True) for x in words]
    for i in range(N_WORDS):
        for j in range(N_WORDS):
            if i != j:
                s, c = score(heads, 1, words[i], words[j]), cosine(words[i], words[j])
                number = 100 if c > 1 - 1e-9 else int((c + 1) * 50)
                sums[i, number] += s - own[j if by_column else i]
                pairs[i, number] += 1
                square[i] += s * s / (N_WORDS - 1)
    assert found.pairs.tolist() == pairs.tolist()
    assert found.sums == pytest.approx(sums, rel=1e-3, abs=1e-3)
    assert found.mean_square == pytest.approx(square, rel=1e-4)
    held = pairs.sum(axis=0) > 0
    assert found.curve[held] == pytest.approx(sums.sum(axis=0)[held] / pairs.sum(axis=0)[held], rel=1e-3, abs=1e-3)
    assert np.isnan(found.curve[~held]).all()
    # Under weights: the highest mean over high bins, by whatever queries were drawn.
    weights = np.random.default_rng(6).integers(3, size=(4, N_WORDS)).astype(float)
    expected = [
        max(w @ sums[:, b] / (w @ pairs[:, b]) for b in bins.high) / math.sqrt(w @ square / w.sum()) for w in weights
    ]
    assert peak(found).of_weights(weights) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    best = max(bins.high, key=lambda b: sums[:, b].sum() / pairs[:, b].sum())
    assert found.peak_at == pytest.approx(best / 50 - 0.99)


@pytest.mark.parametrize(
    ("sums", "high", "height"),
    [
        ([6.0, 8.0], [97, 98], 1.5),  # means 3 and 2, in root mean squares of 2
        ([-6.0, -8.0], [97, 98], -1.0),
        ([6.0, 8.0], [97, 100], 1.5),  # the bin of cosine 1 is lower
        ([6.0, 20.0], [97, 100], -1.0),  # cosine 1 has 5, the rest 3: no peak, 2 below
        ([-6.0, -4.0], [97, 100], -1.0),  # −1 at cosine 1 is still above −3
    ],
)
def test_peak_height_by_hand(sums: list[float], high: list[int], height: float) -> None:
    found = peak_height(np.array(sums), np.array([2.0, 4.0]), np.array(4.0), np.array(high))
    assert float(found) == pytest.approx(height)


def test_peak_height_of_empty_bins_and_of_no_scores() -> None:
    """A bin of which no query was drawn has no mean; scores that are all 0 have no peak."""
    height = peak_height(np.array([[0.0, -8.0]]), np.array([[0.0, 4.0]]), np.array([4.0]), np.array([97, 98]))
    assert height.tolist() == [-1.0]
    height = peak_height(np.array([[0.0, 0.0]]), np.array([[2.0, 4.0]]), np.array([0.0]), np.array([97, 98]))
    assert height.tolist() == [0.0]


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("copies", [False, True])
def test_moments_give_the_peaks_of_loops(rotary: bool, copies: bool) -> None:
    """For heads without biases; with many copies of a word the bin of cosine 1 is among the high ones."""
    words = many_words(seed=30)
    if copies:
        words = torch.cat([words, words[-1:].expand(12, -1)])
    heads, bins = heads_of(rotary, biased=False), cosine_bins(words)
    assert (100 in bins.high) == copies
    assert min(bins.high) < 100
    n, expected = len(words), []
    for head in range(HEADS):
        own = [score(heads, head, x, x, own=True) for x in words]
        s = np.array([[score(heads, head, x, y) for y in words] for x in words])
        means = {
            b: np.mean([s[i, j] - own[i] for i in range(n) for j in range(n) if bins.of_pair[i, j] == b])
            for b in bins.high
        }
        spread = math.sqrt((np.square(s).sum() - np.square(s.diagonal()).sum()) / (n * (n - 1)))
        below, at_one = max(m for b, m in means.items() if b < 100), means.get(100, -math.inf)
        expected.append((below if below >= at_one else below - at_one) / spread)
    space = word_space(words, [words[:0]] * n, seed=0)
    found = peaks_of_heads(bin_moments(words, bins), heads, Projected.of(space.words, heads))
    assert found == pytest.approx(np.array(expected), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("tile", [1, 7, 64, 500])
@pytest.mark.parametrize("rotary", [False, True])
def test_the_curve_of_all_pairs(tile: int, rotary: bool) -> None:
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
    found = similarity_curve(TokenScores(q, k, own), x, tile)
    s = (q.double() @ k.double().T).numpy()
    itself = s.diagonal() if own is None else own.numpy()
    norms = np.maximum(np.linalg.norm(x.double().numpy(), axis=1), 1e-300)
    unit = x.double().numpy() / norms[:, None]
    cosines = np.clip(unit @ unit.T, -1, 1)
    cosines[cosines > 1 - 1e-9] = 1.0
    bins, off = np.floor((cosines + 1) / 0.02 + 1e-9).astype(int), ~np.eye(n, dtype=bool)
    assert found.pairs.tolist() == np.bincount(bins[off], minlength=101).tolist()
    above = (s - itself[:, None])[off]
    assert found.sums == pytest.approx(np.bincount(bins[off], weights=above, minlength=101), abs=1e-3)
    assert found.mean_square == pytest.approx(np.square(s[off]).mean(), rel=1e-6)


def test_the_peak_of_the_curve_is_that_of_common_words() -> None:
    """The same pairs, so the same bins from the 90th percentile on, give or take the one it lies in."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(400, 6, generator=draw)
    q, k = torch.randn(2, 400, 4, generator=draw)
    scores = TokenScores(q, k)
    curve, resampled = similarity_curve(scores, x), score_by_similarity(scores, cosine_bins(x))
    assert curve.mean[curve.high] == pytest.approx(resampled.curve[curve.high], abs=1e-5)
    assert set(curve.high) <= set(resampled.high)
    assert len(resampled.high) - len(curve.high) <= 1
    few = similarity_curve(TokenScores(q[:9], k[:9]), x[:9])
    assert curve.has_peak
    assert curve.height == pytest.approx(peak_of(curve), rel=1e-6)
    assert not few.has_peak
    one = similarity_curve(TokenScores(q[:1], k[:1]), x[:1])
    assert (one.pairs.sum(), one.has_peak) == (0, False)


def peak_of(curve: SimilarityCurve) -> float:
    """The highest mean over high bins, in root mean squares: no bin of cosine 1 is among them."""
    assert N_BINS - 1 not in curve.high
    return max(curve.sums[b] / curve.pairs[b] for b in curve.high) / math.sqrt(curve.mean_square)


@pytest.mark.parametrize("what", ["queries", "vectors"])
def test_a_curve_of_other_tokens_or_of_infinities_is_refused(what: str) -> None:
    one = torch.ones(4, 2)
    with pytest.raises(ValueError, match="wanted the same tokens"):
        similarity_curve(TokenScores(one[:3] if what == "queries" else one, one), one[:3] if what == "vectors" else one)
    bad = one / torch.tensor([[1.0, 0.0]])
    with pytest.raises(ValueError, match="not finite"):
        similarity_curve(TokenScores(bad if what == "queries" else one, one), bad if what == "vectors" else one)
