"""How evenly a head attends to kin: rules out a head that attends to one partner of each word alone."""

from __future__ import annotations

import numpy as np
from scipy.special import entr

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import SCORE_FLOOR, Survey
from headclaims.statistics.resampling import Resampled, Within

FEWEST_KIN = 3


def kin_evenness(survey: Survey, head: Head) -> Within:
    """Return the mean evenness of attention among a row's distinct kin, weighted by the row's kin mass: at most 1.

    Of a row with n ≥ 3 distinct words of kin before it let p be the shares of attention per position among them; its
    evenness is exp(−Σ p ln p)/n, 1 where all draw alike and 1/n where one draws all.

    Raises NotAssessable where no row has three distinct kin.
    """
    position = survey.position(head)
    counts = survey.word_counts * survey.is_kin
    distinct = (counts > 0).sum(axis=1)
    rows = distinct >= FEWEST_KIN
    if not rows.any():
        raise NotAssessable(f"no row of the prompts has {FEWEST_KIN} distinct kin")
    per_position = survey.word_mass[position] * (counts > 0) / np.maximum(counts, 1)
    total = per_position.sum(axis=1, keepdims=True)
    shares = per_position / np.where(total > 0, total, 1)
    evenness = np.exp(entr(shares).sum(axis=1)) / np.maximum(distinct, 1)
    mass = survey.kin_mass[position]
    grouped = survey.grouped(np.stack([mass * evenness, mass]), rows[None])
    weighted = Resampled(grouped, lambda means: means[:, 0] / np.maximum(means[:, 1], SCORE_FLOOR))
    return Within(weighted, 0.0, 1.0)
