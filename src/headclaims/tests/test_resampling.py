"""Intervals against textbook formulas, a textbook's example, scipy called directly, and known means."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headclaims.errors import NotAssessable
from headclaims.statistics import resampling
from headclaims.statistics.resampling import (
    GroupedRows,
    OverTokens,
    Resampled,
    jackknife_t_bounds,
    per_prompt,
    two_way_interval,
)

# Twelve prompts' means; irregular, so that hardly a resample ties with the estimate.
SKEWED = np.array([0.2137, 0.3091, 0.3259, 0.4968, 0.6113, 0.6347, 0.9211, 1.1093, 1.4377, 2.0221, 3.7159, 6.4433])
# Efron and Tibshirani, An Introduction to the Bootstrap (1993), table 14.1: spatial test data, A.
SPATIAL_A = [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41]
# t(k − 1, 97.5 %) as tables have it.
T_7, T_18 = 2.364624, 2.100922


def the_mean(means: np.ndarray) -> np.ndarray:
    """The statistic that is one mean."""
    return means[:, 0]


def rows_of_prompts(values: np.ndarray, rows_each: int = 1) -> GroupedRows:
    """Prompts of so many rows, each of the prompt's value, all of one category; statistics are the first axis."""
    sums = np.zeros((*np.atleast_2d(values).shape, 2))
    sums[..., 0] = np.atleast_2d(values) * rows_each
    return GroupedRows(sums, np.broadcast_to(rows_each * np.array([1.0, 0.0]), sums.shape).copy())


def rows_of_cells(values: np.ndarray) -> GroupedRows:
    """One row for each prompt and category of values [prompt, category], none without a category."""
    sums = np.concatenate([values, np.zeros((len(values), 1))], axis=1)[None]
    counts = np.concatenate([np.ones_like(values), np.zeros((len(values), 1))], axis=1)[None]
    return GroupedRows(sums, counts)


def categories_alone(of_category: np.ndarray) -> GroupedRows:
    """Twelve prompts that hardly differ, whose mean is each category's value."""
    jitter = 1e-6 * np.tile([1.0, -1.0], 6)
    return rows_of_cells(of_category[None, :] + jitter[:, None])


def bca_by_definition(values: np.ndarray, resamples: np.ndarray) -> tuple[float, float]:
    """Efron's BCa bounds of the mean, written out: z0 from the draws below the estimate, a from the jackknife."""
    draws = np.sort(values[resamples].mean(axis=1))
    z0 = stats.norm.ppf(np.mean(draws < values.mean()))
    left_out = np.array([np.delete(values, i).mean() for i in range(len(values))])
    off = left_out.mean() - left_out
    a = (off**3).sum() / (6 * (off**2).sum() ** 1.5)
    z = z0 + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(draws, stats.norm.cdf(z0 + z / (1 - a * z)))
    return float(low), float(high)


def test_means_weigh_prompts_and_categories_by_their_draws() -> None:
    sums = np.array([[[1.0, 2, 4], [8, 16, 32]]])
    counts = np.array([[[1.0, 1, 1], [2, 3, 4]]])
    rows = GroupedRows(sums, counts)
    assert rows.point(the_mean) == 63 / 12
    assert rows.means(np.array([[2.0, 0], [0, 1], [1, 3]]))[:, 0].tolist() == [14 / 6, 56 / 9, (7 + 3 * 56) / (3 + 27)]
    with_categories = rows.means(np.array([[1.0, 2], [1, 1]]), np.array([[3.0, 0, 1], [0, 1, 1]]))
    # First: prompt 0 once, prompt 1 twice, category 0 three times, category 1 never, the rest once.
    above = (3 * 1 + 4) + 2 * (3 * 8 + 32)
    below = (3 * 1 + 1) + 2 * (3 * 2 + 4)
    assert with_categories[:, 0].tolist() == [above / below, (2 + 4 + 16 + 32) / (1 + 1 + 3 + 4)]
    assert rows.n_prompts == 2
    assert rows.n_categories == 2


def test_bca_of_a_mean_is_scipy_s_on_the_prompts_means() -> None:
    # The same generator, the same resamples; five rows a prompt weigh as one.
    for seed in (0, 7):
        interval = two_way_interval(rows_of_prompts(SKEWED, rows_each=5), the_mean, seed)
        expected = stats.bootstrap(
            (SKEWED,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng([seed, 0])
        )
        assert interval is not None
        assert interval.unit == "prompts"
        # One draw that ties with the estimate, but for rounding, moves a bound by some 1e-4.
        assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval), rel=5e-4)
        assert interval.draws == pytest.approx(expected.bootstrap_distribution)


def test_bca_of_a_mean_is_its_definition_on_other_resamples() -> None:
    interval = two_way_interval(rows_of_prompts(SKEWED), the_mean, 0)
    low, high = bca_by_definition(SKEWED, np.random.default_rng(99).integers(12, size=(20_000, 12)))
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=0.05)
    # It is no percentile interval: the data are skewed, and both bounds lie higher.
    percentile = np.quantile(interval.draws, [0.025, 0.975])
    assert interval.low > 1.03 * percentile[0]
    assert interval.high > 1.08 * percentile[1]


def test_bca_of_efron_and_tibshirani_s_spatial_data(monkeypatch: pytest.MonkeyPatch) -> None:
    # Their 90 % BCa interval of the variance (of n, not n − 1), with 2,000 resamples: 115.8 to 259.6 around 171.5.
    monkeypatch.setattr(resampling, "CONFIDENCE", 0.90)
    values = np.array(SPATIAL_A, dtype=float)
    rows = rows_of_prompts(np.stack([values, values**2]))
    variance = Resampled(rows, lambda means: means[:, 1] - means[:, 0] ** 2)
    interval = variance.interval(seed=0)
    assert interval is not None
    assert variance.value == pytest.approx(171.5, abs=0.05)
    assert interval.low == pytest.approx(115.8, abs=3)
    assert interval.high == pytest.approx(259.6, abs=5)


def test_prompts_with_more_rows_weigh_more() -> None:
    # Prompts of 1 to 12 rows: the statistic is a ratio of sums, and so is each draw.
    counts = np.arange(1.0, 13)
    sums = np.stack([SKEWED * counts, np.zeros(12)], axis=-1)[None]
    rows = GroupedRows(sums, np.stack([counts, np.zeros(12)], axis=-1)[None])
    interval = two_way_interval(rows, the_mean, 3)

    def ratio(sample: np.ndarray, axis: int) -> Any:
        drawn = sample.astype(int)
        return (SKEWED * counts)[drawn].sum(axis=axis) / counts[drawn].sum(axis=axis)

    expected = stats.bootstrap(
        (np.arange(12),), ratio, n_resamples=9999, method="BCa", rng=np.random.default_rng([3, 0])
    )
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval), rel=5e-4)


def test_jackknife_t_of_a_mean_is_student_s_interval() -> None:
    # 1 … 8: x̄ = 4.5, s = √6; left-one-out means are (36 − x)/7.
    values = np.arange(1.0, 9)
    low, high = jackknife_t_bounds(4.5, (36 - values) / 7)
    reach = T_7 * np.sqrt(6) / np.sqrt(8)
    assert (low, high) == pytest.approx((4.5 - reach, 4.5 + reach), rel=1e-6)


def test_jackknife_t_is_centred_on_the_point() -> None:
    low, high = jackknife_t_bounds(10.0, np.array([1.0, 2.0, 6.0]))
    # Σ(θ − 3)² = 4 + 1 + 9 = 14, times 2/3; t(2) = 4.302653.
    assert (low + high) / 2 == pytest.approx(10.0)
    assert (high - low) / 2 == pytest.approx(4.302653 * np.sqrt(28 / 3), rel=1e-6)


@pytest.mark.parametrize(("k", "t"), [(8, T_7), (19, T_18)])
def test_under_twenty_categories_student_s_t_rules(k: int, t: float) -> None:
    values = np.random.default_rng(k).normal(2.0, 1.0, size=k)
    interval = two_way_interval(categories_alone(values), the_mean, 0)
    reach = t * values.std(ddof=1) / np.sqrt(k)
    assert interval is not None
    assert interval.unit == "categories"
    assert (interval.low, interval.high) == pytest.approx((values.mean() - reach, values.mean() + reach), rel=1e-5)


@pytest.mark.parametrize("k", [20, 25])
def test_from_twenty_categories_on_they_are_bootstrapped(k: int) -> None:
    values = np.random.default_rng(k).gamma(1.0, size=k)
    interval = two_way_interval(categories_alone(values), the_mean, 4)
    expected = stats.bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng([4, 1]))
    assert interval is not None
    assert interval.unit == "categories"
    assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval), rel=5e-4)


def test_rows_without_a_category_are_never_left_out() -> None:
    # Three categories of one row a prompt, of values 0, 3, 6, and two rows without one, of value 10: left-one-out means
    # are (3 + 6 + 20)/4, (0 + 6 + 20)/4, (0 + 3 + 20)/4, the point 29/5.
    jitter = 1e-7 * np.tile([1.0, -1.0], 6)
    sums = np.array([0.0, 3, 6, 20])[None, :] + jitter[:, None]
    counts = np.tile([1.0, 1, 1, 2], (12, 1))
    interval = two_way_interval(GroupedRows(sums[None], counts[None]), the_mean, 0)
    left_out = np.array([29, 26, 23]) / 4
    error = np.sqrt(2 / 3 * ((left_out - 26 / 4) ** 2).sum())
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(
        (29 / 5 - 4.302653 * error, 29 / 5 + 4.302653 * error), rel=1e-5
    )


@pytest.mark.parametrize("wider", ["prompts", "categories"])
def test_the_wider_of_the_two_rules(wider: str) -> None:
    generator = np.random.default_rng(1)
    of_prompt, of_category = generator.normal(size=(16, 1)), generator.normal(size=(1, 6))
    of_prompt -= of_prompt.mean()
    of_category -= of_category.mean()
    size = {"prompts": (1.0, 0.01), "categories": (0.01, 1.0)}[wider]
    interval = two_way_interval(rows_of_cells(size[0] * of_prompt + size[1] * of_category), the_mean, 0)
    assert interval is not None
    assert interval.unit == wider
    # One unit's variation alone gives the interval's width, up to the skew of sixteen normal draws.
    values = (size[0] * of_prompt if wider == "prompts" else size[1] * of_category).ravel()
    student = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    assert interval.width == pytest.approx(2 * student, rel=0.15 if wider == "prompts" else 1e-6)
    # Whichever rules, the draws are those over prompts.
    assert interval.draws.shape == (9999,)
    assert interval.draws.std() == pytest.approx(size[0] * of_prompt.std() / 4, rel=0.05)


def test_fewer_than_ten_prompts_have_no_interval() -> None:
    assert two_way_interval(rows_of_prompts(SKEWED[:9]), the_mean, 0) is None
    assert two_way_interval(rows_of_prompts(SKEWED[:10]), the_mean, 0) is not None


@pytest.mark.parametrize("value", [0.5, 0.1, -3.0, 0.0])
def test_prompts_that_are_all_alike_give_a_point(value: float) -> None:
    interval = two_way_interval(rows_of_prompts(np.full(12, value)), the_mean, 0)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((value, value), abs=1e-12)


def test_a_statistic_at_its_bound_has_an_interval_of_its_draws() -> None:
    # Every draw is at or below the estimate, so BCa's z0 is infinite or nearly: the bounds must still be draws.
    top = float(SKEWED.mean())
    interval = two_way_interval(rows_of_prompts(SKEWED), lambda means: np.minimum(means[:, 0], top), 0)
    assert interval is not None
    assert interval.draws.min() <= interval.low <= interval.high <= top + 1e-12


def test_leaving_out_the_only_category_with_rows_is_not_assessable() -> None:
    values = np.stack([SKEWED, np.zeros(12)], axis=1)
    rows = rows_of_cells(values)
    rows.counts[0, :, 1] = 0.0
    with pytest.raises(NotAssessable, match="too few rows"):
        two_way_interval(rows, the_mean, 0)


def test_leaving_out_the_only_category_of_one_mean_is_not_assessable() -> None:
    # The first mean has rows of both categories, the second of one alone.
    both = rows_of_cells(np.stack([SKEWED, SKEWED[::-1]], axis=1))
    one = rows_of_cells(np.stack([SKEWED, np.zeros(12)], axis=1))
    one.counts[0, :, 1] = 0.0
    rows = GroupedRows(np.concatenate([both.sums, one.sums]), np.concatenate([both.counts, one.counts]))
    with pytest.raises(NotAssessable, match="too few rows"):
        two_way_interval(rows, lambda means: means.min(axis=-1), 0)


@pytest.mark.parametrize("empty", [1, 18])
def test_categories_without_rows_change_nothing(empty: int) -> None:
    # A category of the list that the prompts don't hold is no unit that could have been drawn otherwise: six categories
    # of rows, and so many without, are six.
    values = np.random.default_rng(2).normal(size=6)
    six = categories_alone(values)
    pad = [(0, 0), (0, 0), (0, empty)]
    more = GroupedRows(
        np.concatenate([np.pad(six.sums[..., :-1], pad), six.sums[..., -1:]], axis=-1),
        np.concatenate([np.pad(six.counts[..., :-1], pad), six.counts[..., -1:]], axis=-1),
    )
    expected, interval = two_way_interval(six, the_mean, 0), two_way_interval(more, the_mean, 0)
    assert expected is not None
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-6)


def test_a_resample_without_rows_makes_no_interval_of_nan() -> None:
    # One prompt of twelve has rows: a resample misses it with probability (11/12)^12 = 0.35.
    rows = rows_of_prompts(SKEWED)
    rows.counts[0, 1:, 0] = 0.0
    rows.sums[0, 1:, 0] = 0.0
    interval = None
    with suppress(NotAssessable):
        interval = two_way_interval(rows, the_mean, 0)
    assert interval is None or np.isfinite([interval.low, interval.high]).all()


def test_the_statistic_is_applied_to_every_resample() -> None:
    # The least of two means: in every draw the smaller of the two, whichever it is.
    both = np.stack([SKEWED, SKEWED[::-1]])
    interval = two_way_interval(rows_of_prompts(both), lambda means: means.min(axis=-1), 0)
    draws = np.random.default_rng([0, 0]).integers(12, size=(9999, 12))
    expected = np.minimum(SKEWED[draws].mean(axis=1), SKEWED[::-1][draws].mean(axis=1))
    assert interval is not None
    assert interval.draws == pytest.approx(expected)


def test_a_seed_gives_its_interval_again_and_another_seed_another() -> None:
    first, again, other = (two_way_interval(rows_of_prompts(SKEWED), the_mean, seed) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.low, first.high) == (again.low, again.high)
    assert (first.low, first.high) != (other.low, other.high)


def test_share_above_counts_draws_strictly_above() -> None:
    interval = resampling.Interval(0.0, 1.0, "prompts", np.array([0.0, 0.0, 0.5, 1.0]))
    assert interval.share_above(0.0) == 0.5
    assert interval.share_above(-1.0) == 1.0
    assert interval.width == 1.0


def coverage(draw: Callable[[np.random.Generator], GroupedRows], times: int) -> float:
    """How often the interval holds the true mean, 0."""
    generator = np.random.default_rng(11)
    held = 0
    for number in range(times):
        interval = two_way_interval(draw(generator), the_mean, number)
        assert interval is not None
        held += interval.low <= 0 <= interval.high
    return held / times


def test_intervals_over_prompts_cover_a_known_mean() -> None:
    # Rows of a prompt share its effect. BCa on thirty normal prompts covers about 94 %; 200 trials have a standard
    # error of 1.7 %. Rows taken as independent would cover some 60 %.
    def draw(generator: np.random.Generator) -> GroupedRows:
        rows = generator.normal(size=(30, 1)) + 0.3 * generator.normal(size=(30, 6))
        return rows_of_prompts(rows.mean(axis=1), rows_each=6)

    assert 0.89 <= coverage(draw, 200) <= 0.985


def test_intervals_over_categories_cover_a_known_mean() -> None:
    # Eight categories with effects of their own, that prompts share: prompts alone would cover some 20 %.
    def draw(generator: np.random.Generator) -> GroupedRows:
        return rows_of_cells(generator.normal(size=(1, 8)) + 0.3 * generator.normal(size=(12, 8)))

    assert 0.90 <= coverage(draw, 200) <= 0.99


@pytest.mark.parametrize("seed", [0, 7])
def test_one_value_a_prompt_is_its_mean_with_scipy_s_interval(seed: int) -> None:
    of = per_prompt(SKEWED)
    assert of.value == pytest.approx(math.fsum(SKEWED) / 12, rel=1e-12)
    assert of.rows.n_prompts == 12
    interval = of.interval(seed)
    reference = stats.bootstrap(
        (SKEWED,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng([seed, 0])
    ).confidence_interval
    assert interval is not None
    # One draw that ties with the estimate, but for rounding, moves a bound by some 1e-4.
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), rel=5e-4)
    assert interval.unit == "prompts"


def test_one_value_a_prompt_has_no_interval_under_ten_prompts() -> None:
    assert per_prompt(SKEWED[:9]).interval(0) is None
    assert per_prompt(SKEWED[:10]).interval(0) is not None


def test_values_a_prompt_may_be_of_any_type_of_number() -> None:
    thirds = np.full(12, 1 / 3, dtype=np.float32)
    assert per_prompt(thirds).value == pytest.approx(1 / 3, abs=1e-7)
    assert per_prompt(np.arange(12)).value == 5.5
    assert per_prompt(np.arange(12) < 3).value == 0.25
    assert per_prompt([1, 2, 4.5]).value == 2.5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((12, 2)), r"^values of shape \(12, 2\); wanted one number a prompt$"),
        (np.array(0.5), r"^values of shape \(\); wanted one number a prompt$"),
        (np.zeros(0), r"^values of shape \(0,\); wanted one number a prompt$"),
        (np.array([1.0, np.nan, np.inf, 2.0]), r"^2 of 4 values are not finite; wanted numbers$"),
    ],
    ids=["two axes", "no axis", "no prompt", "no numbers"],
)
def test_what_is_not_one_number_a_prompt_is_refused(values: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        per_prompt(values)


def test_over_tokens_is_the_bootstrap_of_a_mean() -> None:
    """A share is a mean of zeros and ones: scipy's own BCa of that mean, from the same generator, is the reference."""
    values = (np.arange(60) % 3 == 0).astype(float)
    of = OverTokens(60, lambda weights: weights @ values / weights.sum(axis=1))
    assert of.value == pytest.approx(1 / 3)
    found = of.interval(seed=5)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="BCa", vectorized=True, rng=np.random.default_rng([5, 2])
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert found.unit == "tokens"
    assert 0.2 < found.low < 1 / 3 < found.high < 0.47


def test_over_tokens_in_batches_covers_as_it_should() -> None:
    """With thousands of tokens draws come in batches: the interval of a mean is ± 1.96 standard errors."""
    values = np.random.default_rng(0).standard_normal(3000)
    of = OverTokens(3000, lambda weights: weights @ values / weights.sum(axis=1))
    found, error = of.interval(seed=0), values.std() / 3000**0.5
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
