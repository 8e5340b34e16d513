"""The attention pattern that a head would have if it read nothing but the effective embedding E.

Axes: `token` the distinct tokens of the prompts, `prompt`, `query` and `key` positions, `row` the queries that have a
key at a given offset, which is the query's position minus the key's.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.circuit.head_score import Scorer, capped
from headclaims.circuit.qk_circuit import RotationAt, causal, causal_scores


def effective_pattern(
    head: Scorer,
    E: Float[Tensor, "token d_model"],
    token_at: Int[np.ndarray, "prompt position"],
    rotation: RotationAt,
    window: int | None = None,
) -> Float[np.ndarray, "prompt query key"]:
    """Compute the attention pattern from E: causal, biases included, rows summing to 1.

    A[i, j] ∝ exp(s(E_i, E_j)) for j ≤ i, and i − j < `window` where there is one. s is the head's own score at offset
    i − j: (E_i W_Q + b_Q) R_{i−j} (E_j W_K + b_K)ᵀ · scale where W_QK is all of it. `token_at` gives the row of E at
    each position; `rotation(offset)` gives R, or None without one.
    """
    length = token_at.shape[1]
    at_position = torch.from_numpy(token_at)
    queries, keys = head.queries(E), head.keys(E)
    if rotation(0) is None:  # learned positions: the same at all offsets
        by_token = capped(queries @ keys.mT, head.cap)
        return causal(by_token[at_position[:, :, None], at_position[:, None, :]], window).softmax(dim=-1).numpy()

    def at_offset(offset: int) -> Float[Tensor, "prompt row"]:
        R = rotation(offset)
        assert R is not None
        by_token = capped(queries @ R.to(queries) @ keys.mT, head.cap)
        return by_token[at_position[:, offset:], at_position[:, : length - offset]]

    scores = causal_scores(len(token_at), length, at_offset, window)
    return scores.softmax(dim=-1).numpy()
