"""The state dict of constructed weights, as transformers' GPT-2 names its tensors."""

from __future__ import annotations

import numpy as np

from headclaims.checkpoint.planted.weights import D_MODEL, PlantedWeights


def state_dict(weights: PlantedWeights) -> dict[str, np.ndarray]:
    """Return the state dict with unfolded norms: each has a random gain and bias, compensated by what reads it."""
    state = {"transformer.wte.weight": weights.embedding(), "transformer.wpe.weight": weights.positions()}
    for layer, kinds in enumerate(weights.kinds):
        heads = [weights.head(layer, kind) for kind in kinds.split()]
        stem = f"transformer.h.{layer}."
        reading = np.concatenate([np.concatenate([getattr(h, w) for h in heads], 1) for w in ("W_Q", "W_K", "W_V")], 1)
        biases = np.concatenate([*(h.b_Q for h in heads), np.zeros(2 * D_MODEL)])
        state |= unfolded(weights.draw, stem + "ln_1", stem + "attn.c_attn", reading, biases)
        state[stem + "attn.c_proj.weight"] = np.concatenate([h.W_O for h in heads])
        state[stem + "attn.c_proj.bias"] = np.zeros(D_MODEL)
        W_in, b_in, W_out = weights.mlp(layer)
        state |= unfolded(weights.draw, stem + "ln_2", stem + "mlp.c_fc", W_in, b_in)
        state[stem + "mlp.c_proj.weight"] = W_out
        state[stem + "mlp.c_proj.bias"] = np.zeros(D_MODEL)
    state["transformer.ln_f.weight"] = np.ones(D_MODEL)
    state["transformer.ln_f.bias"] = np.zeros(D_MODEL)
    return state


def unfolded(
    generator: np.random.Generator, norm: str, reader: str, W: np.ndarray, b: np.ndarray
) -> dict[str, np.ndarray]:
    """Return a norm's random gain and bias, and the weights of `reader` that give W and b once these are folded in."""
    gain = generator.uniform(0.8, 1.25, len(W))
    bias = generator.standard_normal(len(W)) * 0.05
    raw = W / gain[:, None]
    return {
        f"{norm}.weight": gain,
        f"{norm}.bias": bias,
        f"{reader}.weight": raw,
        f"{reader}.bias": b - bias @ raw,
    }
