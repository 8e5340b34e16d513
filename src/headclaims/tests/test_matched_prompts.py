"""Matched pairs: what every draw must satisfy."""

from collections import Counter

import pytest

from headclaims.errors import NotAssessable
from headclaims.prompts.matched import MatchedPairs, matched_pairs
from headclaims.prompts.words import WordList

WORDS = WordList(
    "small",
    {
        "colours": ("red", "blue", "green"),
        "animals": ("dog", "cat", "horse", "sheep", "mouse", "cow", "pig", "goat", "hen"),
        "fruits": ("apple", "pear", "grape", "plum"),
        "tools": ("saw", "axe", "file"),
    },
)
CATEGORY = {word: category for category, members in WORDS.categories.items() for word in members}
BOS = 999


def one_token(text: str) -> int:
    """An id that spells the text: no two words of these lists share one."""
    assert text.startswith(" ")
    return sum(ord(letter) * 31**i for i, letter in enumerate(text[1:])) + 1000


def pairs_of(seed: int, length: int = 11, n_pairs: int = 60) -> MatchedPairs:
    return matched_pairs(WORDS, one_token, BOS, n_pairs, length, seed)


def texts(pairs: MatchedPairs) -> list[tuple[list[str], str, str]]:
    """Of each pair the prefix, and both last words."""
    words, drawn = WORDS.words, []
    for without, with_kin in zip(pairs.without.word_at.tolist(), pairs.with_kin.word_at.tolist(), strict=True):
        assert without[:-1] == with_kin[:-1]
        assert without[0] == -1
        drawn.append(([words[at] for at in without[1:-1]], words[without[-1]], words[with_kin[-1]]))
    return drawn


@pytest.mark.parametrize("length", [4, 5, 11, 40])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_pair_is_a_prefix_with_two_last_words(seed: int, length: int) -> None:
    drawn = texts(pairs_of(seed, length))
    assert len(drawn) == 60
    for prefix, without, with_kin in drawn:
        assert len(prefix) == length - 2
        standing = [CATEGORY[word] for word in prefix]
        assert CATEGORY[without] not in standing
        assert standing.count(CATEGORY[with_kin]) >= 2
        assert any(CATEGORY[word] == CATEGORY[with_kin] and word != with_kin for word in prefix)
    assert {CATEGORY[without] for _, without, _ in drawn} == set(WORDS.categories)
    assert {CATEGORY[with_kin] for _, _, with_kin in drawn} == set(WORDS.categories)


def test_ids_are_those_of_the_words_after_bos() -> None:
    pairs = pairs_of(3)
    for prompts in (pairs.without, pairs.with_kin):
        assert prompts.words is WORDS
        assert prompts.numbers.tolist() == list(range(60))
        assert prompts.tokens is not None
        expected = [
            [BOS if at < 0 else one_token(" " + WORDS.words[at]) for at in indices] for indices in prompts.word_at
        ]
        assert prompts.tokens.tolist() == expected


def test_the_seed_says_which_pairs() -> None:
    one, same, other = pairs_of(5), pairs_of(5), pairs_of(6)
    assert texts(one) == texts(same)
    assert texts(one) != texts(other)


def test_each_draw_is_uniform() -> None:
    """2,000 pairs: counts within four standard deviations of the binomial."""
    drawn = texts(pairs_of(0, length=20, n_pairs=2000))

    def near(count: int, n: int, share: float) -> bool:
        return abs(count - n * share) < 4 * (n * share * (1 - share)) ** 0.5

    lacking = Counter(CATEGORY[without] for _, without, _ in drawn)
    assert all(near(lacking[category], 2000, 1 / 4) for category in WORDS.categories)
    last = Counter(without for _, without, _ in drawn)
    assert all(near(last[word], lacking[CATEGORY[word]], 1 / len(WORDS.categories[CATEGORY[word]])) for word in last)
    # Eighteen draws over three categories: nearly always all three qualify, whatever the number of their words is.
    full = [CATEGORY[w] for prefix, _, w in drawn if min(Counter(CATEGORY[p] for p in prefix).values()) >= 4]
    with_kin = Counter(full)
    assert all(near(with_kin[category], len(full), 1 / 4) for category in WORDS.categories)
    # The prefix: over the other categories uniformly, so that words of small ones stand there more often.
    prefixes = Counter(word for prefix, _, _ in drawn for word in prefix)
    n = 2000 * 18
    for members in WORDS.categories.values():
        assert all(prefixes[word] == pytest.approx(n / 4 / len(members), rel=0.15) for word in members)


def test_a_prefix_of_one_word_is_too_short() -> None:
    with pytest.raises(NotAssessable, match="prompts of 3 tokens are too short"):
        pairs_of(0, length=3)
