"""Runs with one head ablated: what later heads attend to without it, and what it is worth to the next tokens.

A head is ablated at its output, before W_O: at positions ≥ 1 it is replaced by its mean over prompts and positions ≥ 1;
BOS is left as it is. Axes: `prompt` and `position`, `head`, `query` and `key` positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.cache import Input
from headclaims.checkpoint.interface import Checkpoint, Edit, Head, pattern_name
from headclaims.measures.losses import next_token_losses

FEWEST_AT_ONCE = 8
Through = Literal["keys", "queries"]
"""By what a head's pattern may change in a run without another head; the other is that of the clean run."""
READ = {"keys": "hook_q", "queries": "hook_k"}
"""What is held as it was."""


class HeadRuns:
    """Runs of one checkpoint on one set of prompts, each without one head; clean activations are kept in memory."""

    def __init__(self, checkpoint: Checkpoint, tokens: Int[Tensor, "prompt position"]) -> None:
        self.checkpoint, self.tokens = checkpoint, tokens
        self._held: dict[str, list[Tensor]] = {}

    def cache_inputs(self) -> dict[str, Input]:
        """Return what runs depend on: all of the model, and the tokens."""
        return {"model": lambda: self.checkpoint.run_digest, "tokens": self.tokens}

    @property
    def _batches(self) -> list[slice]:
        n, length = self.tokens.shape
        at_once = self.checkpoint.sizes.prompts_at_once(length, FEWEST_AT_ONCE)
        return [slice(start, min(start + at_once, n)) for start in range(0, n, at_once)]

    @cached_property
    def _clean(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """By layer the residual stream before it, and the mean output of each head at positions ≥ 1."""
        layers = self.checkpoint.attention_layers()
        residual: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        totals: dict[int, Tensor] = {}
        for some in self._batches:
            names = [name for layer in layers for name in (f"blocks.{layer}.hook_resid_pre", output_name(layer))]
            run = self.checkpoint.run(self.tokens[some], record=names)
            for layer in layers:
                residual[layer].append(run[f"blocks.{layer}.hook_resid_pre"])
                total = run[output_name(layer)][:, 1:].double().sum(dim=(0, 1))
                totals[layer] = total if layer not in totals else totals[layer] + total
        n, length = self.tokens.shape
        means = {layer: total / (n * (length - 1)) for layer, total in totals.items()}
        return {layer: torch.cat(parts) for layer, parts in residual.items()}, means

    def _without(self, head: Head) -> dict[str, Edit]:
        mean = self._clean[1][head.layer][head.index]

        def ablate(z: Tensor) -> Tensor:
            changed = z.clone()
            changed[:, 1:, head.index] = mean.to(z)
            return changed

        return {output_name(head.layer): ablate}

    def pattern_without(self, ablated: Head, observed: Head, through: Through) -> Float[Tensor, "prompt query key"]:
        """Return a later head's pattern in the run without a head, as far as the change comes through keys, or queries.

        The other of the two is that of the clean run: the model's own attention is computed from both. Raises
        ValueError for a head that is not in a later layer.
        """
        if observed.layer <= ablated.layer:
            raise ValueError(f"{observed.label} without {ablated.label}; wanted a head of an earlier layer ablated")
        held, name = f"blocks.{observed.layer}.attn.{READ[through]}", pattern_name(observed.layer)
        patterns = []
        for some, clean in zip(self._batches, self._clean_of(observed.layer, held), strict=True):
            edits = self._without(ablated) | {held: lambda _, clean=clean: clean}
            start = (ablated.layer, self._clean[0][ablated.layer][some])
            run = self.checkpoint.run(self.tokens[some], edits, [name], restart=start)
            patterns.append(run[name][:, observed.index].float().cpu())
        return torch.cat(patterns)

    def _clean_of(self, layer: int, name: str) -> list[Tensor]:
        """Return an activation of a layer's attention in the clean run, by batch."""
        if name not in self._held:
            residual = self._clean[0][layer]
            runs = (
                self.checkpoint.run(self.tokens[s], record=[name], restart=(layer, residual[s])) for s in self._batches
            )
            self._held[name] = [run[name] for run in runs]
        return self._held[name]

    @cached_property
    def clean_losses(self) -> Float[np.ndarray, "prompt next"]:
        """Losses of the run without ablation."""
        return self.losses()

    def losses(self, ablated: Head | None = None) -> Float[np.ndarray, "prompt next"]:
        """Return the loss of every token after the first, in nats, by the tokens before it; `next` is its position − 1.

        Of the clean run, or of that without a head.
        """
        edits = {} if ablated is None else self._without(ablated)
        layer = self.checkpoint.attention_layers()[0] if ablated is None else ablated.layer
        losses = []
        for some in self._batches:
            tokens = self.tokens[some]
            restart = (layer, self._clean[0][layer][some])
            losses.append(next_token_losses(self.checkpoint.run(tokens, edits, restart=restart)["logits"], tokens))
        return torch.cat(losses).double().numpy()


def output_name(layer: int) -> str:
    """Return the activation that holds the outputs of a layer's heads before W_O, [prompt, position, head, d_head]."""
    return f"blocks.{layer}.attn.hook_z"


def direct_effects(
    checkpoint: Checkpoint,
    tokens: Int[Tensor, "prompt position"],
    target_tokens: Int[np.ndarray, "prompt position"],
    plain: Int[np.ndarray, " token"],
    heads: Sequence[Head],
) -> Float[np.ndarray, "head prompt"]:
    """Return each head's direct effect on the logit of the row's target token, its mean over a prompt's rows, in nats.

    Effect at a row: (z W_O/σ) · (W_U[target] − mean of W_U over plain tokens), with z the head's output at the row and
    σ the scale of the final norm there (and of the norm after attention where there is one). Rows have a target ≥ 0.
    """
    W_U = checkpoint.W_U
    against = W_U[:, torch.from_numpy(plain)].mean(dim=1)
    layers = sorted({head.layer for head in heads})
    scales = {layer: checkpoint.output_scale(layer) for layer in layers}
    further = [name for name in scales.values() if name is not None]
    effects = np.zeros((len(heads), len(tokens)))
    at_once = checkpoint.sizes.prompts_at_once(tokens.shape[1], FEWEST_AT_ONCE)
    for start in range(0, len(tokens), at_once):
        some = slice(start, start + at_once)
        names = [*(output_name(layer) for layer in layers), *further, "ln_final.hook_scale"]
        run = {name: value.float().cpu() for name, value in checkpoint.run(tokens[some], record=names).items()}
        wanted = torch.from_numpy(target_tokens[some])
        has_target = wanted >= 0
        direction = (W_U.T[wanted.clamp(min=0)] - against) / run["ln_final.hook_scale"]
        for layer in layers:
            scale = scales[layer]
            read = direction if scale is None else direction / run[scale]
            W_O = checkpoint.ov_weights(layer).W_O
            for number, head in enumerate(heads):
                if head.layer == layer:
                    z = run[output_name(layer)][:, :, head.index]
                    by_row = (z * (read @ W_O[head.index].T)).sum(dim=-1) * has_target
                    effects[number, some] = (by_row.sum(dim=1) / has_target.sum(dim=1)).numpy()
    return effects
