"""The ten highest-scoring keys of category words over the whole vocabulary.

Axes: `token` the vocabulary, `probe` the category words used as queries, `category` the categories of all word lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headclaims.cache import Cache
from headclaims.errors import NotAssessable
from headclaims.prompts.category import token_id
from headclaims.prompts.words import WordList, counted_categories
from headclaims.statistics.resampling import OverUnits, Within, mean_over
from headclaims.vocabulary.scores import sweep, sweep_heads
from headclaims.vocabulary.token_scores import Swept, TokenScores

TOP = 10
WHOLE_UP_TO, DRAWN = 2**15, 2**14
"""The largest vocabulary that is taken whole where that takes long, and how many tokens of a larger one are drawn."""


def drawn_tokens(n: int, seed: int) -> Int[Tensor, " token"] | None:
    """Return 16,384 tokens of a vocabulary of n drawn by seed, ascending; None for one of 32,768 or fewer."""
    if n <= WHOLE_UP_TO:
        return None
    return torch.from_numpy(np.sort(np.random.default_rng([seed, 8]).permutation(n)[:DRAWN]))


def merged(lists: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Merge the categories of several lists by name; each word occurs once in a category."""
    together: dict[str, dict[str, None]] = {}
    for categories in lists:
        for name, members in categories.items():
            together.setdefault(name, {}).update(dict.fromkeys(members))
    return {name: list(members) for name, members in together.items()}


@dataclass(frozen=True)
class Membership:
    """The members of a category: the forms of its words and, with `digits`, every number of that length."""

    name: str
    forms: frozenset[str]
    digits: int | None = None

    def __contains__(self, text: str) -> bool:
        """Return whether a form is that of a member."""
        return text in self.forms or (len(text) == self.digits and text.isascii() and text.isdecimal())


def memberships(lists: Sequence[WordList], categories: Mapping[str, Sequence[str]]) -> list[Membership]:
    """Return the membership of each category, whose words come from these lists."""
    digits = {name: n for words in lists for name, n in words.digits.items()}
    return [
        Membership(name, frozenset(form(word) for word in words), digits.get(name))
        for name, words in categories.items()
    ]


@dataclass(frozen=True)
class Probes:
    """Category words used as queries, and what is needed to tell their kin in the vocabulary.

    `form_of[token]` is a number that tokens share iff they differ in case and space alone; `member[category, token]`
    says whether a token is a word of a category, whatever its case and space.
    """

    tokens: Int[np.ndarray, " probe"]
    category: Int[np.ndarray, " probe"]
    member: Bool[np.ndarray, "category token"]
    form_of: Int[np.ndarray, " token"]

    def rivals(self, seed: int) -> Int[Tensor, " key"] | None:
        """Return the tokens among which heads of a null population have their highest keys, ascending; None for all.

        Of a vocabulary of more than 32,768 tokens they are all members of categories, the probes with their variants,
        and 16,384 drawn by seed: embedding all for every layer would take most of an audit.
        """
        drawn = drawn_tokens(len(self.form_of), seed)
        if drawn is None:
            return None
        chosen = self.named.copy()
        chosen[drawn.numpy()] = True
        return torch.from_numpy(np.flatnonzero(chosen))

    @cached_property
    def named(self) -> Bool[np.ndarray, " token"]:
        """Which tokens are members of categories, or probes or their variants."""
        return np.asarray(self.member.any(axis=0) | np.isin(self.form_of, self.form_of[self.tokens]))

    def standing_for(self, keys: Int[Tensor, " key"] | None) -> Float[np.ndarray, " key"]:
        """Return for how many tokens of the vocabulary each of some keys stands, all `named` ones being among them.

        A named one stands for itself, and each of the others for as many others as there are to one that was drawn.
        """
        if keys is None:
            return np.ones(len(self.form_of))
        named = self.named[keys.numpy()]
        others = len(self.named) - self.named.sum()
        return np.where(named, 1.0, others / max(1, (~named).sum()))


def form(token: str) -> str:
    """Return a token's text without surrounding space and case, which its variants share."""
    return token.strip().casefold()


def probes(lists: Sequence[WordList], single_token: Callable[[str], int | None], vocabulary: Sequence[str]) -> Probes:
    """Build the probes: the words of these lists that count for the checkpoint; `vocabulary` are all tokens as text.

    Categories of the same name in several lists are merged. Raises NotAssessable where fewer than two categories count.
    """
    categories = merged(counted_categories(words.categories, single_token) for words in lists)
    if len(categories) < 2:
        raise NotAssessable(f"probes: {len(categories)} categories of all lists count under this tokenizer; wanted 2")
    forms = [form(token) for token in vocabulary]
    number_of = {text: number for number, text in enumerate(dict.fromkeys(forms))}
    form_of = np.array([number_of[text] for text in forms])
    member = np.zeros((len(categories), len(number_of)), dtype=bool)
    # Only words of a category and numbers can be members.
    numbers = {text for text in number_of if text.isdecimal()}
    for row, members in zip(member, memberships(lists, categories), strict=True):
        row[[number_of[text] for text in (members.forms & number_of.keys()) | numbers if text in members]] = True
    return Probes(
        np.array([token_id(single_token, word) for words in categories.values() for word in words]),
        np.array([i for i, words in enumerate(categories.values()) for _ in words]),
        member[:, form_of],
        form_of,
    )


@dataclass(frozen=True)
class TopAttended:
    """For each probe, the number of kin among its ten highest keys, and whether it or a variant is among them.

    Of a recorded graph it is ten times the share of kin among the edges that it has.
    """

    kin: Float[np.ndarray, " probe"]
    itself: Bool[np.ndarray, " probe"]
    category: Int[np.ndarray, " probe"]

    @property
    def mean_kin(self) -> Within:
        """Mean number of kin among the ten, with an interval over the probes' categories."""
        return Within(self._over_categories(self.kin), 0.0, float(TOP))

    @property
    def share_itself(self) -> Within:
        """Share of probes with themselves, or a case or space variant, among the ten; interval over categories."""
        return Within(self._over_categories(self.itself), 0.0, 1.0)

    def _over_categories(self, values: Float[np.ndarray, " probe"] | Bool[np.ndarray, " probe"]) -> OverUnits:
        _, category = np.unique(self.category, return_inverse=True)
        return mean_over("categories", np.bincount(category, weights=values), np.bincount(category).astype(float))


def top_attended(
    queries: Probes, scores: TokenScores, keys: Int[Tensor, " key"] | None = None, cache: Cache | None = None
) -> TopAttended:
    """Find the ten highest keys of each probe; the queries of `scores` are the probes, its keys the vocabulary.

    Where `keys` are given, ascending and those of `Probes.rivals`, its keys are these tokens. Each then counts as one
    of the ten where those above it stand for fewer than ten tokens: named keys alone would be too many among them.
    """
    return _of_each(queries, [sweep(scores, _places(queries, keys), TOP, cache=cache)], keys)[0]


def top_attended_by(
    queries: Probes, heads: Sequence[TokenScores], keys: Int[Tensor, " key"] | None = None
) -> list[TopAttended]:
    """Compute the `top_attended` of several heads in one pass."""
    return _of_each(queries, sweep_heads(heads, _places(queries, keys), TOP), keys)


def _places(queries: Probes, keys: Int[Tensor, " key"] | None) -> Int[Tensor, " probe"]:
    """Return where the probes are among some keys."""
    tokens = torch.from_numpy(queries.tokens)
    return tokens if keys is None else torch.searchsorted(keys, tokens)


def _of_each(queries: Probes, heads: Sequence[Swept], keys: Int[Tensor, " key"] | None) -> list[TopAttended]:
    standing, found = queries.standing_for(keys), []
    for swept in heads:
        stands_for = standing[swept.keys.numpy()]
        above = stands_for.cumsum(axis=1) - stands_for
        top = swept.keys if keys is None else keys[swept.keys]
        found.append(_of(queries, top.numpy(), above < TOP))
    return found


def _of(queries: Probes, top: Int[np.ndarray, "probe rank"], counts: Bool[np.ndarray, "probe rank"]) -> TopAttended:
    same = counts & (queries.form_of[top] == queries.form_of[queries.tokens][:, None])
    related = counts & queries.member[queries.category[:, None], top] & ~same
    return TopAttended(related.sum(axis=1).astype(float), same.any(axis=1), queries.category)


def top_edges(queries: Probes, edges: Int[np.ndarray, "edge 2"]) -> TopAttended:
    """Return the same from the edges (source, target) of a graph, for the probes that have any.

    Raises NotAssessable where these are of fewer than two categories.
    """
    targets = [edges[edges[:, 0] == token, 1] for token in queries.tokens]
    with_edges = [number for number, of_probe in enumerate(targets) if len(of_probe)]
    category = queries.category[with_edges]
    if len(set(category.tolist())) < 2:
        raise NotAssessable(f"probes: {len(with_edges)} have edges, of fewer than two categories; wanted more")
    same = [queries.form_of[targets[i]] == queries.form_of[queries.tokens[i]] for i in with_edges]
    related = [queries.member[queries.category[i], targets[i]] & ~s for i, s in zip(with_edges, same, strict=True)]
    return TopAttended(np.array([TOP * one.mean() for one in related]), np.array([one.any() for one in same]), category)


def published_overlap(
    published: Mapping[str, Sequence[str]],
    single_token: Callable[[str], int | None],
    vocabulary: Sequence[str],
    scores_of: Callable[[Int[Tensor, " query"]], TokenScores],
    cache: Cache | None = None,
) -> dict[str, int]:
    """Count for each published list, by its probe, the entries that are among the probe's ten highest keys.

    Entries are compared as multisets, with their case but without spaces, since the write-up omits some space marks.
    """
    overlap = {}
    for word, entries in published.items():
        token = single_token(" " + word)
        if token is None:
            overlap[word] = 0
            continue
        query = torch.tensor([token])
        keys = sweep(scores_of(query), query, TOP, cache=cache).keys[0].tolist()
        top = Counter(vocabulary[key].strip() for key in keys)
        overlap[word] = sum((top & Counter(entry.strip("_ ") for entry in entries)).values())
    return overlap
