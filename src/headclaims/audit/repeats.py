"""What heads do on prompts that repeat themselves: attention to marked keys, without other heads, and its worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from headclaims.audit.nulls import GAUSSIAN_HEADS, OTHER_HEADS
from headclaims.cache import kept
from headclaims.checkpoint.interface import Capability, Checkpoint, Head, pattern_name
from headclaims.circuit.composition import Compositions, Into, composition_arrays, heads_of, weights_of
from headclaims.circuit.effective_embedding import AblatedTerms
from headclaims.circuit.ov_circuit import OVCircuit
from headclaims.errors import NotAssessable
from headclaims.measures.copying import MOST_TOKENS, copying, gaussian_positive_shares
from headclaims.measures.head_runs import HeadRuns, Through, direct_effects
from headclaims.measures.marked_attention import MarkedAttention, marked_attention
from headclaims.progress import track
from headclaims.prompts.repeated import (
    PREVIOUS,
    TARGET,
    MarkedPrompts,
    RepeatedPrompts,
    in_halves,
    recorded_marks,
    repeated_prompts,
)
from headclaims.statistics.nulls import Null
from headclaims.statistics.resampling import Resampled, per_prompt

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit
    from headclaims.audit.workspace import Workspace

FEWEST_AT_ONCE = 8
GAUSSIAN_DRAWS = 199
MOST_RUN = 24
"""Other heads without whom the model is run: enough for a p below 0.05."""
Part = Literal["all", "choosing", "judged"]


def drawn(workspace: Workspace, part: Part) -> RepeatedPrompts:
    """Return repeated prompts of plain tokens: all, or the half that a head is chosen, or judged, on."""
    checkpoint, s = workspace.checkpoint, workspace.settings
    if checkpoint.recorded_tokens is not None:
        raise NotAssessable("needs repeated prompts: these were recorded elsewhere")
    for capability in (Capability.TOKENS, Capability.INTERVENTIONS):
        checkpoint.require(capability)
    made = repeated_prompts(
        workspace.plain_tokens.tolist(), checkpoint.bos, s.prompts, s.seq_len // 2, s.seed, checkpoint.sizes.n_ctx
    )
    return made if part == "all" else made.halves()[part == "judged"]


def marked(workspace: Workspace, part: Part) -> MarkedPrompts:
    """Return repeated prompts, or recorded ones, with their marks."""
    recorded = workspace.checkpoint.recorded_tokens
    if recorded is None:
        return drawn(workspace, part).repeated
    some = slice(None) if part == "all" else in_halves(len(recorded))[part == "judged"]
    return recorded_marks(recorded, some)


def attention_to_marks(workspace: Workspace, prompts: MarkedPrompts, heads: Sequence[Head]) -> MarkedAttention:
    """Return the attention of some heads to marked keys, from the disk cache when present."""
    names = list(prompts.marks)
    if prompts.tokens is None:
        return marked_attention(heads, prompts.marks, _patterns(workspace.checkpoint, prompts, heads))
    arrays = workspace.cached(marked_arrays, workspace.checkpoint, prompts, tuple(heads))
    return MarkedAttention(
        tuple(heads), {name: arrays[f"sums {name}"] for name in names}, {name: arrays[f"rows {name}"] for name in names}
    )


@kept("marked-attention", version=1)
def marked_arrays(checkpoint: Checkpoint, prompts: MarkedPrompts, heads: Sequence[Head]) -> dict[str, np.ndarray]:
    """Return the attention of heads to marked keys, and how many rows have them, by mark."""
    made = marked_attention(heads, prompts.marks, _patterns(checkpoint, prompts, heads))
    return {f"sums {name}": of for name, of in made.sums.items()} | {
        f"rows {name}": of for name, of in made.rows.items()
    }


def _patterns(checkpoint: Checkpoint, prompts: MarkedPrompts, heads: Sequence[Head]) -> Iterator[tuple[slice, Tensor]]:
    """Yield patterns [prompt, head, query, key] of heads, a few prompts at a time."""
    layers = sorted({head.layer for head in heads})
    if prompts.tokens is None:
        recorded = checkpoint.attention_layers()
        at, index = [recorded.index(head.layer) for head in heads], [head.index for head in heads]
        for place, number in enumerate(np.asarray(prompts.numbers).tolist()):
            yield slice(place, place + 1), checkpoint.recorded_patterns(number)[at, index][None]
        return
    names = [pattern_name(layer) for layer in layers]
    at_once = checkpoint.sizes.prompts_at_once(prompts.tokens.shape[1], FEWEST_AT_ONCE)
    for start in track(range(0, len(prompts.tokens), at_once), "attention on repeated prompts"):
        some = slice(start, start + at_once)
        run = checkpoint.run(torch.from_numpy(prompts.tokens[some]), record=names)
        by_layer = dict(zip(layers, (run[name] for name in names), strict=True))
        yield some, torch.stack([by_layer[head.layer][:, head.index] for head in heads], dim=1)


class Repeats:
    """The target on prompts that repeat themselves, and other heads on the same; each is computed once an audit."""

    def __init__(self, audit: Audit) -> None:
        self.audit, self.workspace, self.target = audit, audit.workspace, audit.target
        self.part: Part = "judged" if self.workspace.halves_repeats else "all"

    @cached_property
    def prompts(self) -> MarkedPrompts:
        """The repeated prompts, or recorded ones, that claims are judged on."""
        return marked(self.workspace, self.part)

    @cached_property
    def attention(self) -> MarkedAttention:
        """Attention of all heads to targets, copies and previous tokens; raises NotAssessable without attention."""
        self.audit.checkpoint.require(Capability.ATTENTION)
        return attention_to_marks(self.workspace, self.prompts, self.workspace.attention_heads)

    def first_prompt(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Return the first prompt's tokens as text, the target's attention on it, and where its targets are.

        Patterns are [query, key]: what a page draws.
        """
        prompts, checkpoint, target = self.prompts, self.audit.checkpoint, self.target
        recorded = checkpoint.recorded_tokens
        if prompts.tokens is None:
            first = replace(prompts, numbers=np.asarray(prompts.numbers)[:1])
            assert recorded is not None
            words = list(recorded[int(np.asarray(prompts.numbers)[0])])
        else:
            first = replace(prompts, tokens=prompts.tokens[:1])
            words = checkpoint.texts(torch.from_numpy(prompts.tokens[0]))
        ((_, pattern),) = _patterns(checkpoint, first, [target])
        return words, pattern[0, 0].float().cpu().numpy(), prompts.marks[TARGET][0]

    @cached_property
    def drawn(self) -> RepeatedPrompts:
        """The draw of which gapped and shuffled prompts are made; raises NotAssessable where prompts were recorded."""
        return drawn(self.workspace, self.part)

    def on(self, prompts: MarkedPrompts) -> MarkedAttention:
        """Return the target's attention on other prompts with marks."""
        return attention_to_marks(self.workspace, prompts, [self.target])

    def previous_token_head(self, named: Head | None = None) -> Head:
        """Return the head before the target's layer that attends most to the token before, or the one that is named.

        Raises NotAssessable where no layer comes before, or the evidence has no attention and none is named.
        """
        target = self.target
        if target.layer == 0:
            raise NotAssessable(f"{target.label} is in layer 0: no head comes before it")
        if named is not None:
            if named.layer >= target.layer:
                raise NotAssessable(f"{named.label} is not in a layer before {target.label}")
            return named
        if Capability.ATTENTION in self.audit.checkpoint.lacks:
            raise NotAssessable("needs attention to find the previous-token head in, or a head named by an option")
        earlier = [head for head in self.attention.heads if head.layer < target.layer]
        if not earlier:
            raise NotAssessable(f"needs attention of a layer before {target.label}")
        scores = dict(zip(self.attention.heads, self.attention.means(PREVIOUS), strict=True))
        return max(earlier, key=lambda head: scores[head])

    def compositions(self, into: Into) -> Compositions:
        """Return the composition of all pairs of heads into keys, or queries, by weights."""
        checkpoint = self.audit.checkpoint
        checkpoint.require(Capability.QK)
        checkpoint.require(Capability.OV)
        weights = weights_of(checkpoint)
        matrix = self.audit.cached(composition_arrays, weights, into)["matrix"]
        return Compositions(heads_of(weights, checkpoint.sizes.n_heads), matrix)

    @cached_property
    def runs(self) -> HeadRuns:
        """Runs without one head; raises NotAssessable where the evidence can't be run."""
        self.audit.checkpoint.require(Capability.INTERVENTIONS)
        return HeadRuns(self.audit.checkpoint, torch.from_numpy(np.asarray(self.drawn.repeated.tokens)))

    def without(self, ablated: Head, through: Through) -> MarkedAttention:
        """Return the target's attention to its targets without an earlier head in its keys, or queries, alone."""
        marks = {TARGET: self.drawn.repeated.marks[TARGET]}
        arrays = self.audit.cached(attention_without, self.runs, ablated, self.target, through, marks[TARGET])
        return MarkedAttention((self.target,), {TARGET: arrays["sums"]}, {TARGET: arrays["rows"]})

    def earlier_beside(self, head: Head) -> list[Head]:
        """Return other heads before the target's layer than this one, as many as the model is run without."""
        earlier = [other for other in self.workspace.model_heads if other.layer < self.target.layer and other != head]
        return self.audit.beside(earlier, MOST_RUN)

    def loss_of(self, head: Head) -> Resampled:
        """Return by how much more the loss of second halves rises without a head than that of first ones, in nats."""
        second = np.asarray(self.drawn.repeated.second)
        arrays = self.audit.cached(loss_without, self.runs, head)
        change = arrays["without"] - arrays["clean"]
        in_second, in_first = second[:, 1:], ~second[:, 1:]
        return per_prompt(_mean(change, in_second) - _mean(change, in_first))

    def others(self, statistic: Callable[[Head], Resampled]) -> Null:
        """Return a statistic of heads without which the model is run as a null population: 24 others, drawn by seed."""
        heads = self.audit.beside(self.workspace.model_heads, MOST_RUN)
        return self.audit.nulls.draw(
            OTHER_HEADS, lambda: np.array([statistic(head).value for head in heads]), heads=heads
        )

    @cached_property
    def effects(self) -> dict[Head, np.ndarray]:
        """The direct effect of every head on the logit of the row's target token, a number a prompt, in nats."""
        checkpoint, prompts, heads = self.audit.checkpoint, self.drawn.repeated, tuple(self.workspace.model_heads)
        for capability in (Capability.INTERVENTIONS, Capability.OV):
            checkpoint.require(capability)
        if self.audit.settings.verdicts_only:
            heads = (self.target,)
        tokens = torch.from_numpy(np.asarray(prompts.tokens))
        plain = self.workspace.plain_tokens
        arrays = self.audit.cached(effect_arrays, checkpoint, tokens, prompts.target_tokens, plain, heads)
        return dict(zip(heads, arrays["effects"], strict=True))

    @cached_property
    def copying(self) -> dict[Head, dict[str, np.ndarray]]:
        """By head which plain tokens it copies, and how positive the eigenvalues of E W_OV W_U over them are."""
        checkpoint, workspace = self.audit.checkpoint, self.workspace
        for capability in (Capability.TOKENS, Capability.EMBEDDING, Capability.OV):
            checkpoint.require(capability)
        heads = (self.target, *self.audit.beside(workspace.model_heads))
        plain = workspace.plain_tokens[:MOST_TOKENS]
        terms = workspace.ablated_terms(max(head.layer for head in heads))
        arrays = self.audit.cached(copying_arrays, checkpoint, heads, plain, terms)
        return {head: {name: of[number] for name, of in arrays.items()} for number, head in enumerate(heads)}

    def copying_null(self, name: str) -> Null:
        """Return what `copying` has under a name, as a mean, over other heads; 48 of them, drawn by seed."""
        others = [head for head in self.copying if head != self.target]
        return self.audit.nulls.draw(
            OTHER_HEADS, lambda: np.array([self.copying[head][name].mean() for head in others]), heads=others
        )

    def gaussian_copying(self) -> Null:
        """Return the positive share of the eigenvalues of E W_OV W_U over Gaussian heads on the target's E."""
        audit, checkpoint, target = self.audit, self.audit.checkpoint, self.target

        def shares() -> np.ndarray:
            plain = self.workspace.plain_tokens[:MOST_TOKENS]
            terms = self.workspace.ablated_terms(target.layer)
            circuit = OVCircuit.of(checkpoint.ov_weights(target.layer), target.index)
            return audit.cached(gaussian_copying_arrays, checkpoint, circuit, plain, terms, audit.settings.seed)[
                "shares"
            ]

        return audit.nulls.draw(GAUSSIAN_HEADS, shares, self.workspace.chosen_among)


def _mean(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.asarray((values * chosen).sum(axis=1) / chosen.sum(axis=1))


@kept("attention-without", version=1)
def attention_without(
    runs: HeadRuns, ablated: Head, observed: Head, through: Through, mark: np.ndarray
) -> dict[str, np.ndarray]:
    """Return a head's attention to marked keys without another head in its keys, or queries, and the rows' number."""
    pattern = runs.pattern_without(ablated, observed, through)
    made = marked_attention([observed], {TARGET: mark}, [(slice(None), pattern[:, None])])
    return {"sums": made.sums[TARGET], "rows": made.rows[TARGET]}


@kept("loss-without", version=1)
def loss_without(runs: HeadRuns, head: Head) -> dict[str, np.ndarray]:
    """Return the loss of every token after the first, clean and without a head, in nats."""
    return {"clean": runs.clean_losses, "without": runs.losses(head)}


@kept("direct-effects", version=1)
def effect_arrays(
    checkpoint: Checkpoint, tokens: Tensor, targets: np.ndarray, plain: np.ndarray, heads: Sequence[Head]
) -> dict[str, np.ndarray]:
    """Return direct effects of heads on the logits of their rows' target tokens, by prompt."""
    return {"effects": direct_effects(checkpoint, tokens, targets, plain, heads)}


@kept("copying", version=1)
def copying_arrays(
    checkpoint: Checkpoint, heads: Sequence[Head], plain: np.ndarray, terms: AblatedTerms
) -> dict[str, np.ndarray]:
    """Return what heads copy of plain tokens, and their eigenvalues' positive share."""
    return copying(checkpoint, heads, plain, terms)


@kept("gaussian-copying", version=1)
def gaussian_copying_arrays(
    checkpoint: Checkpoint, circuit: OVCircuit, plain: np.ndarray, terms: AblatedTerms, seed: int
) -> dict[str, np.ndarray]:
    """Return the positive shares of Gaussian heads; `terms` are those of the circuit's layer."""
    tokens = torch.from_numpy(plain)
    E = checkpoint.embed_alone(tokens, len(terms[1]), *terms)
    return {"shares": gaussian_positive_shares(circuit, E, checkpoint.W_U[:, tokens], GAUSSIAN_DRAWS, seed)}
