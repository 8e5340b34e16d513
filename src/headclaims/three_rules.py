"""The write-up's rules of what the head attends to, on rows with kin: kin, and not the word itself.

Each statistic can be taken of any head of a survey: of the target, and of others as its null.
"""

from __future__ import annotations

import numpy as np

from headclaims.category_score import Survey
from headclaims.checkpoint.evidence import Head
from headclaims.errors import NotAssessable
from headclaims.resampling import Resampled


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
