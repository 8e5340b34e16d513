"""The value and output weights of a running model's heads, held against what its attention writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.checkpoint.attention import LARGE, LayerAttention, gain_and_bias
from headclaims.checkpoint.interface import Sizes, pattern_name
from headclaims.checkpoint.ov_weights import OVWeights, fold_ov
from headclaims.errors import NotAssessable

OUTPUT_TOLERANCE = 1e-3
"""Of the largest number that a layer's attention writes."""
PROBE_LENGTH = 12


class OwnOutputs:
    """Value and output weights by layer, and the unembedding; weights that are not folded in place are folded here."""

    def __init__(self, bridge: Any, sizes: Sizes, run: Callable[..., dict[str, Tensor]], folded: bool) -> None:
        self._bridge, self._sizes, self._run, self._folded = bridge, sizes, run, folded
        self._believed: set[int] = set()

    def weights(self, layer: int) -> OVWeights:
        """Return a layer's weights; raises NotAssessable where they do not give what its attention writes."""
        attention = self._bridge.blocks[layer].attn
        try:
            W_V, W_O = (getattr(attention, name).detach().float().cpu() for name in ("W_V", "W_O"))
        except (AttributeError, RuntimeError) as error:
            raise NotAssessable(f"needs ov: layer {layer} has no value and output weights by head") from error
        if self._folded:
            weights = OVWeights(W_V.repeat_interleave(W_O.shape[0] // W_V.shape[0], 0), W_O)
        else:
            norm = LayerAttention(self._bridge, layer)
            gain_before = norm.input_norm[0] if norm.has_input_norm else torch.ones(self._sizes.d_model)
            weights = fold_ov(W_V, W_O, gain_before, self._centres)
        if layer not in self._believed:
            self._check(layer, weights)
            self._believed.add(layer)
        gain = self._gain_after(layer)
        return weights if gain is None else OVWeights(weights.W_V, weights.W_O * gain)

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """The unembedding with the final norm's gain, each row less its mean over the vocabulary; centred likewise."""
        W_U = self._bridge.W_U.detach().float().cpu()
        if self._folded:
            return W_U
        gain, _ = gain_and_bias(self._bridge, self._bridge.ln_final)
        W_U = gain[:, None] * W_U
        if self._centres:
            W_U -= W_U.mean(dim=0)
        W_U -= W_U.mean(dim=1, keepdim=True)
        return W_U

    @property
    def _centres(self) -> bool:
        return not self._bridge.cfg.uses_rms_norm

    def scale_name(self, layer: int) -> str | None:
        """Return the activation by which a norm after attention divides its output; None without such a norm."""
        name = f"blocks.{layer}.ln1_post.hook_scale"
        return name if name in self._bridge.hook_dict else None

    def _gain_after(self, layer: int) -> Float[Tensor, " d_model"] | None:
        """Return the gain of a norm after attention, read by what it makes of a vector of ±1; None without one."""
        if self.scale_name(layer) is None:
            return None
        norm, like = self._bridge.blocks[layer].ln1_post, next(self._bridge.parameters())
        sign = 1.0 - 2.0 * (torch.arange(self._sizes.d_model) % 2)
        with torch.no_grad():
            large, nothing = (norm((size * sign).to(like)[None, None])[0, 0].float().cpu() for size in (LARGE, 0.0))
            one_sided = norm((LARGE * sign.abs()).to(like)[None, None])[0, 0].float().cpu()
        gain = large * sign
        if bool(nothing.any()) or not torch.allclose(one_sided, gain, rtol=1e-3, atol=1e-5):
            raise NotAssessable(f"needs ov: the norm after attention of layer {layer} does more than scale")
        return gain

    def _check(self, layer: int, weights: OVWeights) -> None:
        length = min(PROBE_LENGTH, self._sizes.n_ctx or PROBE_LENGTH)
        tokens = torch.arange(1, length + 1)[None] % (self._sizes.d_vocab or 2)
        names = LayerAttention(self._bridge, layer).reads, pattern_name(layer), f"blocks.{layer}.attn.hook_out"
        recorded = self._run(tokens, record=names)
        x, pattern, written = (recorded[name][0].float().cpu() for name in names)
        made = ((pattern @ (x @ weights.W_V)) @ weights.W_O).sum(dim=0)
        # Biases add the same at every position.
        made, written = made - made.mean(dim=0), written - written.mean(dim=0)
        if self._centres:
            written = written - written.mean(dim=1, keepdim=True)
        tolerance = OUTPUT_TOLERANCE if self._bridge.cfg.dtype == torch.float32 else 50 * OUTPUT_TOLERANCE
        off = float((made - written).abs().max() / written.abs().max().clamp(min=1e-12))
        if not off <= tolerance:
            raise NotAssessable(
                f"needs ov: what layer {layer}'s attention writes is not that of its values (off by {off:.2g})"
            )
