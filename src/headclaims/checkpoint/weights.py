"""A layer's query and key weights, as a checkpoint holds them and with the norm before attention folded in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.errors import BadCheckpoint


@dataclass(frozen=True)
class RawQK:
    """A layer's query and key weights as the checkpoint holds them, before any folding, all heads.

    Keys have one head per key head: fewer than queries where heads are grouped. Biases are None where absent.
    """

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "key_head d_model d_head"]
    b_Q: Float[Tensor, "head d_head"] | None
    b_K: Float[Tensor, "key_head d_head"] | None

    def fingerprint(self) -> str:
        """Return the sha256, in hexadecimal, of W_Q, W_K, b_Q, b_K in this order; absent biases are left out.

        Tensors are hashed as little-endian float32 with axes [head, d_model, d_head].
        """
        digest = hashlib.sha256()
        for weights in (self.W_Q, self.W_K, self.b_Q, self.b_K):
            if weights is not None:
                digest.update(weights.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class QKWeights:
    """A layer's folded and centred query and key weights; where heads share a key head its weights are repeated."""

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "head d_model d_head"]
    b_Q: Float[Tensor, "head d_head"]
    b_K: Float[Tensor, "head d_head"]
    scale: float


@dataclass(frozen=True)
class FactorNorm:
    """A norm of every head's queries, or keys, before the rotation: z ← gain · z/√(mean square + eps) + bias.

    A `centred` one (LayerNorm) first subtracts the mean. `over_all_heads`: mean and mean square are those of all heads'
    dimensions together (OLMo 2), else of each head's own (Qwen3, Gemma 3).
    """

    gain: Float[Tensor, "head d_head"]
    bias: Float[Tensor, "head d_head"]
    eps: float
    centred: bool
    over_all_heads: bool


@dataclass(frozen=True)
class ScoreWeights:
    """All that a layer's heads score two tokens by: cap(q̂ R k̂ᵀ · scale).

    q̂ and k̂ are the queries and keys of `qk`, normalised where there are norms, and cap(s) = `cap` · tanh(s/`cap`) where
    there is a cap.
    """

    qk: QKWeights
    query_norm: FactorNorm | None = None
    key_norm: FactorNorm | None = None
    cap: float | None = None

    @property
    def bilinear(self) -> bool:
        """Whether W_QK, with biases, is all of the score."""
        return self.query_norm is None and self.key_norm is None and self.cap is None


def fold(
    raw: RawQK,
    gain: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"] | None,
    centre: bool,
    scale: float,
) -> QKWeights:
    """Fold the norm before a layer's attention into its query and key weights.

    W ← gain · W, minus each column's mean over d_model where the norm centres; b ← b + bias W (with the unfolded W).
    """
    per_key = raw.W_Q.shape[0] // raw.W_K.shape[0]

    def one(
        W: Float[Tensor, "head d_model d_head"], b: Float[Tensor, "head d_head"] | None
    ) -> tuple[Float[Tensor, "head d_model d_head"], Float[Tensor, "head d_head"]]:
        folded_bias = torch.zeros(W.shape[0], W.shape[2]) if b is None else b.clone()
        if bias is not None:
            folded_bias = folded_bias + torch.einsum("d,hdk->hk", bias, W)
        folded = gain[None, :, None] * W
        return (folded - folded.mean(dim=1, keepdim=True) if centre else folded), folded_bias

    W_Q, b_Q = one(raw.W_Q, raw.b_Q)
    W_K, b_K = one(raw.W_K, raw.b_K)
    return QKWeights(W_Q, W_K.repeat_interleave(per_key, 0), b_Q, b_K.repeat_interleave(per_key, 0), scale)


def as_they_are(raw: RawQK, scale: float) -> QKWeights:
    """Return weights that are folded already, those of shared keys repeated; biases that are absent are 0."""
    per_key = raw.W_Q.shape[0] // raw.W_K.shape[0]
    b_Q, b_K = (
        torch.zeros(W.shape[0], W.shape[2]) if b is None else b for W, b in ((raw.W_Q, raw.b_Q), (raw.W_K, raw.b_K))
    )
    return QKWeights(raw.W_Q, raw.W_K.repeat_interleave(per_key, 0), b_Q, b_K.repeat_interleave(per_key, 0), scale)


def finite(name: str, tensor: Tensor, spec: str) -> Tensor:
    """Return the tensor itself; raises BadCheckpoint where it holds NaN or infinity."""
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise BadCheckpoint(f"{spec}: tensor {name} holds {bad} values that are NaN or infinite; wanted finite numbers")
    return tensor
