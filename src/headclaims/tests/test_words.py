"""Word lists: the built-in ones, the form of a file, and which words count for a checkpoint."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headclaims
from headclaims.errors import BadInput, NotAssessable
from headclaims.prompts.words import WordList, WordLists
from headclaims.tests.word_lists import FOLDER, load_words, word_lists

WRITE_UP = {
    "colours": "blue red green yellow purple",
    "animals": "dog cat mouse horse sheep",
    "fruits": "apple banana grape peach lemon",
    "emotions": "happy sad angry scared proud",
    "weather": "rain snow wind storm sun",
    "days": "Monday Tuesday Wednesday Thursday Friday",
    "years": "1989 1999 1972 1963 1978",
    "numbers": "24 69 42 22 32 50",
}
MONTHS = "January February March April May June July August September October November December"


def tokenizer_of(*known: str) -> Callable[[str], int | None]:
    """A tokenizer that knows these words with a leading space; the first has id 0."""
    ids = {" " + word: i for i, word in enumerate(known)}
    return ids.get


def test_the_write_up_list_is_the_one_of_the_catalogue() -> None:
    words = load_words("write-up")
    assert {category: " ".join(members) for category, members in words.categories.items()} == WRITE_UP
    assert words.ordered == ("days",)
    assert words.digits == {"years": 4, "numbers": 2}
    assert words.name == "write-up"


def test_the_held_out_list_has_fourteen_categories_that_can_count() -> None:
    words = load_words("held-out")
    assert len(words.categories) >= 14
    assert all(len(members) >= 3 for members in words.categories.values())
    assert words.ordered == ("months",)
    assert " ".join(words.categories["months"]) == MONTHS


def test_the_lists_share_no_word_whatever_its_case() -> None:
    both = [word.casefold() for name in ("write-up", "held-out") for word in load_words(name).words]
    assert sorted(set(both)) == sorted(both)


def test_words_and_their_categories_run_in_the_same_order() -> None:
    words = WordList("mine", {"few": ("a", "b"), "more": ("c", "d", "e"), "one": ("f",)})
    assert words.words == ("a", "b", "c", "d", "e", "f")
    assert words.category_of_word == (0, 0, 1, 1, 1, 2)


def test_a_file_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_text('ordered = ["sizes"]\n[categories]\nsizes = ["small", "middling", "big"]\n"α β" = ["γ", "a b"]\n')
    words = load_words(str(path))
    assert list(words.categories.items()) == [("sizes", ("small", "middling", "big")), ("α β", ("γ", "a b"))]
    assert words.ordered == ("sizes",)
    assert words.name == str(path)


def test_ordered_and_digits_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_text('[categories]\na = ["b"]\n')
    assert load_words(str(path)).ordered == ()
    assert load_words(str(path)).digits == {}


def test_digits_say_how_long_the_numbers_of_a_category_are(tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_text('[categories]\nyears = ["1989"]\nsums = ["7"]\nred = ["red"]\n[digits]\nsums = 1\nyears = 4\n')
    assert load_words(str(path)).digits == {"years": 4, "sums": 1}


def test_an_editor_s_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_bytes(b'\xef\xbb\xbf[categories]\na = ["b"]\n')
    assert load_words(str(path)).categories == {"a": ("b",)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[categories\n", "not a TOML file"),
        ('[categories]\na = ["b"]\na = ["c"]\n', "not a TOML file"),
        ("", "no table [categories]"),
        ("[categories]\n", "no table [categories]"),
        ("categories = 3\n", "no table [categories]"),
        ('categories = [["red"]]\n', "no table [categories]"),
        ('[categories]\na = "red"\n', "category 'a' is no list of words"),
        ("[categories]\na = []\n", "category 'a' is no list of words"),
        ('[categories]\na = ["red", 3]\n', "category 'a' is no list of words"),
        ('[categories.a]\nb = ["red"]\n', "category 'a' is no list of words"),
        ('[categories]\na = ["red", ""]\n', "'' in 'a' is empty"),
        ('[categories]\na = [" red"]\n', "' red' in 'a'"),
        ('[categories]\na = ["red "]\n', "'red ' in 'a'"),
        ('[categories]\na = ["red", "blue", "red"]\n', "'red' is in 'a' and in 'a'"),
        ('[categories]\na = ["red"]\nb = ["red"]\n', "'red' is in 'a' and in 'b'"),
        ('order = ["a"]\n[categories]\na = ["b"]\n', "unknown key 'order'"),
        ('ordered = "a"\n[categories]\na = ["b"]\n', "ordered is no list"),
        ('ordered = [1]\n[categories]\na = ["b"]\n', "ordered is no list"),
        ('ordered = ["c"]\n[categories]\na = ["b"]\n', "ordered names 'c'"),
        ("a = " + "[" * 100_000, "not a TOML file"),
        ('digits = 4\n[categories]\na = ["b"]\n', "digits is no table of whole numbers"),
        ('[categories]\na = ["b"]\n[digits]\na = "4"\n', "digits is no table of whole numbers"),
        ('[categories]\na = ["b"]\n[digits]\na = 0\n', "digits is no table of whole numbers"),
        ('[categories]\na = ["b"]\n[digits]\na = 1.5\n', "digits is no table of whole numbers"),
        ('[categories]\na = ["b"]\n[digits]\na = true\n', "digits is no table of whole numbers"),
        ('[categories]\na = ["b"]\n[digits]\nc = 4\n', "digits names 'c', which is no category of the file"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "words.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        load_words(str(path))
    line = str(refused.value)
    assert said in line
    assert line.startswith(f"--words {path}: ")
    assert len(line.splitlines()) == 1


def test_other_lists_are_those_without_the_words_in_common() -> None:
    """That with fewest in common comes first; the engine's own is last, and one without words of its own is none."""
    one = WordList("one", {"a": ("x1", "x2", "x3"), "b": ("y1", "y2", "y3")}, ordered=("a",))
    two = WordList("two", {"c": ("x1", "z1", "z2"), "d": ("y1", "y2")}, ordered=("d",), digits={"c": 2, "d": 4})
    three = WordList("three", {"e": ("z1", "x3")})
    lists = WordLists({"one": one, "two": two, "three": three}, "one", None)
    assert [(beside.name, beside.categories) for beside in lists.beside(one)[:2]] == [
        ("three", {"e": ("z1",)}),
        ("two", {"c": ("z1", "z2")}),
    ]
    assert (lists.beside(one)[1].ordered, lists.beside(one)[1].digits) == ((), {"c": 2})
    assert [beside.name for beside in lists.beside(one)] == ["three", "two", "default"]
    own = lists.beside(one)[2]
    assert [beside.name for beside in WordLists({"default": own}, "default", None).beside(own)] == []
    assert [beside.name for beside in word_lists().beside(load_words("write-up"))] == ["held-out", "default"]
    assert [beside.name for beside in word_lists().beside(load_words("held-out"))] == ["write-up", "default"]
    # The built-in lists have no word in common.
    assert word_lists().beside(load_words("write-up"))[0] == load_words("held-out")


def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_bytes(b'[categories]\na = ["\xff\xfe"]\n')
    with pytest.raises(BadInput, match=r"^--words .*: cannot be read as text") as refused:
        load_words(str(path))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("spec", ["there/is/no/such.toml", "write_up", "", "~no-such-user-here/words.toml", "w" * 300])
def test_a_path_that_is_no_file_is_refused_in_one_line(spec: str) -> None:
    with pytest.raises(BadInput, match=r"^--words ") as refused:
        load_words(spec)
    assert len(str(refused.value).splitlines()) == 1


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        load_words(str(tmp_path))


def test_a_category_counts_with_three_words_that_are_one_token() -> None:
    words = WordList(
        "mine",
        {"all": ("a", "b", "c", "d"), "three": ("e", "f", "g", "h"), "two": ("i", "j", "k"), "none": ("l",)},
        ordered=("two", "three"),
        digits={"two": 2, "all": 4},
    )
    # Id 0 is a token like any other; a word known without its leading space alone is none.
    ids = {" a": 0, " b": 1, " c": 2, " d": 3, " e": 4, " g": 5, " h": 6, " i": 7, " j": 8, "f": 9, "k": 10, "l": 11}
    counted = words.that_count(ids.get, "this one")
    assert counted.categories == {"all": ("a", "b", "c", "d"), "three": ("e", "g", "h")}
    assert list(counted.categories) == ["all", "three"]
    assert counted.ordered == ("three",)
    assert counted.digits == {"all": 4}
    assert counted.name == "mine"


def test_words_of_one_token_are_one_word() -> None:
    """An uncased tokenizer has one token for Dog and dog: the first counts, and that in another category does not."""
    categories = {"animals": ("dog", "Dog", "cat", "Cat", "cow"), "names": ("Rose", "Ann", "Kay"), "plants": ("rose",)}
    words = WordList("mine", {**categories, "trees": ("oak", "Oak", "ash")})
    ids = {f" {word}": n for n, word in enumerate(["dog", "cat", "cow", "rose", "ann", "kay", "oak", "ash"])}

    def uncased(text: str) -> int | None:
        return ids.get(text.lower())

    assert words.that_count(uncased, "small").categories == {
        "animals": ("dog", "cat", "cow"),
        "names": ("Rose", "Ann", "Kay"),
        "trees": ("oak", "ash"),  # three words of the list count, and two of them are one
    }
    assert words.lacking(uncased) == ["4 of the token of another (Dog, Cat, rose, Oak)"]


def test_a_category_of_one_word_in_several_spellings_does_not_count() -> None:
    words = WordList("mine", {"a": ("dog", "Dog", "DOG"), "b": ("x", "y", "z"), "c": ("u", "v", "w")})
    counted = words.that_count(lambda text: hash(text.lower()), "small")
    assert list(counted.categories) == ["b", "c"]


def test_a_list_says_what_it_lacks() -> None:
    words = WordList("mine", {"a": ("one", "two", "three", "four"), "b": ("x", "y", "z", "u", "v", "w", "q", "r", "s")})
    assert words.lacking(tokenizer_of("one", "two", "three", "x")) == [
        "9 of several tokens (four, y, z, u, v, …)",
        "1 in categories of fewer than 3 (x)",
    ]
    assert words.lacking(lambda text: hash(text)) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_list_is_the_same_however_an_editor_saves_it(tmp_path: Path, encoding: str, newline: str) -> None:
    """With a byte order mark and without, in UTF-16 with one; accents as letters of their own are put together."""
    text = '[categories]\ndrinks = ["caf\u00e9", "tea", "milk"]\nfood = ["bread", "pate\u0301", "rice"]\n'
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / "mine.toml").write_bytes((mark + text).replace("\n", newline).encode(encoding))
    words = load_words(str(tmp_path / "mine.toml"))
    assert words.categories == {"drinks": ("caf\u00e9", "tea", "milk"), "food": ("bread", "pat\u00e9", "rice")}


def test_two_categories_are_enough_and_one_is_not() -> None:
    words = WordList("mine", {"a": ("b", "c", "d"), "e": ("f", "g", "h"), "i": ("j", "k", "l")})
    two = words.that_count(tokenizer_of("b", "c", "d", "f", "g", "h"), "this one")
    assert list(two.categories) == ["a", "e"]
    with pytest.raises(NotAssessable) as refused:
        words.that_count(tokenizer_of("b", "c", "d", "f", "g", "j", "k"), "this one")
    line = str(refused.value)
    assert "'mine': 1 of 3 categories" in line
    assert "this one" in line
    assert len(line.splitlines()) == 1


def test_a_tokenizer_that_knows_no_word_leaves_none() -> None:
    with pytest.raises(NotAssessable, match="0 of 8 categories"):
        load_words("write-up").that_count(tokenizer_of(), "this one")


def lists_in(folder: Path, **lists: str) -> Path:
    """A folder of lists, each of one category of these words."""
    folder.mkdir()
    for name, words in lists.items():
        (folder / f"{name}.toml").write_text(f"[categories]\n{name} = {words.split()}\n", encoding="utf-8")
    return folder


def test_the_lists_of_a_folder_with_the_default_first(tmp_path: Path) -> None:
    folder = lists_in(tmp_path / "words", b="blue", a="red", c="green")
    (folder / "notes.txt").write_text("no list", encoding="utf-8")
    lists = WordLists.read(folder, tmp_path / "groups.toml", "b")
    assert list(lists.lists) == ["b", "a", "c"]
    assert [words.name for words in lists.every] == ["b", "a", "c"]
    assert lists.default == "b"
    assert lists.load(None) is lists.load("b") is lists.lists["b"]
    assert lists.load("a").categories == {"a": ("red",)}
    assert lists.groups is None


def test_without_a_default_it_is_the_first_by_name(tmp_path: Path) -> None:
    lists = WordLists.read(lists_in(tmp_path / "words", b="blue", a="red"), tmp_path / "groups.toml")
    assert (list(lists.lists), lists.default) == (["a", "b"], "a")
    assert lists.load(None).words == ("red",)


@pytest.mark.parametrize("exists", [True, False])
def test_without_lists_there_is_the_engine_s_own(tmp_path: Path, exists: bool) -> None:
    folder = lists_in(tmp_path / "words") if exists else tmp_path / "nowhere"
    lists = WordLists.read(folder, tmp_path / "groups.toml")
    assert (list(lists.lists), lists.default) == (["default"], "default")
    assert len(lists.load(None).categories) >= 2
    assert all(len(members) >= 3 for members in lists.load(None).categories.values())


@pytest.mark.parametrize(("names", "known"), [({"a": "red", "b": "blue"}, "a, b"), ({}, "default")])
def test_a_default_that_there_is_not_is_refused_in_one_line(tmp_path: Path, names: dict[str, str], known: str) -> None:
    folder = lists_in(tmp_path / "words", **names)
    with pytest.raises(BadInput) as refused:
        WordLists.read(folder, tmp_path / "groups.toml", "mine")
    assert str(refused.value) == f"{folder}: no word list 'mine'; wanted one of {known}"


def test_the_groups_are_those_of_their_file(tmp_path: Path) -> None:
    folder, groups = lists_in(tmp_path / "words", a="red"), tmp_path / "groups.toml"
    groups.write_text('[categories]\ndays = ["Monday", "Tuesday"]\n', encoding="utf-8")
    read = WordLists.read(folder, groups).groups
    assert read is not None
    assert read.categories == {"days": ("Monday", "Tuesday")}
    groups.write_text("[days]\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"^--words groups: unknown key 'days'"):
        WordLists.read(folder, groups)


def test_a_list_of_the_set_that_is_none_is_named(tmp_path: Path) -> None:
    folder = lists_in(tmp_path / "words", a="red")
    (folder / "b.toml").write_text("[", encoding="utf-8")
    with pytest.raises(BadInput, match=r"^--words b: not a TOML file"):
        WordLists.read(folder, tmp_path / "groups.toml")


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_the_planted_vocabulary_lists_what_the_claim_set_asks_about() -> None:
    """Of a word that a list gains here alone the planted head would know nothing."""
    planted = toml(Path(headclaims.__path__[0]) / "checkpoint" / "planted" / "vocabulary.toml")
    lists = [toml(path) for path in FOLDER.glob("words/*.toml")]
    assert len(lists) == 2
    listed = [category for words in lists for category in words["categories"].items()]
    assert len(dict(listed)) == len(listed)
    assert planted["listed"] == dict(listed)
    assert planted["successions"] == {c: words["categories"][c] for words in lists for c in words["ordered"]}
    groups: dict[str, list[str]] = {}
    for group, members in toml(FOLDER / "groups.toml")["categories"].items():
        for word in members:
            if word.casefold() not in [earlier.casefold() for earlier in groups.setdefault(group, [])]:
                groups[group].append(word)
    assert planted["groups"] == groups
