"""Templates: category prompts whose words are parted by a separator, as text has them, rather than in bare rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from headclaims.errors import NotAssessable
from headclaims.prompts.category import CategoryPrompts

SEPARATORS = {"commas": ",", "and": " and"}
"""Templates by name: the text between two words. Words keep the space before them."""


def separator_tokens(single_token: Callable[[str], int | None]) -> dict[str, int]:
    """Return the id of each template's separator, without the templates whose separator is no single token."""
    tokens = {name: single_token(text) for name, text in SEPARATORS.items()}
    return {name: token for name, token in tokens.items() if token is not None}


def words_in(length: int) -> int:
    """Return how many words a prompt of `length` tokens holds where separators stand between them: half as many."""
    return length // 2


def parted(prompts: CategoryPrompts, separator: int, length: int | None = None) -> CategoryPrompts:
    """Return prompts of `length` tokens, their own by default: position 0, then the first words, separators between.

    Separators are no words of the list. Where a word and BOS don't fill an even number of tokens a separator ends the
    prompt. Raises NotAssessable for prompts of which the ids are not known, and ValueError where they hold fewer words.
    """
    if prompts.tokens is None:
        raise NotAssessable("recorded prompts cannot be put into a template")
    length = prompts.length if length is None else length
    n = words_in(length)
    if prompts.length < n + 1:
        raise ValueError(f"prompts of {prompts.length} tokens; wanted {n + 1}, of which to take {n} words")

    def spread(values: Int[np.ndarray, "prompt position"], between: int) -> Int[np.ndarray, "prompt length"]:
        out = np.full((len(values), length), between)
        out[:, 0] = values[:, 0]
        out[:, 1::2] = values[:, 1 : n + 1]
        return out

    word_at, tokens = spread(prompts.word_at, -1), spread(np.asarray(prompts.tokens), separator)
    return CategoryPrompts(prompts.words, word_at, tokens, prompts.numbers)
