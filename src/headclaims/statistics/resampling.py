"""Confidence intervals by the jackknife, over prompts and categories, groups or words.

Rows of an attention pattern are not independent draws: rows of one prompt share its words, and rows of one category
share its words across prompts. So a statistic of rows is computed anew without each prompt, and without each category,
and the two variances are added: V = V_prompt + V_category, each (n − 1)/n Σ (θ₍₋ᵢ₎ − mean)². The part that belongs to
single cells is counted twice; subtracting it left V 2 to 9 % short in simulation. The interval is θ ± t √V, where t has
the degrees of freedom n − 1 of whichever variance is the larger.

Axes: `statistic` the means that enter a statistic, `prompt` and `category` the groups of rows, `replicate` the rows
with one unit left out, `component` the values of which a statistic is the smallest. The last category holds the rows
without a category, which are in every replicate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from headclaims.errors import NotAssessable
from headclaims.statistics.rows import GroupedRows, Statistic

CONFIDENCE = 0.95
FEWEST_PROMPTS = 10

Unit = Literal["prompts", "categories", "groups", "words"]
Components = Callable[[Float[np.ndarray, "replicate statistic"]], Float[np.ndarray, "replicate component"]]


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval [low, high] and the unit of the larger variance, `share_of_prompts` V_prompt/V."""

    low: float
    high: float
    unit: Unit
    share_of_prompts: float = 0.0

    @property
    def width(self) -> float:
        """Width of the interval, high − low."""
        return self.high - self.low

    @property
    def half_width(self) -> float:
        """Half of the width, in the statistic's unit: what could have been seen."""
        return self.width / 2


class Estimate(ABC):
    """A statistic whose interval comes from leaving out one unit at a time."""

    @property
    @abstractmethod
    def jackknifed(self) -> Jackknifed:
        """The statistic with its values without each unit."""

    @property
    def value(self) -> float:
        """Value of the statistic on all units."""
        return self.jackknifed.value

    @property
    def n_prompts(self) -> int | None:
        """Number of prompts that are left out in turn; None where prompts are no unit."""
        return self.jackknifed.n_prompts

    def unscaled(self, end: float) -> float:
        """Return an end of the interval in the statistic's own unit, where the jackknife is taken on another scale."""
        return end

    def interval(self) -> Interval | None:
        """Return the 95 % interval, or None with fewer than ten prompts.

        Raises NotAssessable where there is one unit alone, or a replicate has no rows.
        """
        if self.n_prompts is not None and self.n_prompts < FEWEST_PROMPTS:
            return None
        found = self.jackknifed.bounds()
        return replace(found, low=self.unscaled(found.low), high=self.unscaled(found.high))


@dataclass(frozen=True)
class Jackknifed(Estimate):
    """The smallest of m values, and the m values without each unit in turn, by kind of unit.

    Low end: the smallest value − t(97.5 %) √V, where V is the variance of the smallest, chosen anew in each replicate.
    High end: the least over components h of θ_h + t(1 − 2.5 %/m) √V_h: any one of the m may be the smallest in truth,
    and where several tie, the variance of the smallest says little of how far it lies below each. With one component
    this is θ ± t √V.
    """

    values: Float[np.ndarray, " component"]
    left_out: Mapping[Unit, Float[np.ndarray, "_ component"]]

    @property
    def jackknifed(self) -> Jackknifed:
        """Itself."""
        return self

    @property
    def value(self) -> float:
        """The smallest of the values."""
        return float(self.values.min())

    @property
    def n_prompts(self) -> int | None:
        """Number of prompts that are left out in turn; None where prompts are no unit."""
        return len(self.left_out["prompts"]) if "prompts" in self.left_out else None

    def bounds(self) -> Interval:
        """Return the 95 % interval however few the units; raises NotAssessable as `interval` does."""
        for unit, left_out in self.left_out.items():
            if len(left_out) < 2:
                raise NotAssessable(f"too few {unit} to measure: {len(left_out)}; wanted two or more")
            if not np.isfinite(left_out).all():
                raise NotAssessable(f"too few rows: of all {unit} but one, none is left to measure")
        tail = (1 - CONFIDENCE) / 2
        smallest = {unit: left_out.min(axis=1, keepdims=True) for unit, left_out in self.left_out.items()}
        reach = _reach(smallest, tail)[0]
        high = (self.values + _reach(self.left_out, tail / len(self.values))).min()
        variances = {unit: float(jackknife_variance(values)[0]) for unit, values in smallest.items()}
        larger = max(variances, key=lambda unit: variances[unit])
        share = variances.get("prompts", 0.0) / (sum(variances.values()) or 1.0)
        return Interval(self.value - float(reach), float(high), larger, share)


def jackknife_variance(left_out: Float[np.ndarray, "unit component"]) -> Float[np.ndarray, " component"]:
    """Return (n − 1)/n Σ (θ₍₋ᵢ₎ − mean)² of the values without each of n units."""
    n = len(left_out)
    return np.asarray((n - 1) / n * np.square(left_out - left_out.mean(axis=0)).sum(axis=0))


def _reach(left_out: Mapping[Unit, Float[np.ndarray, "_ component"]], tail: float) -> Float[np.ndarray, " component"]:
    """Return t(1 − tail) √V, with V the sum over kinds of unit, and the degrees of freedom of the larger variance."""
    from scipy.special import stdtrit  # records are read without scipy

    variances = np.stack([jackknife_variance(values) for values in left_out.values()])
    freedom = np.array([len(values) - 1 for values in left_out.values()])[variances.argmax(axis=0)]
    return np.asarray(stdtrit(freedom, 1 - tail) * np.sqrt(variances.sum(axis=0)))


class OverUnits(Jackknifed):
    """A value and its values without each of n groups, categories or words; of several values it is the smallest."""

    def __init__(
        self,
        unit: Literal["groups", "categories", "words"],
        value: float | Float[np.ndarray, " component"],
        left_out: Float[np.ndarray, " unit"] | Float[np.ndarray, "unit component"],
    ) -> None:
        values = np.atleast_1d(np.asarray(value, dtype=float))
        super().__init__(values, {unit: np.asarray(left_out, dtype=float).reshape(-1, len(values))})


def mean_over(
    unit: Literal["groups", "categories", "words"],
    values: Float[np.ndarray, " unit"],
    counts: Float[np.ndarray, " unit"] | None = None,
) -> OverUnits:
    """Return the mean of one value a unit, or Σ values/Σ counts, with an interval over units."""
    counts = np.ones(len(values)) if counts is None else counts
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = (values.sum() - values) / (counts.sum() - counts)
        return OverUnits(unit, float(values.sum() / counts.sum()), left_out)


@dataclass(frozen=True)
class Within(Estimate):
    """A statistic that can't be below `least` or above `most`, as a share can't: its interval ends there."""

    of: Estimate
    least: float
    most: float

    @property
    def jackknifed(self) -> Jackknifed:
        """The statistic, without the ends."""
        return self.of.jackknifed

    @property
    def value(self) -> float:
        """Value of the statistic on all units."""
        return self.of.value

    @property
    def n_prompts(self) -> int | None:
        """Number of prompts that are left out in turn; None where prompts are no unit."""
        return self.of.n_prompts

    def unscaled(self, end: float) -> float:
        """Return an end of the interval, cut where the statistic ends."""
        return float(np.clip(self.of.unscaled(end), self.least, self.most))


@dataclass(frozen=True)
class Exponential(Estimate):
    """exp of a statistic, whose interval is taken on the scale of logarithms: for ratios, which are positive."""

    of: Estimate

    @property
    def jackknifed(self) -> Jackknifed:
        """The logarithm."""
        return self.of.jackknifed

    @property
    def value(self) -> float:
        """Value of the statistic on all units."""
        return float(np.exp(self.of.value))

    @property
    def n_prompts(self) -> int | None:
        """Number of prompts that are left out in turn; None where prompts are no unit."""
        return self.of.n_prompts

    def unscaled(self, end: float) -> float:
        """Return exp of an end of the interval."""
        return float(np.exp(self.of.unscaled(end)))


@dataclass(frozen=True)
class Smallest(Estimate):
    """The smallest of several statistics of the means of grouped rows, with an interval over prompts and categories.

    `components` returns them for each replicate. The smallest is chosen anew in each, as a runner-up has to be.
    """

    rows: GroupedRows
    components: Components

    @property
    def jackknifed(self) -> Jackknifed:
        """The components on all rows, without each prompt, and without each category.

        Only prompts are left out where the list has a single category. Raises NotAssessable where it has several and
        all rows to measure are of one.
        """
        rows = self.rows
        left_out: dict[Unit, np.ndarray] = {"prompts": self.components(rows.without_each_prompt())}
        if rows.sums.shape[2] > 2:
            if rows.n_categories < 2:
                raise NotAssessable("too few rows: those to measure are of one category only; wanted two or more")
            left_out["categories"] = self.components(rows.without_each_category())
        return Jackknifed(self.components(rows.means(np.ones((1, rows.n_prompts))))[0], left_out)

    @property
    def value(self) -> float:
        """The smallest of the components on all rows."""
        return float(self.components(self.rows.means(np.ones((1, self.rows.n_prompts))))[0].min())

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return self.rows.n_prompts


@dataclass(frozen=True)
class Resampled(Estimate):
    """A statistic of the means of grouped rows, with an interval over prompts and categories."""

    rows: GroupedRows
    statistic: Statistic

    @property
    def jackknifed(self) -> Jackknifed:
        """The statistic on all rows, without each prompt, and without each category."""
        return Smallest(self.rows, lambda means: self.statistic(means)[:, None]).jackknifed

    @property
    def value(self) -> float:
        """Value of the statistic on all rows."""
        return self.rows.point(self.statistic)

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return self.rows.n_prompts


def per_prompt(values: Float[np.ndarray, " prompt"] | ArrayLike) -> Resampled:
    """Return the mean of one value a prompt, as a statistic with an interval over prompts: Student's.

    Raises ValueError for values that are not one finite number a prompt.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values of shape {values.shape}; wanted one number a prompt")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {len(values)} values are not finite; wanted numbers")
    sums = values[None, :, None]
    return Resampled(GroupedRows(sums, np.ones_like(sums)), lambda means: means[..., 0])
