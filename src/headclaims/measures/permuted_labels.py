"""Category scores under permuted category labels: the null population in which categories mean nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float

from headclaims.measures.category_score import SCORE_FLOOR, Survey
from headclaims.measures.lowest_score import gap_to_runner_up
from headclaims.statistics.nulls import DRAWS


def permuted_label_scores(
    survey: Survey, n: int = DRAWS, seed: int = 0, at_once: int = 256
) -> Float[np.ndarray, "permutation head"]:
    """Compute the category scores of all heads, in nats, under n random permutations of the words among the categories.

    The categories keep their sizes; prompts and attention stay as they are, and only which words are kin changes. Each
    word's rows are scored for many permutations in one product: kin mass = word_mass @ is_kin.
    """
    generator = np.random.default_rng(seed)
    labels = np.asarray(survey.prompts.words.category_of_word)
    permuted = np.stack([generator.permutation(labels) for _ in range(n)])
    n_rows = int(survey.is_counted.sum())
    totals = torch.zeros(len(survey.heads), n, dtype=torch.float64)
    word_mass = torch.from_numpy(survey.word_mass)
    counts = torch.from_numpy(survey.word_counts).float()
    bos = torch.from_numpy(survey.bos).float()
    totals += -torch.log(bos[:, torch.from_numpy(survey.is_first)].clamp_min(SCORE_FLOOR)).double().sum(1, keepdim=True)
    for word in range(len(labels)):
        rows = torch.from_numpy(np.flatnonzero(survey.word_of_row == word))
        if not len(rows):
            continue
        related = permuted == permuted[:, [word]]
        related[:, word] = False
        is_kin = torch.from_numpy(related.T.astype(np.float32))
        mass, seen, fallback = word_mass[:, rows], counts[rows], bos[:, rows, None]
        for start in range(0, n, at_once):
            batch = is_kin[:, start : start + at_once]
            # Without kin the kin mass is exactly 0, and BOS is the target.
            target = (mass @ batch).addcmul_(fallback, (seen @ batch == 0).float())
            totals[:, start : start + at_once] -= target.clamp_min_(SCORE_FLOOR).log_().sum(1).double()
    return (totals / n_rows).T.contiguous().numpy()


def best_of_all_heads(
    scores: Float[np.ndarray, "permutation head"],
    statistic: Callable[[Float[np.ndarray, "*batch head"], int], Float[np.ndarray, "*batch"]] = gap_to_runner_up,
) -> Float[np.ndarray, " permutation"]:
    """Compute under each permutation the statistic of the head with the lowest score."""
    return np.asarray(statistic(np.sort(scores, axis=1), 0), dtype=float)
