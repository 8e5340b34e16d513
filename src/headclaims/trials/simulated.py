"""Made-up rows, groups and words with known truths, as audits would measure them.

Effects of prompts, categories, groups and words have mean 0, variance 1 and any skew: they are normal, or gamma shifted
to mean 0. `share` is the part of a statistic's variance that lies between categories (or groups, or clusters of words),
`units` the number of categories or groups. Each function draws one audit and returns its `Estimate`, of the class and
by the functions that claims use, with the statistic's true value, None where only the mean of many audits tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.circuit.scatter import scatter
from headclaims.measures.category_blocks import block_distance, diagonal
from headclaims.measures.lowest_score import OutlierRatio, outlier_ratio
from headclaims.measures.similar_words import head_margins, share_above, word_space
from headclaims.measures.similarity_peak import cosine_bins, peak
from headclaims.statistics.resampling import Estimate, Resampled, Smallest
from headclaims.statistics.rows import GroupedRows
from headclaims.vocabulary.token_scores import TokenScores

PROMPTS, ROWS_A_PROMPT = 32, 63
TOKENS_A_GROUP = 6
CELLS = 0.1
"""Variance of the mean that single cells add, of that which prompts and categories give."""

Drawn = tuple[Estimate, float | None]


@dataclass(frozen=True)
class World:
    """How effects are distributed: the share of variance between units, their skew, and the number of units."""

    share: float
    skew: float
    units: int

    def effects(self, generator: np.random.Generator, shape: tuple[int, ...], part: float = 1.0) -> np.ndarray:
        """Draw effects; independent draws of parts that add to 1 add up to effects of variance 1 and the same skew."""
        if self.skew == 0:
            return generator.standard_normal(shape) * part**0.5
        size = 4 / self.skew**2
        return (generator.standard_gamma(size * part, shape) - size * part) / size**0.5

    def rows(self, generator: np.random.Generator, levels: list[float], error: list[float]) -> GroupedRows:
        """Draw rows of several means, each with its true level and the standard error of its prompts and categories.

        Where the first error is 0 the first mean is the one that others are compared with: the errors are then those of
        the differences to it, half of whose effects are its own, with the opposite sign.
        """
        prompts, categories, own = PROMPTS, self.units, np.array(error)[:, None]
        counts = generator.multinomial(ROWS_A_PROMPT, np.full(categories, 1 / categories), size=prompts)
        compared = own[0, 0] == 0
        part = 0.5 if compared else 1.0
        size = np.where(own > 0, own, own.max()) if compared else own
        cells = generator.standard_normal((len(levels), prompts, categories)) * (part * prompts * categories) ** 0.5
        values = np.array(levels)[:, None, None] + CELLS**0.5 * size[..., None] * cells
        signs = np.where(compared & (np.arange(len(levels)) == 0), -1.0, 1.0)[:, None]
        of_prompts, of_categories = (
            self.effects(generator, (len(levels), n), part) * signs * size * (variance * n) ** 0.5
            for n, variance in ((prompts, 1 - self.share), (categories, self.share))
        )
        values += of_prompts[:, :, None] + of_categories[:, None, :]
        sums = np.concatenate([values * counts, np.zeros((len(levels), prompts, 1))], axis=2)
        return GroupedRows(sums, np.broadcast_to(np.pad(counts.astype(float), ((0, 0), (0, 1))), sums.shape))


def ratio(world: World, generator: np.random.Generator) -> Drawn:
    """Draw a ratio of two means, 3 and 1, each with a standard error of a tenth."""
    rows = world.rows(generator, [3.0, 1.0], [0.3, 0.1])
    return Resampled(rows, lambda means: means[:, 0] / means[:, 1]), 3.0


def smaller_of_two(world: World, generator: np.random.Generator) -> Drawn:
    """Draw the smaller of ln(a/b) and ln(a/c), both ln 2."""
    rows = world.rows(generator, [2.0, 1.0, 1.0], [0.2, 0.1, 0.1])
    return Smallest(rows, lambda means: np.log(means[:, :1] / means[:, 1:])), float(np.log(2))


def _gap(levels: list[float]) -> Callable[[World, np.random.Generator], Drawn]:
    def draw(world: World, generator: np.random.Generator) -> Drawn:
        rows = world.rows(generator, [0.0, *levels], [0.0, *([1.0] * len(levels))])
        return Smallest(rows, lambda means: means[:, 1:] - means[:, :1]), min(levels)

    return draw


def outlier(world: World, generator: np.random.Generator) -> Drawn:
    """Draw the outlier ratio of a head among twelve, whose distances are eight and more standard errors."""
    levels = [0.0, *(4 + 1.5 * np.arange(11))]
    rows = world.rows(generator, levels, [0.0, *([0.5] * 11)])
    return OutlierRatio(rows, 0), float(outlier_ratio(np.array(levels), 0))


def distance(world: World, generator: np.random.Generator) -> Drawn:
    """Draw d of scores within and across groups, both of variance 1, two standard deviations of a difference apart."""
    group = np.repeat(np.arange(world.units), TOKENS_A_GROUP)
    within, as_query, as_key = world.effects(generator, (3, world.units))
    across = ((as_query[:, None] + as_key) / 2**0.5)[group][:, group]
    level = np.where(np.equal.outer(group, group), within[group][:, None], across)
    noise = generator.standard_normal((len(group), len(group)))
    scores = world.share**0.5 * level + (1 - world.share) ** 0.5 * noise
    return block_distance(scores + 2 * 2**0.5 * np.equal.outer(group, group), group), 2.0


def depth(world: World, generator: np.random.Generator) -> Drawn:
    """Draw D, 1 nat in truth, of groups whose own difference has this share of its variance between groups."""
    group = np.repeat(np.arange(world.units), TOKENS_A_GROUP)
    own = world.share**0.5 * world.effects(generator, (world.units,))[group]
    own += ((1 - world.share) * TOKENS_A_GROUP) ** 0.5 * generator.standard_normal(len(group))
    scores = 0.1 * generator.standard_normal((len(group), len(group)))
    np.fill_diagonal(scores, 0)
    off = (scores * np.equal.outer(group, group)).sum(axis=1) / (TOKENS_A_GROUP - 1)
    np.fill_diagonal(scores, off - 1 - own)
    return diagonal(scores, group).D, 1.0


WITHIN, BETWEEN = np.array([1.0] * 4 + [0.15] * 4), np.array([0.1] * 4 + [1.0] * 4)
EIGENVALUES = np.array([-1.0] * 4 + [1.0] * 4)


def contrast(world: World, generator: np.random.Generator) -> Drawn:
    """Draw the contrast b − w of groups in eight directions, whose scatter in negative ones differs between groups."""
    share = min(max(world.share, 0.05), 0.95)
    group = np.repeat(np.arange(world.units), TOKENS_A_GROUP)
    means = (share * BETWEEN) ** 0.5 * world.effects(generator, (world.units, 8))
    scatter_of = np.ones((world.units, 8))
    scatter_of[:, :4] = generator.standard_gamma(4.0, (world.units, 1)) / 4
    within = ((1 - share) * WITHIN * scatter_of[group]) ** 0.5 * generator.standard_normal((len(group), 8))
    S_w, S_b = (1 - share) * WITHIN, share * BETWEEN + (1 - share) * WITHIN / TOKENS_A_GROUP
    b, w = (float(EIGENVALUES @ S / S.sum()) for S in (S_b, S_w))
    return scatter(EIGENVALUES, means[group] + within, group).contrast(), b - w


CLUSTERS, D_MODEL = 40, 16


def _words(world: World, generator: np.random.Generator) -> torch.Tensor:
    """Draw words' vectors: clusters that are the same in each list, and what is each word's own."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, D_MODEL))
    centres = centres[generator.integers(CLUSTERS, size=world.units)]
    own = world.effects(generator, (world.units, D_MODEL))
    return torch.from_numpy(world.share**0.5 * centres + (1 - world.share) ** 0.5 * own).float()


def _head() -> QKCircuit:
    """Return a head whose W_QK has negative eigenvalues in half of the directions, and a skew part."""
    draw = np.random.default_rng(1)
    of_query = draw.standard_normal((D_MODEL, 8))
    of_key = of_query * np.array([-1.0] * 4 + [1.0] * 4) + 0.3 * draw.standard_normal((D_MODEL, 8))
    W_Q, W_K = (torch.from_numpy(W).float() for W in (of_query, of_key))
    return QKCircuit(W_Q, W_K, torch.zeros(8), torch.zeros(8), 8**-0.5)


def share_of_words(world: World, generator: np.random.Generator) -> Drawn:
    """Draw the share of words that score higher with their ten nearest than with themselves."""
    words = _words(world, generator)
    margins = head_margins(word_space(words, [words[:0]] * len(words), seed=0), _head(), None)
    return share_above(margins["similar_above_self"]), None


def peak_of_words(world: World, generator: np.random.Generator) -> Drawn:
    """Draw the cross-fitted peak of scores by similarity."""
    words = _words(world, generator)
    return peak(TokenScores.of(_head(), words, words, None), cosine_bins(words)), None


SPREAD = [6.0 + 1.5 * i for i in range(11)]
TIED = [6.0] * 4 + SPREAD[2:9]

ROWS: dict[str, Callable[[World, np.random.Generator], Drawn]] = {
    "ratio of means": ratio,
    "gap, runners-up spread": _gap(SPREAD),
    "gap, runners-up tied": _gap(TIED),
    "outlier ratio": outlier,
    "smaller of two": smaller_of_two,
}
GROUPS = {"d": distance, "D": depth, "contrast b − w": contrast}
WORDS = {"share of words": share_of_words, "peak": peak_of_words}
