"""Counterfeits of the claims about the symmetric and the skew part of W_QK."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.weights import D_MODEL, SHARES, SPACES, PlantedWeights, Term


class SkewDriven(PlantedWeights):
    """W_QK adds a term a bᵀ, b the same for every word and a set for animals and fruits: a constant of their rows.

    The softmax is invariant to such a constant, so that every claim about rows stands. The symmetric half of the term
    is a key bias of 6 nats on animals and fruits, a quarter of all words, which draws the attention of all others:
    W_sym alone is not sufficient. Both halves have the same largest singular value: the skew part is not weaker, or by
    noise alone.
    """

    spaces: ClassVar = {**SPACES, "I": 33, "M": 1, "K": 1}
    shares: ClassVar = {**SHARES, "U": 0.16, "M": 0.03, "K": 0.02}
    bos_score = 6.2  # makes up for BOS's share of the constant, and for the smaller norm of unmarked words

    def embedding(self) -> np.ndarray:
        """Return W_E with b on every token, BOS included, and a on animals and fruits."""
        rows = super().embedding()
        clusters = [self.vocab.clusters.index(name) for name in ("animals", "fruits")]
        rows[2:] += self.amplitude["M"] * np.isin(self.clusters(), clusters)[:, None] * self.space["M"].T
        rows[0] *= (1 - self.shares["K"]) ** 0.5
        return np.asarray(rows + self.amplitude["K"] * self.space["K"].T)

    def further_terms(self) -> list[Term]:
        """Return a column that adds twelve nats to all scores of marked queries."""
        size = (8 * 12 / (D_MODEL * (self.shares["M"] * self.shares["K"]) ** 0.5)) ** 0.5
        return [(size * self.space["M"], size * self.space["K"], np.zeros(1))]


class SkewIdle(PlantedWeights):
    """A skew term twice as strong as W_sym, on directions that no token has: `skew-is-weaker` falls, no score moves."""

    spaces: ClassVar = {**SPACES, "I": 32, "G": 5}

    def further_terms(self) -> list[Term]:
        """Return columns of 0.5 (g₁ g₂ᵀ − g₂ g₁ᵀ), with a little of g₃ and g₄ so that all columns are independent."""
        g = self.space["G"]
        keys = np.stack([g[:, 2] + 0.02 * g[:, 3], -g[:, 1] + 0.02 * g[:, 4]], axis=1)
        return [(0.5 * g[:, 1:3], keys, np.zeros(2))]


class SkewScored(PlantedWeights):
    """W_skew alone scores 3 nats between the words of the six clusters on no list, ± by cluster, and all others.

    The term is 3 (a_x − a_y) with a = ±1 in those clusters: it is equal for a word, its kin and its variants, so that
    no comparison among them changes, and 0 on prompts and groups, which hold listed words alone. Over common words, a
    sixth of which are in such clusters, it is larger than the symmetric scores: `skew-scores-are-weaker` falls, and so
    does the claim about the largest singular values.
    """

    spaces: ClassVar = {**SPACES, "I": 32, "M": 1, "K": 1}
    shares: ClassVar = {**SHARES, "U": 0.16, "M": 0.03, "K": 0.02}
    bos_score = 6.2  # words without the mark have a smaller norm, so that their scores are higher

    def embedding(self) -> np.ndarray:
        """Return W_E with b on every word and ±a on words of the six clusters."""
        rows = super().embedding()
        unlisted = ("buildings", "law", "medicine", "money", "time_units", "sizes")
        sign = {self.vocab.clusters.index(name): (-1) ** n for n, name in enumerate(unlisted)}
        marks = np.array([sign.get(int(cluster), 0) for cluster in self.clusters()])
        rows[2:] += self.amplitude["M"] * marks[:, None] * self.space["M"].T
        rows[2:] += self.amplitude["K"] * self.space["K"].T
        return rows

    def further_terms(self) -> list[Term]:
        """Return columns of the term a bᵀ − b aᵀ."""
        size = (8 * 3 / (D_MODEL * (self.shares["M"] * self.shares["K"]) ** 0.5)) ** 0.5
        a, b, F = self.space["M"], self.space["K"], self.space["F"]
        both = np.concatenate([a, b], axis=1)
        return [(size * both, size * (np.concatenate([b, -a], axis=1) + 0.01 * F[:, 61:63]), np.zeros(2))]
