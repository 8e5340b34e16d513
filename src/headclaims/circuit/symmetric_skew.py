"""Symmetric and skew parts of W_QK: their norms, and the score that the skew part gives a token with itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit, core, skew_part

WIDE = 1024
"""The largest d_model at which W_skew is formed as it is."""


@dataclass(frozen=True)
class PartNorms:
    """Spectral (largest singular value) and Frobenius norms of W_sym and W_skew, before the scale, in float64."""

    symmetric: Float[Tensor, "*head"]
    skew: Float[Tensor, "*head"]
    symmetric_frobenius: Float[Tensor, "*head"]
    skew_frobenius: Float[Tensor, "*head"]

    @property
    def ratio(self) -> Float[Tensor, "*head"]:
        """σ_max(W_skew)/σ_max(W_sym)."""
        return self.skew / self.symmetric


def part_norms(R: Float[Tensor, "*head span pair"], spectrum: Float[Tensor, "*head span"]) -> PartNorms:
    """Compute the norms of W_sym and W_skew from the span of [W_Q W_K] (`qk_circuit.span`) and W_sym's eigenvalues."""
    skew = skew_part(core(R))
    return PartNorms(
        spectrum.abs().amax(dim=-1),
        # The largest singular value, as eigenvalues cost a fraction of an SVD.
        torch.linalg.eigvalsh(skew.mT @ skew).amax(dim=-1).clamp_min(0).sqrt(),
        torch.linalg.vector_norm(spectrum, dim=-1),
        torch.linalg.matrix_norm(skew),
    )


def largest_skew_self_score(
    circuit: QKCircuit, vectors: Float[Tensor, "vector d_model"], skew_norm: float, batch: int = 4096
) -> float:
    """Compute the maximum over x of |xᵀ W_skew x| / (‖x‖² ‖W_skew‖), in float64, where ‖W_skew‖ is `skew_norm`.

    xᵀ(M − Mᵀ)x = 0 for every matrix M, so anything beyond rounding is an error of arithmetic.
    """
    W_Q, W_K = circuit.W_Q.double(), circuit.W_K.double()
    # In a wide model the matrix is formed on the span of [W_Q W_K]: what is orthogonal to it has no score.
    span = torch.linalg.qr(torch.cat([W_Q, W_K], dim=1)).Q if len(W_Q) > WIDE else None
    W_skew = skew_part(W_Q @ W_K.mT if span is None else (span.mT @ W_Q) @ (span.mT @ W_K).mT)
    largest = [torch.zeros((), dtype=torch.float64)]
    for part in vectors.split(batch):
        x = part.double()
        size = x.square().sum(dim=-1) * skew_norm
        y = x if span is None else x @ span
        own = ((y @ W_skew) * y).sum(dim=-1).abs()
        # A zero vector would give 0/0.
        largest.append(torch.where(size == 0, 0.0, own / size).max())
    return float(torch.stack(largest).max())


def random_vectors(d_model: int, seed: int, n: int = 4096) -> Float[Tensor, "vector d_model"]:
    """Draw n Gaussian vectors in float64, which replace tokens where the evidence has no embedding."""
    return torch.randn(n, d_model, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
