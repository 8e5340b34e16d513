"""The write-up's rules of what the head attends to, on rows with kin: kin, and not the word itself.

Each statistic can be taken of any head of a survey: of the target, and of others as its null.
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
    """Attention to BOS from the last position of matched pairs: without kin first, then with."""

    pairs: MatchedPairs
    heads: tuple[Head, ...]
    bos: Float[np.ndarray, "head 2 pair"]


def survey_pairs(checkpoint: Checkpoint, pairs: MatchedPairs, heads: Sequence[Head], at_once: int = 16) -> PairSurvey:
    """Run the model on both prompts of each pair and keep what the last position gives to BOS."""
    layers = sorted({head.layer for head in heads})
    names = [pattern_name(layer) for layer in layers]
    sides = []
    for prompts in (pairs.without, pairs.with_kin):
        last = []
        for some in torch.from_numpy(prompts.tokens).split(at_once):
            run = checkpoint.run(some, record=names)
            last.append(patterns_of(run, heads)[..., -1, 0])
        sides.append(np.concatenate(last, axis=1, dtype=np.float64))
    return PairSurvey(pairs, tuple(heads), np.stack(sides, axis=1))


def kin_preference(survey: Survey, head: Head) -> Resampled:
    """Mean kin mass over mean uniform share n_kin/(i + 1), both over rows with kin: 1 is what uniform attention gives.

    Raises NotAssessable where no row has kin.
    """
    mass = survey.kin_mass[survey.position(head)]
    if not survey.has_kin.any():
        raise NotAssessable("no row of the prompts has kin")
    rows = survey.grouped(np.stack([mass, survey.uniform_share]), survey.has_kin[None])
    return Resampled(rows, lambda means: means[..., 0] / means[..., 1])


def self_suppression(survey: Survey, head: Head) -> Resampled:
    """The smaller of two mean differences, in attention, over rows with kin.

    Attention per kin less that to the own position; and, over those that also have earlier copies of the word,
    attention per kin less that per copy. Raises NotAssessable where there are no such rows.
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
    """Attention of the last word to BOS where it has no kin, and how much more that is than where it has.

    The first is a mean over pairs, the second the mean paired difference; a row belongs to its last word's category.
    """
    without, with_kin = pairs.bos[pairs.heads.index(head)]
    values = np.stack([without, with_kin])[..., None]
    categories = np.stack([pairs.pairs.without.category_at[:, -1], pairs.pairs.with_kin.category_at[:, -1]])
    member = np.eye(len(pairs.pairs.without.words.categories) + 1)[categories]
    rows = GroupedRows(values * member, member)
    alone = GroupedRows(rows.sums[:1], rows.counts[:1])
    return Resampled(alone, lambda means: means[:, 0]), Resampled(rows, lambda means: means[:, 0] - means[:, 1])
