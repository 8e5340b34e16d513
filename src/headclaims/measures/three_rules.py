"""The write-up's three rules of what the head attends to: kin, not the word itself, and BOS where there are no kin.

Each statistic can be computed for any head of a survey: for the target, and for others as its null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from headclaims.checkpoint.interface import Checkpoint, Head, pattern_name, patterns_of
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey
from headclaims.prompts.matched import MatchedPairs
from headclaims.statistics.resampling import GroupedRows, Resampled


@dataclass(frozen=True)
class PairSurvey:
    """Attention to BOS from the last position of matched pairs: index 0 without kin, index 1 with kin."""

    pairs: MatchedPairs
    heads: tuple[Head, ...]
    bos: Float[np.ndarray, "head 2 pair"]


def survey_pairs(checkpoint: Checkpoint, pairs: MatchedPairs, heads: Sequence[Head], at_once: int = 16) -> PairSurvey:
    """Run the model on both prompts of each pair and record the attention of the last position to BOS."""
    layers = sorted({head.layer for head in heads})
    names = [pattern_name(layer) for layer in layers]
    sides = []
    for prompts in (pairs.without, pairs.with_kin):
        last = []
        for batch in torch.from_numpy(prompts.tokens).split(at_once):
            run = checkpoint.run(batch, record=names)
            last.append(patterns_of(run, heads)[..., -1, 0])
        sides.append(np.concatenate(last, axis=1, dtype=np.float64))
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


def self_suppression(survey: Survey, head: Head) -> Resampled:
    """Return the smaller of two mean differences in attention.

    The first is attention per kin minus that to the own position, over rows with kin; the second is attention per kin
    minus that per copy, over rows with both kin and earlier copies of the word. Raises NotAssessable where no row has
    both.
    """
    position = survey.position(head)
    with_copies = survey.has_kin & (survey.n_copies > 0)
    if not with_copies.any():
        raise NotAssessable("no row of the prompts has both kin and an earlier copy of its word")
    per_kin = survey.kin_mass[position] / np.maximum(survey.n_kin, 1)
    per_copy = survey.copy_mass[position] / np.maximum(survey.n_copies, 1)
    values = np.stack([per_kin - survey.own[position], per_kin - per_copy])
    rows = survey.grouped(values, np.stack([survey.has_kin, with_copies]))
    return Resampled(rows, lambda means: means.min(axis=-1))


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
