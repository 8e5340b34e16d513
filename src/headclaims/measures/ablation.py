"""Ablations of the components before a head's layer: what replaces their outputs, and the resulting patterns.

Axes: `prompt` and `position` (0 is BOS), `d_model` the residual stream, `head` the observed heads, `query` and `key`
positions. A component is ablated at its output; layers before it are not run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.cache import Input
from headclaims.checkpoint.interface import Checkpoint, Edit, Head, pattern_name, patterns_of


class Kind(StrEnum):
    """What replaces a component's output."""

    MEAN = "mean"
    """Its mean over prompts and positions ≥ 1, at positions ≥ 1; BOS is left as it is. The primary one."""
    AUTHOR = "author"
    """Its mean over prompts and all positions, at all positions including BOS, as in the write-up's code."""
    ZERO = "zero"
    """0 at positions ≥ 1; BOS is left as it is."""
    POSITION_MEAN = "position-mean"
    """At each position ≥ 1 its mean over prompts, so that what depends on the position alone stays."""
    RESAMPLE = "resample"
    """Its own values at positions ≥ 1 of all prompts, randomly permuted: real values, at the wrong places."""


class Part(StrEnum):
    """The kind of component that is ablated."""

    EMBEDDING = "embedding"
    """The token embedding, for every component that reads it."""
    POSITION = "position"
    """The position embedding; with rotary positions the rotation of all queries and keys, for every `Kind`."""
    ATTENTION = "attention"
    """The output of a layer's attention, all heads together, with its bias; or of what the layer has instead."""
    MLP = "mlp"
    """The output of a layer's MLP, with its bias."""
    DIRECT_PATH = "direct path"
    """The token embedding in the residual stream after layer 0; layer 0 itself still reads it."""


_IN_LAYERS = (Part.ATTENTION, Part.MLP)


@dataclass(frozen=True, order=True)
class Component:
    """A component to ablate; `layer` is for attention and MLP, and ValueError is raised where others have one."""

    part: Part
    layer: int = 0

    def __post_init__(self) -> None:
        if self.layer and self.part not in _IN_LAYERS:
            raise ValueError(f"{self.part} of layer {self.layer}; wanted a layer for attention and MLP alone")

    @property
    def restart(self) -> int:
        """First layer that has to be run again."""
        return 1 if self.part is Part.DIRECT_PATH else self.layer


def replacement(
    output: Float[Tensor, "prompt position d_model"], kind: Kind, seed: int
) -> Float[Tensor, "prompt position d_model"]:
    """Return what replaces a component's output under a kind of ablation; `seed` is for `resample`'s permutation."""
    changed, later = output.clone(), output[:, 1:]
    if kind is Kind.AUTHOR:
        changed[:] = output.double().mean(dim=(0, 1))
    elif kind is Kind.MEAN:
        changed[:, 1:] = later.double().mean(dim=(0, 1))
    elif kind is Kind.POSITION_MEAN:
        changed[:, 1:] = later.double().mean(dim=0)
    elif kind is Kind.ZERO:
        changed[:, 1:] = 0
    else:
        cells = later.reshape(-1, later.shape[-1])
        dealt = torch.randperm(len(cells), generator=torch.Generator().manual_seed(seed))
        changed[:, 1:] = cells[dealt].view_as(later)
    return changed


@dataclass(frozen=True)
class _Clean:
    """Results of runs without ablation: component outputs, residual stream before each layer, patterns of heads."""

    embedding: Float[Tensor, "prompt position d_model"]
    position: Float[Tensor, "prompt position d_model"]
    outputs: dict[str, Float[Tensor, "prompt position d_model"]]
    residual: dict[int, Float[Tensor, "prompt position d_model"]]
    patterns: Float[np.ndarray, "head prompt query key"]


class AblationRuns:
    """Ablated runs of one checkpoint on one set of prompts, observed at heads in the target's layer or later ones.

    Components can be ablated before the target's `layer`. `at_once` is the number of prompts in one run. Raises
    ValueError for no heads, or a head before the layer.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokens: Int[Tensor, "prompt position"],
        heads: Sequence[Head],
        layer: int,
        seed: int = 0,
        at_once: int = 16,
    ) -> None:
        _check_heads(heads, layer)
        self.checkpoint, self.tokens, self.heads, self.layer = checkpoint, tokens, tuple(heads), layer
        self.seed, self.at_once = seed, at_once

    def cache_inputs(self) -> dict[str, Input]:
        """Return what runs depend on: all of the model, the tokens, and the seed that deals out `resample`."""
        return {"model": lambda: self.checkpoint.run_digest, "tokens": self.tokens, "seed": self.seed}

    @cached_property
    def _clean(self) -> _Clean:
        self.checkpoint.require_sum(self.layer)
        before = range(self.layer)
        outputs = [self._output(Component(part, layer)) for layer in before for part in _IN_LAYERS]
        residual = {layer: f"blocks.{layer}.hook_resid_pre" for layer in sorted({0, *before, self.layer})}
        learned = self.checkpoint.learned_positions
        names = [*outputs, *residual.values(), *(["hook_pos_embed"] if learned else [])]
        recorded: dict[str, list[Tensor]] = {name: [] for name in names}
        patterns = []
        for batch in self.tokens.split(self.at_once):
            run = self.checkpoint.run(batch, record=[*names, *_names(self.heads)])
            patterns.append(patterns_of(run, self.heads))
            for name in names:
                # The position embedding is recorded once for all prompts.
                recorded[name].append(run[name].float().cpu().expand(len(batch), -1, -1))
        activations = {name: torch.cat(parts) for name, parts in recorded.items()}
        entering = activations[residual[0]]
        position = activations["hook_pos_embed"] if learned else torch.zeros_like(entering)
        return _Clean(
            # Taken from the residual stream, as some models scale the embedding on entering it.
            entering - position,
            position,
            {name: activations[name] for name in outputs},
            {layer: activations[name] for layer, name in residual.items()},
            np.concatenate(patterns, axis=1),
        )

    @property
    def clean(self) -> Float[np.ndarray, "head prompt query key"]:
        """Patterns of the observed heads without ablation."""
        return self._clean.patterns

    def ablated(
        self, components: Sequence[Component], kind: Kind = Kind.MEAN, heads: Sequence[Head] | None = None
    ) -> Float[np.ndarray, "head prompt query key"]:
        """Return patterns of heads (by default all observed ones) with these components ablated together.

        Replacements are computed from the run without ablation. Raises ValueError for no components, for one that is
        given twice or contains another, and for one at or after the layer.
        """
        chosen = self.heads if heads is None else tuple(heads)
        _check_heads(chosen, self.layer)
        named = list(components)
        embedding = {Component(Part.EMBEDDING), Component(Part.DIRECT_PATH)}
        if not named or len(set(named)) < len(named) or embedding <= set(named):
            raise ValueError(f"components {[c.part.value for c in named]}; wanted some, none twice or in another")
        for component in components:
            if component.restart > self.layer or (component.layer == self.layer and component.part in _IN_LAYERS):
                raise ValueError(f"{component.part} {component.layer}; wanted a component before layer {self.layer}")
        first = min(component.restart for component in components)
        added, instead, edits = self._changes(components, kind)
        patterns = []
        for start in range(0, len(self.tokens), self.at_once):
            batch = slice(start, start + self.at_once)
            changes = dict(edits)
            changes |= {name: _put(term[batch]) for name, term in instead.items()}
            changes |= {name: _add(term[batch]) for name, term in added.items()}
            run = self.checkpoint.run(
                self.tokens[batch],
                changes,
                _names(chosen),
                restart=(first, self._clean.residual[first][batch]),
            )
            patterns.append(patterns_of(run, chosen))
        return np.concatenate(patterns, axis=1)

    def _output(self, component: Component) -> str:
        """Return the name of the activation that an attention or MLP component adds to the residual stream."""
        layer = component.layer
        return f"blocks.{layer}.hook_mlp_out" if component.part is Part.MLP else self.checkpoint.mixing_output(layer)

    def _changes(
        self, components: Sequence[Component], kind: Kind
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Edit]]:
        """Return, by activation name, terms to add, replacements, and other edits."""
        clean = self._clean
        added: dict[str, Tensor] = {}
        instead: dict[str, Tensor] = {}
        edits: dict[str, Edit] = {}
        for number, component in enumerate(components):
            # Each component of a set has its own permutation.
            seed = self.seed + number
            if component.part is Part.POSITION and not self.checkpoint.learned_positions:
                edits = self.checkpoint.without_rotation
            elif component.part in _IN_LAYERS:
                name = self._output(component)
                instead[name] = replacement(clean.outputs[name], kind, seed)
            else:
                output = clean.position if component.part is Part.POSITION else clean.embedding
                name = f"blocks.{component.restart}.hook_resid_pre"
                change = replacement(output, kind, seed) - output
                added[name] = added[name] + change if name in added else change
        return added, instead, edits


def _check_heads(heads: Sequence[Head], layer: int) -> None:
    if not heads or any(head.layer < layer for head in heads):
        raise ValueError(f"heads {[head.label for head in heads]}; wanted some, all of layer {layer} or later")


def _names(heads: Sequence[Head]) -> list[str]:
    return [pattern_name(layer) for layer in sorted({head.layer for head in heads})]


def _put(term: Tensor) -> Edit:
    return lambda activation: term.to(activation)


def _add(term: Tensor) -> Edit:
    return lambda activation: activation + term.to(activation)


def attentions(layer: int) -> list[Component]:
    """Return the attention components of all layers before a layer."""
    return [Component(Part.ATTENTION, before) for before in range(layer)]
