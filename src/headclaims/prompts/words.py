"""Word lists: categories of words, and which of them count for a checkpoint."""

from __future__ import annotations

import codecs
import os
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from headclaims.cache import Cache, kept
from headclaims.errors import BadInput, NotAssessable

WORDS_FOR_A_CATEGORY = 3
WORDS_NAMED = 5
GROUPS = 3
COMMON_WORDS = 3000
FEWEST_COMMON_WORDS = 300
WORDS_TO_TRY = 30_000
OWN_LIST = Path(__file__).with_name("default.toml")
"""The engine's own list, for sets that bring none."""


@dataclass(frozen=True)
class WordList:
    """Categories of words, each word in exactly one.

    `ordered` names the categories whose order is a succession; in one of `digits` every number of so many digits is a
    member, too.
    """

    name: str
    categories: dict[str, tuple[str, ...]]
    ordered: tuple[str, ...] = ()
    digits: Mapping[str, int] = field(default_factory=dict)

    @property
    def words(self) -> tuple[str, ...]:
        """All words, category after category: the order that word indices refer to."""
        return tuple(word for members in self.categories.values() for word in members)

    @property
    def category_of_word(self) -> tuple[int, ...]:
        """For each of `words` the index of its category."""
        return tuple(c for c, members in enumerate(self.categories.values()) for _ in members)

    def without(self, words: Iterable[str]) -> WordList:
        """Return the list less some words; a category that has no others is left out."""
        dropped = set(words)
        left = {name: tuple(w for w in members if w not in dropped) for name, members in self.categories.items()}
        categories = {name: members for name, members in left.items() if members}
        ordered = tuple(name for name in self.ordered if name in categories)
        return WordList(self.name, categories, ordered, {c: n for c, n in self.digits.items() if c in categories})

    def that_count(self, single_token: Callable[[str], int | None], checkpoint: str) -> WordList:
        """Return the part of the list that counts for a checkpoint.

        A word counts if `" " + word` is one token there, and not that of a word before it; a category if three or more
        of its words do. `single_token(text)` gives that token's id, or None where the text is several tokens.

        Raises NotAssessable where fewer than two categories survive: then no word is of another category.
        """
        counted = counted_categories(self.categories, single_token)
        if len(counted) < 2:
            raise NotAssessable(
                _too_few(f"word list {self.name!r}", "categories", self.categories, counted, checkpoint, 2)
            )
        ordered, digits = (
            tuple(c for c in self.ordered if c in counted),
            {c: n for c, n in self.digits.items() if c in counted},
        )
        return WordList(self.name, counted, ordered, digits)

    def lacking(self, single_token: Callable[[str], int | None]) -> list[str]:
        """Return why words of the list don't count for a checkpoint: for each reason how many, and some of them."""
        tokens = {word: single_token(" " + word) for word in self.words}
        counted = counted_categories(self.categories, single_token)
        several = [word for word, token in tokens.items() if token is None]
        distinct = {word for members in _distinct(self.categories, tokens).values() for word in members}
        twice = [word for word, token in tokens.items() if token is not None and word not in distinct]
        few = [w for c, members in self.categories.items() if c not in counted for w in members if w in distinct]
        reasons = {
            "of several tokens": several,
            "of the token of another": twice,
            f"in categories of fewer than {WORDS_FOR_A_CATEGORY}": few,
        }
        return [
            f"{len(words)} {why} ({', '.join(words[:WORDS_NAMED])}{', …' * (len(words) > WORDS_NAMED)})"
            for why, words in reasons.items()
            if words
        ]


@dataclass(frozen=True)
class WordLists:
    """The word lists of a claim set by name, the one that is its default, and its tokens in groups."""

    lists: Mapping[str, WordList]
    default: str
    groups: WordList | None

    @classmethod
    def read(cls, folder: Path, groups: Path, default: str | None = None) -> WordLists:
        """Read `*.toml` of a folder, the engine's own list where there is none, and the groups of a file.

        `default` names the list for audits that name none, the first of `lists`; without it that is the first by name.
        Raises BadInput, in one line, for a file that isn't of the form that `WordLists.load` wants, or a default that
        there isn't.
        """
        paths = sorted(folder.glob("*.toml"), key=lambda path: (path.stem != default, path.stem))
        paths = paths or [OWN_LIST]
        lists = {path.stem: _read_list(path.stem, path) for path in paths}
        if default is not None and default not in lists:
            raise BadInput(f"{folder}: no word list {default!r}; wanted one of {', '.join(lists)}")
        return cls(lists, default or next(iter(lists)), _read_list("groups", groups) if groups.is_file() else None)

    @property
    def every(self) -> list[WordList]:
        """All lists of the set."""
        return list(self.lists.values())

    def beside(self, words: WordList) -> list[WordList]:
        """Return other lists less the words that they have in common with this one, that with fewest of these first.

        They are the set's, and after them the engine's own; one whose words are all in common is left out.
        """
        in_common = set(words.words)
        others = sorted(self.every, key=lambda one: len(in_common.intersection(one.words)))
        apart = [one.without(in_common) for one in (*others, _read_list(OWN_LIST.stem, OWN_LIST))]
        return [one for one in apart if one.categories]

    def load(self, spec: str | None) -> WordList:
        """Return the list of a name, that of a TOML file by its path, or the default.

        A file has a table `[categories]` with one list of words a category, and optionally, above it, `ordered`: the
        categories whose list order is a succession; and a table `[digits]`. Raises BadInput, in one line, for a file
        that is not there or not of this form.
        """
        name = self.default if spec is None else spec
        if name in self.lists:
            return self.lists[name]
        path = Path(os.path.expanduser(name))
        if not os.path.isfile(path):
            raise BadInput(f"--words {name}: no such file; wanted {', '.join(self.lists)} or the path of a TOML file")
        return _read_list(name, path)


def group_tokens(groups: WordList | None, single_token: Callable[[str], int | None], checkpoint: str) -> WordList:
    """Return the tokens of a set's groups that count for a checkpoint; of those that differ by case alone the first.

    Raises NotAssessable where the set has none, or fewer than three groups of three are left.
    """
    if groups is None:
        raise NotAssessable("the claim set has no group tokens (groups.toml)")
    distinct = {
        group: tuple({word.casefold(): word for word in reversed(members)}.values())[::-1]
        for group, members in counted_categories(groups.categories, single_token, fewest=1).items()
    }
    kept = {group: members for group, members in distinct.items() if len(members) >= WORDS_FOR_A_CATEGORY}
    if len(kept) < GROUPS:
        raise NotAssessable(_too_few("group tokens", "groups", groups.categories, kept, checkpoint, GROUPS))
    return WordList("group tokens", kept)


def counted_categories(
    categories: Mapping[str, tuple[str, ...]],
    single_token: Callable[[str], int | None],
    fewest: int = WORDS_FOR_A_CATEGORY,
) -> dict[str, tuple[str, ...]]:
    """Return the categories with `fewest` or more words that are one token with a leading space, with those words.

    Words that are the same token, as an uncased tokenizer makes them, are one word, the first: it counts as often as it
    is listed, but a category needs two different ones where it needs more than one.
    """
    tokens = {word: single_token(" " + word) for members in categories.values() for word in members}
    listed = {c: sum(tokens[word] is not None for word in members) for c, members in categories.items()}
    distinct = _distinct(categories, tokens)
    return {c: members for c, members in distinct.items() if listed[c] >= fewest and len(members) >= min(fewest, 2)}


def _distinct(
    categories: Mapping[str, tuple[str, ...]], tokens: Mapping[str, int | None]
) -> dict[str, tuple[str, ...]]:
    """Return each category's words that are one token, without those whose token a word before them is."""
    word_of: dict[int, tuple[str, str]] = {}
    for category, members in categories.items():
        for word in members:
            if (token := tokens[word]) is not None:
                word_of.setdefault(token, (category, word))
    kept = set(word_of.values())
    return {c: tuple(word for word in members if (c, word) in kept) for c, members in categories.items()}


def _too_few(
    what: str,
    unit: str,
    all_of_them: Mapping[str, object],
    kept: Mapping[str, object],
    checkpoint: str,
    wanted: int,
) -> str:
    return (
        f"{what}: {len(kept)} of {len(all_of_them)} {unit} have {WORDS_FOR_A_CATEGORY} words that are one token under "
        f"the tokenizer of {checkpoint}; wanted at least {wanted}"
    )


def common_words(
    single_token: Callable[[str], int | None],
    vocabulary: Sequence[str],
    checkpoint: str,
    fewest: int = FEWEST_COMMON_WORDS,
    cache: Cache | None = None,
) -> tuple[str, ...]:
    """Return the 3,000 most frequent English words that are one token with a leading space, most frequent first.

    Words are of letters alone, in lower case as wordfreq has them; those that are no text of the vocabulary need no
    asking. Raises NotAssessable where there are under `fewest`.
    """
    texts = {text.strip() for text in vocabulary}
    tokens: set[int] = set()

    def counts(word: str) -> bool:
        """Return whether a word is one token, and the first that is this one."""
        token = single_token(" " + word) if word in texts and word.isalpha() else None
        if token is None or token in tokens:
            return False
        tokens.add(token)
        return True

    words = tuple(islice(filter(counts, _frequent(cache or Cache(None))), COMMON_WORDS))
    if len(words) < fewest:
        raise NotAssessable(
            f"common words: {len(words)} are one token under the tokenizer of {checkpoint}; wanted at least {fewest}"
        )
    return words


def _frequent(cache: Cache) -> list[str]:
    """Return the most frequent English words, as wordfreq has them; importing it takes half a second."""
    utf8 = cache.call(frequent_words, version("wordfreq"), WORDS_TO_TRY)["utf8"]
    return utf8.tobytes().decode().split("\n")


@kept("frequent-words", version=1)
def frequent_words(release: str, n: int) -> dict[str, np.ndarray]:  # noqa: ARG001
    """Return the n most frequent English words of a release of wordfreq, most frequent first, one a line."""
    import wordfreq

    return {"utf8": np.frombuffer("\n".join(wordfreq.top_n_list("en", n)).encode(), dtype=np.uint8)}


def _read_list(name: str, path: Path) -> WordList:
    """Read one list; raises BadInput in one line."""
    try:
        # An editor's byte order mark is no part of the text; PowerShell's says that it is in UTF-16.
        stored = path.read_bytes()
        encoding = "utf-16" if stored[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        content = tomllib.loads(stored.decode(encoding).replace("\r\n", "\n"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"--words {name}: not a TOML file: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--words {name}: cannot be read as text: {error}") from error
    return _parse(name, content)


def _parse(spec: str, content: dict[str, Any]) -> WordList:
    unknown = sorted(set(content) - {"categories", "ordered", "digits"})
    if unknown:
        raise BadInput(f"--words {spec}: unknown key {unknown[0]!r}; wanted [categories], ordered and [digits]")
    categories = content.get("categories")
    if not isinstance(categories, dict) or not categories:
        raise BadInput(f"--words {spec}: no table [categories]; wanted one list of words a category")
    seen: dict[str, str] = {}
    for category, members in categories.items():
        if not isinstance(members, list) or not members or not all(isinstance(w, str) for w in members):
            raise BadInput(f"--words {spec}: category {category!r} is no list of words")
        # Tokenizers' vocabularies have an accented letter as one.
        categories[category] = [unicodedata.normalize("NFC", word) for word in members]
        for word in categories[category]:
            if not word or word != word.strip():
                raise BadInput(f"--words {spec}: {word!r} in {category!r} is empty or begins or ends with a space")
            if word in seen:
                raise BadInput(f"--words {spec}: {word!r} is in {seen[word]!r} and in {category!r}; wanted once")
            seen[word] = category
    ordered = content.get("ordered", [])
    if not isinstance(ordered, list) or not all(isinstance(c, str) for c in ordered):
        raise BadInput(f"--words {spec}: ordered is no list of category names")
    for category in ordered:
        if category not in categories:
            raise BadInput(f"--words {spec}: ordered names {category!r}, which is no category of the file")
    digits = content.get("digits", {})
    if not isinstance(digits, dict) or not all(type(n) is int and n > 0 for n in digits.values()):
        raise BadInput(f"--words {spec}: digits is no table of whole numbers by category")
    for category in digits:
        if category not in categories:
            raise BadInput(f"--words {spec}: digits names {category!r}, which is no category of the file")
    return WordList(spec, {c: tuple(members) for c, members in categories.items()}, tuple(ordered), digits)
