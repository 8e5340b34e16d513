"""Scores that the symmetric and the skew part of W_QK give: their size among tokens, and their values on prompts.

Axes: `token` common words, `prompt`, `query` and `key` positions. Scores before the softmax, after the scale.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from jaxtyping import Float
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit, RotationAt, causal, causal_scores
from headclaims.statistics.resampling import OverUnits


def norm_ratio(circuit: QKCircuit, E: Float[Tensor, "token d_model"]) -> OverUnits:
    """Return ‖E W_skew Eᵀ‖_F/‖E W_sym Eᵀ‖_F with an interval over words; neither matrix is formed.

    With A = E W_QK Eᵀ = Q Kᵀ, row i of (A ± Aᵀ)/2 has the squared norm (‖A_i‖² + ‖Aᵀ_i‖² ± 2 A_i·Aᵀ_i)/4. A word is
    left out as query and as key: its row and its column, of equal norms, which share the entry A_ii of W_sym alone.
    """
    q, k = (E @ circuit.W_Q).double(), (E @ circuit.W_K).double()
    row = ((q @ (k.T @ k)) * q).sum(dim=1)
    column = ((k @ (q.T @ q)) * k).sum(dim=1)
    both = ((q @ (k.T @ q)) * k).sum(dim=1)
    symmetric, skew = (((row + column + sign * 2 * both) / 4).clamp_min(0).numpy() for sign in (1, -1))
    own = (q * k).sum(dim=1).square().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out = np.sqrt(np.maximum(skew.sum() - 2 * skew, 0) / (symmetric.sum() - 2 * symmetric + own))
        return OverUnits("words", float(np.sqrt(skew.sum() / symmetric.sum())), left_out)


def norm_ratios(
    queries: Float[Tensor, "token head d_head"], keys: Float[Tensor, "token head d_head"]
) -> Float[np.ndarray, " head"]:
    """Compute the `norm_ratio` of many heads from E W_Q and E W_K."""
    q, k = queries.transpose(0, 1), keys.transpose(0, 1)
    size = ((q.mT @ q).double() * (k.mT @ k).double()).sum(dim=(1, 2))
    crossed = (k.mT @ q).double()
    turned = (crossed * crossed.mT).sum(dim=(1, 2))
    return np.asarray(((size - turned).clamp_min(0) / (size + turned)).sqrt().numpy())


class QKPart(StrEnum):
    """The part of W_QK that is left in the scores."""

    SYMMETRIC = "symmetric"
    SKEW = "skew"


def part_scores(
    circuit: QKCircuit,
    x: Float[Tensor, "prompt position d_model"],
    rotation: RotationAt,
    part: QKPart,
    window: int | None = None,
) -> Float[Tensor, "prompt query key"]:
    """Compute x_q W_part x_kᵀ plus the unchanged terms of both biases; keys that the query does not see get −∞.

    At each offset the symmetric part's score is half the sum, and the skew part's half the difference, of the scores of
    (query, key) before and after the two tokens change places.
    """
    sign = 1.0 if part is QKPart.SYMMETRIC else -1.0
    length = x.shape[1]
    q, k = x @ circuit.W_Q, x @ circuit.W_K
    if rotation(0) is None:  # learned positions: the same at all offsets
        bare = q @ k.mT
        of_biases = (q @ circuit.b_K)[:, :, None] + (k @ circuit.b_Q)[:, None, :] + circuit.b_Q @ circuit.b_K
        return causal(((bare + sign * bare.mT) / 2 + of_biases) * circuit.scale, window)

    def at_offset(offset: int) -> Float[Tensor, "prompt row"]:
        R = rotation(offset)
        assert R is not None
        turned, b_Q = q @ R, circuit.b_Q @ R
        bare = (turned[:, offset:] * k[:, : length - offset]).sum(-1)
        exchanged = (turned[:, : length - offset] * k[:, offset:]).sum(-1)
        biases = turned[:, offset:] @ circuit.b_K + k[:, : length - offset] @ b_Q + b_Q @ circuit.b_K
        return ((bare + sign * exchanged) / 2 + biases) * circuit.scale

    return causal_scores(len(x), length, at_offset, window)
