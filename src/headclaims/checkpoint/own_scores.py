"""The scores of a running model's heads: what reads them off, held against the model's own attention patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.checkpoint.attending import COARSE_TOLERANCE
from headclaims.checkpoint.attention import QUERY_NORMS, LayerAttention
from headclaims.checkpoint.interface import Sizes, pattern_name
from headclaims.checkpoint.weights import FactorNorm, ScoreWeights
from headclaims.errors import NotAssessable

PATTERN_TOLERANCE = 1e-4
PROBE_LENGTH = 24
TURNS_AT_FIRST = 64

Turns = tuple[Float[Tensor, "position rotary"], Float[Tensor, "position rotary"], float]
"""A layer's cosines and sines without what scales both, and that scale's square, by which scores are scaled."""


class OwnScores:
    """Scores by layer: weights, norms of queries and keys, cap, rotation and window."""

    def __init__(self, bridge: Any, sizes: Sizes, run: Callable[..., dict[str, Tensor]], folded: bool) -> None:
        self._bridge, self._sizes, self._run, self._folded = bridge, sizes, run, folded
        self._scales: dict[int, float] = {}
        self._turns: dict[int, Turns | None] = {}
        self._seen: dict[tuple[int, str], Tensor] = {}

    def attention(self, layer: int) -> LayerAttention:
        """Return a layer's attention."""
        return LayerAttention(self._bridge, layer, self._folded)

    def not_bilinear(self) -> str | None:
        """Say why W_QK alone is not the score in this model; None where it is."""
        modules = (name for name, _ in self._bridge.original_model.named_modules())
        if any(name.split(".")[-1] in QUERY_NORMS for name in modules):
            return "queries and keys are normalised before their product: W_QK alone is not the score"
        if any(getattr(module, "attn_logit_softcapping", None) for module in self._bridge.original_model.modules()):
            return "attention scores are capped: W_QK alone is not the score"
        return None

    def weights(self, layer: int) -> ScoreWeights:
        """Return what a layer's heads score by; raises NotAssessable where that does not give the model's attention."""
        attention = self.attention(layer)
        query_norm, key_norm = attention.norms()
        weights = ScoreWeights(attention.weights(1.0), query_norm, key_norm, attention.cap)
        if layer not in self._scales:
            self._scales[layer] = self._scale(attention, weights)
        return replace(weights, qk=replace(weights.qk, scale=self._scales[layer]))

    def rotation(self, layer: int, offset: int) -> Float[Tensor, "d_head d_head"] | None:
        """Return R of a layer at an offset; None where it does not rotate."""
        turns = self._turns_to(layer, offset)
        if turns is None:
            return None
        cos, sin, _ = turns
        return self.attention(layer).rotation(cos[offset], sin[offset], self._sizes.d_head)

    def _turns_to(self, layer: int, offset: int) -> Turns | None:
        if self._bridge.cfg.positional_embedding_type != "rotary":
            return None
        known = self._turns.get(layer)
        if layer not in self._turns or (known is not None and offset >= len(known[0])):
            known = self._turns[layer] = self._recorded_turns(layer, max(TURNS_AT_FIRST, 2 * offset))
        return known

    def _recorded_turns(self, layer: int, length: int) -> Turns | None:
        names = self.attention(layer).rotary_hooks
        if names is None:
            raise NotAssessable("needs scores: queries and keys are rotated where TransformerLens does not show it")
        of_all = [of for layer in self._layers if (of := self.attention(layer).rotary_hooks) is not None]
        try:
            recorded = self._recorded(length, names, [name for of in of_all for name in of])
        except ValueError:  # neither occurs: a layer without rotation in a model of others
            return None
        cos, sin = (recorded[name].reshape(-1, length, recorded[name].shape[-1])[0] for name in names)
        size = float(cos[0, 0])  # the cosine of 0, times what both are scaled by
        return cos / size, sin / size, size**2

    @property
    def _layers(self) -> list[int]:
        """Layers that attend, as far as activations say."""
        return [layer for layer in range(self._sizes.n_layers) if pattern_name(layer) in self._bridge.hook_dict]

    def _recorded(self, length: int, names: Sequence[str], of_all: Sequence[str]) -> dict[str, Tensor]:
        """Return activations on a few tokens, in float32; those of all layers are taken in one run, where they occur.

        A run for each layer would take a deep model as many times as long. Raises ValueError where one does not occur.
        """
        for together in (of_all, names):
            if all((length, name) in self._seen for name in names):
                break
            try:
                run = self._run(self._probe(length), record=together)
            except ValueError:
                if together is names:
                    raise
            else:
                self._seen |= {(length, name): run[name].float().cpu() for name in together}
        return {name: self._seen[length, name] for name in names}

    def _probe(self, length: int) -> Tensor:
        return torch.arange(1, length + 1)[None] % (self._sizes.d_vocab or 2)

    def _scale(self, attention: LayerAttention, weights: ScoreWeights) -> float:
        """Find the scale with which these weights give the model's attention; raises NotAssessable where none does."""
        turns = self._turns_to(attention.layer, 1)
        squared = 1.0 if turns is None else turns[2]
        scales = [squared * scale for scale in attention.scales(self._sizes.d_head)]
        off, largest = self._pattern_errors(attention, weights, scales)
        best, dtype = min(off, key=off.__getitem__), self._bridge.cfg.dtype
        # A score of size s in a coarse type is off by up to s·eps/2, and so are the queries and keys it is made of.
        coarse = COARSE_TOLERANCE + torch.finfo(dtype).eps / 2 * largest[best]
        if not off[best] <= (PATTERN_TOLERANCE if dtype == torch.float32 else coarse):
            raise NotAssessable(
                f"needs scores: layer {attention.layer}'s attention is not that of its queries and keys "
                f"(off by {off[best]:.2g})"
            )
        return best

    def _pattern_errors(
        self, attention: LayerAttention, weights: ScoreWeights, scales: Sequence[float]
    ) -> tuple[dict[float, float], dict[float, float]]:
        """Return for each scale the largest error of the patterns by these weights, and the largest score seen.

        Both are on a few tokens.
        """
        layer, length = attention.layer, min(PROBE_LENGTH, self._sizes.n_ctx or PROBE_LENGTH)
        names = attention.reads, pattern_name(layer)
        of_all = [name for other in self._layers for name in (self.attention(other).reads, pattern_name(other))]
        recorded = self._recorded(length, names, of_all)
        x, own = (recorded[name][0] for name in names)
        qk = weights.qk
        q = normalised(x @ qk.W_Q + qk.b_Q[:, None], weights.query_norm)
        k = normalised(x @ qk.W_K + qk.b_K[:, None], weights.key_norm)
        products = torch.full((len(q), length, length), -torch.inf)
        for offset in range(min(length, attention.window or length)):
            R = self.rotation(layer, offset)
            turned = q if R is None else q @ R
            row = torch.arange(offset, length)
            products[:, row, row - offset] = (turned[:, row] * k[:, row - offset]).sum(-1)
        off, largest = {}, {}
        unseen = products == -torch.inf
        for scale in scales:
            scores = products * scale
            if weights.cap is not None:
                scores = (scores / weights.cap).tanh() * weights.cap
            off[scale] = float((scores.masked_fill(unseen, -torch.inf).softmax(-1) - own).abs().max())
            largest[scale] = float(scores.masked_fill(unseen, 0.0).abs().max())
        return off, largest


def normalised(z: Float[Tensor, "head row d_head"], norm: FactorNorm | None) -> Float[Tensor, "head row d_head"]:
    """Apply a norm to the queries or keys of all heads of a layer."""
    if norm is None:
        return z
    over = (0, 2) if norm.over_all_heads else (2,)
    if norm.centred:
        z = z - z.mean(dim=over, keepdim=True)
    size = (z.square().mean(dim=over, keepdim=True) + norm.eps).sqrt()
    return z / size * norm.gain[:, None] + norm.bias[:, None]
