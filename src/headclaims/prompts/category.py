"""Category prompts and their target mask.

Axes: `prompt`, `position` (0 is BOS), `query` and `key` positions, `word` (an index into the list's words).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from headclaims.errors import BadInput, NotAssessable
from headclaims.prompts.words import WordList

DEFAULT_PROMPTS = 32
DEFAULT_LENGTH = 64
SHORTEST = 3


@dataclass(frozen=True)
class CategoryPrompts:
    """Prompts of equal length: BOS, then words drawn from a list's categories.

    `word_at[prompt, position]` is the index of the word in `words.words`, −1 at BOS; `tokens` holds the
    checkpoint's ids of the same shape, None where the prompts were recorded elsewhere; `numbers` says which prompts
    of the whole run these are.
    """

    words: WordList
    word_at: Int[np.ndarray, "prompt position"]
    tokens: Int[np.ndarray, "prompt position"] | None
    numbers: Int[np.ndarray, " prompt"]

    def __len__(self) -> int:
        return int(self.word_at.shape[0])

    @property
    def length(self) -> int:
        """Tokens a prompt, BOS among them."""
        return int(self.word_at.shape[1])

    @property
    def category_at(self) -> Int[np.ndarray, "prompt position"]:
        """The category of each position's word, −1 at BOS."""
        category = np.append(np.asarray(self.words.category_of_word), -1)
        return category[self.word_at]

    def subset(self, chosen: slice) -> CategoryPrompts:
        """Some of the prompts."""
        tokens = None if self.tokens is None else self.tokens[chosen]
        return CategoryPrompts(self.words, self.word_at[chosen], tokens, self.numbers[chosen])

    def halves(self) -> tuple[CategoryPrompts, CategoryPrompts]:
        """The first half, on which `--head auto` chooses, and the second, on which it judges.

        Raises BadInput where there are fewer than two prompts.
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
    """Draw prompts: BOS, then `length` − 1 times a category uniformly and one of its words uniformly.

    Draws are with replacement, from one generator seeded by `seed`. `words` holds only words that count
    (`WordList.that_count`); `single_token(" " + word)` gives their ids, `bos` is put first by hand.

    Raises ValueError for no prompts or a length under 3.
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
    """The token of a word with a leading space; raises ValueError where it is several."""
    token = single_token(" " + word)
    if token is None:
        raise ValueError(f"{word!r} is several tokens; wanted only words that count for the checkpoint")
    return token


def recorded_prompts(words: WordList, recorded: Sequence[Sequence[str]]) -> CategoryPrompts:
    """The prompts of a recorded file, read by the word list.

    `recorded[prompt][position]` are token strings as the tokenizer writes them, position 0 being BOS.

    Raises NotAssessable where a token is no word of the list, or prompts differ in length.
    """
    lengths = {len(prompt) for prompt in recorded}
    if len(lengths) != 1:
        raise NotAssessable(f"recorded prompts of {sorted(lengths)} tokens; wanted prompts of equal length")
    index = {" " + word: i for i, word in enumerate(words.words)}
    strange = sorted({token for prompt in recorded for token in prompt[1:]} - set(index))
    if strange:
        raise NotAssessable(
            f"recorded prompts: {len(strange)} distinct tokens are no words of the list {words.name!r}, "
            f"the first is {strange[0]!r}"
        )
    word_at = np.array([[-1] + [index[token] for token in prompt[1:]] for prompt in recorded])
    return CategoryPrompts(words, word_at, None, np.arange(len(word_at)))


def kin(words: WordList) -> Bool[np.ndarray, "word word"]:
    """kin[v, w]: v and w are of the same category and not the same word."""
    category = np.asarray(words.category_of_word)
    return np.equal.outer(category, category) & ~np.eye(len(category), dtype=bool)


def target_mask(prompts: CategoryPrompts) -> Bool[np.ndarray, "prompt query key"]:
    """M[i, j] = 1 iff 1 ≤ j < i, same category, different word; a row without such a j has M[i, 0] = 1."""
    related = np.pad(kin(prompts.words), (0, 1))  # index −1, BOS, is kin of nothing
    mask = related[prompts.word_at[:, :, None], prompts.word_at[:, None, :]]
    mask &= np.tri(prompts.length, k=-1, dtype=bool)
    mask[:, :, 0] = ~mask.any(axis=2)
    return mask
