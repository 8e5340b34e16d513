"""Null populations: what a statistic is where the claim's head, or its labels, mean nothing.

A p-value is one-sided, (1 + #{null at least as favourable})/(n + 1): the target counts as a draw of its null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from headclaims.checkpoint.interface import Head
from headclaims.measures.category_score import SCORE_FLOOR, Survey, gap_to_runner_up

DRAWS = 999
MOST_OTHER_HEADS = 48
SMALLEST_POPULATION = 19

Favourable = Literal["high", "low"]


@dataclass(frozen=True)
class Null:
    """A null population of a statistic.

    `values` are the statistic's values there, one a member; None where the evidence can't give the population, with
    the reason in `missing`. `chosen_among` is 1, or under `--head auto` the number of heads the target was chosen
    among: the target is then compared with the extreme of so many draws.
    """

    population: str
    values: Float[np.ndarray, " member"] | None
    missing: str | None = None
    chosen_among: int = 1

    @property
    def n(self) -> int:
        """The size of the population."""
        return 0 if self.values is None else len(self.values)

    def at_least_as_favourable(self, measured: float, favourable: Favourable) -> int:
        """How many members are; one that is no number counts against the claim, too."""
        if self.values is None:
            return 0
        return int((~(self.values < measured) if favourable == "high" else ~(self.values > measured)).sum())

    def p_value(self, measured: float, favourable: Favourable) -> float:
        """One-sided p of a measured value: (1 + #{at least as favourable})/(n + 1), and for the extreme of m draws
        1 − (1 − p)^m.

        Raises ValueError where the population is missing.
        """
        if self.values is None:
            raise ValueError(f"null {self.population!r} is missing: {self.missing}")
        p = (1 + self.at_least_as_favourable(measured, favourable)) / (self.n + 1)
        return float(1 - (1 - p) ** self.chosen_among) if self.chosen_among > 1 else p


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Benjamini–Hochberg-adjusted p-values, in the given order."""
    if not p_values:
        return []
    return [float(p) for p in stats.false_discovery_control(np.asarray(p_values), method="bh")]


def other_heads(target: Head, heads: Sequence[Head], seed: int, most: int = MOST_OTHER_HEADS) -> list[Head]:
    """At most `most` heads beside the target: all of its layer first, the rest drawn by seed."""
    beside = [head for head in heads if head.layer == target.layer and head != target][:most]
    elsewhere = [head for head in heads if head.layer != target.layer]
    drawn = np.random.default_rng(seed).permutation(len(elsewhere))[: most - len(beside)]
    return beside + [elsewhere[i] for i in sorted(drawn)]


def gaussian_spans(
    n: int,
    d_model: int,
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
    seed: int,
) -> Float[Tensor, "member span pair"]:
    """Spans of n heads with independent Gaussian entries, of the root mean squares of the target's W_Q and W_K.

    R of a QR decomposition of an m × k standard Gaussian matrix has independent entries: χ(m − i) on the diagonal
    of row i (from 0), standard normal above it (Bartlett's decomposition), so no d_model-sized matrix is drawn.
    Centred columns, as a centring norm gives, have m = d_model − 1 free dimensions: pass that as `d_model`.
    """
    generator = np.random.default_rng(seed)
    k = 2 * W_Q.shape[1]
    rows = min(d_model, k)
    R = np.triu(generator.standard_normal((n, rows, k)), k=1)
    diagonal = np.sqrt(generator.chisquare(d_model - np.arange(rows), size=(n, rows)))
    R[:, np.arange(rows), np.arange(rows)] = diagonal
    size = [float(W.double().square().sum().div(d_model * W.shape[1]).sqrt()) for W in (W_Q, W_K)]
    return torch.from_numpy(R * np.repeat(size, k // 2))


def permuted_label_scores(
    survey: Survey, n: int = DRAWS, seed: int = 0, at_once: int = 256
) -> Float[np.ndarray, "permutation head"]:
    """Category scores of all heads with the list's words dealt anew among its categories, sizes kept.

    The prompts and what heads attend to in them stay as they were; only which words are kin changes. Each word's
    rows are scored for many permutations in one product: kin mass = word_mass @ is_kin.
    """
    generator = np.random.default_rng(seed)
    labels = np.asarray(survey.prompts.words.category_of_word)
    permuted = np.stack([generator.permutation(labels) for _ in range(n)])
    n_rows = len(survey.word_of_row)
    totals = torch.zeros(len(survey.heads), n, dtype=torch.float64)
    word_mass = torch.from_numpy(survey.word_mass)
    counts = torch.from_numpy(survey.word_counts).float()
    bos = torch.from_numpy(survey.bos).float()
    without = survey.word_of_row < 0
    totals += -torch.log(bos[:, torch.from_numpy(without)].clamp_min(SCORE_FLOOR)).double().sum(1, keepdim=True)
    for word in range(len(labels)):
        rows = torch.from_numpy(np.flatnonzero(survey.word_of_row == word))
        if not len(rows):
            continue
        related = permuted == permuted[:, [word]]
        related[:, word] = False
        is_kin = torch.from_numpy(related.T.astype(np.float32))
        mass, seen, fallback = word_mass[:, rows], counts[rows], bos[:, rows, None]
        for start in range(0, n, at_once):
            some = is_kin[:, start : start + at_once]
            # Without kin the kin mass is exactly 0, and BOS is the target.
            target = (mass @ some).addcmul_(fallback, (seen @ some == 0).float())
            totals[:, start : start + at_once] -= target.clamp_min_(SCORE_FLOOR).log_().sum(1).double()
    return (totals / n_rows).T.contiguous().numpy()


def best_of_all_heads(
    scores: Float[np.ndarray, "permutation head"],
    statistic: Callable[[Float[np.ndarray, "*batch head"], int], Float[np.ndarray, "*batch"]] = gap_to_runner_up,
) -> Float[np.ndarray, " permutation"]:
    """The statistic of whichever head scores lowest under each permutation, the others in whatever order."""
    return np.asarray(statistic(np.sort(scores, axis=1), 0), dtype=float)
