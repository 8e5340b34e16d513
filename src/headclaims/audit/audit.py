"""An audit of one head: everything that a claim may ask about it, computed when first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headclaims.audit import token_map
from headclaims.audit.ablations import Ablations
from headclaims.audit.graph import Attended, attended, recorded_kin
from headclaims.audit.identity import Identity
from headclaims.audit.memory import memory_in_words
from headclaims.audit.nulls import Nulls
from headclaims.audit.repeats import Repeats
from headclaims.audit.settings import Settings
from headclaims.audit.spectra import AllSpectra, skew_self_score_arrays, spectra_of
from headclaims.audit.steering import Parts, Steering, steering
from headclaims.audit.templates import Templates, surveyed_pairs, surveyed_successions
from headclaims.audit.token_map import TokenMap, token_maps, vocabulary_curve
from headclaims.audit.token_sets import Sets
from headclaims.audit.workspace import Workspace
from headclaims.cache import Cache
from headclaims.checkpoint.interface import Capability, Checkpoint, Head, Source, in_words, pattern_name, patterns_of
from headclaims.circuit.effective_embedding import Met, Variant
from headclaims.circuit.eigenspectrum import HeadSpectra
from headclaims.circuit.head_score import HeadScore
from headclaims.circuit.qk_circuit import QKCircuit, Rotation
from headclaims.circuit.symmetric_skew import random_vectors
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey
from headclaims.measures.layer_map import scatter_plane
from headclaims.measures.other_heads import MOST_OTHER_HEADS, other_heads
from headclaims.measures.three_rules import PairSurvey
from headclaims.measures.top_attended import TopAttended
from headclaims.prompts.category import CategoryPrompts
from headclaims.prompts.matched import SuccessionPrompts, matched_pairs, succession_prompts
from headclaims.prompts.words import WordList
from headclaims.vocabulary.cosine import SimilarityCurve

MOST_NAMED = 12
OFFSETS = (0, 1, 4, 16, 48)
"""Rotary offsets at which claims about W_QK are assessed: 0, and the others as variants."""


def now() -> str:
    """Return the time, as a record has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(eq=False)
class Audit:
    """One head of one checkpoint under audit.

    Each property computes what its name says when first asked, keeps it, and takes it from the disk cache when present.
    What the evidence lacks raises NotAssessable, with the reason: the claim that asked is then not assessable.
    """

    workspace: Workspace
    target: Head
    chosen_by: str
    started: str = field(default_factory=now)
    clock: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> Settings:
        """The settings of the run."""
        return self.workspace.settings

    @property
    def checkpoint(self) -> Checkpoint:
        """The evidence under audit."""
        return self.workspace.checkpoint

    @property
    def cache(self) -> Cache:
        """The disk cache."""
        return self.workspace.cache

    @property
    def words(self) -> WordList:
        """The words that count for the checkpoint."""
        return self.workspace.words

    @property
    def prompts(self) -> CategoryPrompts:
        """The prompts that claims are judged on."""
        return self.workspace.prompts

    @property
    def heads(self) -> list[Head]:
        """The heads that the evidence can tell of."""
        return self.workspace.heads

    def named_head(self, name: str) -> Head | None:
        """Return the head that the auditor gave under one of the set's `named_heads`; None without."""
        return self.workspace.named_heads.get(name)

    @property
    def heads_lacking(self) -> str | None:
        """How many of the model's heads the survey holds, in words; None where it holds all."""
        surveyed, model = len(self.workspace.attention_heads), self.checkpoint.n_model_heads
        if model is None:
            return f"the evidence holds {surveyed} heads, and does not say how many the model has"
        return None if surveyed == model else f"the evidence holds {surveyed} of the model's {model} heads"

    def beside(self, heads: Sequence[Head], most: int | None = MOST_OTHER_HEADS) -> list[Head]:
        """Return these heads but the target as a null population; of more than `most` as many drawn by seed.

        There are none under `--verdicts-only`.
        """
        return [] if self.settings.verdicts_only else other_heads(self.target, heads, self.settings.seed, most)

    def cached(self, compute: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, np.ndarray]:
        """Return the arrays of a computation marked by `headclaims.kept`, from the disk cache when present."""
        return self.workspace.cached(compute, *arguments)

    def attention(self, head: Head) -> np.ndarray:
        """Return a head's attention on the prompts: [prompt, query, key], rows summing to 1.

        Of recorded prompts of different lengths it is NaN beyond the end of a shorter one. Raises NotAssessable where
        the evidence lacks the head's attention.
        """
        return self.workspace.attention(head)

    @property
    def identity(self) -> Identity:
        """How far token identity foretells the scores of each head."""
        return self.workspace.identity

    @property
    def survey(self) -> Survey:
        """What all heads attend to on the prompts: BOS, the own position, each word of the list."""
        return self.workspace.surveyed

    @cached_property
    def nulls(self) -> Nulls:
        """Null populations for statistics of the target."""
        return Nulls(self)

    @cached_property
    def qk(self) -> QKCircuit:
        """The target's query and key weights, folded and centred."""
        return QKCircuit.of(self.checkpoint.qk_weights(self.target.layer), self.target.index)

    @cached_property
    def score(self) -> HeadScore:
        """What the target scores two tokens by: `qk`, with norms of queries and keys and a cap where there are any."""
        return HeadScore.of(self.checkpoint.score_weights(self.target.layer), self.target.index)

    @property
    def spectra(self) -> AllSpectra:
        """Spectra of W_sym of all heads; raises NotAssessable where the target's weights are lacking."""
        _ = self.qk
        return self.workspace.spectra

    @cached_property
    def spectrum(self) -> HeadSpectra:
        """The target's spectrum; raises NotAssessable where its W_QK is zero."""
        return self.spectra.one(self.target)

    @cached_property
    def offset_turns(self) -> dict[int, Rotation]:
        """R of the target's layer at rotary offsets 0, 1, 4, 16 and 48, those that it sees; none without a rotation."""
        layer = self.target.layer
        window = self.checkpoint.window(layer)
        turns = {d: self.checkpoint.rotation(layer, d) for d in OFFSETS if window is None or d < window}
        return {offset: R for offset, R in turns.items() if R is not None}

    @cached_property
    def offset_circuits(self) -> dict[int, QKCircuit]:
        """The target's W_QK at the offsets of `offset_turns`."""
        return {offset: self.qk.at_offset(R) for offset, R in self.offset_turns.items()}

    @cached_property
    def offset_spectra(self) -> dict[int, HeadSpectra]:
        """The target's spectra at rotary offsets above 0."""
        circuits = self.offset_circuits
        return {d: spectra_of(self.cache, c.W_Q[None], c.W_K[None]) for d, c in circuits.items() if d}

    @cached_property
    def met(self) -> Met:
        """Rows of `E` that other heads' maps met on their way, where these were asked for before it."""
        return Met(self.target.layer)

    @cached_property
    def E(self) -> Tensor | None:
        """The effective embedding [token, d_model] of the whole vocabulary; None without an embedding."""
        self.workspace.make_room_for_vocabulary()
        return token_map.embedding(self)

    @cached_property
    def skew_self_score(self) -> tuple[float, int]:
        """The largest |xᵀ W_skew x|, of ‖x‖²‖W_skew‖, and over how many x: E, or Gaussian ones without an embedding."""
        norm = float(self.spectrum.norms.skew)
        vectors = random_vectors(self.qk.W_Q.shape[0], self.settings.seed) if self.E is None else self.E
        largest = self.cached(skew_self_score_arrays, self.qk, vectors, norm)["largest"]
        return float(largest[0]), len(vectors)

    @property
    def sets(self) -> Sets:
        """The sets of tokens that map claims are about."""
        return self.workspace.sets

    @cached_property
    def maps(self) -> dict[Variant, TokenMap]:
        """The target's map over the vocabulary under each variant of E, the primary one first."""
        return token_maps(self)

    @cached_property
    def vocabulary_curve(self) -> SimilarityCurve | None:
        """Scores by cosine similarity over the whole vocabulary; None where common words are lacking."""
        return vocabulary_curve(self)

    @cached_property
    def attended(self) -> Attended:
        """The graph of whom tokens attend to most, with its communities."""
        return attended(self)

    @cached_property
    def recorded_kin(self) -> TopAttended | None:
        """Whom category words attend to most by the edges of a recorded graph; None for other evidence."""
        return recorded_kin(self)

    @cached_property
    def ablations(self) -> Ablations:
        """Patterns under ablations of the components before the target's layer."""
        return Ablations(self)

    @cached_property
    def _steering(self) -> tuple[Parts, Steering]:
        return steering(self)

    @property
    def parts(self) -> Parts:
        """Patterns by the symmetric and the skew part of W_QK."""
        return self._steering[0]

    @property
    def steering(self) -> Steering:
        """Patterns with the negative eigenvalues of W_sym scaled."""
        return self._steering[1]

    @cached_property
    def repeats(self) -> Repeats:
        """Heads on prompts that repeat themselves: attention to what followed, and what it is worth."""
        return Repeats(self)

    @cached_property
    def pairs(self) -> PairSurvey:
        """What the target, first, and other heads give to BOS in matched pairs, as many as there are prompts."""
        checkpoint, s = self.checkpoint, self.settings
        checkpoint.require(Capability.INTERVENTIONS)
        drawn = matched_pairs(self.words, checkpoint.single_token, checkpoint.bos, len(self.prompts), s.seq_len, s.seed)
        return surveyed_pairs(self, drawn, self.beside(self.workspace.model_heads))

    @cached_property
    def bare_pairs(self) -> dict[str, PairSurvey]:
        """The target on the same pairs without a token in front, which give their first word instead of BOS.

        They are there where EOS stands in for BOS, as texts need not begin with it; none under `--verdicts-only`.
        """
        if self.settings.verdicts_only or self.checkpoint.prompts_begin_with != "EOS":
            return {}
        return {"no token in front": surveyed_pairs(self, self.pairs.pairs.without_front())}

    @cached_property
    def successions(self) -> tuple[Survey, SuccessionPrompts]:
        """The target on prompts that hold successions."""
        checkpoint, s = self.checkpoint, self.settings
        checkpoint.require(Capability.INTERVENTIONS)
        single_token, bos, n = checkpoint.single_token, checkpoint.bos, len(self.prompts)
        drawn = succession_prompts(self.workspace.word_list, self.words, single_token, bos, n, s.seq_len, s.seed)
        return surveyed_successions(self, drawn)

    @cached_property
    def templates(self) -> Templates:
        """The same on templates, prompts whose words stand with separators between them."""
        return Templates(self)

    def first_pattern(self) -> np.ndarray:
        """Return the target's attention [query, key] on the first prompt: what a page draws."""
        checkpoint, prompts, target = self.checkpoint, self.prompts, self.target
        if prompts.tokens is None:
            return self.attention(target)[0]
        run = checkpoint.run(torch.from_numpy(prompts.tokens[:1]), record=[pattern_name(target.layer)])
        return np.asarray(patterns_of(run, [target])[0, 0])

    def scatter_plane(self) -> tuple[list[Head], dict[str, np.ndarray]]:
        """Return every head of the model, and the scatter of group tokens in its eigenspace: what a page draws.

        Raises NotAssessable for a claim set without groups of tokens.
        """
        groups = self.sets.tokens.groups
        if groups is None:
            raise NotAssessable("needs groups of tokens: the claim set has none")
        heads = self.workspace.model_heads
        terms = self.workspace.ablated_terms(heads[-1].layer)
        return heads, self.cached(scatter_plane, self.checkpoint, groups, terms)

    @property
    def choice(self) -> str:
        """How the target was chosen, and on what."""
        chosen_on = self.workspace.chosen_on
        return self.chosen_by if chosen_on is None else f"{self.chosen_by}, on {chosen_on}"

    def header(self, targets: str | None = None) -> list[str]:
        """Return what is audited, in lines for the top of a run; `targets` stands for the line on this head."""
        c, s = self.checkpoint, self.settings
        fingerprint = c.fingerprint(self.target.layer)
        lacking = [capability.value for capability in c.lacks]
        words = s.words or self.workspace.lists.default
        headless = without_heads(c.layers_without_heads)
        return [
            f"checkpoint: {c.spec} ({c.kind}), fingerprint {fingerprint[:16] if fingerprint else 'none'}",
            *([headless] if headless else []),
            targets or f"target head: {self.target.label}, chosen by {self.choice}",
            *memory_in_words(c, s),
            f"evidence: {', '.join(c.capabilities)}" + (f"; lacking {', '.join(lacking)}" if lacking else ""),
            f"prompts: {self.workspace.prompts_in_words}, words {words}, seed {s.seed}",
            *self.workspace.words_lacking,
            *sources_in_words(c.sources or ()),
        ]


def without_heads(layers: Mapping[int, str]) -> str | None:
    """Return a line on layers that have no heads, `layers 0, 1, 3 have no softmax attention: conv`; None of none."""
    if not layers:
        return None
    kinds = ", ".join(dict.fromkeys(layers.values()))
    return f"{in_words(sorted(layers))} {'have' if len(layers) > 1 else 'has'} no softmax attention: {kinds}"


def sources_in_words(sources: Sequence[Source]) -> list[str]:
    """Return a line of the files of a bundle with what they give, and one of those left out, as far as there are."""
    used = [f"{one.file} ({one.gives})" for one in sources if one.left_out is None]
    left_out = [f"{one.file} ({one.left_out})" for one in sources if one.left_out is not None]
    more = [f"and {len(left_out) - MOST_NAMED} more"] if len(left_out) > MOST_NAMED else []
    lines = [f"files: {', '.join(used)}"] if used else []
    return lines + ([f"left out: {', '.join([*left_out[:MOST_NAMED], *more])}"] if left_out else [])
