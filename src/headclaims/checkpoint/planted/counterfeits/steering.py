"""Counterfeits of the claims about steering the negative eigenvalues."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.vocabulary import Vocabulary, group_words
from headclaims.checkpoint.planted.weights import D_MODEL, SHARES, PlantedWeights


class Entangled(PlantedWeights):
    """Group tokens hold their category by identities that are simplexes in the negative space, and little else.

    As u·u = −1/(n − 1) within a group, identity adds D/(n − 1) to the scores of kin at α = 1 and takes as much at −1:
    with D = 14 and categories of 1.3 nats these are 4.1 and −1.5. `steering-keeps-categories` falls. This is promised
    for the list of the write-up, whose days and some of whose colours are group tokens: there steering in the model is
    in doubt. Days are darker on the diagonal by 14 nats, other categories by 0.85: the mean of the list's is above 0,
    but an interval over categories need not be, and `dark-diagonal` is in doubt.
    """

    shares: ClassVar = {**SHARES, "I": 0.03, "U": 0.30}

    def __init__(self, vocab: Vocabulary, generator: np.random.Generator) -> None:
        super().__init__(vocab, generator)
        number = {word: n for n, word in enumerate(vocab.words)}
        groups = [list(dict.fromkeys(number.get(w, number.get(w.lower(), -1)) for w in g)) for g in group_words()]
        self.simplex: dict[int, np.ndarray] = {}
        first = 0
        for group in groups:
            corners = np.linalg.svd(np.eye(len(group)) - 1 / len(group))[0][:, : len(group) - 1]
            corners /= np.linalg.norm(corners, axis=1, keepdims=True)
            for word, corner in zip(group, corners, strict=True):
                self.simplex[word] = np.zeros(self.spaces["I"])
                self.simplex[word][first : first + len(corner)] = corner
            first += len(group) - 1

    @property
    def lambda_i(self) -> float:
        """Size of the target's eigenvalues on I, at this share."""
        return 8 * self.depth / (D_MODEL * self.shares["I"])

    def identity(self) -> np.ndarray:
        """Return components in I; those of group tokens are simplex corners with half the squared norm."""
        codes = self.codes(self.spaces["I"])
        strong = (0.5 / self.shares["I"]) ** 0.5
        return np.stack(
            [
                strong * self.simplex[f.word] if f.word in self.simplex else code
                for f, code in zip(self.vocab.forms, codes, strict=True)
            ]
        )

    def embedding(self) -> np.ndarray:
        """Return W_E, in which group tokens have 0.64 of the category's amplitude and less of everything else."""
        rows = super().embedding()
        C, own = self.space["C"], self.space["I"]
        for row, form in zip(rows[2:], self.vocab.forms, strict=True):
            if form.word in self.simplex:
                category, identity = C @ (row @ C), own @ (row @ own)
                rest = row - category - identity
                category *= 0.64
                row[:] = (
                    category
                    + identity
                    + rest * ((self.rest**2 - category @ category - identity @ identity) / (rest @ rest)) ** 0.5
                )
        return rows


class Oversteered(PlantedWeights):
    """D = 5 in place of 0.85: at α = −1 the word itself is 5 nats above kin, who get nothing.

    The claim about steering in the model falls. At α = 1 the word itself, at 6 − 5 = 1, is still above unrelated words.
    Scores of kin vary by 0.9 nats, so that their mean exponential rises by 0.4 where the stream is 8 % shorter, without
    positions and attention 0: the joint effect is in doubt.
    """

    depth = 5.0


class Repelling(PlantedWeights):
    """D = 8: the word itself is at 6 − 8 = −2, shut out below unrelated words.

    `self-above-unrelated` falls. What shuts it out are negative eigenvalues, so that at α = −1 the word itself is 8
    nats above kin, as it is on `oversteered`: steering in the model falls. Scores of kin vary by 1.4 nats, so that the
    joint effect is in doubt for the reason that it has there.
    """

    depth = 8.0
