"""The sets of tokens that map claims are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from headclaims.measures.top_attended import Probes, form
from headclaims.prompts.words import WordList


@dataclass(frozen=True)
class Groups:
    """Tokens in groups, one group after the other."""

    tokens: Int[Tensor, " token"]
    group: Int[np.ndarray, " token"]

    @classmethod
    def of(cls, words: WordList, single_token: Callable[[str], int | None]) -> Groups:
        """Group the words of a list by category; all of them must be one token with a leading space."""
        ids = [single_token(" " + word) for word in words.words]
        return cls(torch.tensor(ids), np.asarray(words.category_of_word))


@dataclass(frozen=True)
class CommonWords:
    """Common words as tokens, and for each its case and space variants in the vocabulary."""

    tokens: Int[Tensor, " word"]
    variants: tuple[Int[Tensor, " _"], ...]

    @classmethod
    def of(
        cls, words: Sequence[str], single_token: Callable[[str], int | None], vocabulary: Sequence[str]
    ) -> CommonWords:
        """Find the words' tokens and variants, which differ from the word in case and surrounding space alone."""
        of_form: dict[str, list[int]] = {}
        for token, text in enumerate(vocabulary):
            of_form.setdefault(form(text), []).append(token)
        tokens = [single_token(" " + word) for word in words]
        variants = (
            torch.tensor([other for other in of_form.get(form(word), []) if other != token], dtype=torch.int64)
            for word, token in zip(words, tokens, strict=True)
        )
        return cls(torch.tensor(tokens), tuple(variants))


@dataclass(frozen=True)
class TokenSets:
    """The sets that map claims are about; None where the tokenizer cannot give one."""

    words: Groups
    groups: Groups | None
    common: CommonWords | None
    probes: Probes | None
    labels: Mapping[int, str] | None = None
    """Category of common words, by their index in `common`."""

    @cached_property
    def needed(self) -> Int[Tensor, " token"]:
        """Tokens of all sets, ascending, each once."""
        parts = [self.words.tokens]
        if self.groups is not None:
            parts.append(self.groups.tokens)
        if self.common is not None:
            parts += [self.common.tokens, *self.common.variants]
        if self.probes is not None:
            parts.append(torch.from_numpy(self.probes.tokens))
        return torch.cat(parts).unique()
