"""Word lists: categories of words, and which of them count for a checkpoint."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from headclaims.errors import BadInput, NotAssessable

BUILT_IN = ("write-up", "held-out")
WORDS_FOR_A_CATEGORY = 3


@dataclass(frozen=True)
class WordList:
    """Categories of words, each word in exactly one; `ordered` names those whose order is a succession."""

    name: str
    categories: dict[str, tuple[str, ...]]
    ordered: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """All words, category after category: the order that word indices refer to."""
        return tuple(word for members in self.categories.values() for word in members)

    @property
    def category_of_word(self) -> tuple[int, ...]:
        """For each of `words` the index of its category."""
        return tuple(c for c, members in enumerate(self.categories.values()) for _ in members)

    def that_count(self, single_token: Callable[[str], int | None], checkpoint: str) -> WordList:
        """The part of the list that counts for a checkpoint.

        A word counts if `" " + word` is one token there, a category if three or more of its words do.
        `single_token(text)` gives that token's id, or None where the text is several tokens.

        Raises NotAssessable where fewer than two categories survive: then no word is of another category.
        """
        counted = {
            category: tuple(word for word in members if single_token(" " + word) is not None)
            for category, members in self.categories.items()
        }
        kept = {c: members for c, members in counted.items() if len(members) >= WORDS_FOR_A_CATEGORY}
        if len(kept) < 2:
            raise NotAssessable(
                f"word list {self.name!r}: {len(kept)} of {len(self.categories)} categories have "
                f"{WORDS_FOR_A_CATEGORY} words that are one token under the tokenizer of {checkpoint}; "
                "wanted at least 2"
            )
        return WordList(self.name, kept, tuple(c for c in self.ordered if c in kept))


def load_words(spec: str) -> WordList:
    """The word list that `--words` names: `write-up`, `held-out`, or the path of a TOML file.

    A file has a table `[categories]` with one list of words a category, and optionally, above it,
    `ordered`: the categories whose list order is a succession.

    Raises BadInput, with one line, for a file that is not there or not of this form.
    """
    if spec in BUILT_IN:
        text = (files("headclaims") / "data" / f"words-{spec}.toml").read_text(encoding="utf-8")
    else:
        text = _read(spec)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"--words {spec}: not a TOML file: {error}") from error
    return _parse(spec, content)


def _read(spec: str) -> str:
    path = Path(os.path.expanduser(spec))
    if not os.path.isfile(path):
        raise BadInput(f"--words {spec}: no such file; wanted {', '.join(BUILT_IN)} or the path of a TOML file")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--words {spec}: cannot be read as text: {error}") from error


def _parse(spec: str, content: dict[str, Any]) -> WordList:
    unknown = sorted(set(content) - {"categories", "ordered"})
    if unknown:
        raise BadInput(f"--words {spec}: unknown key {unknown[0]!r}; wanted [categories] and ordered")
    categories = content.get("categories")
    if not isinstance(categories, dict) or not categories:
        raise BadInput(f"--words {spec}: no table [categories]; wanted one list of words a category")
    seen: dict[str, str] = {}
    for category, members in categories.items():
        if not isinstance(members, list) or not members or not all(isinstance(w, str) for w in members):
            raise BadInput(f"--words {spec}: category {category!r} is no list of words")
        for word in members:
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
    return WordList(spec, {c: tuple(members) for c, members in categories.items()}, tuple(ordered))
