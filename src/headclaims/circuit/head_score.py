"""A head's own score of two tokens, with the norms of its queries and keys and the cap of its scores.

Where queries and keys are normalised (Qwen3, Gemma 3, OLMo 2) or scores capped (Gemma 2), W_QK is not the form of the
score, but it is still a product of factors: q̂(x) R k̂(y)ᵀ, capped where there is a cap. Axes: `row` rows of E.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.checkpoint.weights import FactorNorm, QKWeights, ScoreWeights
from headclaims.circuit.qk_circuit import QKCircuit


@dataclass(frozen=True)
class HeadNorm:
    """The norm of one head's queries, or keys: z ← gain · z/√(mean square + eps) + bias, less the mean where `centred`.

    Where mean and mean square are those of all heads together, `W_all` and `b_all` are what all of them are made by.
    """

    gain: Float[Tensor, " d_head"]
    bias: Float[Tensor, " d_head"]
    eps: float
    centred: bool
    W_all: Float[Tensor, "d_model all"] | None = None
    b_all: Float[Tensor, " all"] | None = None

    @classmethod
    def of(
        cls,
        norm: FactorNorm | None,
        W: Float[Tensor, "head d_model d_head"],
        b: Float[Tensor, "head d_head"],
        head: int,
    ) -> HeadNorm | None:
        """Select one head's norm; W and b are what the layer's queries, or keys, are made by."""
        if norm is None:
            return None
        every = (W.transpose(0, 1).flatten(1), b.flatten()) if norm.over_all_heads else (None, None)
        return cls(norm.gain[head], norm.bias[head], norm.eps, norm.centred, *every)

    def __call__(
        self, z: Float[Tensor, "*row d_head"], x: Float[Tensor, "*row d_model"]
    ) -> Float[Tensor, "*row d_head"]:
        """Normalise a head's queries or keys z of rows x."""
        mean, size = self.moments(z, x)
        return (z - mean) / size * self.gain + self.bias

    def moments(
        self, z: Float[Tensor, "*row d_head"], x: Float[Tensor, "*row d_model"]
    ) -> tuple[Float[Tensor, "*row 1"], Float[Tensor, "*row 1"]]:
        """Return the mean that is subtracted, 0 without centring, and what z is divided by."""
        measured = z if self.W_all is None or self.b_all is None else x @ self.W_all + self.b_all
        mean = measured.mean(dim=-1, keepdim=True) if self.centred else torch.zeros_like(measured[..., :1])
        return mean, ((measured - mean).square().mean(dim=-1, keepdim=True) + self.eps).sqrt()


@dataclass(frozen=True)
class HeadScore:
    """What one head scores two tokens by: cap(q̂(x) R k̂(y)ᵀ) with cap(s) = `cap` · tanh(s/`cap`), or s without a cap."""

    circuit: QKCircuit
    query_norm: HeadNorm | None = None
    key_norm: HeadNorm | None = None
    cap: float | None = None

    @classmethod
    def of(cls, weights: ScoreWeights, head: int) -> HeadScore:
        """Select one head's score from its layer's weights."""
        qk: QKWeights = weights.qk
        return cls(
            QKCircuit.of(qk, head),
            HeadNorm.of(weights.query_norm, qk.W_Q, qk.b_Q, head),
            HeadNorm.of(weights.key_norm, qk.W_K, qk.b_K, head),
            weights.cap,
        )

    @property
    def bilinear(self) -> bool:
        """Whether W_QK, with biases, is all of it."""
        return self.query_norm is None and self.key_norm is None and self.cap is None

    def by(self, circuit: QKCircuit) -> HeadScore:
        """Return the score with other weights under the same norms and cap; a norm over all heads keeps its size."""
        return replace(self, circuit=circuit)

    def queries(self, x: Float[Tensor, "*row d_model"], biased: bool = True) -> Float[Tensor, "*row d_head"]:
        """Return q̂ of rows of E, after the scale and before the rotation.

        Biases can be left out of a bilinear score alone: inside a norm they are no terms of their own, and stay.
        """
        if self.query_norm is None:
            return self.circuit.queries(x, biased or not self.bilinear)
        q = x @ self.circuit.W_Q + self.circuit.b_Q
        return self.query_norm(q, x) * self.circuit.scale

    def keys(self, y: Float[Tensor, "*row d_model"], biased: bool = True) -> Float[Tensor, "*row d_head"]:
        """Return k̂ of rows of E; biases as in `queries`."""
        k = self.circuit.keys(y, biased or not self.bilinear)
        return k if self.key_norm is None else self.key_norm(k, y)


Scorer = QKCircuit | HeadScore
"""What gives queries and keys: W_QK alone, or a head's own score."""


def capped(scores: Float[Tensor, "*shape"], cap: float | None) -> Float[Tensor, "*shape"]:
    """Return cap · tanh(s/cap); the scores themselves without a cap."""
    return scores if cap is None else (scores / cap).tanh() * cap
