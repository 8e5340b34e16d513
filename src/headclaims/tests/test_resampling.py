"""Intervals against closed forms, plain loops that leave units out, and known truths."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from headclaims.errors import NotAssessable
from headclaims.statistics.resampling import (
    Interval,
    Jackknifed,
    OverUnits,
    Resampled,
    Smallest,
    Within,
    mean_over,
    per_prompt,
)
from headclaims.statistics.rows import GroupedRows

SKEWED = np.array([0.2137, 0.3091, 0.3259, 0.4968, 0.6113, 0.6347, 0.9211, 1.1093, 1.4377, 2.0221, 3.7159, 6.4433])
# t(n − 1, 97.5 %) as tables have it.
T_3, T_5, T_7, T_11 = 3.182446, 2.570582, 2.364624, 2.200985


def the_mean(means: np.ndarray) -> np.ndarray:
    """The statistic that is one mean."""
    return means[:, 0]


def rows_of_prompts(values: np.ndarray, rows_each: int = 1) -> GroupedRows:
    """Prompts of so many rows, each of the prompt's value, all of one category; statistics are the first axis."""
    sums = np.zeros((*np.atleast_2d(values).shape, 2))
    sums[..., 0] = np.atleast_2d(values) * rows_each
    return GroupedRows(sums, np.broadcast_to(rows_each * np.array([1.0, 0.0]), sums.shape).copy())


def rows_of_cells(*values: np.ndarray) -> GroupedRows:
    """One row for each prompt and category of values [prompt, category], none without a category."""
    sums = np.stack([np.pad(cells, ((0, 0), (0, 1))) for cells in values])
    return GroupedRows(sums, np.pad(np.ones((len(values), *values[0].shape)), ((0, 0), (0, 0), (0, 1))))


def mean_of(rows: GroupedRows) -> Interval:
    """The interval of the first mean."""
    interval = Resampled(rows, the_mean).interval()
    assert interval is not None
    return interval


def jackknife_by_loops(rows: GroupedRows, statistic: Callable[[np.ndarray], float]) -> dict[str, float]:
    """The variances over prompts and over categories, by leaving each out in a plain loop."""

    def of(sums: np.ndarray, counts: np.ndarray) -> float:
        return statistic(sums.sum(axis=(1, 2)) / counts.sum(axis=(1, 2)))

    variances = {}
    for unit, axis, n in (("prompts", 1, rows.sums.shape[1]), ("categories", 2, rows.sums.shape[2] - 1)):
        left_out = []
        for i in range(n):
            if unit == "categories" and not rows.counts[:, :, i].any():
                continue
            left_out.append(of(np.delete(rows.sums, i, axis), np.delete(rows.counts, i, axis)))
        mean = sum(left_out) / len(left_out)
        variances[unit] = (len(left_out) - 1) / len(left_out) * sum((v - mean) ** 2 for v in left_out)
    return variances


def test_means_weigh_prompts() -> None:
    rows = GroupedRows(np.array([[[1.0, 2, 4], [8, 16, 32]]]), np.array([[[1.0, 1, 1], [2, 3, 4]]]))
    assert rows.point(the_mean) == 63 / 12
    assert rows.means(np.array([[2.0, 0], [0, 1], [1, 3]]))[:, 0].tolist() == [14 / 6, 56 / 9, (7 + 3 * 56) / (3 + 27)]
    assert rows.without_each_prompt()[:, 0].tolist() == [56 / 9, 7 / 3]
    assert rows.without_each_category()[:, 0].tolist() == [(2 + 4 + 16 + 32) / 9, (1 + 4 + 8 + 32) / 8]
    assert (rows.n_prompts, rows.n_categories) == (2, 2)


def test_the_variance_of_a_mean_of_balanced_rows_is_that_of_rows_and_of_columns() -> None:
    """Means of n rows and k columns of cells: V = s²(row means)/n + s²(column means)/k."""
    cells = np.random.default_rng(0).normal(size=(14, 6)) + 2 * np.random.default_rng(1).normal(size=6)
    of_prompts = cells.mean(axis=1).var(ddof=1) / 14
    of_categories = cells.mean(axis=0).var(ddof=1) / 6
    interval = mean_of(rows_of_cells(cells))
    assert interval.unit == "categories"
    assert interval.half_width == pytest.approx(T_5 * np.sqrt(of_prompts + of_categories), rel=1e-6)
    assert (interval.low + interval.high) / 2 == pytest.approx(cells.mean())
    assert interval.share_of_prompts == pytest.approx(of_prompts / (of_prompts + of_categories))


def test_degrees_of_freedom_are_those_of_the_larger_variance() -> None:
    cells = np.random.default_rng(0).normal(size=(12, 4)) + 3 * np.random.default_rng(1).normal(size=(12, 1))
    total = cells.mean(axis=1).var(ddof=1) / 12 + cells.mean(axis=0).var(ddof=1) / 4
    interval = mean_of(rows_of_cells(cells))
    assert interval.unit == "prompts"
    assert interval.share_of_prompts > 0.5
    assert interval.half_width == pytest.approx(T_11 * np.sqrt(total), rel=1e-6)
    assert mean_of(rows_of_cells(cells.T.repeat(3, axis=0))).unit == "categories"


@pytest.mark.parametrize("seed", range(3))
def test_a_ratio_of_uneven_rows_is_jackknifed_as_by_plain_loops(seed: int) -> None:
    draw = np.random.default_rng(seed)
    counts = np.repeat(draw.integers(0, 4, size=(1, 11, 7)).astype(float), 2, axis=0)
    counts[:, :, 2] = 0  # a category of the list that no prompt holds
    rows = GroupedRows(counts * draw.gamma(2.0, size=(2, 11, 7)), counts)
    variances = jackknife_by_loops(rows, lambda means: float(np.log(means[0] / means[1])))
    interval = Resampled(rows, lambda means: np.log(means[:, 0] / means[:, 1])).interval()
    larger = max(variances, key=lambda unit: variances[unit])
    reach = stats.t.ppf(0.975, 10 if larger == "prompts" else 4) * np.sqrt(sum(variances.values()))
    point = float(np.log(rows.sums[0].sum() / rows.sums[1].sum()))
    assert interval is not None
    assert interval.unit == larger
    assert (interval.low, interval.high) == pytest.approx((point - reach, point + reach), rel=1e-8)
    assert interval.share_of_prompts == pytest.approx(variances["prompts"] / sum(variances.values()))


def test_rows_without_a_category_are_never_left_out() -> None:
    # Three categories of one row a prompt, of values 0, 3, 6, and two rows without one, of value 10: left-one-out means
    # are (3 + 6 + 20)/4, (0 + 6 + 20)/4, (0 + 3 + 20)/4, the point 29/5. Prompts are alike.
    sums, counts = np.tile([0.0, 3, 6, 20], (12, 1)), np.tile([1.0, 1, 1, 2], (12, 1))
    interval = mean_of(GroupedRows(sums[None], counts[None]))
    left_out = np.array([29, 26, 23]) / 4
    error = np.sqrt(2 / 3 * ((left_out - 26 / 4) ** 2).sum())
    assert (interval.low, interval.high) == pytest.approx(
        (29 / 5 - 4.302653 * error, 29 / 5 + 4.302653 * error), rel=1e-6
    )
    assert interval.share_of_prompts == pytest.approx(0, abs=1e-12)


def test_the_smallest_by_plain_loops() -> None:
    """Low end by the smallest chosen anew, high end by each of the four with t at 1 − 0.025/4."""
    draw = np.random.default_rng(3)
    cells = [draw.normal(level, 1.0, size=(12, 5)) for level in (0.3, 0.25, 0.4, 3.0)]
    interval = Smallest(rows_of_cells(*cells), lambda means: means).interval()
    means = np.array([c.mean() for c in cells])

    def left_out(axis: int) -> np.ndarray:
        n = cells[0].shape[axis]
        return np.array([[np.delete(c, i, axis).mean() for c in cells] for i in range(n)])

    def variance(values: np.ndarray) -> np.ndarray:
        return np.asarray((len(values) - 1) * values.var(axis=0))

    by_prompt, by_category = left_out(0), left_out(1)
    of_least = [float(variance(by_prompt.min(axis=1))), float(variance(by_category.min(axis=1)))]
    t = stats.t.ppf(0.975, 11 if of_least[0] > of_least[1] else 4)
    assert interval is not None
    assert interval.low == pytest.approx(means.min() - t * np.sqrt(sum(of_least)), rel=1e-9)
    ends = []
    for h in range(4):
        v = [float(variance(by_prompt[:, h])), float(variance(by_category[:, h]))]
        ends.append(means[h] + stats.t.ppf(1 - 0.025 / 4, 11 if v[0] > v[1] else 4) * np.sqrt(sum(v)))
    assert interval.high == pytest.approx(min(ends), rel=1e-9)
    assert interval.low < means.min() < interval.high


def test_the_smallest_of_one_is_that_one() -> None:
    rows = rows_of_cells(np.random.default_rng(5).normal(size=(12, 5)))
    assert Smallest(rows, lambda means: means).interval() == Resampled(rows, the_mean).interval()


def test_replicates_by_hand() -> None:
    """Four prompts too few for an interval by themselves, but bounds are those of the formulas."""
    of = Jackknifed(np.array([2.0]), {"prompts": np.array([[1.0], [2], [2], [3]]), "categories": np.full((9, 1), 2.0)})
    # (4 − 1)/4 · (1 + 1) = 1.5 over prompts, nothing over categories.
    bounds = of.bounds()
    assert (bounds.low, bounds.high) == pytest.approx((2 - T_3 * np.sqrt(1.5), 2 + T_3 * np.sqrt(1.5)), rel=1e-6)
    assert (bounds.unit, bounds.share_of_prompts) == ("prompts", 1.0)
    assert of.interval() is None
    assert (of.value, of.n_prompts) == (2.0, 4)


@pytest.mark.parametrize("unit", ["groups", "words", "categories"])
def test_over_units_is_student_s_interval_of_a_mean(unit: str) -> None:
    # 1 … 8: x̄ = 4.5, s = √6; left-one-out means are (36 − x)/7.
    values, reach = np.arange(1.0, 9), T_7 * np.sqrt(6) / np.sqrt(8)
    for of in (OverUnits(unit, 4.5, (36 - values) / 7), mean_over(unit, values)):  # type: ignore[arg-type]
        interval = of.interval()
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx((4.5 - reach, 4.5 + reach), rel=1e-6)
        assert (of.value, of.n_prompts, interval.unit, interval.share_of_prompts) == (4.5, None, unit, 0.0)


def test_over_units_of_several_values_is_the_smallest() -> None:
    left_out = np.array([[1.0, 3.0], [1.5, 0.5], [1.1, 2.2]])
    of = OverUnits("groups", np.array([1.2, 1.9]), left_out)
    interval = of.interval()
    least = np.array([1.0, 0.5, 1.1])
    low = 1.2 - 4.302653 * np.sqrt(2 / 3 * ((least - least.mean()) ** 2).sum())
    reach = stats.t.ppf(1 - 0.0125, 2) * np.sqrt(2 * left_out.var(axis=0))
    assert interval is not None
    assert of.value == 1.2
    assert interval.low == pytest.approx(low, rel=1e-6)
    assert interval.high == pytest.approx(min(1.2 + reach[0], 1.9 + reach[1]), rel=1e-9)


def test_a_mean_over_units_may_be_weighted() -> None:
    """Sums 1, 6, 3 of 1, 2, 3 rows: 10/6, without each 9/5, 4/4, 7/3."""
    of = mean_over("categories", np.array([1.0, 6, 3]), np.array([1.0, 2, 3]))
    assert of.value == pytest.approx(10 / 6)
    assert of.left_out["categories"].ravel().tolist() == [9 / 5, 1.0, 7 / 3]


@pytest.mark.parametrize("seed", [0, 7])
def test_one_value_a_prompt_has_student_s_interval(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=12)
    of = per_prompt(values)
    interval = of.interval()
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), rel=1e-9)
    assert (interval.unit, of.n_prompts) == ("prompts", 12)
    assert of.value == pytest.approx(values.mean())
    assert interval.share_of_prompts == 1.0


def test_prompts_with_more_rows_weigh_more() -> None:
    counts = np.arange(1.0, 13)
    rows = GroupedRows((SKEWED * counts)[None, :, None], counts[None, :, None])
    left_out = [float(np.delete(SKEWED * counts, i).sum() / np.delete(counts, i).sum()) for i in range(12)]
    reach = T_11 * np.sqrt(11 * np.var(left_out))
    interval = mean_of(rows)
    assert interval.half_width == pytest.approx(reach, rel=1e-6)
    assert (interval.low + interval.high) / 2 == pytest.approx((SKEWED * counts).sum() / 78)


def test_fewer_than_ten_prompts_have_no_interval() -> None:
    for n, some in ((1, False), (9, False), (10, True)):
        for of in (
            per_prompt(SKEWED[:n]),
            Smallest(rows_of_cells(SKEWED[:n, None] * np.ones((1, 3)) + np.eye(n, 3)), lambda means: means),
        ):
            assert (of.interval() is not None) is some
            assert of.n_prompts == n


@pytest.mark.parametrize("value", [0.5, 0.1, -3.0, 0.0])
def test_prompts_that_are_all_alike_give_a_point(value: float) -> None:
    interval = mean_of(rows_of_cells(np.full((12, 4), value)))
    assert (interval.low, interval.high) == pytest.approx((value, value), abs=1e-12)


@pytest.mark.parametrize("empty", [1, 18])
def test_categories_without_rows_change_nothing(empty: int) -> None:
    # A category of the list that the prompts don't hold is no unit that could have been drawn otherwise.
    six = rows_of_cells(np.random.default_rng(2).normal(size=(12, 6)))
    pad = [(0, 0), (0, 0), (0, empty)]
    more = GroupedRows(
        np.concatenate([np.pad(six.sums[..., :-1], pad), six.sums[..., -1:]], axis=-1),
        np.concatenate([np.pad(six.counts[..., :-1], pad), six.counts[..., -1:]], axis=-1),
    )
    assert (mean_of(more).low, mean_of(more).high) == pytest.approx((mean_of(six).low, mean_of(six).high), rel=1e-9)


def test_rows_of_one_category_alone_are_not_assessable() -> None:
    rows = rows_of_cells(np.stack([SKEWED, np.zeros(12)], axis=1))
    rows.counts[0, :, 1] = 0.0
    with pytest.raises(NotAssessable, match="of one category only"):
        Resampled(rows, the_mean).interval()


def test_leaving_out_the_only_category_of_one_mean_is_not_assessable() -> None:
    # The first mean has rows of both categories, the second of one alone.
    rows = rows_of_cells(np.stack([SKEWED, SKEWED[::-1]], axis=1), np.stack([SKEWED, np.zeros(12)], axis=1))
    rows.counts[1, :, 1] = 0.0
    with pytest.raises(NotAssessable, match="too few rows: of all categories but one, none is left"):
        Smallest(rows, lambda means: means).interval()


def test_leaving_out_the_only_prompt_with_rows_is_not_assessable() -> None:
    rows = rows_of_prompts(SKEWED)
    rows.counts[0, 1:, 0] = 0.0
    rows.sums[0, 1:, 0] = 0.0
    with pytest.raises(NotAssessable, match=r"too few rows|one category"):
        Resampled(rows, the_mean).interval()


def test_a_single_group_is_too_few() -> None:
    with pytest.raises(NotAssessable, match="too few groups to measure: 1"):
        mean_over("groups", np.array([3.0])).interval()


def coverage(draw: Callable[[np.random.Generator], GroupedRows], times: int) -> float:
    """How often the interval holds the true mean, 0."""
    generator = np.random.default_rng(11)
    intervals = [mean_of(draw(generator)) for _ in range(times)]
    return sum(interval.low <= 0 <= interval.high for interval in intervals) / times


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_intervals_cover_a_known_mean(share: float) -> None:
    """Effects of prompts and of categories, half each of what is shared; cells of their own.

    2,000 trials have a standard error of 0.5 %. Prompts alone would cover some 30 % at 1.
    """

    def draw(generator: np.random.Generator) -> GroupedRows:
        prompts, categories = generator.normal(size=(24, 1)), generator.normal(size=(1, 8))
        cells = generator.normal(size=(24, 8))
        return rows_of_cells((1 - share) ** 0.5 * prompts + share**0.5 * (24 / 8) ** -0.5 * categories + 0.5 * cells)

    assert 0.935 <= coverage(draw, 2000) <= 0.99


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


def test_an_interval_of_a_share_ends_at_one() -> None:
    """Of 20 words 19 are above: 0.95 ± t(19) √(0.95 · 0.05/19), which would reach 1.055."""
    share = Within(mean_over("words", np.array([0.0] + [1.0] * 19)), 0.0, 1.0)
    interval = share.interval()
    assert interval is not None
    assert share.value == pytest.approx(0.95)
    assert (interval.low, interval.high) == pytest.approx((0.95 - 2.093024 * np.sqrt(0.95 * 0.05 / 19), 1.0))
    assert interval.unit == "words"
