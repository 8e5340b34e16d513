"""Group tokens, common words and categories that count, under made-up tokenizers."""

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import wordfreq

from headclaims.cache import Cache
from headclaims.errors import NotAssessable
from headclaims.prompts import words
from headclaims.prompts.words import WordList, common_words, counted_categories, group_tokens
from headclaims.tests.word_lists import word_lists

# The catalogue's thirty, without `Blue`, which comes after `blue`.
GROUPS = {
    "days": "Monday Tuesday Wednesday Thursday Friday Saturday",
    "colours": "red blue green silver White",
    "years": "1918 1920 1930 1943 1998 2000",
    "pronouns": "You He his she her their",
    "countries": "Italy Iceland Austria Mexico Spain France",
}


def knowing(*words: str) -> Callable[[str], int | None]:
    """A tokenizer that knows these words with a leading space; the first has id 0."""
    return {" " + word: i for i, word in enumerate(words)}.get


def everything(text: str) -> int:
    """A tokenizer to which every text is one token."""
    return zlib.crc32(text.encode())


def test_group_tokens_are_the_catalogues_without_the_later_case_duplicate() -> None:
    """`Blue` goes, `blue` stays in its place, and so do capitals that have no lower-case twin."""
    words = group_tokens(word_lists().groups, everything, "this one")
    assert {group: " ".join(members) for group, members in words.categories.items()} == GROUPS
    assert len(words.words) == 29
    assert words.ordered == ()


def test_only_groups_of_three_tokens_are_kept() -> None:
    known = "Monday Friday Saturday red blue Blue 1918 1920 1930 1943 his her their"
    words = group_tokens(word_lists().groups, knowing(*known.split()), "this one")
    assert words.categories == {
        "days": ("Monday", "Friday", "Saturday"),
        "years": ("1918", "1920", "1930", "1943"),
        "pronouns": ("his", "her", "their"),
    }
    assert words.category_of_word == (0, 0, 0, 1, 1, 1, 1, 2, 2, 2)


@pytest.mark.parametrize(
    ("known", "left"),
    [
        ("", 0),
        ("Monday Tuesday Wednesday 1918 1920 1930 red blue Blue Italy Spain", 2),  # Blue makes no third colour
    ],
)
def test_fewer_than_three_groups_are_not_assessable(known: str, left: int) -> None:
    with pytest.raises(NotAssessable) as refused:
        group_tokens(word_lists().groups, knowing(*known.split()), "this one")
    line = str(refused.value)
    assert line.startswith(f"group tokens: {left} of 5 groups have 3 words that are one token")
    assert "this one" in line
    assert line.endswith("wanted at least 3")
    assert len(line.splitlines()) == 1


def test_a_set_without_groups_is_not_assessable() -> None:
    with pytest.raises(NotAssessable, match=r"no group tokens \(groups\.toml\)$"):
        group_tokens(None, everything, "this one")


def test_the_groups_are_those_of_the_set_and_no_others() -> None:
    mine = WordList("groups", {name: tuple(f"{name}{i}" for i in range(3)) for name in "abc"})
    words = group_tokens(mine, everything, "this one")
    assert words.categories == {"a": ("a0", "a1", "a2"), "b": ("b0", "b1", "b2"), "c": ("c0", "c1", "c2")}


def test_a_category_counts_with_three_single_tokens() -> None:
    """Words are asked for with a leading space; id 0 is a token; one category, or none, is no error here."""
    categories = {"three": ("a", "b", "c", "d"), "two": ("e", "f", "g"), "none": ("h",)}
    ids = {" a": 0, " c": 1, " d": 2, " e": 3, " f": 4, "b": 5, "g": 6}
    assert counted_categories(categories, ids.get) == {"three": ("a", "c", "d")}
    assert counted_categories(categories, {}.get) == {}
    assert categories["three"] == ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def english() -> list[str]:
    """English words of wordfreq, most frequent first."""
    return wordfreq.top_n_list("en", 30_000)


def test_common_words_are_the_most_frequent_of_letters_alone(english: list[str]) -> None:
    """With a tokenizer that knows all: the first 3,000 by frequency, digits, apostrophes and the like left out."""
    words = common_words(everything, english, "this one")
    assert len(words) == 3000
    assert len(set(words)) == 3000
    frequency = [wordfreq.word_frequency(word, "en") for word in words]
    assert frequency == sorted(frequency, reverse=True)
    assert words[0] == "the"
    assert all(character.isalpha() for word in words for character in word)
    assert "it's" in english[:200]
    left_out = set(english[: english.index(words[-1])]) - set(words)
    assert all(any(not character.isalpha() for character in word) for word in left_out)


def test_common_words_are_single_tokens_with_a_leading_space(english: list[str]) -> None:
    """A tokenizer that knows words of an odd number of letters: the rarer ones fill up."""
    asked: list[str] = []

    def odd(text: str) -> int | None:
        asked.append(text)
        return everything(text) if len(text) % 2 == 0 else None

    words = common_words(odd, [" " + word for word in english], "this one")
    expected = []
    for word in english:
        if word.isalpha() and len(word) % 2 == 1 and len(expected) < 3000:
            expected.append(word)
    assert list(words) == expected
    assert all(text[0] == " " and text[1:] == text.strip() for text in asked)


def test_only_texts_of_the_vocabulary_are_asked_for(english: list[str]) -> None:
    """A word counts where it is a token, and can't be one where no token has its text."""
    known = [word for word in english if word.isalpha()][:900:2]
    assert common_words(everything, [f" {word}" for word in known], "this one") == tuple(known)


@pytest.mark.parametrize("n", [299, 300])
def test_under_three_hundred_common_words_are_not_assessable(english: list[str], n: int) -> None:
    letters = [word for word in english if word.isalpha()][::50][:n]
    assert len(letters) == n
    single_token = knowing(*reversed(letters))
    if n == 300:
        assert common_words(single_token, english, "this one") == tuple(letters)
        return
    with pytest.raises(NotAssessable, match=r"^common words: 299 are one token .* this one; wanted at least 300$"):
        common_words(single_token, english, "this one")


def test_a_case_that_is_no_token_is_no_reason_to_drop_another() -> None:
    """` blue` is several tokens here: ` Blue`, the later one, stays."""
    known = {" " + word for word in ["Blue", "red", "green", "Monday", "Tuesday", "Friday", "1918", "1920", "1930"]}
    groups = group_tokens(word_lists().groups, lambda text: everything(text) if text in known else None, "made up")
    assert groups.categories["colours"] == ("red", "Blue", "green")


def test_common_words_of_the_cache_are_those_of_wordfreq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is read once a release."""
    texts = wordfreq.top_n_list("en", 30_000)
    ids = {f" {word}": number for number, word in enumerate(texts)}
    found = common_words(ids.get, texts, "all", cache=Cache(tmp_path))
    assert found == common_words(ids.get, texts, "all") == tuple(filter(str.isalpha, texts))[:3000]
    monkeypatch.setattr(wordfreq, "top_n_list", lambda *_: pytest.fail("it was kept"))
    assert common_words(ids.get, texts, "all", cache=Cache(tmp_path)) == found
    monkeypatch.setattr(words, "version", lambda _: "another")
    with pytest.raises(pytest.fail.Exception):
        common_words(ids.get, texts, "all", cache=Cache(tmp_path))
