"""How far kin are above the nearest other category: rules out a head of coarser classes than the list's.

A head that attends to colours and emotions alike passes every comparison of kin with words of other categories at
large, as most of these are far from both. So each category is compared with the one other that it attends to most.

Axes: `prompt`, `category` of the query, `rival` the category of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey
from headclaims.measures.three_rules import log_ratio
from headclaims.statistics.resampling import Estimate, Jackknifed


@dataclass(frozen=True)
class NearestCategories(Estimate):
    """ln(a_kin/a_nearest) of each query category that has kin and a rival; the statistic is the mean over them.

    `sums` and `counts` hold, by prompt and category, attention per kin (index 0) and per word of the nearest category
    (index 1), and how many rows these are of. Which category is nearest is settled once, on all rows.
    """

    names: tuple[str, ...]
    rivals: tuple[str, ...]
    sums: Float[np.ndarray, "2 prompt category"]
    counts: Float[np.ndarray, "2 prompt category"]

    @property
    def by_category(self) -> Float[np.ndarray, " category"]:
        """ln(a_kin/a_nearest) of each category, in nats."""
        return self._ratios(self.sums.sum(axis=1), self.counts.sum(axis=1))

    @property
    def value(self) -> float:
        """The mean over categories, in nats."""
        return float(self.by_category.mean())

    @property
    def least(self) -> tuple[float, str, str]:
        """The smallest of the categories' values, in nats, the category and its nearest."""
        ratios = self.by_category
        at = int(ratios.argmin())
        return float(ratios[at]), self.names[at], self.rivals[at]

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return int(self.sums.shape[1])

    @property
    def jackknifed(self) -> Jackknifed:
        """The mean over categories without each prompt, and without each category.

        A category that only one prompt has is no part of the mean without that prompt.
        """
        sums, counts = (cells.sum(axis=1, keepdims=True) - cells for cells in (self.sums, self.counts))
        without_prompt = self._ratios(sums, counts)
        ratios, usable = self.by_category, ~np.isnan(without_prompt)
        with np.errstate(invalid="ignore", divide="ignore"):
            prompts = np.where(usable, without_prompt, 0.0).sum(axis=1) / usable.sum(axis=1)
            categories = (ratios.sum() - ratios) / (len(ratios) - 1)
        return Jackknifed(np.array([self.value]), {"prompts": prompts[:, None], "categories": categories[:, None]})

    @staticmethod
    def _ratios(
        sums: Float[np.ndarray, "2 *replicate category"], counts: Float[np.ndarray, "2 *replicate category"]
    ) -> Float[np.ndarray, "*replicate category"]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return log_ratio(*(np.where(counts > 0.5, sums, np.nan) / counts))


def kin_above_nearest(survey: Survey, head: Head) -> NearestCategories:
    """Compare attention per kin with that per word of the nearest other category, for each category of the query.

    Of rows of a category with kin: a_kin is the mean attention per kin, a_d the mean attention per earlier word of
    category d over those of the rows that have one; the nearest is the d of the highest a_d.

    Raises NotAssessable where no row has kin and an earlier word of another category.
    """
    position, words = survey.position(head), survey.prompts.words
    n = len(words.categories)
    member = np.eye(n)[np.asarray(words.category_of_word)]
    counts = survey.word_counts @ member
    per_word = (survey.word_mass[position] @ member) / np.maximum(counts, 1)
    per_kin = survey.kin_mass[position] / np.maximum(survey.n_kin, 1)

    rows = np.flatnonzero(survey.has_kin)
    cell = survey.prompt_of_row[rows] * n + np.asarray(words.category_of_word)[survey.word_of_row[rows]]
    shape = len(survey.prompts), n
    # [cell, row]: sums over the rows of each prompt and category of the query.
    summing = csr_array((np.ones(len(rows)), (cell, np.arange(len(rows)))), shape=(shape[0] * n, len(rows)))
    kin_sums = (summing @ per_kin[rows]).reshape(shape)
    n_rows = (summing @ np.ones(len(rows))).reshape(shape)
    rival_sums = (summing @ per_word[rows]).reshape(*shape, n)
    rival_counts = (summing @ (counts[rows] > 0).astype(float)).reshape(*shape, n)

    nearest, usable = _nearest(rival_sums.sum(axis=0), rival_counts.sum(axis=0))
    if not len(usable):
        raise NotAssessable("no row of the prompts has kin and an earlier word of another category")
    names, rivals = tuple(words.categories), nearest[usable]
    return NearestCategories(
        tuple(names[c] for c in usable),
        tuple(names[d] for d in rivals),
        np.stack([kin_sums[:, usable], rival_sums[:, usable, rivals]]),
        np.stack([n_rows[:, usable], rival_counts[:, usable, rivals]]),
    )


def _nearest(
    sums: Float[np.ndarray, "category rival"], counts: Float[np.ndarray, "category rival"]
) -> tuple[Int[np.ndarray, " category"], Int[np.ndarray, " usable"]]:
    """Return each category's nearest other one, and the categories that have any."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where((counts > 0) & ~np.eye(len(sums), dtype=bool), sums / counts, -np.inf)
    return means.argmax(axis=1), np.flatnonzero(np.isfinite(means.max(axis=1)))
