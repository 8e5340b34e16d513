"""Category prompts (random words of several categories) and their target mask.

Axes: `prompt`, `position` (0 is BOS, in recorded prompts maybe another token), `query` and `key` positions, `word` (an
index into the list's words).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from headclaims.errors import BadInput, NotAssessable
from headclaims.prompts.words import WordList

DEFAULT_PROMPTS = 32
DEFAULT_LENGTH = 64
SHORTEST = 3
SPECIAL = re.compile(r"<.+>|\[.+\]", re.DOTALL)
"""How tokenizers write a token that is no text, such as BOS: `<|endoftext|>`, `<s>`, `[CLS]`."""


@dataclass(frozen=True)
class CategoryPrompts:
    """Prompts: BOS, then words of a list's categories, and maybe tokens that are none of its words.

    `word_at` holds indices into `words.words`, −1 at position 0 and at tokens that are no word of the list; `tokens`
    are the checkpoint's ids, None where the prompts were recorded elsewhere; `numbers` is each prompt's number in the
    whole run. Of recorded prompts `texts` holds each token as text; they need not begin with BOS, nor be of one length:
    beyond the end of a shorter one `word_at` is −1.
    """

    words: WordList
    word_at: Int[np.ndarray, "prompt position"]
    tokens: Int[np.ndarray, "prompt position"] | None
    numbers: Int[np.ndarray, " prompt"]
    texts: tuple[tuple[str, ...], ...] | None = None

    def __len__(self) -> int:
        return int(self.word_at.shape[0])

    @property
    def length(self) -> int:
        """Number of tokens in each prompt, or in the longest, BOS included."""
        return int(self.word_at.shape[1])

    @cached_property
    def rows(self) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
        """The prompt and the position of each query that counts: words of the list, and the first of each prompt."""
        is_row = self.word_at >= 0
        is_row[:, 0] = True
        prompt, position = np.nonzero(is_row)
        return prompt, position

    @property
    def category_at(self) -> Int[np.ndarray, "prompt position"]:
        """Index of the category of each position's word, −1 where there is none of the list."""
        category = np.append(np.asarray(self.words.category_of_word), -1)
        return category[self.word_at]

    @property
    def begin_with_bos(self) -> bool:
        """Whether every prompt begins with BOS: recorded ones may begin with any text."""
        return self.texts is None or all(map(begins_with_bos, self.texts))

    @property
    def begin_alike(self) -> bool:
        """Whether every prompt begins with the same token."""
        return self.texts is None or len({prompt[0] for prompt in self.texts}) == 1

    def subset(self, chosen: slice) -> CategoryPrompts:
        """Return the prompts of a slice."""
        return replace(
            self,
            word_at=self.word_at[chosen],
            tokens=None if self.tokens is None else self.tokens[chosen],
            numbers=self.numbers[chosen],
            texts=None if self.texts is None else self.texts[chosen],
        )

    def without_front(self) -> CategoryPrompts:
        """Return the same prompts without the token in front, so that each begins with its first word."""
        return replace(
            self,
            word_at=self.word_at[:, 1:],
            tokens=None if self.tokens is None else self.tokens[:, 1:],
            texts=None if self.texts is None else tuple(prompt[1:] for prompt in self.texts),
        )

    def halves(self) -> tuple[CategoryPrompts, CategoryPrompts]:
        """Split the prompts: `--head auto` chooses a head on the first half, and claims are judged on the second.

        Raises BadInput for fewer than two prompts.
        """
        if len(self) < 2:
            raise BadInput(
                f"--head auto: {len(self)} prompt; wanted two or more, one half to choose on and one to judge on"
            )
        middle = len(self) // 2
        return self.subset(slice(0, middle)), self.subset(slice(middle, None))


def category_prompts(
    words: WordList,
    single_token: Callable[[str], int | None],
    bos: int,
    n_prompts: int = DEFAULT_PROMPTS,
    length: int = DEFAULT_LENGTH,
    seed: int = 0,
) -> CategoryPrompts:
    """Draw prompts of BOS and `length` − 1 words, each a uniformly drawn word of a uniformly drawn category.

    Draws are with replacement, from one generator seeded by `seed`. `words` must hold only words that are one token
    (`WordList.that_count`); `single_token(" " + word)` gives their ids.

    Raises ValueError for fewer than 1 prompt, a length under 3, or a word of several tokens.
    """
    if n_prompts < 1:
        raise ValueError(f"{n_prompts} prompts; wanted 1 or more")
    if length < SHORTEST:
        raise ValueError(f"prompts of {length} tokens; wanted {SHORTEST} or more")
    generator = np.random.default_rng(seed)
    sizes = np.array([len(members) for members in words.categories.values()])
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    category = generator.integers(len(sizes), size=(n_prompts, length - 1))
    word = first[category] + generator.integers(sizes[category])
    ids = np.array([token_id(single_token, text) for text in words.words])
    bos_column = np.full((n_prompts, 1), bos)
    return CategoryPrompts(
        words,
        np.concatenate([np.full((n_prompts, 1), -1), word], axis=1),
        np.concatenate([bos_column, ids[word]], axis=1),
        np.arange(n_prompts),
    )


def token_id(single_token: Callable[[str], int | None], word: str) -> int:
    """Return the id of a word with a leading space; raises ValueError where it is several tokens."""
    token = single_token(" " + word)
    if token is None:
        raise ValueError(f"{word!r} is several tokens; wanted only words that count for the checkpoint")
    return token


def begins_with_bos(prompt: Sequence[str]) -> bool:
    """Return whether a recorded prompt's first token is BOS: a token that is no text."""
    return SPECIAL.fullmatch(prompt[0]) is not None


def begins_with_word(words: WordList, prompt: Sequence[str]) -> bool:
    """Return whether a recorded prompt begins with a word of the list, where others have BOS."""
    return unicodedata.normalize("NFC", prompt[0]).removeprefix(" ") in words.words


def recorded_prompts(words: WordList, recorded: Sequence[Sequence[str]]) -> CategoryPrompts:
    """Convert a file's recorded prompts to category prompts, without token ids.

    `recorded[prompt][position]` is a token as text, with its leading space. A token that is no word of the list has no
    category; nor has the first one, BOS or not. A prompt that begins with a word of the list is left out: what heads
    give to its first position they may give to any first token or to that word, which patterns do not tell apart.

    Raises NotAssessable where no prompt is left, or no token is a word of the list.
    """
    numbers = np.array([n for n, prompt in enumerate(recorded) if not begins_with_word(words, prompt)], dtype=int)
    if recorded and not len(numbers):
        raise NotAssessable(
            f"recorded prompts: all begin with a word of the list, as {recorded[0][0]!r}, where BOS should be, and "
            "what heads give to a first token can't be told from what they give to that word; wanted BOS in front"
        )
    texts = tuple(tuple(recorded[n]) for n in numbers)
    index = {" " + word: i for i, word in enumerate(words.words)}
    word_at = np.full((len(texts), max(map(len, texts), default=0)), -1)
    for row, prompt in zip(word_at, texts, strict=True):
        row[1 : len(prompt)] = [index.get(unicodedata.normalize("NFC", token), -1) for token in prompt[1:]]
    if (word_at < 0).all():
        spaced = any(token[:1].isspace() for prompt in texts for token in prompt)
        why = "" if spaced else "; no token begins with a space, by which a word is told from a part of one"
        raise NotAssessable(f"recorded prompts: none of their tokens is a word of the list {words.name!r}{why}")
    return CategoryPrompts(words, word_at, None, numbers, texts)


def kin(words: WordList) -> Bool[np.ndarray, "word word"]:
    """Return which pairs of words are kin: two different words of the same category."""
    category = np.asarray(words.category_of_word)
    return np.equal.outer(category, category) & ~np.eye(len(category), dtype=bool)


def target_mask(prompts: CategoryPrompts) -> Bool[np.ndarray, "prompt query key"]:
    """Return M, the positions that the head should attend to: earlier kin, or BOS where a row has none.

    M[i, j] = 1 iff 1 ≤ j < i and j's word is kin of i's; a row without such a j has M[i, 0] = 1.
    """
    related = np.pad(kin(prompts.words), (0, 1))  # index −1, no word of the list, has no kin
    mask = related[prompts.word_at[:, :, None], prompts.word_at[:, None, :]]
    mask &= np.tri(prompts.length, k=-1, dtype=bool)
    mask[:, :, 0] = ~mask.any(axis=2)
    return mask
