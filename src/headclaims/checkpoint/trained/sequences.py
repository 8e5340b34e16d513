"""Training sequences whose parts return, at no lag that could be learnt.

After BOS a sequence is made of parts: new words, all different, or, with a chance of 0.6, a copy of any stretch of what
came before. Stretches and new parts are of random lengths: the distance from a word to its earlier copy is another in
every copied part, and a sequence has several. What followed the last time tells the next word inside of a copied part;
at the beginning of one, and of new words, nothing does.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

FEWEST_BEFORE, COPIED = 4, 0.6
"""Positions before the first copy; the chance that the next part is one."""


def sequences(
    generator: np.random.Generator, n: int, length: int, words: Int[np.ndarray, " word"], bos: int
) -> tuple[Int[np.ndarray, "prompt position"], Bool[np.ndarray, "prompt position"]]:
    """Draw n sequences, and which of their tokens are told by what came before: copied ones after a part's first."""
    tokens, told = np.full((n, length), bos), np.zeros((n, length), dtype=bool)
    for row, known in zip(tokens, told, strict=True):
        new, used, at = generator.permutation(words), 0, 1
        while at < length:
            if at > FEWEST_BEFORE and generator.random() < COPIED:
                size = min(int(generator.integers(3, max(5, length // 3))), at - 1, length - at)
                start = int(generator.integers(1, at - size + 1))
                row[at : at + size] = row[start : start + size]
                known[at + 1 : at + size] = True
            else:
                size = min(int(generator.integers(2, max(4, length // 5))), length - at)
                row[at : at + size] = new[used : used + size]
                used += size
            at += size
    return tokens, told
