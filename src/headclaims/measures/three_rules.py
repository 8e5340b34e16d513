"""The write-up's three rules of what the head attends to: kin, not the word itself, and BOS where there are no kin.

Each statistic can be computed for any head of a survey: for the target, and for others as its null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Checkpoint, Head, pattern_name, patterns_of
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import SCORE_FLOOR, Survey
from headclaims.prompts.matched import MatchedPairs
from headclaims.statistics.resampling import Resampled, Smallest
from headclaims.statistics.rows import GroupedRows


@dataclass(frozen=True)
class PairSurvey:
    """Attention to BOS from the last position of matched pairs: index 0 without kin, index 1 with kin."""

    pairs: MatchedPairs
    heads: tuple[Head, ...]
    bos: Float[np.ndarray, "head 2 pair"]


def survey_pairs(checkpoint: Checkpoint, pairs: MatchedPairs, heads: Sequence[Head], at_once: int = 16) -> PairSurvey:
    """Run the model on both prompts of each pair and record the attention of the last position to BOS."""
    names = [pattern_name(layer) for layer in sorted({head.layer for head in heads})]

    def of_batch(batch: Int[Tensor, "prompt position"]) -> Float[np.ndarray, "head prompt"]:
        run = checkpoint.run(batch, record=names)
        return patterns_of({name: run[name][..., -1:, :1] for name in names}, heads)[..., 0, 0]

    both = (torch.from_numpy(side.tokens).split(at_once) for side in (pairs.without, pairs.with_kin))
    sides = [np.concatenate([of_batch(batch) for batch in side], axis=1, dtype=np.float64) for side in both]
    return PairSurvey(pairs, tuple(heads), np.stack(sides, axis=1))


def kin_preference(survey: Survey, head: Head) -> Resampled:
    """Return mean kin mass over mean uniform share n_kin/(i + 1), both over rows with kin: 1 for uniform attention.

    Raises NotAssessable where no row has kin.
    """
    mass = survey.kin_mass[survey.position(head)]
    if not survey.has_kin.any():
        raise NotAssessable("no row of the prompts has kin")
    rows = survey.grouped(np.stack([mass, survey.uniform_share]), survey.has_kin[None])
    return Resampled(rows, lambda means: means[..., 0] / means[..., 1])


def self_suppression(survey: Survey, head: Head) -> Smallest:
    """Return the smaller of ln(a_kin/a_own) and ln(a_kin/a_copy), in nats.

    a_kin, a_own and a_copy are mean attention per earlier kin, to the own position, and per earlier copy of the word.
    The first ratio is over rows with kin and an earlier word of another category, the second over those of them that
    have copies, too. Raises NotAssessable where no row has all of these.
    """
    attention, rows = _attention(survey, head)
    with_copies = rows & (survey.n_copies > 0)
    if not with_copies.any():
        raise NotAssessable(
            "no row of the prompts has kin, an earlier word of another category and an earlier copy of its word"
        )
    values = np.stack([attention["kin"], attention["own"], attention["kin"], attention["copy"]])
    grouped = survey.grouped(values, np.stack([rows, rows, with_copies, with_copies]))

    def both(means: Float[np.ndarray, "replicate 4"]) -> Float[np.ndarray, "replicate 2"]:
        return np.stack([log_ratio(means[:, 0], means[:, 1]), log_ratio(means[:, 2], means[:, 3])], axis=1)

    return Smallest(grouped, both)


def self_above_unrelated(survey: Survey, head: Head) -> Resampled:
    """Return ln(a_own/a_other), in nats: attention to the own position over that per earlier word of other categories.

    Both are means over rows with kin and an earlier word of another category; raises NotAssessable where there is none.
    """
    attention, rows = _attention(survey, head)
    grouped = survey.grouped(np.stack([attention["own"], attention["other"]]), rows[None])
    return Resampled(grouped, lambda means: log_ratio(means[:, 0], means[:, 1]))


def log_ratio(above: Float[np.ndarray, "*shape"], below: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return ln(above/below) of attentions, neither taken below 1e-12; NaN stays NaN."""
    return np.asarray(np.log(np.maximum(above, SCORE_FLOOR)) - np.log(np.maximum(below, SCORE_FLOOR)))


def _attention(survey: Survey, head: Head) -> tuple[dict[str, Float[np.ndarray, " row"]], Bool[np.ndarray, " row"]]:
    """Return attention per position of kin, copies and other words, and to the own one, and which rows are compared.

    These have kin and an earlier word of another category; raises NotAssessable where there is none such.
    """
    position = survey.position(head)
    rows = survey.has_kin & (survey.n_others > 0)
    if not rows.any():
        raise NotAssessable("no row of the prompts has kin and an earlier word of another category")
    attention = {
        "kin": survey.kin_mass[position] / np.maximum(survey.n_kin, 1),
        "copy": survey.copy_mass[position] / np.maximum(survey.n_copies, 1),
        "other": survey.other_mass[position] / np.maximum(survey.n_others, 1),
        "own": survey.own[position],
    }
    return attention, rows


def bos_fallback(pairs: PairSurvey, head: Head) -> tuple[Resampled, Resampled]:
    """Return the last word's mean attention to BOS without kin, and the mean difference to that with kin.

    Both are over matched pairs; for resampling a prompt belongs to the category of its last word.
    """
    without, with_kin = pairs.bos[pairs.heads.index(head)]
    values = np.stack([without, with_kin])[..., None]
    categories = np.stack([pairs.pairs.without.category_at[:, -1], pairs.pairs.with_kin.category_at[:, -1]])
    member = np.eye(len(pairs.pairs.without.words.categories) + 1)[categories]
    rows = GroupedRows(values * member, member)
    alone = GroupedRows(rows.sums[:1], rows.counts[:1])
    return Resampled(alone, lambda means: means[:, 0]), Resampled(rows, lambda means: means[:, 0] - means[:, 1])
