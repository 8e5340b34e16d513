"""Row values summed by prompt and category: what a statistic of rows needs, with all of them and without each unit.

Axes: `statistic` the means that enter a statistic, `prompt` and `category` the groups of rows, `replicate` weights of
the prompts. The last category holds the rows without a category, which are never left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Statistic = Callable[[Float[np.ndarray, "replicate statistic"]], Float[np.ndarray, " replicate"]]


@dataclass(frozen=True)
class GroupedRows:
    """Sums and counts of row values by prompt and category; sum over count gives the means that enter a statistic."""

    sums: Float[np.ndarray, "statistic prompt category"]
    counts: Float[np.ndarray, "statistic prompt category"]

    def means(self, prompts: Float[np.ndarray, "replicate prompt"]) -> Float[np.ndarray, "replicate statistic"]:
        """Return the mean row values with weights on prompts; NaN where the weighted prompts have no rows."""
        return _ratio(prompts @ self.sums.sum(axis=2).T, prompts @ self.counts.sum(axis=2).T)

    def without_each_prompt(self) -> Float[np.ndarray, "prompt statistic"]:
        """Return the mean row values of all prompts but one; not finite where that one has all rows."""
        return _without_each(self.sums.sum(axis=2).T, self.counts.sum(axis=2).T)

    def without_each_category(self) -> Float[np.ndarray, "category statistic"]:
        """Return the mean row values without the rows of each category that has any.

        Not finite where that category has all rows.
        """
        sums, counts = (cells.sum(axis=1).T for cells in (self.sums, self.counts))
        return _without_each(sums, counts)[:-1][self._has_rows]

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return int(self.sums.shape[1])

    @property
    def n_categories(self) -> int:
        """Number of categories that have rows."""
        return int(self._has_rows.sum())

    @property
    def _has_rows(self) -> Bool[np.ndarray, " category"]:
        return np.asarray(self.counts[..., :-1].sum(axis=(0, 1)) > 0)

    def point(self, statistic: Statistic) -> float:
        """Compute the statistic on all rows, each counted once."""
        return float(statistic(self.means(np.ones((1, self.n_prompts))))[0])


def _ratio(sums: Float[np.ndarray, "*shape"], counts: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums / counts)


def _without_each(
    sums: Float[np.ndarray, "unit statistic"], counts: Float[np.ndarray, "unit statistic"]
) -> Float[np.ndarray, "unit statistic"]:
    return _ratio(sums.sum(axis=0) - sums, counts.sum(axis=0) - counts)
