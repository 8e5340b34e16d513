"""The target and other heads in the model, by parts of their W_QK and with its negative eigenvalues scaled by α."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from headclaims.audit.ablations import Ablated, Ablations
from headclaims.audit.nulls import OTHER_HEADS
from headclaims.cache import kept
from headclaims.checkpoint.interface import Checkpoint, Head, pattern_name
from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.circuit.symmetric_scores import QKPart, part_scores
from headclaims.measures.ablation_effects import total_variation
from headclaims.measures.category_score import survey
from headclaims.measures.losses import next_token_losses
from headclaims.measures.steering import (
    ALPHAS,
    HALVES,
    Eigenvalues,
    MeanSelfPreference,
    Steered,
    SteeredScores,
    negative_part,
    positive_control,
    random_halves,
)
from headclaims.progress import track
from headclaims.prompts.category import CategoryPrompts
from headclaims.statistics.nulls import Null
from headclaims.threads import each_in_one_thread, one_thread

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit

RANDOM_HALVES = "random halves"
FEWEST_AT_ONCE, FEWEST_FOR_LOGITS = 16, 8


class Reading:
    """What heads read on some prompts: the residual stream after their layer's norm, without gain.

    All layers, the target's and those of the heads beside it, are read in one run; the target's is kept on disk.
    """

    def __init__(self, audit: Audit, tokens: Tensor, layers: Sequence[int]) -> None:
        self.audit, self.checkpoint, self.tokens, self.layers = audit, audit.checkpoint, tokens, layers

    def at(self, layer: int) -> Tensor:
        """Return what a layer's heads read: [prompt, position, d_model]."""
        return self._of_target["read"] if layer == self.audit.target.layer else self._of_run[_read_by(layer)]

    @property
    def stream(self) -> Tensor | None:
        """The residual stream before the target's layer, where runs can begin again; None where they can't."""
        return self._of_target.get("stream")

    @cached_property
    def _of_target(self) -> dict[str, Tensor]:
        arrays = self.audit.cached(target_read, self, self.audit.target.layer)
        return {name: torch.as_tensor(values) for name, values in arrays.items()}

    def by_run(self, layer: int) -> dict[str, Tensor]:
        """Return what the heads of the target's layer `read`, and the `stream` where there is one, not from the disk.

        Raises ValueError for another layer, of which no stream is at hand.
        """
        if layer != self.audit.target.layer:
            raise ValueError(f"layer {layer}; wanted that of {self.audit.target.label}")
        names = {"read": _read_by(layer), "stream": _before(layer)}
        return {name: self._of_run[of] for name, of in names.items() if of in self._of_run}

    @cached_property
    def _of_run(self) -> dict[str, Tensor]:
        """What all layers read, and the stream before the target's, by name, from one run of the model."""
        target, tokens = self.audit.target.layer, self.tokens
        names = [_read_by(layer) for layer in ([target] if self.audit.settings.verdicts_only else self.layers)]
        names += [] if self.checkpoint.stream_fault(target) else [_before(target)]
        at_once = self.checkpoint.sizes.prompts_at_once(tokens.shape[1], FEWEST_AT_ONCE)
        runs = (self.checkpoint.run(some, record=names) for some in tokens.split(at_once))
        parts = [{name: run[name].float().cpu() for name in names} for run in runs]
        return {name: torch.cat([part[name] for part in parts]) for name in names}

    def prepare(self, heads: Sequence[Head]) -> None:
        """Run the model for what heads read, which threads can then share."""
        for layer in sorted({head.layer for head in heads}):
            self.at(layer)
            _ = self.checkpoint.qk_weights(layer), self.checkpoint.rotation(layer, self.tokens.shape[1] - 1)

    def circuit(self, head: Head) -> QKCircuit:
        """Return a head's query and key weights."""
        return QKCircuit.of(self.checkpoint.qk_weights(head.layer), head.index)

    def pattern(self, head: Head, part: QKPart) -> np.ndarray:
        """Return a head's pattern [prompt, query, key] with a part in place of its W_QK."""
        c, layer = self.checkpoint, head.layer
        scores = part_scores(self.circuit(head), self.at(layer), c.rotation_at(layer), part, c.window(layer))
        return scores.softmax(dim=-1).numpy()

    def steered(self, head: Head, scaled: Eigenvalues = Eigenvalues.ALL) -> SteeredScores:
        """Return a head's scores, some of whose eigenvalues can be scaled."""
        c, layer = self.checkpoint, head.layer
        circuit, x, turns = self.circuit(head), self.at(layer), c.rotation_at(layer)
        with one_thread():  # of small matrices, one an offset
            return SteeredScores.of(circuit, x, turns, scaled, c.window(layer))

    def cache_inputs(self) -> dict[str, Tensor | Callable[[], str]]:
        """Return what readings depend on beside the layer."""
        return {"model": lambda: self.checkpoint.run_digest, "tokens": self.tokens}


@dataclass(frozen=True)
class Parts:
    """The target's pattern by the symmetric or the skew part of its W_QK, and other heads' by the symmetric one."""

    ablations: Ablations
    read: Reading

    def target(self, part: QKPart) -> Ablated:
        """Return the target with a part in place of W_QK."""
        return self.ablations.of_pattern(self.read.pattern(self.ablations.heads[0], part))

    @cached_property
    def null(self) -> Null:
        """Other heads' total variation with the symmetric part in place of W_QK."""
        audit, others = self.ablations.audit, self.ablations.heads[1:]

        def moved() -> np.ndarray:
            clean = self.ablations.clean_patterns[1:]
            return audit.cached(symmetric_part_arrays, self.read, clean, others)["moved"]

        return audit.nulls.draw(OTHER_HEADS, moved, heads=others)


class Steering:
    """The target under W(α) and under controls of equal energy, and other heads under their own W(α)."""

    def __init__(self, parts: Parts) -> None:
        ablations, self.read = parts.ablations, parts.read
        self.audit, self.prompts, self.head = ablations.audit, ablations.prompts, ablations.heads[0]
        self.clean = ablations.clean
        self.scores = self.read.steered(self.head)

    @cached_property
    def patterns(self) -> dict[float, Tensor]:
        """The head's pattern [prompt, query, key] at every α."""
        negative = negative_part(self.scores.values)[None]
        return {alpha: next(self.scores.patterns(alpha, negative)) for alpha in ALPHAS}

    @cached_property
    def steered(self) -> Steered:
        """Surveys of the head at every α."""
        surveys = {
            alpha: survey(self.prompts, (self.head,), [(slice(None), pattern[:, None])])
            for alpha, pattern in self.patterns.items()
        }
        return Steered(self.clean, surveys, self.head)

    @cached_property
    def swing_of_author(self) -> float:
        """The swing where the d_head largest eigenvalues alone are kept, and W_skew is added."""
        scores = self.read.steered(self.head, Eigenvalues.AUTHOR)
        return float(_swings(scores, self.prompts, negative_part(scores.values)[None])[0])

    @cached_property
    def random_halves(self) -> Null:
        """The swing of 99 random halves of the eigenvalues, of equal energy."""
        halves = random_halves(self.scores.values, HALVES, self.audit.settings.seed)
        return self.audit.nulls.draw(
            RANDOM_HALVES,
            lambda: self.audit.cached(swing_arrays, self.read, self.prompts, self.head, halves)["swings"],
        )

    @property
    def swing_of_positive(self) -> float:
        """The swing of the positive eigenvalues, of equal energy."""
        return float(_swings(self.scores, self.prompts, positive_control(self.scores.values)[None])[0])

    @cached_property
    def other_heads(self) -> Null:
        """The swing of other heads, each by its own negative eigenvalues."""
        audit = self.audit
        heads = audit.beside(audit.workspace.model_heads)

        def swings() -> np.ndarray:
            of: dict[Head, float] = {}
            # By the same seed those of other layers are the same heads for every target of this layer.
            mates = [head for head in heads if head.layer == audit.target.layer]
            for some in filter(None, (mates, [head for head in heads if head not in mates])):
                of |= zip(some, audit.cached(other_swing_arrays, self.read, self.prompts, some)["swings"], strict=True)
            return np.array([of[head] for head in heads])

        return audit.nulls.draw(OTHER_HEADS, swings, heads=heads)

    def loss(self, alpha: float) -> float:
        """Return the next-token loss on the prompts with the head's pattern steered, in nats a token."""
        read, checkpoint = self.read, self.audit.checkpoint
        pattern = self.patterns[alpha]
        arrays = self.audit.cached(steered_loss_arrays, checkpoint, read.tokens, self.head, pattern, read.stream)
        return float(arrays["loss"][0])


def steering(audit: Audit) -> tuple[Parts, Steering]:
    """Return the parts of the target's W_QK in the model, and the target steered; NotAssessable without either."""
    ablations = audit.ablations
    _ = audit.qk  # says why where the weights are lacking
    heads = {head.layer for head in (*ablations.heads, *audit.beside(audit.workspace.model_heads))}
    read = Reading(audit, ablations.tokens, sorted(heads))
    parts = Parts(ablations, read)
    return parts, Steering(parts)


def _swings(scores: SteeredScores, prompts: CategoryPrompts, changes: np.ndarray) -> np.ndarray:
    """Return by how much each weighting of the eigenvalues, turned to −1, makes a head prefer the word itself."""
    preference = MeanSelfPreference.on(prompts)
    start = preference(scores.start.softmax(dim=-1))
    patterns = track(scores.patterns(-1.0, changes), "steered", len(changes))
    return np.array([preference(pattern) for pattern in patterns]) - start


def _read_by(layer: int) -> str:
    return f"blocks.{layer}.ln1.hook_normalized"


def _before(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_pre"


@kept("target-read", version=3)
def target_read(read: Reading, layer: int) -> dict[str, Tensor]:
    """Return what the heads of the target's layer read on prompts, and the residual stream before it."""
    return read.by_run(layer)


@kept("symmetric-part", version=3)
def symmetric_part_arrays(read: Reading, clean: np.ndarray, heads: Sequence[Head]) -> dict[str, np.ndarray]:
    """Return by how much heads' rows move from `clean` with the symmetric part alone (total variation)."""

    def of_head(place: int) -> float:
        return float(total_variation(clean[place], read.pattern(heads[place], QKPart.SYMMETRIC)))

    read.prepare(heads)
    return {"moved": np.array(each_in_one_thread(of_head, range(len(heads)), "symmetric part of other heads"))}


@kept("random-halves", version=4)
def swing_arrays(read: Reading, prompts: CategoryPrompts, head: Head, changes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the swing of a head under each weighting of its eigenvalues."""
    return {"swings": _swings(read.steered(head), prompts, changes)}


@kept("steered-heads", version=4)
def other_swing_arrays(read: Reading, prompts: CategoryPrompts, heads: Sequence[Head]) -> dict[str, np.ndarray]:
    """Return the swing of each head by its own negative eigenvalues."""

    def swing(head: Head) -> float:
        scores = read.steered(head, Eigenvalues.NEGATIVE)
        return float(_swings(scores, prompts, negative_part(scores.values)[None])[0])

    read.prepare(heads)
    return {"swings": np.array(each_in_one_thread(swing, heads, "other heads steered"))}


@kept("steered-loss", version=4)
def steered_loss_arrays(
    checkpoint: Checkpoint, tokens: Tensor, head: Head, pattern: Tensor, stream: Tensor | None
) -> dict[str, np.ndarray]:
    """Return the mean next-token loss with a head's pattern replaced, in nats.

    Runs begin at the head's layer, with the residual `stream` before it, or from the tokens where it is None.
    """
    losses = []
    for rows in torch.arange(len(tokens)).split(checkpoint.sizes.prompts_at_once(tokens.shape[1], FEWEST_FOR_LOGITS)):
        edits = {pattern_name(head.layer): _replacing(head, pattern[rows])}
        restart = None if stream is None else (head.layer, stream[rows])
        losses.append(next_token_losses(checkpoint.run(tokens[rows], edits, restart=restart)["logits"], tokens[rows]))
    return {"loss": np.array([float(torch.cat(losses).mean())])}


def _replacing(head: Head, pattern: Tensor) -> Callable[[Tensor], Tensor]:
    def change(activation: Tensor) -> Tensor:
        changed = activation.clone()
        changed[:, head.index] = pattern.to(activation)
        return changed

    return change
