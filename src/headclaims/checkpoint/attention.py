"""How a running model's heads score two tokens, layer by layer, read from its attention modules.

Nothing here is believed before `model_scores` has held it against the model's own attention patterns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.checkpoint.rotary import rotate_half_matrix
from headclaims.checkpoint.weights import FactorNorm, QKWeights, RawQK, as_they_are, fold
from headclaims.errors import NotAssessable

LARGE = 1e4
"""Of vectors that a norm's gain is read by: its eps does not count beside them."""
GAIN_ROUNDING = 0.02
"""Of what a norm in bfloat16 makes of a vector of ±1."""
QUERY_NORMS = ("q_norm", "q_layernorm", "query_layernorm", "query_norm")


@dataclass(frozen=True)
class LayerAttention:
    """One layer's attention in TransformerLens; `folded` says whether its norm is folded into the model's weights."""

    bridge: Any
    layer: int
    folded: bool = True

    @property
    def module(self) -> Any:
        """The attention module of transformers."""
        return self._attention.original_component

    @property
    def _attention(self) -> Any:
        return self.bridge.blocks[self.layer].attn

    @property
    def reads(self) -> str:
        """Name of the activation that its heads read: the normed stream without gain, or the stream where no norm is.

        In OLMo 2 attention has no norm before it.
        """
        normed = f"blocks.{self.layer}.ln1.hook_normalized"
        return normed if normed in self.bridge.hook_dict else f"blocks.{self.layer}.attn.hook_in"

    @property
    def has_input_norm(self) -> bool:
        """Whether a norm comes before it."""
        return self.reads.endswith("hook_normalized")

    def weights(self, scale: float) -> QKWeights:
        """Return query and key weights with biases, in float32, the norm before them folded in; shared keys repeated.

        Where the norm centres, weights are centred over d_model.
        """
        attention = self._attention
        W_Q, W_K = (W.detach().float().cpu() for W in (attention.W_Q, attention.W_K))

        def bias(b: Tensor | None, like: Tensor) -> Tensor | None:
            return None if b is None else b.detach().float().cpu().view(like.shape[0], -1)

        raw = RawQK(W_Q, W_K, bias(attention.b_Q, W_Q), bias(attention.b_K, W_K))
        if self.folded or not self.has_input_norm:
            return as_they_are(raw, scale)
        return fold(raw, *self.input_norm, centre=not self.bridge.blocks[self.layer].ln1.uses_rms_norm, scale=scale)

    @property
    def input_norm(self) -> tuple[Float[Tensor, " d_model"], Float[Tensor, " d_model"] | None]:
        """Gain and bias of the norm before attention, in float32."""
        return gain_and_bias(self.bridge, self.bridge.blocks[self.layer].ln1)

    def norms(self) -> tuple[FactorNorm | None, FactorNorm | None]:
        """Return the norms of queries and of keys, keys' repeated as `weights` are; raises NotAssessable for others."""
        n_heads, _, d_head = self._attention.W_Q.shape
        n_keys = len(self._attention.W_K)
        query, key = (self._norm(name, n, d_head) for name, n in (("q_norm", n_heads), ("k_norm", n_keys)))
        if key is not None:
            per_key = n_heads // n_keys
            gain, bias = (part.repeat_interleave(per_key, 0) for part in (key.gain, key.bias))
            key = FactorNorm(gain, bias, key.eps, key.centred, key.over_all_heads)
        return query, key

    def _norm(self, name: str, n_heads: int, d_head: int) -> FactorNorm | None:
        """Read a norm by what it makes of vectors whose result tells gain, bias and whether it centres."""
        if name not in self._attention.submodules:
            return None
        bridge_norm = getattr(self._attention, name)
        norm = bridge_norm.original_component
        weight = getattr(norm, "weight", None)
        shape = (d_head,) if weight is None else tuple(weight.shape)
        shapes = {
            (d_head,): (1, d_head),
            (n_heads, d_head): (n_heads, d_head),
            (n_heads * d_head,): (1, n_heads * d_head),
        }
        eps = next((getattr(norm, at) for at in ("eps", "variance_epsilon") if hasattr(norm, at)), None)
        if shape not in shapes or not isinstance(eps, float):
            raise NotAssessable(f"needs scores: layer {self.layer} normalises queries in a way that is not known here")
        over_all_heads = shape != (d_head,) and len(shape) == 1
        size = shapes[shape]
        like = next(self.bridge.parameters())
        sign = (1.0 - 2.0 * (torch.arange(size[1]) % 2)).expand(size).to(like)  # of mean 0, so that centring leaves it

        def made_of(x: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.as_tensor(bridge_norm(x[None, None])).float().cpu().view(size)

        bias = made_of(torch.zeros_like(sign))
        gain = (made_of(LARGE * sign) - bias) * sign.float().cpu()
        centred = bool((made_of(LARGE * sign.abs()) - bias).abs().max() < 0.5 * gain.abs().max())
        gain, bias = (part.reshape(-1, d_head).expand(n_heads, d_head).contiguous() for part in (gain, bias))
        return FactorNorm(gain, bias, eps, centred, over_all_heads)

    @property
    def cap(self) -> float | None:
        """The cap of its scores, None where they have none."""
        own = getattr(self.module, "attn_logit_softcapping", None)
        return float(own) if own else None

    @property
    def window(self) -> int | None:
        """How many last tokens a query sees, its own among them; None where it sees all."""
        config, own = self.bridge.original_model.config.get_text_config(), self.module
        size = getattr(config, "sliding_window", None)
        if hasattr(own, "sliding_window"):
            size = own.sliding_window
        elif getattr(config, "layer_types", None):
            size = size if "sliding" in config.layer_types[self.layer] else None
        elif getattr(config, "attention_layers", None):  # GPT-Neo
            size = config.window_size if config.attention_layers[self.layer] == "local" else None
        return size if isinstance(size, int) and size > 0 else None

    def scales(self, d_head: int) -> list[float]:
        """List the scales that decoders use: 1/√d_head, the attention module's own, 1/√d_head by layer, 1."""
        usual, own = d_head**-0.5, getattr(self.module, "scaling", None)
        return [usual, *([own] if isinstance(own, float) else []), usual / (self.layer + 1), 1.0]

    @property
    def rotary_hooks(self) -> tuple[str, str] | None:
        """Names of the activations that hold its cosines and sines; None where the module has none."""
        names = f"blocks.{self.layer}.attn.hook_cos", f"blocks.{self.layer}.attn.hook_sin"
        return names if all(name in self.bridge.hook_dict for name in names) else None

    def rotation(
        self, cos: Float[Tensor, " rotary"], sin: Float[Tensor, " rotary"], d_head: int
    ) -> Float[Tensor, "d_head d_head"]:
        """Return R from one position's cosines and sines, in the layout in which the module has them."""
        n = len(cos)
        if getattr(self.bridge.cfg, "rotary_interleaved_cos_sin", False):  # each angle twice in a row (Cohere)
            return rotate_half_matrix(cos[::2], sin[::2], d_head, interleaved=True)
        if n > 1 and torch.equal(cos[: n // 2], cos[n // 2 :]):  # all angles, then all once more
            cos, sin = cos[: n // 2], sin[: n // 2]
        return rotate_half_matrix(cos, sin, d_head, interleaved=bool(self.bridge.cfg.rotary_adjacent_pairs))


def gain_and_bias(bridge: Any, norm: Any) -> tuple[Float[Tensor, " d_model"], Float[Tensor, " d_model"] | None]:
    """Return gain and bias of a norm of the stream, in float32: its own numbers, as far as it makes that of them.

    Norms hold the gain w, or w for a gain of 1 + w. Which it is, and a gain of another form, is read by what the norm
    makes of a vector of ±1.
    """
    sign = 1.0 - 2.0 * (torch.arange(bridge.cfg.d_model) % 2)  # of mean 0, so that centring leaves it
    like = next(norm.parameters(), next(bridge.parameters()))
    with torch.no_grad():
        above, at, below = (norm((x * sign).to(like)[None, None])[0, 0].float().cpu() for x in (LARGE, 0.0, -LARGE))
    gain, bias = (above - below) / 2 * sign, at
    held = getattr(norm.original_component, "weight", None)
    if isinstance(held, Tensor) and held.shape == gain.shape:
        of = [held.detach().float().cpu() + offset for offset in (0.0, 1.0)]
        nearest = min(of, key=lambda one: float((one - gain).abs().max()))
        gain = nearest if torch.allclose(nearest, gain, rtol=GAIN_ROUNDING, atol=GAIN_ROUNDING) else gain
    held = getattr(norm.original_component, "bias", None)
    if isinstance(held, Tensor) and held.shape == bias.shape:
        bias = held.detach().float().cpu()
    return gain, bias if bool(bias.any()) else None
