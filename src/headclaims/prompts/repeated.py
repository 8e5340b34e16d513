"""Repeated prompts: random words twice over, and what a head that looks for what followed last time should attend to.

Axes: `prompt`, `position` (0 is BOS), `query` and `key` positions, `place` a place among the r words of a half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from headclaims.cache import Cache
from headclaims.errors import BadInput, NotAssessable
from headclaims.prompts.words import common_words

FEWEST_PLAIN = 200
MOST_GAP = 16
FEWEST_REPEATED = 4
TARGET, COPY, PLACE, PREVIOUS = "target", "copy", "place", "previous"
"""Names of marks: see `MarkedPrompts`."""


@dataclass(frozen=True)
class MarkedPrompts:
    """Prompts with marks on some keys of some rows; those made here are of equal length, recorded ones need not be.

    `tokens` are the checkpoint's ids, None where prompts were recorded elsewhere; `marks` by name [prompt, query, key]:

    - `copy`: earlier copies c of the row's token; `target`: the positions c + 1;
    - `place`: the position after that of the same place in the first half, whatever token is there (shuffled prompts);
    - `previous`: the position before the row's, from row 2 on; of repeated prompts in their first half.

    Rows without a marked key do not count. `second` marks the positions of the second half; `numbers` are those of
    recorded prompts in their file.
    """

    tokens: Int[np.ndarray, "prompt position"] | None
    marks: Mapping[str, Bool[np.ndarray, "prompt query key"]]
    second: Bool[np.ndarray, "prompt position"] | None = None
    numbers: Int[np.ndarray, " prompt"] | None = None

    def rows_with(self, mark: str) -> int:
        """Return how many rows of all prompts have a marked key."""
        return int(self.marks[mark].any(axis=2).sum())

    @property
    def target_tokens(self) -> Int[np.ndarray, "prompt query"]:
        """The token at each row's target, −1 for rows without; of several targets the first."""
        marks, tokens = self.marks[TARGET], np.asarray(self.tokens)
        found = np.take_along_axis(tokens, marks.argmax(axis=2), axis=1)
        return np.where(marks.any(axis=2), found, -1)


@dataclass(frozen=True)
class RepeatedPrompts:
    """A draw of repeated prompts: r different plain tokens each, and what makes gapped and shuffled ones of them.

    Position 0 is BOS, the first half 1…r. `order` gives the place in the first half of each token of a shuffled second
    half; no token stays in its place. `gaps` are `MOST_GAP` further tokens, of which the first `gap_length` are used.
    """

    bos: int
    words: Int[np.ndarray, "prompt place"]
    gaps: Int[np.ndarray, "prompt gap"]
    gap_length: Int[np.ndarray, " prompt"]
    order: Int[np.ndarray, "prompt place"]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def r(self) -> int:
        """Number of tokens in a half."""
        return int(self.words.shape[1])

    def halves(self) -> tuple[RepeatedPrompts, RepeatedPrompts]:
        """Split the prompts: a head is chosen on the first half, and claims are judged on the second.

        Raises BadInput for fewer than two prompts.
        """
        first, second = in_halves(len(self))
        return self._part(first), self._part(second)

    def _part(self, some: slice) -> RepeatedPrompts:
        parts = {name: getattr(self, name)[some] for name in ("words", "gaps", "gap_length", "order")}
        return replace(self, **parts)

    @cached_property
    def repeated(self) -> MarkedPrompts:
        """BOS, the words, and the same words in the same order."""
        return self._marked(np.zeros(len(self), dtype=int), np.tile(np.arange(self.r), (len(self), 1)))

    @cached_property
    def gapped(self) -> MarkedPrompts:
        """The same with 0 to 16 further tokens between the halves; prompts are filled up by BOS, in rows of no mark."""
        return self._marked(self.gap_length, np.tile(np.arange(self.r), (len(self), 1)))

    @cached_property
    def shuffled(self) -> MarkedPrompts:
        """The same without a gap, the second half in another order."""
        return self._marked(np.zeros(len(self), dtype=int), self.order)

    def _marked(self, gap: Int[np.ndarray, " prompt"], order: Int[np.ndarray, "prompt place"]) -> MarkedPrompts:
        n, r = len(self), self.r
        length = 1 + 2 * r + int(gap.max())
        tokens = np.full((n, length), self.bos)
        tokens[:, 1 : r + 1] = self.words
        marks = {name: np.zeros((n, length, length), dtype=bool) for name in (TARGET, COPY, PLACE, PREVIOUS)}
        second = np.zeros((n, length), dtype=bool)
        place = np.arange(r)
        for prompt in range(n):
            start = 1 + r + int(gap[prompt])
            tokens[prompt, r + 1 : start] = self.gaps[prompt, : gap[prompt]]
            tokens[prompt, start : start + r] = self.words[prompt, order[prompt]]
            rows = start + place
            second[prompt, rows] = True
            marks[COPY][prompt, rows, 1 + order[prompt]] = True
            marks[TARGET][prompt, rows, 2 + order[prompt]] = True
            marks[PLACE][prompt, rows, 2 + place] = True
        marks[PREVIOUS][:, place[1:] + 1, place[1:]] = True
        return MarkedPrompts(tokens, marks, second)


def in_halves(n: int) -> tuple[slice, slice]:
    """Return the first and the second half of n prompts; raises BadInput for fewer than two."""
    if n < 2:
        raise BadInput(f"--head auto: {n} prompt; wanted two or more, one half to choose on and one to judge on")
    return slice(0, n // 2), slice(n // 2, None)


def repeated_prompts(
    plain: Sequence[int], bos: int, n_prompts: int, r: int, seed: int, n_ctx: int | None = None
) -> RepeatedPrompts:
    """Draw prompts of r different plain tokens, twice; r is lowered to what a context of `n_ctx` holds with a gap.

    Raises NotAssessable where the context holds fewer than 4 twice, or plain tokens are too few for one prompt.
    """
    if n_ctx is not None:
        r = min(r, (n_ctx - 1 - MOST_GAP) // 2)
    if r < FEWEST_REPEATED or r + MOST_GAP > len(plain):
        raise NotAssessable(
            f"repeated prompts: {r} tokens twice and up to {MOST_GAP} between, of {len(plain)} plain tokens; "
            f"wanted {FEWEST_REPEATED} or more twice, all different"
        )
    generator = np.random.default_rng([seed, 17])
    tokens = np.asarray(plain)
    drawn = np.stack([generator.permutation(tokens)[: r + MOST_GAP] for _ in range(n_prompts)])
    order = np.stack([_deranged(r, generator) for _ in range(n_prompts)])
    gap_length = generator.integers(MOST_GAP + 1, size=n_prompts)
    return RepeatedPrompts(bos, drawn[:, :r], drawn[:, r:], gap_length, order)


def _deranged(n: int, generator: np.random.Generator) -> Int[np.ndarray, " place"]:
    """Draw an order in which nothing stays in its place."""
    while True:
        order = generator.permutation(n)
        if not (order == np.arange(n)).any():
            return order


def plain_tokens(
    single_token: Callable[[str], int | None],
    vocabulary: Sequence[str],
    checkpoint: str,
    cache: Cache | None = None,
) -> Int[np.ndarray, " token"]:
    """Return the ids of common words that are one token with a leading space, most frequent first, each id once.

    Raises NotAssessable where there are under 200.
    """
    words = common_words(single_token, vocabulary, checkpoint, FEWEST_PLAIN, cache)
    tokens = dict.fromkeys(token for word in words if (token := single_token(" " + word)) is not None)
    return np.array(list(tokens))


def recorded_marks(recorded: Sequence[Sequence[str]], some: slice = slice(None)) -> MarkedPrompts:
    """Mark recorded prompts, or some: a row whose token occurred before has its earlier copies, and their successors.

    A successor may be the row itself, where a token stands twice in a row. Prompts may be of different lengths: beyond
    the end of a shorter one nothing is marked. Raises NotAssessable where no token occurs twice in one.
    """
    numbers = np.arange(len(recorded))[some]
    length = max(len(recorded[number]) for number in numbers)
    copy, target, previous = np.zeros((3, len(numbers), length, length), dtype=bool)
    for place, number in enumerate(numbers.tolist()):
        texts = np.array(recorded[number], dtype=object)
        n = len(texts)
        copy[place, :n, :n] = (texts[:, None] == texts[None, :]) & np.tri(n, k=-1, dtype=bool)
        previous[place, :n, :n] = np.eye(n, k=-1, dtype=bool)
    target[:, :, 1:] = copy[:, :, :-1]
    previous[:, :2] = False
    if not copy.any():
        raise NotAssessable("recorded prompts: no token occurs twice within a prompt; wanted some that do")
    return MarkedPrompts(None, {TARGET: target, COPY: copy, PREVIOUS: previous}, numbers=numbers)
