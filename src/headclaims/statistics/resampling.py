"""Confidence intervals by resampling prompts and categories.

Rows of an attention pattern are not independent draws: rows of one prompt share its words, and rows of one category
share its words across prompts. So one interval is computed over prompts (BCa bootstrap) and one over categories, and
the wider of the two is used.

Axes: `statistic` the means that enter a statistic, `prompt` and `category` the groups of rows, `resample` the
bootstrap resamples. The last category holds the rows without a category, which are in every resample.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from headclaims.errors import NotAssessable

CONFIDENCE = 0.95
RESAMPLES = 9999
FEWEST_PROMPTS = 10
CATEGORIES_FOR_BOOTSTRAP = 20
DRAWS_AT_ONCE = 4_000_000

Statistic = Callable[[Float[np.ndarray, "resample statistic"]], Float[np.ndarray, " resample"]]


@dataclass(frozen=True)
class GroupedRows:
    """Sums and counts of row values by prompt and category; sum over count gives the means that enter a statistic."""

    sums: Float[np.ndarray, "statistic prompt category"]
    counts: Float[np.ndarray, "statistic prompt category"]

    def means(
        self,
        prompts: Float[np.ndarray, "resample prompt"],
        categories: Float[np.ndarray, "resample category"] | None = None,
    ) -> Float[np.ndarray, "resample statistic"]:
        """Return the weighted mean row values; weights are how often each prompt (and category) was drawn.

        NaN where a resample has no rows.
        """
        if categories is None:
            above = prompts @ self.sums.sum(axis=2).T
            below = prompts @ self.counts.sum(axis=2).T
        else:
            above = np.einsum("rp,spc,rc->rs", prompts, self.sums, categories, optimize=True)
            below = np.einsum("rp,spc,rc->rs", prompts, self.counts, categories, optimize=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            return above / below

    @property
    def n_prompts(self) -> int:
        """Number of prompts, the units of the bootstrap over prompts."""
        return int(self.sums.shape[1])

    @property
    def n_categories(self) -> int:
        """Number of categories that have rows, the units of the resampling over categories."""
        return int(self._drawn.sum())

    @property
    def _drawn(self) -> Bool[np.ndarray, " category"]:
        return self.counts[..., :-1].sum(axis=(0, 1)) > 0

    def category_weights(
        self, drawn: Float[np.ndarray, "resample category"]
    ) -> Float[np.ndarray, "resample all_categories"]:
        """Return weights of all categories from those of the ones with rows; rows without a category have weight 1."""
        weights = np.ones((len(drawn), self.sums.shape[2]))
        weights[:, :-1][:, self._drawn] = drawn
        return weights

    def point(self, statistic: Statistic) -> float:
        """Compute the statistic on all rows, each counted once."""
        return float(statistic(self.means(np.ones((1, self.n_prompts))))[0])


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval [low, high] and the unit that was resampled.

    `draws` are bootstrap values of the statistic, over tokens where these are the unit, otherwise over prompts.
    """

    low: float
    high: float
    unit: Literal["prompts", "categories", "tokens"]
    draws: Float[np.ndarray, " resample"]

    @property
    def width(self) -> float:
        """Width of the interval, high − low."""
        return self.high - self.low

    def share_above(self, threshold: float) -> float:
        """Return the share of bootstrap draws above a threshold, from 0 to 1."""
        return float((self.draws > threshold).mean())


@dataclass(frozen=True)
class Resampled:
    """A statistic of the means of grouped rows, whose interval comes from resampling prompts and categories."""

    rows: GroupedRows
    statistic: Statistic

    @property
    def value(self) -> float:
        """Value of the statistic on all rows."""
        return self.rows.point(self.statistic)

    def interval(self, seed: int) -> Interval | None:
        """Compute the statistic's `two_way_interval`."""
        return two_way_interval(self.rows, self.statistic, seed)


def per_prompt(values: Float[np.ndarray, " prompt"] | ArrayLike) -> Resampled:
    """Return the mean of one value a prompt, as a statistic whose interval is taken over prompts (BCa bootstrap).

    Raises ValueError for values that are not one finite number a prompt.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values of shape {values.shape}; wanted one number a prompt")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {len(values)} values are not finite; wanted numbers")
    sums = values[None, :, None]
    return Resampled(GroupedRows(sums, np.ones_like(sums)), lambda means: means[..., 0])


@dataclass(frozen=True)
class OverTokens:
    """A statistic of n query tokens, keys fixed; `of_weights` computes it from how often each token was drawn."""

    n: int
    of_weights: Callable[[Float[np.ndarray, "resample token"]], Float[np.ndarray, " resample"]]

    @property
    def value(self) -> float:
        """Value of the statistic on all tokens."""
        return float(self.of_weights(np.ones((1, self.n)))[0])

    def interval(self, seed: int) -> Interval:
        """Compute the BCa bootstrap interval over query tokens; raises NotAssessable where a resample gives NaN."""
        low, high, draws = _bca(self.n, self.of_weights, np.random.default_rng([seed, 2]))
        return Interval(low, high, "tokens", draws)


def two_way_interval(rows: GroupedRows, statistic: Statistic, seed: int) -> Interval | None:
    """Return the wider of the intervals over prompts and over categories, or None with fewer than ten prompts.

    Over prompts: BCa bootstrap with 9,999 resamples. Over k categories: also BCa for k ≥ 20; otherwise
    θ ± t(k − 1) · se with the jackknife's se² = (k − 1)/k · Σ(θ₍₋c₎ − mean)², θ₍₋c₎ being θ without category c.
    `statistic` is applied to every resample, so that a runner-up is chosen anew in each. Raises NotAssessable where
    all rows to measure are of one category, or a resample has none.
    """
    if rows.n_prompts < FEWEST_PROMPTS:
        return None
    over_prompts = _bca(
        rows.n_prompts, lambda weights: statistic(rows.means(weights)), np.random.default_rng([seed, 0])
    )
    by_prompts = Interval(*over_prompts[:2], "prompts", over_prompts[2])
    if rows.sums.shape[2] < 3:
        return by_prompts  # with a single category there is nothing to resample
    if rows.n_categories < 2:
        raise NotAssessable("too few rows: those to measure are of one category only; wanted two or more")
    low, high = _category_bounds(rows, statistic, seed)
    by_categories = Interval(low, high, "categories", over_prompts[2])
    return by_categories if by_categories.width > by_prompts.width else by_prompts


def _category_bounds(rows: GroupedRows, statistic: Statistic, seed: int) -> tuple[float, float]:
    def of_categories(weights: Float[np.ndarray, "resample category"]) -> Float[np.ndarray, " resample"]:
        all_prompts = np.ones((len(weights), rows.n_prompts))
        return statistic(rows.means(all_prompts, rows.category_weights(weights)))

    k = rows.n_categories
    if k >= CATEGORIES_FOR_BOOTSTRAP:
        low, high, _ = _bca(k, of_categories, np.random.default_rng([seed, 1]))
        return low, high
    left_out = of_categories(1.0 - np.eye(k))
    if not np.isfinite(left_out).all():
        raise NotAssessable("too few rows: without one of the categories none is left to measure")
    return jackknife_t_bounds(rows.point(statistic), left_out)


def jackknife_t_bounds(point: float, left_out: Float[np.ndarray, " unit"]) -> tuple[float, float]:
    """Return the t interval from k leave-one-out values: point ± t(k − 1, 97.5 %) · √((k − 1)/k · Σ(θ₍₋c₎ − mean)²)."""
    from scipy import stats

    k = len(left_out)
    error = np.sqrt((k - 1) / k * np.square(left_out - left_out.mean()).sum())
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, k - 1) * error)
    return point - reach, point + reach


def _bca(
    n: int,
    of_weights: Callable[[Float[np.ndarray, "resample unit"]], Float[np.ndarray, " resample"]],
    generator: np.random.Generator,
) -> tuple[float, float, Float[np.ndarray, " resample"]]:
    """Compute BCa bounds and bootstrap draws of a statistic that depends on how often each of n units was drawn."""
    from scipy import stats

    def of_draws(drawn: np.ndarray, axis: int = -1) -> Float[np.ndarray, "..."]:
        drawn = np.moveaxis(np.asarray(drawn), axis, -1).astype(int)
        flat = drawn.reshape(-1, drawn.shape[-1])
        offsets = np.arange(len(flat))[:, None] * n
        weights = np.bincount((flat + offsets).ravel(), minlength=len(flat) * n).reshape(-1, n)
        return of_weights(weights.astype(float)).reshape(drawn.shape[:-1])

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # Where all units are alike all draws are equal: the interval is that point.
        warnings.filterwarnings("ignore", category=stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(n),),
            of_draws,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="BCa",
            batch=max(1, DRAWS_AT_ONCE // n),
            vectorized=True,
            rng=generator,
        )
    draws = np.asarray(result.bootstrap_distribution, dtype=float).reshape(-1)
    if np.isnan(draws).any():
        raise NotAssessable("too few rows: some resamples hold none to measure")
    low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    if np.isnan(low) or np.isnan(high):
        low, high = (float(q) for q in np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    return low, high, draws
