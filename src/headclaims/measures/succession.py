"""Succession, the rival explanation of kinship: whether a head prefers the next word of an ordered category."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey
from headclaims.prompts.category import kin
from headclaims.statistics.resampling import Resampled
from headclaims.statistics.rows import GroupedRows

CATEGORIES_TO_REDRAW = 3


def succession_ratios(survey: Survey, head: Head, place: Int[np.ndarray, " word"]) -> tuple[Resampled, Resampled]:
    """Return attention per successor over attention per other kin, and the same for predecessors; 1 is no preference.

    Each is the quotient of two means over the rows that have both at earlier positions; other kin are neither
    successor nor predecessor. `place` is each word's place in its succession, −1 for none. With fewer than three
    ordered categories the intervals are over prompts alone, as two values do not show how categories vary. Raises
    NotAssessable where no row has both.
    """
    position, related = survey.position(head), kin(survey.prompts.words)
    step = np.where(related & (place >= 0)[:, None] & (place >= 0), place[None, :] - place[:, None], 0)
    other = related & (place >= 0)[:, None] & (np.abs(step) > 1)
    return _ratio(survey, position, step == 1, other), _ratio(survey, position, step == -1, other)


def _ratio(
    survey: Survey, position: int, neighbour: Bool[np.ndarray, "word word"], other: Bool[np.ndarray, "word word"]
) -> Resampled:
    per_neighbour, n_neighbours = _per_token(survey, position, neighbour)
    per_other, n_others = _per_token(survey, position, other)
    rows = (n_neighbours > 0) & (n_others > 0)
    if not rows.any():
        raise NotAssessable("no row of the prompts has both a neighbour of its word in the succession and other kin")
    grouped = survey.grouped(np.stack([per_neighbour, per_other]), rows[None])
    if grouped.n_categories < CATEGORIES_TO_REDRAW:
        grouped = GroupedRows(grouped.sums.sum(axis=2, keepdims=True), grouped.counts.sum(axis=2, keepdims=True))
    return Resampled(grouped, lambda means: means[:, 0] / means[:, 1])


def _per_token(
    survey: Survey, position: int, which: Bool[np.ndarray, "word word"]
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """Return attention per earlier word that `which` relates to the row's word, and the number of such words."""
    of_row = np.pad(which, ((0, 1), (0, 0)))[survey.word_of_row]
    n = (survey.word_counts * of_row).sum(axis=1)
    return (survey.word_mass[position] * of_row).sum(axis=1, dtype=np.float64) / np.maximum(n, 1), n
