"""The target among all heads by category score: by hand, by plain loops, and on real GPT-2 small."""

import math
from pathlib import Path

import numpy as np
import pytest

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.lowest_score import (
    gap_over_neighbours,
    gap_to_runner_up,
    outlier_ratio,
    rank_stability,
    score_gap,
    score_outlier,
    tukey_ratio,
)
from headclaims.prompts.category import category_prompts, recorded_prompts
from headclaims.tests import real_gpt2
from headclaims.tests.plain_loops import random_patterns
from headclaims.tests.test_category_score import WORDS, loops_over, prompts_of, survey_of


def test_gap_to_the_runner_up() -> None:
    scores = np.array([3.0, 0.5, 1.25, 9.0])
    assert gap_to_runner_up(scores, 1) == 0.75
    assert gap_to_runner_up(scores, 2) == -0.75
    assert gap_to_runner_up(scores, 3) == -8.5
    batch = np.array([scores, [1.0, 1.0, 2.0, 2.5]])
    assert gap_to_runner_up(batch, 1).tolist() == [0.75, 0.0]


def test_outlier_ratio_is_over_the_distance_to_the_median_of_the_others() -> None:
    # The others, sorted: 2 3 3.5 5 9, median 3.5. (2 − 0.5)/(3.5 − 2).
    scores = np.array([3.5, 9.0, 0.5, 2.0, 5.0, 3.0])
    assert outlier_ratio(scores, 2) == pytest.approx(1.0)
    # Of the second, the others are 0.5 3 3.5 5 9, its gap is negative: (0.5 − 2)/(3.5 − 0.5).
    assert outlier_ratio(scores, 3) == pytest.approx(-0.5)
    # Batches go row by row; an even number of others has the mean of the middle two: (1 − 0)/(5/2 − 1).
    batch = np.array([[0.0, 1.0, 4.0, 2.0, 3.0], [4.0, 1.0, 0.0, 2.0, 3.0]])
    assert outlier_ratio(batch, 0) == pytest.approx([1 / 1.5, -4.0 / 1.5])


@pytest.mark.parametrize("others", [1.5, 27.6])
def test_a_gap_above_heads_that_tie_is_beyond_any_multiple_and_finite(others: float) -> None:
    # A record takes no infinity, and no score is above −ln 1e-12 = 27.6.
    for ratio in (outlier_ratio, tukey_ratio, gap_over_neighbours):
        value = ratio(np.array([0.0] + [others] * 11), 0)
        assert value > 1e12
        assert np.isfinite(value)


def test_tukey_s_ratio_is_in_interquartile_ranges_of_all_heads() -> None:
    # Of −1 2 4 5 7 the quartiles are 2 and 5: (2 − (−1))/3.
    assert tukey_ratio(np.array([7.0, 5, -1, 2, 4]), 2) == pytest.approx(1.0)


def test_the_gap_over_gaps_between_neighbours_is_over_their_median() -> None:
    # Gaps from the lowest score upwards: 3, then eight more between the ten lowest, then two that are beyond them.
    # Sorted, the nine are .1 .2 .3 .4 1 2 2.5 2.7 3: median 1. Of eight (without the first) it would be .7, of ten
    # (with the next) 1.5.
    gaps = [3, 0.1, 2, 0.3, 2.5, 0.4, 1, 0.2, 2.7, 25, 40]
    shuffled = np.random.default_rng(0).permutation(12)
    scores = np.concatenate([[0.5], 0.5 + np.cumsum(gaps)])[shuffled]
    assert gap_over_neighbours(scores, int(np.flatnonzero(shuffled == 0)[0])) == pytest.approx(3.0)


def test_the_statistics_are_those_of_the_scores() -> None:
    prompts = category_prompts(WORDS, len, 0, n_prompts=3, length=14, seed=2)
    patterns = random_patterns(3, 12, 14, seed=5)
    s = survey_of(prompts, patterns)
    scores = [float(np.mean([row.score for row in rows])) for rows in loops_over(prompts, patterns)]
    for head in (0, 7):
        others = sorted(score for at, score in enumerate(scores) if at != head)
        gap = others[0] - scores[head]
        assert score_gap(s, Head(0, head)).value == pytest.approx(gap, abs=1e-5)
        assert score_outlier(s, Head(0, head)).value == pytest.approx(gap / (others[5] - others[0]), rel=1e-3)


def test_an_outlier_ratio_over_a_small_distance_varies_by_multiples() -> None:
    # Eleven heads on twelve prompts: row 2 scores 0 for the target, and 3 with a little noise for the others. The ratio
    # is 3/3 over the distance of the least of ten from their median, near 30 times; on no prompt is it below one.
    generator = np.random.default_rng(3)
    pattern = np.zeros((12, 11, 4, 4))
    pattern[..., 0] = 1.0
    pattern[:, :, 2:, 0] = 0.0
    pattern[:, :, 2, 1] = np.exp(-3 - generator.normal(scale=0.3, size=(12, 11)))
    pattern[:, :, 3, 2] = np.exp(-3 - generator.normal(scale=0.3, size=(12, 11)))
    pattern[:, 0, 2, 1] = pattern[:, 0, 3, 2] = 1.0
    s = survey_of(prompts_of(*["red blue red", "dog cat dog"] * 6), pattern)
    statistic = score_outlier(s, Head(0, 0))
    interval = statistic.interval()
    assert interval is not None
    assert statistic.value > 10
    assert 1 < interval.low < statistic.value < interval.high
    # On the scale of arsinh the interval lies evenly about the value.
    low, value, high = (math.asinh(end) for end in (interval.low, statistic.value, interval.high))
    assert (low + high) / 2 == pytest.approx(value)
    without_prompt = statistic.jackknifed.left_out["prompts"][0, 0]
    others = survey_of(prompts_of(*["dog cat dog", "red blue red"] * 6).subset(slice(0, 11)), pattern[1:])
    assert math.sinh(without_prompt) == pytest.approx(score_outlier(others, Head(0, 0)).value)


def test_fewer_than_ten_heads_have_no_outlier() -> None:
    s = survey_of(prompts_of("red blue"), random_patterns(1, 4, 3, seed=3))
    with pytest.raises(NotAssessable, match="4 heads; wanted 10"):
        score_outlier(s, Head(0, 0))


def test_without_kin_there_is_no_category_score_to_compare() -> None:
    s = survey_of(prompts_of("red dog"), random_patterns(1, 12, 3, seed=1))
    for statistic in (score_gap, score_outlier):
        with pytest.raises(NotAssessable, match="no row of the prompts has kin"):
            statistic(s, Head(0, 0))


def test_without_bos_heads_are_compared_on_rows_with_kin() -> None:
    """Row 1 has no kin: head 0 gives all of it to the first token, which would be BOS. Row 2: 0.5 to kin, and 0.25."""
    recorded = recorded_prompts(WORDS, [["The", " red", " blue"]])
    pattern = np.array([[[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]], [[1, 0, 0], [0.1, 0.9, 0], [0.75, 0.25, 0]]])
    s = survey_of(recorded, pattern[None])
    assert score_gap(s, Head(0, 0)).value == pytest.approx(math.log(2), rel=1e-6)


def test_rank_stability_is_the_share_of_resamples_in_first_place() -> None:
    # Sixteen prompts BOS red blue, two heads that differ on row 2. On three of four prompts the first head is better by
    # ln 2, on the others worse by ln 2: it is first in a resample iff more than half of what was drawn is of the first
    # kind: P(binomial(16, 3/4) > 8) = 0.9730.
    pattern = np.zeros((16, 2, 3, 3))
    pattern[:, :, :2, 0] = 1.0
    pattern[:, :, 2, 1] = 0.4
    pattern[:12, 0, 2, 1] = pattern[12:, 1, 2, 1] = 0.8
    pattern[:, :, 2, 2] = 1 - pattern[:, :, 2, 1]
    s = survey_of(prompts_of(*["red blue"] * 16), pattern)
    assert rank_stability(s, Head(0, 0), seed=1, draws=20_000) == pytest.approx(0.9730, abs=0.004)
    assert rank_stability(s, Head(0, 1), seed=1, draws=20_000) == pytest.approx(0.0075, abs=0.002)  # P(< 8)
    assert rank_stability(s, Head(0, 0), seed=1) == rank_stability(s, Head(0, 0), seed=1)


def test_the_runner_up_is_chosen_anew_in_each_resample() -> None:
    # Twelve prompts BOS red blue, three heads. The target scores 0; of the others, one scores 1.5 on rows 1 and 2 of
    # even prompts and 0 on odd ones, the other the reverse. Row 0 scores 0 for all. Whatever is drawn, the lower mean
    # of the two is at most 1/2; that of either one alone would exceed it in half the resamples.
    pattern = np.zeros((12, 3, 3, 3))
    pattern[:, :, :2, 0] = pattern[:, :, 2, 1] = 1.0
    pattern[::2, 1, 1, 0] = pattern[1::2, 2, 1, 0] = math.exp(-1.5)
    pattern[::2, 1, 2, 1] = pattern[1::2, 2, 2, 1] = math.exp(-1.5)
    pattern[:, :, 1, 1], pattern[:, :, 2, 2] = 1 - pattern[:, :, 1, 0], 1 - pattern[:, :, 2, 1]
    s = survey_of(prompts_of(*["red blue"] * 12), pattern)
    statistic = score_gap(s, Head(0, 0))
    assert statistic.value == pytest.approx(0.5, abs=1e-6)
    weights = np.random.default_rng(0).multinomial(12, [1 / 12] * 12, size=500).astype(float)
    even = weights[:, ::2].sum(axis=1) / 12
    components = statistic.components(statistic.rows.means(weights))
    assert components.min(axis=1) == pytest.approx(np.minimum(even, 1 - even), abs=1e-6)
    assert components == pytest.approx(np.stack([even, 1 - even], axis=1), abs=1e-6)


@real_gpt2.needs_both
@pytest.mark.parametrize(
    ("path", "gap", "ratio", "tukey"),
    [(real_gpt2.ATTENTION, 1.302, 2.164, 3.858), (real_gpt2.ATTENTION_128, 1.060, 2.907, 4.431)],
)
def test_how_far_l1h5_of_real_gpt2_small_stands_out(path: Path, gap: float, ratio: float, tukey: float) -> None:
    s = real_gpt2.recorded_survey(path)
    scores = [float(np.mean([row.score for row in real_gpt2.recorded_rows(path, head)])) for head in range(12)]
    own, *others = [scores[5], *sorted(scores[:5] + scores[6:])]
    assert others[0] - own == pytest.approx(gap, abs=5.1e-4)
    assert (others[0] - own) / (others[5] - others[0]) == pytest.approx(ratio, abs=1e-3)
    measured = score_gap(s, real_gpt2.TARGET), score_outlier(s, real_gpt2.TARGET)
    assert [statistic.value for statistic in measured] == pytest.approx([gap, ratio], abs=1e-3)
    # Quartiles of twelve lie between the third and fourth from either end, three quarters of the way.
    of_all = sorted(scores)
    lower, upper = of_all[2] / 4 + 3 * of_all[3] / 4, 3 * of_all[8] / 4 + of_all[9] / 4
    assert (lower - own) / (upper - lower) == pytest.approx(tukey, abs=1e-3)
    assert tukey_ratio(s.scores, 5) == pytest.approx(tukey, abs=1e-3)
    assert [statistic.interval() for statistic in measured] == [None, None]


@real_gpt2.needs_attention
def test_the_old_outlier_ratio_of_real_gpt2_small() -> None:
    assert gap_over_neighbours(real_gpt2.recorded_survey().scores, 5) == pytest.approx(9.43, abs=5.1e-3)
