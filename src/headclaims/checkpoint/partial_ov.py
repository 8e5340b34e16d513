"""Value and output weights of partial weights: which layers have them, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping

from headclaims.checkpoint.interface import Sizes
from headclaims.checkpoint.ov_weights import OVWeights, fold_ov
from headclaims.checkpoint.safetensors_file import EvidenceFile

GPT2 = ("ln_1.weight", "attn.c_attn.weight", "attn.c_proj.weight")
LLAMA = ("input_layernorm.weight", "self_attn.v_proj.weight", "self_attn.o_proj.weight")


def layers_with_ov(file: EvidenceFile, prefixes: Mapping[int, str], gpt2: bool) -> list[int]:
    """Return the layers whose input norm, value and output weights are in a file."""
    needed = GPT2 if gpt2 else LLAMA
    return sorted(layer for layer, prefix in prefixes.items() if all(prefix + name in file.shapes for name in needed))


def read_ov(file: EvidenceFile, prefix: str, sizes: Sizes, n_values: int, gpt2: bool) -> OVWeights:
    """Read a layer's weights, folded and, for GPT-2, centred; `n_values` heads of values are shared."""
    d_model, n_heads, d_head = sizes.d_model, sizes.n_heads, sizes.d_head
    if gpt2:
        W = file.tensor(f"{prefix}attn.c_attn.weight", d_model, 3 * d_model)[:, 2 * d_model :]
        W_O = file.tensor(f"{prefix}attn.c_proj.weight", d_model, d_model).reshape(n_heads, d_head, d_model)
        gain = file.tensor(f"{prefix}ln_1.weight", d_model)
        return fold_ov(W.reshape(d_model, n_heads, d_head).transpose(0, 1), W_O, gain, centre=True)
    stem = f"{prefix}self_attn."
    W = file.tensor(f"{stem}v_proj.weight", n_values * d_head, d_model).reshape(n_values, d_head, d_model).mT
    W_O = file.tensor(f"{stem}o_proj.weight", d_model, n_heads * d_head).T.reshape(n_heads, d_head, d_model)
    gain = file.tensor(f"{prefix}input_layernorm.weight", d_model)
    return fold_ov(W, W_O, gain, centre=False)
