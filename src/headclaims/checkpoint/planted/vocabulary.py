"""The planted checkpoint's vocabulary: clusters of words, their case and space variants, and a word tokenizer."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

BOS, UNKNOWN = "<|endoftext|>", "<|unknown|>"


@dataclass(frozen=True)
class Form:
    """One token: a word in one case, with a leading space or without. `cluster` is −1 for a loose word."""

    text: str
    word: int
    cluster: int
    variant: bool


@dataclass(frozen=True)
class Vocabulary:
    """Names of the clusters in order, the words, and `forms`: all tokens after BOS and the unknown token."""

    clusters: tuple[str, ...]
    words: tuple[str, ...]
    forms: tuple[Form, ...]


def _content() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))


def vocabulary() -> Vocabulary:
    """Read the vocabulary: each word as written and in the other case, with and without a leading space.

    Punctuation comes last, without a leading space alone.
    """
    content = _content()
    clusters = content["clusters"]
    members = [(c, word) for c, entry in enumerate(clusters.values()) for word in entry["words"]]
    members += [(-1, word) for word in content["loose"]]
    forms: dict[str, Form] = {}
    # Words as written come first, so that a variant never replaces another word.
    for variant in (False, True):
        for number, (cluster, word) in enumerate(members):
            cased = word if not variant else (word.lower() if word[0].isupper() else word.capitalize())
            for text in (" " + cased, cased):
                form = Form(text, number, cluster, variant=variant or not text.startswith(" "))
                forms.setdefault(text, form)
    for number, mark in enumerate(content["punctuation"], start=len(members)):
        forms[mark] = Form(mark, number, cluster=-1, variant=False)
    words = [word for _, word in members] + content["punctuation"]
    return Vocabulary(tuple(clusters), tuple(words), tuple(forms.values()))


def tokenizer(vocab: Vocabulary) -> transformers.PreTrainedTokenizerFast:
    """Build a tokenizer that splits before spaces and knows whole words: `" red blue"` is `" red"`, `" blue"`."""
    ids = {text: i for i, text in enumerate([BOS, UNKNOWN, *(form.text for form in vocab.forms)])}
    words = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^ ]+| "), behavior="isolated")
    words.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=BOS,
        eos_token=BOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def group_words() -> list[tuple[str, ...]]:
    """Return the words of the group tokens, group by group."""
    return [tuple(words) for words in _content()["groups"].values()]


def listed_words() -> set[str]:
    """Return the words of the write-up's and the held-out list and the group tokens, case-folded."""
    lists = [*_content()["listed"].values(), *group_words()]
    return {word.casefold() for words in lists for word in words}


def listed_categories() -> list[list[str]]:
    """Return the words of the write-up's and the held-out list, category by category."""
    return [list(words) for words in _content()["listed"].values()]


def successions() -> list[list[str]]:
    """Return the categories of both lists whose order is a succession, each in its order."""
    return list(_content()["successions"].values())
