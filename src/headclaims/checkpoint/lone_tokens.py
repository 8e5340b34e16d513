"""Tokens each alone in a running model, with attention outputs replaced: the residual stream layer after layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Edit, Sizes
from headclaims.checkpoint.quiet import quiet

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

    def entering(self, tokens: Int[Tensor, " token"], position: Float[Tensor, " d_model"]) -> Stream:
        """Return the residual stream before layer 0; `position` stands for learned positions."""
        edits: dict[str, Edit] = {"hook_pos_embed": instead(position)} if self._learned else {}
        return self._run(tokens[:, None], edits, stop_at_layer=0)["stopped"]

    def after(self, layer: int, x: Stream, attention: Float[Tensor, " d_model"]) -> Stream:
        """Return the stream after a layer, `attention` being in place of its attention's output."""
        return (self._by_mlp if self._mlps_alone else self._by_run)(layer, x, attention)

    def _by_run(self, layer: int, x: Stream, attention: Tensor) -> Stream:
        """Run the whole layer."""
        tokens = torch.zeros(len(x), 1, dtype=torch.int64)
        edits = {self._mixing_output(layer): instead(attention)}
        return self._run(tokens, edits, stop_at_layer=layer + 1, restart=(layer, x))["stopped"]

    def _by_mlp(self, layer: int, x: Stream, attention: Tensor) -> Stream:
        """Run the layer's MLP with its norms alone, which reads the stream before attention in parallel blocks."""
        block, added = self._bridge.blocks[layer], x + attention.to(x)
        parallel = bool(getattr(self._bridge.cfg, "parallel_attn_mlp", False))
        norms = [name for name in ("ln2", *(("ln1",) if parallel else ())) if name in block.submodules][:1]
        with torch.no_grad(), quiet():
            out = x if parallel else added
            for name in (*norms, "mlp", *(("ln2_post",) if "ln2_post" in block.submodules else ())):
                out = getattr(block, name)(out)
            return added + out

    @cached_property
    def _mlps_alone(self) -> bool:
        """Whether `_by_mlp` gives the results of `_by_run`, tried on a few tokens and random terms."""
        s, generator = self._sizes, torch.Generator().manual_seed(0)
        terms = torch.randn(s.n_layers, s.d_model, generator=generator) * 0.1
        x = self.entering(torch.arange(4) % (s.d_vocab or 4), terms[0])
        for layer in range(s.n_layers - 1):
            try:
                by_mlp = self._by_mlp(layer, x, terms[layer + 1])
            except (AttributeError, TypeError, RuntimeError):
                return False
            by_run = self._by_run(layer, x, terms[layer + 1])
            if not torch.allclose(by_mlp, by_run, rtol=1e-3, atol=1e-3 * float(by_run.abs().median())):
                return False
            x = by_run
        return True


def instead(term: Tensor) -> Edit:
    """Return an edit that puts a term in place of an activation."""
    return lambda activation: term.to(activation).expand_as(activation)
