"""Whom category words attend to over the whole vocabulary: the ten highest-scoring keys of each.

Axes: `token` the vocabulary, `probe` the category words that ask, `category` of either list.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headclaims.errors import NotAssessable
from headclaims.prompts.category import token_id
from headclaims.prompts.words import WordList, counted_categories
from headclaims.statistics.resampling import OverTokens
from headclaims.vocabulary.scores import Swept, TokenScores, sweep, sweep_heads

TOP = 10
# Of these two categories of the write-up every number of so many digits is a member.
DIGITS = {"numbers": re.compile(r"\d\d", re.ASCII), "years": re.compile(r"\d{4}", re.ASCII)}


def merged(lists: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Categories of the same name in several lists as one, each word once."""
    together: dict[str, dict[str, None]] = {}
    for categories in lists:
        for name, members in categories.items():
            together.setdefault(name, {}).update(dict.fromkeys(members))
    return {name: list(members) for name, members in together.items()}


@dataclass(frozen=True)
class Membership:
    """Which tokens, by their form, are words of a category; of those in `DIGITS` every number of so many digits is."""

    name: str
    forms: frozenset[str]

    @classmethod
    def of(cls, name: str, words: Iterable[str]) -> Membership:
        """Of a category and its words."""
        return cls(name, frozenset(form(word) for word in words))

    def __contains__(self, text: str) -> bool:
        """Whether a form is one of a member."""
        return text in self.forms or (self.name in DIGITS and bool(DIGITS[self.name].fullmatch(text)))


@dataclass(frozen=True)
class Probes:
    """Category words that ask, and who is whose kin in the vocabulary.

    `form_of[token]` numbers the tokens' forms, case and space aside; `member[category, token]` says which tokens are a
    word of a category, in any form.
    """

    tokens: Int[np.ndarray, " probe"]
    category: Int[np.ndarray, " probe"]
    member: Bool[np.ndarray, "category token"]
    form_of: Int[np.ndarray, " token"]


def form(token: str) -> str:
    """A token without its space, in lower case: what case and space variants share."""
    return token.strip().casefold()


def probes(lists: Sequence[WordList], single_token: Callable[[str], int | None], vocabulary: Sequence[str]) -> Probes:
    """The words of these lists that count, each once, against the vocabulary's tokens as text.

    Categories of the same name in several lists are one. Raises NotAssessable where fewer than two categories count.
    """
    categories = merged(counted_categories(words.categories, single_token) for words in lists)
    if len(categories) < 2:
        raise NotAssessable(f"probes: {len(categories)} categories of all lists count under this tokenizer; wanted 2")
    forms = [form(token) for token in vocabulary]
    number_of = {text: number for number, text in enumerate(dict.fromkeys(forms))}
    form_of = np.array([number_of[text] for text in forms])
    member = np.zeros((len(categories), len(number_of)), dtype=bool)
    # What can be a member: a word of a category, or a number.
    numbers = {text for text in number_of if text.isdecimal()}
    for row, (name, words) in zip(member, categories.items(), strict=True):
        members = Membership.of(name, words)
        row[[number_of[text] for text in (members.forms & number_of.keys()) | numbers if text in members]] = True
    return Probes(
        np.array([token_id(single_token, word) for words in categories.values() for word in words]),
        np.array([i for i, words in enumerate(categories.values()) for _ in words]),
        member[:, form_of],
        form_of,
    )


@dataclass(frozen=True)
class TopAttended:
    """For each probe: how many of its category are among its ten highest keys, and whether a form of itself is."""

    kin: Int[np.ndarray, " probe"]
    itself: Bool[np.ndarray, " probe"]
    keys: Int[Tensor, "probe rank"]

    @property
    def mean_kin(self) -> OverTokens:
        """The mean number of kin among the ten."""
        kin = self.kin.astype(float)
        return OverTokens(len(kin), lambda weights: weights @ kin / weights.sum(axis=1))

    @property
    def share_itself(self) -> OverTokens:
        """The share of probes that have themselves, or a case or space variant, among the ten."""
        itself = self.itself.astype(float)
        return OverTokens(len(itself), lambda weights: weights @ itself / weights.sum(axis=1))


def top_attended(asking: Probes, scores: TokenScores) -> TopAttended:
    """The ten highest keys of each probe in `scores`: queries the probes, keys the vocabulary."""
    return top_attended_by(asking, [scores])[0]


def top_attended_by(asking: Probes, heads: Sequence[TokenScores]) -> list[TopAttended]:
    """`top_attended` of several heads, in one pass."""
    return [_of(asking, swept) for swept in sweep_heads(heads, torch.from_numpy(asking.tokens), TOP)]


def _of(asking: Probes, swept: Swept) -> TopAttended:
    found = swept.keys
    top = found.numpy()
    same = asking.form_of[top] == asking.form_of[asking.tokens][:, None]
    related = asking.member[asking.category[:, None], top] & ~same
    return TopAttended(related.sum(axis=1), same.any(axis=1), found)


def published_overlap(
    published: Mapping[str, Sequence[str]],
    single_token: Callable[[str], int | None],
    vocabulary: Sequence[str],
    scores_of: Callable[[Int[Tensor, " query"]], TokenScores],
) -> dict[str, int]:
    """For each published list (by its probe) how many of its entries are among the probe's ten highest keys.

    Entries are compared as multisets, case kept and spaces off, since the write-up drops space marks unevenly.
    """
    overlap = {}
    for word, entries in published.items():
        token = single_token(" " + word)
        if token is None:
            overlap[word] = 0
            continue
        asked = torch.tensor([token])
        keys = sweep(scores_of(asked), asked, TOP).keys[0].tolist()
        found = Counter(vocabulary[key].strip() for key in keys)
        overlap[word] = sum((found & Counter(entry.strip("_ ") for entry in entries)).values())
    return overlap
