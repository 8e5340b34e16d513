"""Category prompts (random words of several categories) and their target mask.

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

    `word_at` holds indices into `words.words`, −1 at BOS; `tokens` the checkpoint's ids, None where the prompts were
    recorded elsewhere; `numbers` each prompt's number in the whole run.
    """

    words: WordList
    word_at: Int[np.ndarray, "prompt position"]
    tokens: Int[np.ndarray, "prompt position"] | None
    numbers: Int[np.ndarray, " prompt"]

    def __len__(self) -> int:
        return int(self.word_at.shape[0])

    @property
    def length(self) -> int:
        """Number of tokens in each prompt, BOS included."""
        return int(self.word_at.shape[1])

    @property
    def category_at(self) -> Int[np.ndarray, "prompt position"]:
        """Index of the category of each position's word, −1 at BOS."""
        category = np.append(np.asarray(self.words.category_of_word), -1)
        return category[self.word_at]

    def subset(self, chosen: slice) -> CategoryPrompts:
        """Return the prompts of a slice."""
        tokens = None if self.tokens is None else self.tokens[chosen]
        return CategoryPrompts(self.words, self.word_at[chosen], tokens, self.numbers[chosen])

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


def recorded_prompts(words: WordList, recorded: Sequence[Sequence[str]]) -> CategoryPrompts:
    """Convert a file's recorded prompts to category prompts, without token ids.

    `recorded[prompt][position]` is a token as text, with its leading space; position 0 is BOS.

    Raises NotAssessable where a token is not a word of the list, or prompts differ in length.
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
    """Return which pairs of words are kin: two different words of the same category."""
    category = np.asarray(words.category_of_word)
    return np.equal.outer(category, category) & ~np.eye(len(category), dtype=bool)


def target_mask(prompts: CategoryPrompts) -> Bool[np.ndarray, "prompt query key"]:
    """Return M, the positions that the head should attend to: earlier kin, or BOS where a row has none.

    M[i, j] = 1 iff 1 ≤ j < i and j's word is kin of i's; a row without such a j has M[i, 0] = 1.
    """
    related = np.pad(kin(prompts.words), (0, 1))  # BOS, index −1, has no kin
    mask = related[prompts.word_at[:, :, None], prompts.word_at[:, None, :]]
    mask &= np.tri(prompts.length, k=-1, dtype=bool)
    mask[:, :, 0] = ~mask.any(axis=2)
    return mask
