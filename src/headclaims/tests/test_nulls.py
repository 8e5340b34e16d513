"""Null populations and p-values: by hand, against a published example, and against slow constructions of the same."""

import math
from contextlib import suppress

import numpy as np
import pytest
import torch
from scipy import stats

from headclaims.checkpoint.interface import Head
from headclaims.circuit.eigenspectrum import head_spectra
from headclaims.circuit.gaussian_heads import entry_size, gaussian_spans
from headclaims.circuit.qk_circuit import span
from headclaims.measures.category_score import survey
from headclaims.measures.lowest_score import gap_to_runner_up, outlier_ratio
from headclaims.measures.other_heads import other_heads
from headclaims.measures.permuted_labels import best_of_all_heads, permuted_label_scores
from headclaims.prompts.category import category_prompts, recorded_prompts
from headclaims.prompts.words import WordList
from headclaims.statistics.multiplicity import adjusted
from headclaims.statistics.nulls import Null
from headclaims.tests import real_gpt2
from headclaims.tests.plain_loops import random_patterns, rows_of

WORDS = WordList("small", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse", "sheep", "cow")})
# Benjamini and Hochberg (1995), section 4: fifteen hypotheses on thrombolysis, ordered.
THROMBOLYSIS = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
]


@pytest.mark.parametrize(
    ("measured", "high", "low"),
    [
        (5.0, 1 / 5, 5 / 5),  # above all four: itself alone; all four at or below it
        (4.0, 2 / 5, 5 / 5),  # a tie is as favourable, on either side
        (2.5, 3 / 5, 3 / 5),
        (2.0, 4 / 5, 3 / 5),
        (0.5, 5 / 5, 1 / 5),
    ],
)
def test_p_counts_the_target_and_ties(measured: float, high: float, low: float) -> None:
    null = Null("made up", np.array([3.0, 1.0, 4.0, 2.0]))
    assert null.n == 4
    assert null.p_value(measured, "high") == pytest.approx(high)
    assert null.p_value(measured, "low") == pytest.approx(low)


def test_999_draws_give_at_best_one_in_a_thousand() -> None:
    null = Null("made up", np.arange(999.0))
    assert null.p_value(1000.0, "high") == 0.001
    assert null.p_value(949.0, "high") == pytest.approx(0.051)
    assert null.p_value(950.0, "high") == pytest.approx(0.050)


def test_a_target_chosen_among_m_is_compared_with_the_extreme_of_m() -> None:
    values = np.random.default_rng(0).permutation(999).astype(float)
    null = Null("made up", values, chosen_among=36)
    p = 3 / 1000  # 997 and 998 are above 996.5, and the target counts
    assert null.p_value(996.5, "high") == pytest.approx(1 - (1 - p) ** 36)
    assert null.p_value(1.5, "low") == pytest.approx(1 - (1 - p) ** 36)
    assert null.p_value(-1.0, "high") == 1.0
    assert Null("made up", values, chosen_among=1).p_value(996.5, "high") == pytest.approx(p)
    assert Null("made up", values, chosen_among=2).p_value(996.5, "high") == pytest.approx(1 - 0.997**2)
    # The highest of 36 draws from so large a population, by counting: all 36 among the 997 lowest of 1,000.
    extremes = np.random.default_rng(1).integers(1000, size=(50_000, 36)).max(axis=1)
    assert (extremes >= 997).mean() == pytest.approx(1 - (1 - p) ** 36, abs=0.006)


def test_the_least_p_is_that_of_a_value_beyond_all_members() -> None:
    assert Null("made up", np.zeros(19)).least_p == 1 / 20
    assert Null("made up", np.zeros(999), chosen_among=36).least_p == pytest.approx(1 - 0.999**36)
    # Members that are no number count as favourable.
    assert Null("made up", np.array([np.nan, *[0.0] * 18])).least_p == 2 / 20
    assert Null("made up", np.zeros(0)).least_p == 1.0


def in_two_parts(values: np.ndarray, m: int) -> Null:
    """A population of a target chosen among m, of which 199 members are there and the rest can be drawn."""
    return Null(
        "made up", values[:199], chosen_among=m, more=lambda some: values[some.start : some.stop], at_most=len(values)
    )


@pytest.mark.parametrize(
    ("above", "later", "drawn"),
    [(0, 0, 2000), (19, 0, 2000), (20, 0, 199), (199, 0, 199), (19, 1, 1194), (0, 19, 2000)],
)
def test_more_is_drawn_unless_twenty_members_are_as_favourable(above: int, later: int, drawn: int) -> None:
    """Six times as many at a time: 199, 1194, all."""
    values = np.zeros(2000)
    values[:above] = values[1194 - later : 1194] = 1.0
    values[1500:1507] = 2.0
    null = in_two_parts(values, 100).enough_for(1.0, "high")
    assert null.n == drawn
    assert (null.more is None) == (drawn == 2000)
    p = (above + later + 8) / 2001 if drawn == 2000 else (above + later * (drawn > 199) + 1) / (drawn + 1)
    assert null.p_value(1.0, "high") == pytest.approx(1 - (1 - p) ** 100)
    # What a value beyond all members would have: for it all are drawn.
    assert null.least_p == pytest.approx(1 - (2000 / 2001) ** 100)
    low = in_two_parts(-values, 100).enough_for(-1.0, "low")
    assert (low.n, low.p_value(-1.0, "low")) == (drawn, null.p_value(1.0, "high"))


def test_a_population_without_more_is_as_it_was() -> None:
    for null in (Null("made up", np.zeros(999)), Null("made up", None, missing="no weights")):
        assert null.enough_for(1.0, "high") is null
    with_nan = in_two_parts(np.full(2000, np.nan), 100)
    assert with_nan.enough_for(1.0, "high") is with_nan


def test_stopping_early_finds_nothing_more_often() -> None:
    """The target is the most favourable of 60 of the same distribution: p is under α no more often than α."""
    generator = np.random.default_rng(5)
    stopped, p_values = 0, []
    for target in generator.random((4000, 60)).max(axis=1):
        values = generator.random(1200)
        null = in_two_parts(values, 60).enough_for(target, "high")
        p = null.p_value(target, "high")
        every = Null("made up", values, chosen_among=60).p_value(target, "high")
        assert p == every or min(p, every) > 0.5
        stopped += null.n == 199
        p_values.append(p)
    assert stopped > 20
    for alpha in (0.05, 0.1, 0.3):
        assert np.mean(np.array(p_values) <= alpha) == pytest.approx(alpha, abs=4 * math.sqrt(alpha / 4000))


def test_quantiles_of_a_null_are_given_by_name() -> None:
    assert Null("made up", np.arange(101.0)).quantiles(upper=0.95, middle=0.5) == {"upper": 95.0, "middle": 50.0}
    assert Null("made up", None, missing="no weights").quantiles(upper=0.95) == {}


def test_a_missing_null_has_no_p_value() -> None:
    null = Null("made up", None, missing="the file holds one head")
    assert null.n == 0
    assert null.least_p is None
    with pytest.raises(ValueError, match="'made up' is missing: the file holds one head"):
        null.p_value(1.0, "high")


def test_a_member_that_is_no_number_makes_nothing_more_distinctive() -> None:
    # A pruned head's ratio is 0/0. Ten of 99 members: p can be 11/100 at least, or there is none.
    values = np.zeros(99)
    values[:10] = np.nan
    p = 1.0
    with suppress(ValueError):
        p = Null("made up", values).p_value(1.0, "high")
    assert p >= 0.11


def test_benjamini_and_hochberg_s_example() -> None:
    # Their procedure at 0.05 rejects the first four. By hand, p · 15/rank, made monotone from the last to the first.
    after = adjusted(THROMBOLYSIS)
    assert [p <= 0.05 for p in after] == [True] * 4 + [False] * 11
    by_hand = [
        *(0.0015, 0.0030, 0.0095, 0.035625, 0.0603, 0.0344 * 15 / 8, 0.0344 * 15 / 8, 0.0344 * 15 / 8),
        *(0.0765, 0.486, 0.4262 * 15 / 11, 0.5719 * 15 / 12, 0.6528 * 15 / 13, 0.7590 * 15 / 14, 1.0),
    ]
    by_hand[5] = by_hand[6] = 0.0298 * 15 / 7  # 0.063857, below 0.0278 · 15/6 = 0.0695
    assert after == pytest.approx(by_hand, rel=1e-12)


def test_adjusted_p_values_come_in_the_given_order() -> None:
    order = np.random.default_rng(3).permutation(15)
    shuffled = adjusted([THROMBOLYSIS[i] for i in order])
    assert shuffled == pytest.approx([adjusted(THROMBOLYSIS)[i] for i in order])
    assert adjusted([]) == []
    assert adjusted([0.03]) == [0.03]
    assert adjusted([0.04, 0.04]) == [0.04, 0.04]


def test_adjusted_p_values_are_scipy_s() -> None:
    """To the last bit, tied ones and ones of 0 and 1 among them."""
    draw = np.random.default_rng(7)
    for n in (1, 2, 3, 8, 29, 200):
        for p in (draw.random(n), draw.integers(0, 5, size=n) / 4, draw.random(n) ** 4):
            assert adjusted(p.tolist()) == stats.false_discovery_control(p, method="bh").tolist()


def heads_of(layers: int, each: int) -> list[Head]:
    """All heads of a model."""
    return [Head(layer, index) for layer in range(layers) for index in range(each)]


def test_other_heads_are_all_or_as_many_as_may_be_drawn() -> None:
    target = Head(1, 5)
    every = [head for head in heads_of(12, 12) if head != target]
    assert other_heads(target, heads_of(12, 12), seed=0, most=None) == every
    chosen = other_heads(target, heads_of(12, 12), seed=0)
    assert len(chosen) == len(set(chosen)) == 48
    assert chosen == [head for head in every if head in chosen]
    # 49 others are one too many, 48 are not.
    assert len(other_heads(Head(0, 0), heads_of(5, 10), seed=0)) == 48
    assert other_heads(Head(0, 0), heads_of(7, 7), seed=0) == heads_of(7, 7)[1:]
    assert other_heads(Head(1, 0), [Head(1, 0)], seed=0) == []


def test_targets_of_a_layer_have_the_same_other_heads_of_other_layers() -> None:
    """What is kept of these is then there for the layer's next target."""
    heads = heads_of(6, 12)
    for seed in range(4):
        of_others = {
            tuple(head for head in other_heads(Head(2, index), heads, seed=seed) if head.layer != 2)
            for index in range(12)
        }
        assert len(of_others) == 1
        assert 24 < len(of_others.pop()) < 48


def test_other_heads_are_drawn_by_seed_and_evenly() -> None:
    """The target's layer is no more likely than another: p is against the model's heads."""
    heads, target = heads_of(12, 12), Head(1, 5)
    assert other_heads(target, heads, seed=3) == other_heads(target, heads, seed=3)
    assert other_heads(target, heads, seed=3) != other_heads(target, heads, seed=4)
    counts = dict.fromkeys(heads, 0)
    for seed in range(300):
        for head in other_heads(target, heads, seed=seed):
            counts[head] += 1
    assert counts.pop(target) == 0
    assert sum(counts.values()) == 300 * 48
    # Draws without replacement vary less than the test supposes.
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def explicit_spectra(
    n: int, d_model: int, sizes: tuple[float, float], d_head: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian W_Q and W_K drawn whole: σ ratio, σ_max of W_sym, σ_min/σ_max of [W_Q W_K], ‖W_skew‖, by numpy."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        W_Q, W_K = (size * generator.normal(size=(d_model, d_head)) for size in sizes)
        W = W_Q @ W_K.T
        symmetric, skew = np.linalg.norm(W + W.T, ord=2) / 2, np.linalg.norm(W - W.T, ord=2) / 2
        columns = np.linalg.svd(np.hstack([W_Q, W_K]), compute_uv=False)
        found.append((skew / symmetric, symmetric, columns[-1] / columns[0], np.linalg.norm(W - W.T) / 2))
    ratio, symmetric, rank, frobenius = np.array(found).T
    return ratio, symmetric, rank, frobenius


@pytest.mark.parametrize(("d_model", "d_head"), [(12, 4), (8, 4), (5, 4)])
def test_gaussian_spans_are_spans_of_gaussian_heads(d_model: int, d_head: int) -> None:
    R = gaussian_spans(2500, d_model, d_head, seed=1)
    assert R.shape == (2500, min(d_model, 2 * d_head), 2 * d_head)
    sizes = (0.5, 3.0)
    drawn = head_spectra(R).scaled(0.5 * 3.0)
    ratio, symmetric, rank, frobenius = explicit_spectra(2500, d_model, sizes, d_head, seed=2)
    assert stats.ks_2samp(drawn.norms.ratio.numpy(), ratio).pvalue > 0.01
    assert stats.ks_2samp(drawn.norms.symmetric.numpy(), symmetric).pvalue > 0.01
    assert stats.ks_2samp(drawn.norms.skew_frobenius.numpy(), frobenius).pvalue > 0.01
    columns = np.linalg.svd(R.numpy() * np.repeat(sizes, d_head), compute_uv=False)
    assert stats.ks_2samp(columns[:, -1] / columns[:, 0], rank).pvalue > 0.01


def test_entry_size_is_the_root_mean_square_on_free_dimensions() -> None:
    # Columns centred over 16 dimensions have 15 free ones: of Gaussian entries of one size it is that size.
    generator = torch.Generator().manual_seed(0)
    W = 0.2 * torch.randn(20_000, 16, 3, generator=generator, dtype=torch.float64)
    W = W - W.mean(dim=1, keepdim=True)
    squares = [entry_size(one, 15) ** 2 for one in W]
    # Over 20,000 draws of 45 squares the mean is known to √(2/45)/√20,000 = 0.15 %.
    assert np.mean(squares) == pytest.approx(0.2**2, rel=0.006)


def test_gaussian_spans_have_a_standard_gaussian_gram_matrix() -> None:
    R = gaussian_spans(20_000, 15, 3, seed=3)
    gram = (R.mT @ R).mean(0).numpy() / 15
    # Each entry has a standard deviation of √(2/15) at most: 0.0026 over 20,000 draws.
    assert gram == pytest.approx(np.eye(6), abs=0.012)


def test_gaussian_spans_come_by_seed() -> None:
    first, again, other = (gaussian_spans(5, 9, 2, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float64


def test_permuted_label_scores_are_those_of_a_plain_loop() -> None:
    prompts = category_prompts(WORDS, lambda text: len(text), 0, n_prompts=2, length=9, seed=5)
    patterns = random_patterns(2, 3, 9, seed=9)
    s = survey(prompts, tuple(Head(0, h) for h in range(3)), iter([(slice(0, 2), torch.from_numpy(patterns))]))
    scores = permuted_label_scores(s, n=23, seed=4, at_once=7)
    generator = np.random.default_rng(4)
    labels = np.array([0] * 3 + [1] * 5)
    for permutation in range(23):
        category_of = dict(zip(WORDS.words, generator.permutation(labels).tolist(), strict=True))
        for head in range(3):
            rows = [
                row.score
                for indices, pattern in zip(prompts.word_at, patterns[:, head], strict=True)
                for row in rows_of([None if at < 0 else WORDS.words[at] for at in indices], category_of, pattern)
            ]
            assert scores[permutation, head] == pytest.approx(np.mean(rows), abs=1e-5)


def test_permuted_label_scores_without_bos_are_those_of_rows_with_kin() -> None:
    """How many rows have kin differs by permutation; where none has there is no score, and no member of the null."""
    recorded = [["A", " red", ",", " blue", " red"], ["The", " cat", " cow"]]
    prompts = recorded_prompts(WORDS, recorded)
    patterns = [random_patterns(1, 2, len(prompt), seed=len(prompt)) for prompt in recorded]
    batches = [(slice(n, n + 1), torch.from_numpy(pattern)) for n, pattern in enumerate(patterns)]
    s = survey(prompts, (Head(0, 0), Head(0, 1)), batches)
    scores = permuted_label_scores(s, n=60, seed=4, at_once=7)
    generator = np.random.default_rng(4)
    without = 0
    for permutation in range(60):
        dealt = generator.permutation(np.array([0] * 3 + [1] * 5)).tolist()
        category_of = dict(zip(WORDS.words, dealt, strict=True))
        texts = [[None if at < 0 else WORDS.words[at] for at in indices] for indices in prompts.word_at]
        for head in range(2):
            rows = [
                row
                for text, pattern in zip(texts, patterns, strict=True)
                for row in rows_of(text[: pattern.shape[-1]], category_of, pattern[0, head])
                if row.kin
            ]
            without += not rows
            expected = np.mean([row.score for row in rows]) if rows else np.nan
            assert scores[permutation, head] == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert 0 < without < 120
    assert len(best_of_all_heads(scores, gap_to_runner_up)) == 60 - without // 2


def test_permuted_label_scores_at_the_floor() -> None:
    # A head that attends to itself alone misses every target but row 0's, whatever the labels.
    prompts = category_prompts(WORDS, lambda text: len(text), 0, n_prompts=1, length=4, seed=5)
    s = survey(prompts, (Head(0, 0),), iter([(slice(0, 1), torch.eye(4)[None, None])]))
    assert permuted_label_scores(s, n=5) == pytest.approx(np.full((5, 1), 0.75 * 12 * math.log(10)), rel=1e-5)


def test_permutations_come_by_seed() -> None:
    prompts = category_prompts(WORDS, lambda text: len(text), 0, n_prompts=1, length=12, seed=5)
    patterns = torch.from_numpy(random_patterns(1, 2, 12, seed=9))
    s = survey(prompts, (Head(0, 0), Head(0, 1)), iter([(slice(0, 1), patterns)]))
    first, again, other = (permuted_label_scores(s, n=20, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    # Labels are dealt anew, not once: the scores differ among permutations.
    assert len(np.unique(first[:, 0].round(6))) > 5


def test_the_best_of_all_heads_is_chosen_under_each_permutation() -> None:
    scores = np.array([[3.0, 1.0, 1.5], [2.0, 4.0, 2.25], [5.0, 5.0, 1.0]])
    assert best_of_all_heads(scores, gap_to_runner_up).tolist() == [0.5, 0.25, 4.0]


@real_gpt2.needs_attention
def test_permuted_labels_on_real_gpt2_small() -> None:
    s = real_gpt2.recorded_survey()
    scores = permuted_label_scores(s)
    assert scores.shape == (999, 12)
    gaps, ratios = best_of_all_heads(scores, gap_to_runner_up), best_of_all_heads(scores, outlier_ratio)
    # As printed, to two digits; permutations of another seed move it by some 0.005.
    assert np.quantile(gaps, 0.95) == pytest.approx(0.11, abs=0.005)
    assert Null("permuted labels", gaps).p_value(1.302, "high") == 0.001
    # Of eleven other heads, sorted after the lowest, the sixth is the median.
    ordered = np.sort(scores, axis=1)
    assert ratios == pytest.approx((ordered[:, 1] - ordered[:, 0]) / (ordered[:, 6] - ordered[:, 1]))
    assert Null("permuted labels", ratios).p_value(2.164, "high") == 0.001


def test_gaussian_heads_of_l1h5_s_shape() -> None:
    # By symmetry (W_Q → −W_Q turns every sign) the count's mean is 32. CLAIMS.md: 32.03 ± 0.59, 0.982 ± 0.019 and
    # P(> 32) = 0.18; 160 draws have standard errors of 0.05, 0.0016 and 0.03.
    drawn = head_spectra(gaussian_spans(160, real_gpt2.D_MODEL - 1, real_gpt2.D_HEAD, seed=0))
    check_gaussian_heads(drawn.negative_count.numpy(), drawn.norms.ratio.numpy())


@pytest.mark.slow
@pytest.mark.long
@real_gpt2.needs_weights
def test_gaussian_heads_of_l1h5_s_size_drawn_whole() -> None:
    # The same of matrices of 768 centred rows, and the 999 draws that claims are compared with.
    W_Q, W_K = (torch.from_numpy(W) for W in real_gpt2.target_weights())
    free = real_gpt2.D_MODEL - 1
    of_unit_size = head_spectra(gaussian_spans(999, free, real_gpt2.D_HEAD, seed=0))
    drawn = of_unit_size.scaled(entry_size(W_Q, free) * entry_size(W_K, free))
    check_gaussian_heads(drawn.negative_count.numpy(), drawn.norms.ratio.numpy())
    generator = torch.Generator().manual_seed(2)
    whole = torch.randn(2, 300, real_gpt2.D_MODEL, real_gpt2.D_HEAD, generator=generator, dtype=torch.float64)
    # Centring takes one of 768 dimensions: the rest are drawn larger for the target's root mean square.
    size = torch.tensor([float(W.square().mean().sqrt()) for W in (W_Q, W_K)], dtype=torch.float64)
    size *= (real_gpt2.D_MODEL / (real_gpt2.D_MODEL - 1)) ** 0.5
    whole = (whole - whole.mean(dim=2, keepdim=True)) * size[:, None, None, None]
    expected = head_spectra(span(whole[0], whole[1]))
    assert stats.ks_2samp(drawn.norms.ratio.numpy(), expected.norms.ratio.numpy()).pvalue > 0.01
    assert stats.ks_2samp(drawn.norms.symmetric.numpy(), expected.norms.symmetric.numpy()).pvalue > 0.01


def check_gaussian_heads(counts: np.ndarray, ratios: np.ndarray) -> None:
    """Compare with CLAIMS.md's figures, within four standard errors."""
    n, errors = len(counts), 4
    assert counts.mean() == pytest.approx(32, abs=errors * 0.60 / math.sqrt(n))
    assert counts.std() == pytest.approx(0.59, abs=errors * 0.60 / math.sqrt(n))
    assert (counts > 32).mean() == pytest.approx(0.18, abs=errors * 0.38 / math.sqrt(n))
    assert ratios.mean() == pytest.approx(0.982, abs=errors * 0.02 / math.sqrt(n) + 5e-4)
    assert ratios.std() == pytest.approx(0.0195, abs=errors * 0.02 / math.sqrt(2 * n) + 5e-4)
    assert Null("Gaussian heads", ratios).p_value(0.724, "low") == pytest.approx(1 / (n + 1))
