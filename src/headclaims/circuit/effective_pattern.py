"""The attention pattern that a head would have if it read nothing but the effective embedding E.

Axes: `token` the distinct tokens of the prompts, `prompt`, `query` and `key` positions, `row` the queries that have a
key at a given offset, which is the query's position minus the key's.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit, RotationAt, causal, causal_scores


def effective_pattern(
    circuit: QKCircuit,
    E: Float[Tensor, "token d_model"],
    token_at: Int[np.ndarray, "prompt position"],
    rotation: RotationAt,
) -> Float[np.ndarray, "prompt query key"]:
    """Compute the attention pattern from E: causal, biases included, rows summing to 1.

    A[i, j] ∝ exp((E_i W_Q + b_Q) R_{i−j} (E_j W_K + b_K)ᵀ · scale) for j ≤ i. `token_at` gives the row of E at each
    position; `rotation(offset)` gives R, or None with learned positions.
    """
    length = token_at.shape[1]
    at_position = torch.from_numpy(token_at)
    if rotation(0) is None:  # learned positions: the same at all offsets
        by_token = circuit.scores(E, E)
        return causal(by_token[at_position[:, :, None], at_position[:, None, :]]).softmax(dim=-1).numpy()

    def at_offset(offset: int) -> Float[Tensor, "prompt row"]:
        R = rotation(offset)
        assert R is not None
        by_token = circuit.at_offset(R).scores(E, E)
        return by_token[at_position[:, offset:], at_position[:, : length - offset]]

    scores = causal_scores(len(token_at), length, at_offset)
    return scores.softmax(dim=-1).numpy()
