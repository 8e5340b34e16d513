"""Prompts built for one question: matched pairs with and without kin, and prompts that contain successions.

Axes as in `prompts.category`: `prompt`, `position` (0 is BOS), `word` (an index into the list's words).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int

from headclaims.errors import NotAssessable
from headclaims.prompts.category import CategoryPrompts, kin, token_id
from headclaims.prompts.words import WordList

SingleToken = Callable[[str], int | None]
ATTEMPTS = 200
WINDOW = 6
SHORTEST_PAIR = 4
TWO_DIGITS = re.compile(r"[1-9]\d", re.ASCII)
NUMBERS = tuple(str(number) for number in range(10, 100))


@dataclass(frozen=True)
class MatchedPairs:
    """Pairs of prompts that differ in their last word alone, which has kin in the prefix in one of them only.

    The prefix lacks one category. The last word of `without` is of that category; the last word of `with_kin` is of a
    category that occurs at least twice in the prefix, at least once as a different word.
    """

    without: CategoryPrompts
    with_kin: CategoryPrompts

    def without_front(self) -> MatchedPairs:
        """Return the same pairs without the token in front."""
        return MatchedPairs(self.without.without_front(), self.with_kin.without_front())


def matched_pairs(
    words: WordList, single_token: SingleToken, bos: int, n_pairs: int, length: int, seed: int
) -> MatchedPairs:
    """Draw `n_pairs` matched pairs of prompts of `length` tokens.

    The lacking category is drawn uniformly, and the prefix is a category prompt over the others. For the last word of
    `with_kin` a category is drawn uniformly among those that qualify, then one of its words with kin in the prefix.

    Raises ValueError for fewer than 1 pair, and NotAssessable where prompts are too short, or categories too few, for
    a category to occur twice.
    """
    if n_pairs < 1:
        raise ValueError(f"{n_pairs} pairs; wanted 1 or more")
    if length < SHORTEST_PAIR:
        raise NotAssessable(f"prompts of {length} tokens are too short for a category to stand in them twice")
    generator = np.random.default_rng([seed, 1])
    category_of, related = np.asarray(words.category_of_word), kin(words)
    n_categories = len(words.categories)
    prefixes, lasts = [], []
    for _ in range(n_pairs):
        lacking = int(generator.integers(n_categories))
        prefix, candidates = _prefix(generator, category_of, related, lacking, length - 2)
        chosen = generator.choice(sorted({category_of[word] for word in candidates}))
        last = generator.choice([word for word in candidates if category_of[word] == chosen])
        prefixes.append(prefix)
        lasts.append((int(generator.choice(np.flatnonzero(category_of == lacking))), int(last)))
    return MatchedPairs(*(_prompts(words, prefixes, [pair[i] for pair in lasts], single_token, bos) for i in (0, 1)))


def _prefix(
    generator: np.random.Generator,
    category_of: Int[np.ndarray, " word"],
    related: Bool[np.ndarray, "word word"],
    lacking: int,
    length: int,
) -> tuple[Int[np.ndarray, " position"], Int[np.ndarray, " candidate"]]:
    """Draw a prefix without the lacking category; returns it and the words that can follow it in `with_kin`.

    These have kin in the prefix and are of a category that occurs there twice. Raises NotAssessable after 200 attempts.
    """
    members = [np.flatnonzero(category_of == c) for c in range(category_of.max() + 1)]
    others = [c for c in range(category_of.max() + 1) if c != lacking]
    for _ in range(ATTEMPTS):
        categories = generator.choice(others, size=length)
        prefix = np.array([_one(generator, members[c]) for c in categories])
        twice = np.bincount(categories, minlength=category_of.max() + 1) >= 2
        candidates = np.flatnonzero(twice[category_of] & related[:, prefix].any(axis=1))
        if len(candidates):
            return prefix, candidates
    raise NotAssessable(f"prompts of {length + 2} tokens are too short for a category to stand in them twice")


def _one(generator: np.random.Generator, words: Int[np.ndarray, " choice"]) -> int:
    """Draw one word, as `Generator.choice` does, which takes five times as long."""
    return int(words[generator.integers(len(words))])


def _prompts(
    words: WordList,
    prefixes: Sequence[Int[np.ndarray, " position"]],
    last: Sequence[int],
    single_token: SingleToken,
    bos: int,
) -> CategoryPrompts:
    word_at = np.array([[-1, *prefix, word] for prefix, word in zip(prefixes, last, strict=True)])
    return CategoryPrompts(words, word_at, _ids(words, word_at, single_token, bos), np.arange(len(word_at)))


def _ids(
    words: WordList, word_at: Int[np.ndarray, "prompt position"], single_token: SingleToken, bos: int
) -> Int[np.ndarray, "prompt position"]:
    return np.array([*(token_id(single_token, word) for word in words.words), bos])[word_at]


@dataclass(frozen=True)
class SuccessionPrompts:
    """Category prompts whose ordered categories appear as stretches of their succession.

    `place` is each word's place in its succession, −1 for words of other categories.
    """

    prompts: CategoryPrompts
    place: Int[np.ndarray, " word"]


def successions(
    full: WordList, counted: WordList, single_token: SingleToken
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the usable ordered categories of a list with their full order, and why each other one cannot be used.

    Ordered are the list's `ordered` categories, and those whose words are all two-digit numbers, with the order 10 to
    99. A category is usable where some stretch of six words of its order holds three that count, two of them
    neighbours. `counted` holds the words that count for the checkpoint.
    """
    usable, why_not = {}, []
    numeric = [c for c, members in full.categories.items() if all(TWO_DIGITS.fullmatch(word) for word in members)]
    for category, members in full.categories.items():
        if category not in full.ordered and category not in numeric:
            continue
        order = NUMBERS if category in numeric else members
        several = sum(single_token(" " + word) is None for word in order)
        if category in counted.categories and _windows(_counts(full, category, order, single_token)):
            usable[category] = order
        else:
            tokens = f"{several} of {len(order)} words are several tokens" if several else "too few words"
            why_not.append(f"{category}: {tokens}")
    return usable, why_not


def _counts(full: WordList, category: str, order: Sequence[str], single_token: SingleToken) -> list[bool]:
    """Return which words of an order can be used for its category: single tokens that are in no other category.

    Where a list has several categories of numbers, each keeps to its own words, as they are not kin of one another.
    """
    others = {word for other, words in full.categories.items() if other != category for word in words}
    numeric = sum(all(TWO_DIGITS.fullmatch(word) for word in members) for members in full.categories.values())
    own = set(full.categories[category]) if numeric > 1 else set(order)
    return [word in own and word not in others and single_token(" " + word) is not None for word in order]


def _windows(counts: Sequence[bool]) -> list[int]:
    """Return the places where a usable stretch of six begins: three of its words count, two of them neighbours."""
    starts = range(max(1, len(counts) - WINDOW + 1))
    stretches = [list(counts[start : start + WINDOW]) for start in starts]
    return [
        start
        for start, stretch in zip(starts, stretches, strict=True)
        if sum(stretch) >= 3 and any(a and b for a, b in pairwise(stretch))
    ]


def succession_prompts(
    full: WordList, counted: WordList, single_token: SingleToken, bos: int, n_prompts: int, length: int, seed: int
) -> SuccessionPrompts:
    """Draw category prompts whose words of each ordered category come from six consecutive words of its succession.

    The stretch is drawn anew for every prompt; being short, it makes successors frequent. `counted` is the part of the
    list `full` that counts for the checkpoint. Raises NotAssessable where no ordered category is usable.
    """
    orders, why_not = successions(full, counted, single_token)
    if not orders:
        reason = "; ".join(why_not) or f"the word list {full.name!r} has none"
        raise NotAssessable(f"no ordered category: {reason}")
    counts = {c: _counts(full, c, order, single_token) for c, order in orders.items()}
    categories = {
        c: tuple(word for word, counted in zip(orders[c], counts[c], strict=True) if counted)
        if c in orders
        else members
        for c, members in counted.categories.items()
    }
    words = WordList(counted.name, categories)
    place = np.array([orders[c].index(w) if c in orders else -1 for c, members in categories.items() for w in members])
    category_of = np.asarray(words.category_of_word)
    starts = {c: np.array(_windows(counts[c])) for c in orders}
    generator = np.random.default_rng([seed, 2])
    rows = []
    for _ in range(n_prompts):
        drawn_from = []
        for number, category in enumerate(categories):
            choices = np.flatnonzero(category_of == number)
            if category in orders:
                start = _one(generator, starts[category])
                choices = choices[(place[choices] >= start) & (place[choices] < start + WINDOW)]
            drawn_from.append(choices)
        drawn = generator.integers(len(drawn_from), size=length - 1)
        rows.append([-1, *(_one(generator, drawn_from[c]) for c in drawn)])
    word_at = np.array(rows)
    prompts = CategoryPrompts(words, word_at, _ids(words, word_at, single_token, bos), np.arange(n_prompts))
    return SuccessionPrompts(prompts, place)
