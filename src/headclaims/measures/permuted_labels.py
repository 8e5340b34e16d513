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
    survey: Survey, n: int = DRAWS, seed: int = 0, at_once: int = 1 << 20
) -> Float[np.ndarray, "permutation head"]:
    """Compute the category scores of all heads, in nats, under n random permutations of the words among the categories.

    The categories keep their sizes; prompts and attention stay as they are, and only which words are kin changes. As in
    `Survey.scores`, rows without kin count only where prompts begin with BOS. NaN where no row counts. Each
    word's rows are scored for many permutations in one product, kin mass = word_mass @ is_kin, of `at_once` numbers at
    most where a head and permutation allow it, so that they stay in the processor's cache.
    """
    generator = np.random.default_rng(seed)
    labels = np.asarray(survey.prompts.words.category_of_word)
    permuted = np.stack([generator.permutation(labels) for _ in range(n)])
    with_bos = survey.prompts.begin_with_bos
    n_rows = torch.full((n,), len(survey.word_of_row) if with_bos else 0, dtype=torch.float64)
    totals = torch.zeros(len(survey.heads), n, dtype=torch.float64)
    word_mass = torch.from_numpy(survey.word_mass)
    counts = torch.from_numpy(survey.word_counts).float()
    first = torch.from_numpy(survey.first).float()
    if with_bos:
        of_first_rows = first[:, torch.from_numpy(survey.position_of_row == 0)]
        totals += -torch.log(of_first_rows.clamp_min(SCORE_FLOOR)).double().sum(1, keepdim=True)
    for word in range(len(labels)):
        rows = torch.from_numpy(np.flatnonzero(survey.word_of_row == word))
        if not len(rows):
            continue
        related = permuted == permuted[:, [word]]
        related[:, word] = False
        is_kin = torch.from_numpy(related.T.astype(np.float32))
        mass, seen = word_mass[:, rows], counts[rows]
        fallback = first[:, rows, None] if with_bos else torch.ones(len(survey.heads), 1, 1)
        some = min(n, 256)
        n_heads = max(1, at_once // (len(rows) * some))
        for drawn in torch.arange(n).split(some):
            batch = is_kin[:, drawn]
            without_kin = (seen @ batch == 0).float()
            if not with_bos:
                n_rows[drawn] += (1 - without_kin).double().sum(0)
            for heads in torch.arange(len(survey.heads)).split(n_heads):
                # Without kin the kin mass is exactly 0: BOS is the target, or without BOS ln 1 adds nothing.
                target = (mass[heads] @ batch).addcmul_(fallback[heads], without_kin)
                totals[heads[:, None], drawn] -= target.clamp_min_(SCORE_FLOOR).log_().sum(1).double()
    return (totals / n_rows).T.contiguous().numpy()


def best_of_all_heads(
    scores: Float[np.ndarray, "permutation head"],
    statistic: Callable[[Float[np.ndarray, "*batch head"], int], Float[np.ndarray, "*batch"]] = gap_to_runner_up,
) -> Float[np.ndarray, " counted"]:
    """Compute the statistic of the head with the lowest score under each permutation by which some row counts."""
    counted = scores[~np.isnan(scores).any(axis=1)]
    return np.asarray(statistic(np.sort(counted, axis=1), 0), dtype=float)
