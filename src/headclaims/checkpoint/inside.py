"""What a text is inside a longer one, for tokenizers that put a space before a text that begins with none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

BEFORE_A_SPACE, BEFORE_A_LETTER = "a", "\n"
"""What texts are put behind: a letter for one that begins with a space, and a new line for others."""


@dataclass(frozen=True, eq=False)
class TokensInside:
    """Token ids of texts as they are inside a longer text.

    SentencePiece tokenizers put a space before a text, or take one away: alone, ` red` may be two tokens, and `red` the
    token of ` red`. A text that begins with a space is so taken behind a letter; another alone, or behind a new line
    where alone it is what it is with a space.
    """

    tokenizer: Any

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text."""
        if text[:1] == " ":
            return self._behind(BEFORE_A_SPACE, text)
        alone = self._encode(text)
        return self._behind(BEFORE_A_LETTER, text) if alone == self._behind(BEFORE_A_SPACE, f" {text}") else alone

    def _behind(self, before: str, text: str) -> list[int]:
        """Return the ids of a text behind another, or alone where the two run together."""
        prefix, whole = self._prefix(before), self._encode(before + text)
        return whole[len(prefix) :] if whole[: len(prefix)] == prefix else self._encode(text)

    @cache  # noqa: B019  # a checkpoint lives as long as its run
    def _prefix(self, before: str) -> list[int]:
        return self._encode(before)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))
