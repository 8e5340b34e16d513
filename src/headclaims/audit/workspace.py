"""What audits of several heads of one checkpoint share: words, prompts, attention and the survey of all heads."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headclaims.audit.attention import Patterns, layer_pattern_arrays
from headclaims.audit.identity import Identity
from headclaims.audit.settings import Settings
from headclaims.audit.spectra import AllSpectra, all_spectra
from headclaims.audit.token_sets import Sets
from headclaims.cache import Cache, kept
from headclaims.checkpoint.interface import Capability, Checkpoint, Head
from headclaims.circuit.effective_embedding import AblatedTerms, Variant, ablated_terms
from headclaims.errors import BadInput, NotAssessable
from headclaims.measures.category_score import Survey, survey
from headclaims.prompts.category import (
    CategoryPrompts,
    begins_with_bos,
    begins_with_word,
    category_prompts,
    recorded_prompts,
    target_mask,
)
from headclaims.prompts.repeated import COPY, plain_tokens, recorded_marks
from headclaims.prompts.words import WordList, WordLists


@dataclass(eq=False)
class Workspace:
    """A checkpoint under audit with its settings, words and prompts; `why` says how it came to be chosen.

    Everything is computed when first asked for. What the evidence lacks raises NotAssessable, with the reason.
    """

    settings: Settings
    checkpoint: Checkpoint
    lists: WordLists
    cache: Cache
    why: str | None = None
    auto_on: str = "category prompts"
    """The kind of prompts that `--head auto` looks for a head on."""
    named_heads: Mapping[str, Head] = field(default_factory=dict)
    """Heads beside the target that the auditor named, by the names that the claim set has for them."""
    _terms: dict[tuple[int, Variant], AblatedTerms] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def word_list(self) -> WordList:
        """The whole word list of the run; raises BadInput for one that can't be read."""
        return self.lists.load(self.settings.words)

    @cached_property
    def words(self) -> WordList:
        """The words that count for the checkpoint."""
        if self.checkpoint.recorded_tokens is not None:
            return self.word_list
        return self.word_list.that_count(self.checkpoint.single_token, self.checkpoint.spec)

    @cached_property
    def all_prompts(self) -> CategoryPrompts:
        """The prompts of the run, before `--head auto` sets one half aside where it has to."""
        self.checkpoint.require(Capability.TOKENS)
        self.checkpoint.require(Capability.ATTENTION)
        recorded = self.checkpoint.recorded_tokens
        if recorded is not None:
            return recorded_prompts(self.words, recorded)
        s, single_token = self.settings, self.checkpoint.single_token
        return category_prompts(self.words, single_token, self.checkpoint.bos, s.prompts, s.seq_len, s.seed)

    @cached_property
    def prompts(self) -> CategoryPrompts:
        """The prompts that claims are judged on.

        Under `--head auto`, where the head was not chosen on another word list, they are the half that it was not
        chosen on.
        """
        halved = not self.on_repeats and self.settings.head == "auto" and self.choosing_words is None
        return self.all_prompts.halves()[1] if halved else self.all_prompts

    @property
    def on_repeats(self) -> bool:
        """Whether heads are looked for on prompts that repeat themselves, rather than on category prompts."""
        return self.auto_on == "repeated prompts"

    @property
    def halves_repeats(self) -> bool:
        """Whether repeated prompts are halved: the head was looked for on one half, and is judged on the other."""
        return self.settings.head == "auto" and self.on_repeats

    @cached_property
    def plain_tokens(self) -> np.ndarray:
        """Ids of common words that are one token with a leading space; raises NotAssessable for under 200."""
        self.checkpoint.require(Capability.TOKENS)
        if self.checkpoint.recorded_tokens is not None:
            raise NotAssessable("needs a tokenizer: prompts were recorded elsewhere")
        return plain_tokens(self.checkpoint.single_token, self.checkpoint.vocabulary, self.checkpoint.spec, self.cache)

    @cached_property
    def choosing_words(self) -> WordList | None:
        """The words that `--head auto` chooses on: another list's, less those in common with the run's.

        None where no other list has words that count, or where prompts were recorded and can't be made.
        """
        if Capability.INTERVENTIONS in self.checkpoint.lacks:
            return None
        for words in self.lists.beside(self.word_list):
            try:
                return words.that_count(self.checkpoint.single_token, self.checkpoint.spec)
            except NotAssessable:
                continue
        return None

    @property
    def choosing_prompts(self) -> CategoryPrompts:
        """The prompts that `--head auto` chooses on: of other words, or the first half of the run's own."""
        if self.choosing_words is None:
            return self.all_prompts.halves()[0]
        s, single_token = self.settings, self.checkpoint.single_token
        return category_prompts(self.choosing_words, single_token, self.checkpoint.bos, s.prompts, s.seq_len, s.seed)

    @property
    def tokens(self) -> Tensor:
        """Token ids of the prompts [prompt, position]; raises NotAssessable where prompts were recorded elsewhere."""
        prompts = self.prompts
        self.checkpoint.require(Capability.INTERVENTIONS)
        return torch.from_numpy(np.asarray(prompts.tokens))

    @property
    def chosen_among(self) -> int:
        """Among how many heads the target was looked for: with `--head auto` and `--head all` every head."""
        if not self.settings.searched:
            return 1
        return self.checkpoint.n_model_heads or len(self.attention_heads)

    @cached_property
    def model_heads(self) -> list[Head]:
        """Every head of the model."""
        return self.checkpoint.model_heads

    @cached_property
    def attention_heads(self) -> list[Head]:
        """The heads whose attention the evidence gives."""
        layers = self.checkpoint.attention_layers()
        return [Head(layer, head) for layer in layers for head in range(self.checkpoint.sizes.n_heads)]

    @property
    def heads(self) -> list[Head]:
        """The heads that the evidence can tell of: of recorded layers, and of those whose weights are there."""
        layers: set[int] = set()
        for checkpoint in self.checkpoint.recordings or [self.checkpoint]:
            layers |= set() if Capability.ATTENTION in checkpoint.lacks else set(checkpoint.attention_layers())
            layers |= set() if Capability.QK in checkpoint.lacks else set(checkpoint.qk_layers())
        if not layers:
            raise BadInput(f"--head all: {self.checkpoint.spec} tells of one head alone")
        return [Head(layer, head) for layer in sorted(layers) for head in range(self.checkpoint.sizes.n_heads)]

    def about(self, head: Head | None = None) -> Workspace:
        """Return the workspace of the recording that tells most of a head, where the evidence has several.

        That is, of those with the head's layer, the one of most rows that tell of heads (`_rows_that_tell`); of equal
        ones that of most heads, then of most prompts. Without a head it is the one of most such rows of all.
        """

        def worth(view: Workspace) -> tuple[bool, int, int, int]:
            layers, prompts = view.checkpoint.attention_layers(), view.checkpoint.recorded_tokens or []
            return head is None or head.layer in layers, view._rows_that_tell, len(layers), len(prompts)

        return max(self._by_recording, key=worth) if self._by_recording else self

    @cached_property
    def _by_recording(self) -> list[Workspace]:
        return [replace(self, checkpoint=checkpoint) for checkpoint in self.checkpoint.recordings]

    @cached_property
    def _rows_that_tell(self) -> int:
        """How many rows of the prompts have what heads are looked for by: kin, or an earlier copy of their token."""
        try:
            if self.on_repeats:
                return recorded_marks(self.checkpoint.recorded_tokens or []).rows_with(COPY)
            prompts = self.all_prompts
        except NotAssessable:
            return 0
        return int(target_mask(prompts)[:, :, 1:].any(axis=2).sum())

    def cached(self, compute: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, np.ndarray]:
        """Return the arrays of a computation marked by `cache.kept`, from the disk cache when present."""
        return self.cache.call(compute, *arguments)

    def survey(self, prompts: CategoryPrompts) -> Survey:
        """Return what all heads attend to on some prompts."""
        heads = tuple(self.attention_heads)
        if prompts.tokens is None:
            return survey(prompts, heads, _recorded_patterns(self.checkpoint, prompts))
        return Survey(prompts, heads, **self.cached(survey_arrays, self.patterns, prompts, heads))

    @cached_property
    def surveyed(self) -> Survey:
        """What all heads attend to on the prompts that claims are judged on."""
        return self.survey(self.prompts)

    def attention(self, head: Head) -> np.ndarray:
        """Return a head's attention [prompt, query, key] on the prompts that claims are judged on.

        Of recorded prompts of different lengths it is NaN beyond the end of a shorter one.
        """
        self.surveyed.position(head)  # raises where the evidence lacks the head
        prompts = self.prompts
        if prompts.tokens is None:
            attention = np.full((len(prompts), prompts.length, prompts.length), np.nan, dtype=np.float32)
            for place, number in zip(attention, prompts.numbers.tolist(), strict=True):
                pattern = self.checkpoint.recorded_attention(head, number)
                place[: len(pattern), : len(pattern)] = pattern.numpy()
            return attention
        if self.patterns.fit(self.tokens):
            return self.patterns.of_all(self.tokens)[self.attention_heads.index(head)]
        return self.patterns.of(self.tokens, [head])[0]

    def pattern(self, prompts: CategoryPrompts, head: Head) -> np.ndarray:
        """Return a head's attention [prompt, query, key] on prompts that the model can be run on, kept on disk.

        It reads a whole layer: a loop over heads is better served by `patterns`.
        """
        tokens = torch.from_numpy(np.asarray(prompts.tokens))
        return self.cached(layer_pattern_arrays, self.patterns, tokens, head.layer)["patterns"][head.index].copy()

    @cached_property
    def patterns(self) -> Patterns:
        """Attention from runs of the model: once on the same prompts, whoever asks."""
        return Patterns(self.checkpoint, self.attention_heads)

    def make_room_for_vocabulary(self) -> None:
        """Hold few patterns from now on, of those that there are the run's own prompts' alone."""
        if Capability.INTERVENTIONS not in self.checkpoint.lacks:
            self.patterns.hold_few(all_but=self.tokens if "surveyed" in vars(self) else None)

    @cached_property
    def identity(self) -> Identity:
        """How far token identity foretells heads' scores."""
        return Identity(self)

    @cached_property
    def spectra(self) -> AllSpectra:
        """Spectra of W_sym of every head whose weights are there, at offset 0."""
        return all_spectra(self.checkpoint, self.cache)

    @cached_property
    def sets(self) -> Sets:
        """The sets of tokens that map claims are about, as far as the tokenizer has them.

        Raises NotAssessable where the evidence has no tokens or no embedding.
        """
        self.checkpoint.require(Capability.TOKENS)
        self.checkpoint.require(Capability.EMBEDDING)
        return Sets.of(self.checkpoint, self.lists, self.word_list, self.words, self.cache)

    def ablated_terms(self, layer: int, variant: Variant = Variant.MEAN) -> AblatedTerms:
        """Return what stands in for the position embedding and the attention outputs before a layer.

        The means are taken once, for the deepest layer, as those of all heads are asked for in an audit with nulls.
        """
        deepest = layer
        if variant is Variant.MEAN and not self.settings.verdicts_only:
            deepest = max(layer, *self.checkpoint.attention_layers())
            deepest = layer if self.checkpoint.stream_fault(deepest) else deepest
        if (deepest, variant) not in self._terms:
            self._terms[deepest, variant] = ablated_terms(self.checkpoint, deepest, self.words, variant, self.cache)
        position, attention = self._terms[deepest, variant]
        return position, attention[:layer]

    @property
    def prompts_in_words(self) -> str:
        """How many prompts of which length, or why there are none."""
        recorded = self.checkpoint.recorded_tokens
        if recorded is not None:
            return _in_words(recorded, None if self.on_repeats else self.word_list)
        if Capability.TOKENS in self.checkpoint.lacks:
            return "none"
        instead = ", begun with EOS as there is no BOS" if self.checkpoint.prompts_begin_with == "EOS" else ""
        return f"{self.settings.prompts} x {self.settings.seq_len}{instead}"

    @property
    def words_lacking(self) -> list[str]:
        """A line on how many words of the list count, and why others don't; none where all do."""
        n = len(self.word_list.words)
        recorded = self.checkpoint.recorded_tokens
        if recorded is not None:
            there = {unicodedata.normalize("NFC", token) for prompt in recorded for token in prompt[1:]}
            absent = [word for word in self.word_list.words if " " + word not in there]
            said = absent and not self.on_repeats
            return [f"words: {n - len(absent)} of {n} are in the recorded prompts"] if said else []
        if Capability.INTERVENTIONS in self.checkpoint.lacks:
            return []
        lacking = self.word_list.lacking(self.checkpoint.single_token)
        try:
            return [f"words: {len(self.words.words)} of {n} count; {', '.join(lacking)}"] if lacking else []
        except NotAssessable as error:
            return [f"words: {error}"]

    @property
    def chosen_on(self) -> str | None:
        """What `--head auto` chose the head on; None where a head was named."""
        if self.settings.head != "auto":
            return None
        if self.halves_repeats:
            return "one half of the prompts"
        return "one half of the prompts" if self.choosing_words is None else f"the words {self.choosing_words.name}"


def _in_words(recorded: Sequence[Sequence[str]], words: WordList | None) -> str:
    """Return how many recorded prompts there are, of how many tokens, and what being without BOS means for scores.

    `words` is None where no scores of words are taken.
    """
    lengths = sorted({len(prompt) for prompt in recorded})
    tokens = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    said = f"{len(recorded)} x {tokens}, recorded"
    if words is None:
        return said
    left_out = sum(begins_with_word(words, prompt) for prompt in recorded)
    if left_out:
        said += f"; {left_out} left out, which begin with a word of the list"
    without = sum(not begins_with_bos(prompt) for prompt in recorded) - left_out
    if without:
        some = "" if without == len(recorded) else f" of {without}"
        said += f", no BOS in front{some}: category scores are over rows with kin alone"
    return said


def _recorded_patterns(checkpoint: Checkpoint, prompts: CategoryPrompts) -> Iterator[tuple[slice, Tensor]]:
    """Yield recorded patterns of all heads [1, head, query, key], prompt after prompt."""
    for place, number in enumerate(prompts.numbers.tolist()):
        yield slice(place, place + 1), checkpoint.recorded_patterns(number).flatten(0, 1)[None]


@kept("survey", version=4)
def survey_arrays(patterns: Patterns, prompts: CategoryPrompts, heads: tuple[Head, ...]) -> dict[str, np.ndarray]:
    """Return the arrays of a survey of all heads on some prompts."""
    made = survey(prompts, heads, patterns.batches(torch.from_numpy(np.asarray(prompts.tokens))))
    return {"word_mass": made.word_mass, "first": made.first, "own": made.own}
