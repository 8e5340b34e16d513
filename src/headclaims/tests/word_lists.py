"""The word lists and groups of the claim set that ships."""

from functools import cache
from pathlib import Path

from headclaims.prompts.words import WordList, WordLists

FOLDER = Path(__file__).parents[3] / "claims" / "self_hating_head"
BUILT_IN = ("write-up", "held-out")


@cache
def word_lists() -> WordLists:
    """The set's lists."""
    return WordLists.read(FOLDER / "words", FOLDER / "groups.toml", "write-up")


def load_words(spec: str) -> WordList:
    """The list of a name or a file."""
    return word_lists().load(spec)
