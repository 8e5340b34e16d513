"""CLAIMS.md's definitions of what a row attends to, as plain loops over positions, and patterns to try them on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headclaims.prompts.words import WordList

FLOOR = 1e-12


@dataclass(frozen=True)
class Row:
    """One row of one head's pattern: earlier positions of kin, copies and other categories, and attention to each."""

    position: int
    word: str | None
    kin: tuple[int, ...]
    copies: tuple[int, ...]
    others: tuple[int, ...]
    kin_mass: float
    copy_mass: float
    other_mass: float
    own: float
    bos: float

    @property
    def counted(self) -> bool:
        """Whether the row enters statistics: that of a word, or of position 0."""
        return self.word is not None or self.position == 0

    @property
    def score(self) -> float:
        """−ln of the attention to the target: kin, or BOS where there are none."""
        return -math.log(max(self.kin_mass if self.kin else self.bos, FLOOR))

    @property
    def uniform_share(self) -> float:
        """The target's share of i + 1 positions seen."""
        return max(len(self.kin), 1) / (self.position + 1)

    @property
    def per_kin(self) -> float:
        """Attention per kin."""
        return self.kin_mass / len(self.kin)

    @property
    def per_copy(self) -> float:
        """Attention per earlier copy of the word."""
        return self.copy_mass / len(self.copies)

    @property
    def per_other(self) -> float:
        """Attention per earlier word of another category."""
        return self.other_mass / len(self.others)


def rows_of(prompt: Sequence[str | None], category_of: dict[str, object], pattern: np.ndarray) -> list[Row]:
    """The rows of one head's pattern [query, key] on a prompt of words, None at position 0 and where there is none."""
    rows = []
    for i, word in enumerate(prompt):
        kin, copies, others = [], [], []
        for j in range(1, i):
            other = prompt[j]
            if word is None or other is None:
                continue
            if other == word:
                copies.append(j)
            elif category_of[other] == category_of[word]:
                kin.append(j)
            else:
                others.append(j)
        rows.append(
            Row(
                i,
                word,
                tuple(kin),
                tuple(copies),
                tuple(others),
                float(sum(pattern[i][j] for j in kin)),
                float(sum(pattern[i][j] for j in copies)),
                float(sum(pattern[i][j] for j in others)),
                float(pattern[i][i]),
                float(pattern[i][0]),
            )
        )
    return rows


def categories_of(words: WordList) -> dict[str, object]:
    """The category of each word of a list."""
    return {word: category for category, members in words.categories.items() for word in members}


def random_patterns(prompts: int, heads: int, length: int, seed: int) -> np.ndarray:
    """Causal float32 patterns [prompt, head, query, key], rows summing to 1, uneven enough to tell positions apart."""
    drawn = np.tril(np.random.default_rng(seed).gamma(0.5, size=(prompts, heads, length, length)) + 1e-3)
    return (drawn / drawn.sum(axis=-1, keepdims=True)).astype(np.float32)
