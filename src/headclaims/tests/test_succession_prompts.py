"""Prompts with successions: which categories are successions, and what every prompt must satisfy."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from headclaims.errors import NotAssessable
from headclaims.prompts.matched import SuccessionPrompts, succession_prompts, successions
from headclaims.prompts.words import WordList

BOS = 999
PLAIN = WordList("plain", {"colours": ("red", "blue", "green"), "years": ("1989", "1999", "1972")})
ORDERED = WordList(
    "ordered",
    {
        "colours": ("red", "blue", "green"),
        "days": ("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
        "numbers": ("24", "69", "42"),
        "letters": ("alpha", "beta", "gamma", "delta"),
        "years": ("1989", "1999", "1972"),
    },
    ordered=("days", "letters"),
)


def one_token(text: str) -> int:
    """An id that spells the text: no two words of these lists share one."""
    assert text.startswith(" ")
    return sum(ord(letter) * 31**i for i, letter in enumerate(text[1:])) + 1000


def tokenizer_without(*several: str) -> Callable[[str], int | None]:
    """One token for every word but these."""
    return lambda text: None if text[1:] in several else one_token(text)


def successions_without(*several: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    single = tokenizer_without(*several)
    return successions(ORDERED, ORDERED.that_count(single, "test"), single)


def prompts_without(*several: str, n: int = 60, length: int = 30, seed: int = 0) -> SuccessionPrompts:
    single = tokenizer_without(*several)
    return succession_prompts(ORDERED, ORDERED.that_count(single, "test"), single, BOS, n, length, seed)


def places(made: SuccessionPrompts) -> dict[str, int]:
    return dict(zip(made.prompts.words.words, made.place.tolist(), strict=True))


def test_ordered_categories_and_two_digit_numbers_are_successions() -> None:
    usable, why_not = successions_without()
    tens = tuple(f"{tens}{ones}" for tens in "123456789" for ones in "0123456789")
    assert usable == {"days": ORDERED.categories["days"], "numbers": tens, "letters": ORDERED.categories["letters"]}
    assert why_not == []


def test_why_a_category_is_no_succession() -> None:
    # Of the days every other one counts: four of seven, no two of them neighbours. Of the letters two.
    usable, why_not = successions_without("tue", "thu", "sat", "alpha", "delta")
    assert list(usable) == ["numbers"]
    assert why_not == ["days: 3 of 7 words are several tokens", "letters: 2 of 4 words are several tokens"]
    short = WordList("short", {"pair": ("one", "two"), "colours": ("red", "blue", "green")}, ordered=("pair",))
    assert successions(short, short, one_token) == ({}, ["pair: too few words"])
    with pytest.raises(NotAssessable, match=r"^no ordered category: pair: too few words$"):
        succession_prompts(short, short, one_token, BOS, 2, 10, 0)


def test_a_list_without_ordered_categories_is_not_assessable() -> None:
    with pytest.raises(NotAssessable, match=r"^no ordered category: the word list 'plain' has none$"):
        succession_prompts(PLAIN, PLAIN, one_token, BOS, 2, 10, 0)


def test_three_that_count_must_stand_in_one_stretch_of_six() -> None:
    order = tuple("abcdefghijkl")
    far = WordList("far", {"line": order, "colours": ("red", "blue", "green")}, ordered=("line",))
    # a b and g count: seven apart. a b and f: six.
    for third, usable in (("g", False), ("f", True)):
        single = tokenizer_without(*(set(order) - {"a", "b", third}))
        assert ("line" in successions(far, far.that_count(single, "test"), single)[0]) is usable


def test_places_are_those_of_the_whole_order() -> None:
    made = prompts_without("wed", "33")
    place = places(made)
    assert [place[day] for day in ("mon", "tue", "thu", "fri", "sat", "sun")] == [0, 1, 3, 4, 5, 6]
    numbers = {word: at for word, at in place.items() if word.isdigit() and len(word) == 2}
    assert numbers == {str(number): number - 10 for number in range(10, 100) if number != 33}
    assert all(place[word] == -1 for word in ("red", "blue", "green", "1989", "1999", "1972"))
    assert "wed" not in place


@pytest.mark.parametrize("several", [(), ("wed", "33", "71", "72", "73")])
def test_each_prompt_has_one_stretch_of_six_of_a_category(several: tuple[str, ...]) -> None:
    made = prompts_without(*several)
    place, words = places(made), made.prompts.words.words
    begins: Counter[int] = Counter()
    category_of = {word: category for category, members in made.prompts.words.categories.items() for word in members}
    for indices in made.prompts.word_at.tolist():
        assert indices[0] == -1
        drawn = [words[at] for at in indices[1:]]
        assert not set(drawn) & set(several)
        for category in ("days", "numbers", "letters"):
            at = sorted({place[word] for word in drawn if category_of[word] == category})
            assert not at or at[-1] - at[0] <= 5
            if category == "numbers" and at:
                begins[at[0]] += 1
    assert len(begins) > 20  # a new stretch for every prompt
    # All words occur, and categories uniformly: 60 · 29 draws, four standard deviations.
    drawn = [category_of[words[at]] for at in made.prompts.word_at[:, 1:].ravel()]
    for category in ORDERED.categories:
        assert abs(drawn.count(category) - 348) < 4 * (1740 * 0.2 * 0.8) ** 0.5
    at_all = {words[at] for at in made.prompts.word_at[:, 1:].ravel()}
    assert at_all >= {
        word for category in ("colours", "days", "letters") for word in made.prompts.words.categories[category]
    }


def test_prompts_hold_successors() -> None:
    """A stretch always has two neighbours that count."""
    rare = {str(n) for n in range(10, 100) if n % 5 > 1} - set(ORDERED.categories["numbers"])
    made = prompts_without(*rare, length=200)
    place, words = places(made), made.prompts.words.words
    for indices in made.prompts.word_at.tolist():
        numbers = sorted({place[words[at]] for at in indices[1:] if len(words[at]) == 2})
        assert len(numbers) >= 3
        assert any(other - one == 1 for one, other in pairwise(numbers))


def test_succession_prompts_have_their_words_ids_and_go_by_the_seed() -> None:
    one, same, other = prompts_without(seed=1), prompts_without(seed=1), prompts_without(seed=2)
    assert np.array_equal(one.prompts.word_at, same.prompts.word_at)
    assert not np.array_equal(one.prompts.word_at, other.prompts.word_at)
    words = one.prompts.words.words
    expected = [[BOS if at < 0 else one_token(" " + words[at]) for at in row] for row in one.prompts.word_at]
    assert one.prompts.tokens is not None
    assert one.prompts.tokens.tolist() == expected
    assert one.prompts.tokens.shape == (60, 30)


def test_numbers_of_several_kinds_keep_to_their_own_words() -> None:
    """A word stands in the list once, whatever is added to a category of numbers."""
    categories = {"low": ("11", "12", "13"), "high": ("71", "72", "73"), "colours": ("red", "blue", "green")}
    words = WordList("two", categories)
    drawn = succession_prompts(words, words, one_token, 0, 4, 32, 0).prompts.words
    assert drawn.categories == categories
    mixed = WordList("mixed", {"numbers": ("11", "12", "13"), "ages": ("20", "teen", "old")})
    drawn = succession_prompts(mixed, mixed, one_token, 0, 4, 32, 0).prompts.words
    assert len(set(drawn.words)) == len(drawn.words)
    assert "20" not in drawn.categories["numbers"]
    assert "21" in drawn.categories["numbers"]
