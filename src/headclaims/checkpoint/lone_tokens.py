"""Tokens each alone in a running model, with attention outputs replaced: the residual stream layer after layer.

The stream is kept in float32; MLPs run in the model's own type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Edit, Sizes
from headclaims.checkpoint.quiet import quiet

COARSE = 0.03
"""Relative difference between two ways through a layer, in bfloat16 or float16."""
Stream = Float[Tensor, "token 1 d_model"]


class LoneTokens:
    """Sequences of one token in a model, from the embedding on, one layer a step."""

    def __init__(
        self,
        bridge: Any,
        sizes: Sizes,
        run: Callable[..., dict[str, Tensor]],
        learned: bool,
        mixing_output: Callable[[int], str],
    ) -> None:
        self._bridge, self._sizes, self._run, self._learned = bridge, sizes, run, learned
        self._mixing_output = mixing_output
        self._tried: dict[int, bool] = {}

    def entering(self, tokens: Int[Tensor, " token"], position: Float[Tensor, " d_model"]) -> Stream:
        """Return the residual stream before layer 0; `position` stands for learned positions."""
        edits: dict[str, Edit] = {"hook_pos_embed": instead(position)} if self._learned else {}
        return self._run(tokens[:, None], edits, stop_at_layer=0)["stopped"].float()

    def after(self, layer: int, x: Stream, attention: Float[Tensor, " d_model"]) -> Stream:
        """Return the stream after a layer, `attention` being in place of its attention's output."""
        return (self._by_mlp if self._mlp_alone(layer) else self._by_run)(layer, x, attention)

    def _by_run(self, layer: int, x: Stream, attention: Tensor) -> Stream:
        """Run the whole layer."""
        tokens = torch.zeros(len(x), 1, dtype=torch.int64)
        edits = {self._mixing_output(layer): instead(attention)}
        return self._run(tokens, edits, stop_at_layer=layer + 1, restart=(layer, x))["stopped"].float()

    def _by_mlp(self, layer: int, x: Stream, attention: Tensor) -> Stream:
        """Run the layer's MLP with its norms alone, which reads the stream before attention in parallel blocks."""
        block, added = self._bridge.blocks[layer], x + attention.to(x)
        parallel = bool(getattr(self._bridge.cfg, "parallel_attn_mlp", False))
        norms = [name for name in ("ln2", *(("ln1",) if parallel else ())) if name in block.submodules][:1]
        with torch.no_grad(), quiet():
            out = (x if parallel else added).to(self._bridge.cfg.dtype)
            for name in (*norms, "mlp", *(("ln2_post",) if "ln2_post" in block.submodules else ())):
                out = getattr(block, name)(out)
            return added + out.float()

    def _mlp_alone(self, layer: int) -> bool:
        """Whether `_by_mlp` gives the result of `_by_run`, tried on a few random streams and a random term."""
        if layer not in self._tried:
            self._tried[layer] = self._try(layer)
        return self._tried[layer]

    def _try(self, layer: int) -> bool:
        generator = torch.Generator().manual_seed(layer)
        x = self.entering(torch.arange(4) % (self._sizes.d_vocab or 4), torch.zeros(self._sizes.d_model))
        size = float(x.square().mean().sqrt()) or 1.0
        drawn = torch.randn(len(x) + 1, 1, self._sizes.d_model, generator=generator).to(x)
        x, term = x + size * drawn[:-1], 0.1 * size * drawn[-1, 0]
        try:
            by_mlp = self._by_mlp(layer, x, term)
        except (AttributeError, TypeError, RuntimeError):
            return False
        by_run = self._by_run(layer, x, term)
        near = 1e-3 if self._bridge.cfg.dtype == torch.float32 else COARSE
        return torch.allclose(by_mlp, by_run, rtol=near, atol=near * float(by_run.abs().median()))


def instead(term: Tensor) -> Edit:
    """Return an edit that puts a term in place of an activation."""
    return lambda activation: term.to(activation).expand_as(activation)
