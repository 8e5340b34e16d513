"""Which layers of a model attend, and how: by the patterns that transformers and TransformerLens show of them.

A pattern is softmax attention, [prompt, head, query, key], rows summing to 1. Layers of other kinds (convolutions,
state spaces, linear attention) have none, and so no heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import pattern_name
from headclaims.errors import BadCheckpoint

TOLERANCE = 1e-3
COARSE_TOLERANCE = 0.02
"""Of attention in bfloat16 or float16."""
KINDS = ("layer_types", "layers_block_type", "block_types")
"""Entries of configs that say layer by layer what a layer is."""


@dataclass(frozen=True)
class Layers:
    """The layers of a model that attend, their number of query heads, and what each of the others has instead.

    `ahead` is the largest share of a row that later positions were seen to get.
    """

    attending: Sequence[int]
    n_heads: int
    others: Mapping[int, str]
    ahead: float

    @classmethod
    def of(cls, spec: str, patterns: Mapping[int, Tensor], n_layers: int, config: Any) -> Layers:
        """Return the layers with these patterns; raises BadCheckpoint where they have different numbers of heads."""
        n_heads = sorted({pattern.shape[1] for pattern in patterns.values()})
        if len(n_heads) > 1:
            raise BadCheckpoint(f"{spec}: layers with {n_heads[0]} to {n_heads[-1]} heads; wanted as many in each")
        others = {layer: kind_of(config, layer) for layer in range(n_layers) if layer not in patterns}
        ahead = max(float(pattern.triu(1).sum(-1).max()) for pattern in patterns.values())
        return cls(sorted(patterns), n_heads[0], others, ahead)


def kind_of(config: Any, layer: int) -> str:
    """Return what a config calls a layer, `conv` or `linear attention`; `another kind` where it doesn't say."""
    kinds = next((kinds for name in KINDS if (kinds := getattr(config, name, None))), ())
    named = kinds[layer] if layer < len(kinds) else "another kind"
    return str(named).replace("_", " ")


def reference_patterns(spec: str, output: Any, length: int) -> list[Float[Tensor, "prompt head query key"]]:
    """Return the patterns in the output of a model of transformers, one an attending layer, in order.

    Raises BadCheckpoint where there are none, or where a row sums to another number than 1.
    """
    patterns = [
        pattern.detach().cpu()
        for pattern in getattr(output, "attentions", None) or ()
        if isinstance(pattern, Tensor) and pattern.dim() == 4 and pattern.shape[2:] == (length, length)
    ]
    if not patterns:
        raise BadCheckpoint(f"{spec}: a model without attention patterns; wanted softmax attention in some layer")
    for pattern in patterns:
        sums = pattern.float().sum(-1)
        if not bool(sums.isfinite().all()):
            name = str(pattern.dtype).removeprefix("torch.")
            raise BadCheckpoint(
                f"{spec}: its attention is not finite in {name}; wanted a wider --dtype, or other weights"
            )
        if not float((sums - 1).abs().max()) <= tolerance_of(pattern.dtype):
            raise BadCheckpoint(
                f"{spec}: rows of its attention sum to {float(sums.min()):.2g} and more, as the rest goes to no token "
                "(an attention sink); wanted sums of 1"
            )
    return [pattern.float() for pattern in patterns]


def tolerance_of(dtype: torch.dtype) -> float:
    """Return by how much a share of attention may be off that was computed in a type."""
    return TOLERANCE if dtype == torch.float32 else COARSE_TOLERANCE


def shown_patterns(bridge: Any, tokens: Int[Tensor, "prompt position"]) -> dict[int, Tensor]:
    """Return the patterns that TransformerLens shows in a run on these tokens, by layer."""
    names = {pattern_name(layer): layer for layer in range(bridge.cfg.n_layers)}
    shown: dict[int, Tensor] = {}

    def keep(pattern: Tensor, hook: Any, layer: int) -> None:  # noqa: ARG001
        if isinstance(pattern, Tensor) and pattern.dim() == 4:
            shown[layer] = pattern.detach().float().cpu()

    hooks = [
        (name, lambda pattern, hook, layer=layer: keep(pattern, hook, layer))
        for name, layer in names.items()
        if name in bridge.hook_dict
    ]
    with torch.no_grad():
        bridge.run_with_hooks(tokens.to(bridge.cfg.device), fwd_hooks=hooks, return_type="logits")
    return shown


def check_patterns(
    spec: str, shown: Mapping[int, Tensor], reference: Sequence[Tensor], dtype: torch.dtype = torch.float32
) -> None:
    """Raise BadCheckpoint where attention in TransformerLens is not that in transformers, both run in `dtype`."""
    tolerance = tolerance_of(dtype)
    if len(shown) != len(reference):
        raise BadCheckpoint(
            f"{spec}: {len(reference)} layer{'s attend' if len(reference) > 1 else ' attends'} in transformers; "
            f"TransformerLens shows the attention of {len(shown)}"
        )
    for layer, expected in zip(sorted(shown), reference, strict=True):
        same = shown[layer].shape == expected.shape
        off = float((shown[layer] - expected).abs().max()) if same else float("inf")
        if not off <= tolerance:
            raise BadCheckpoint(f"{spec}: TransformerLens attends otherwise than transformers, by up to {off:.2g}")
