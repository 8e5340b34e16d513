"""The OV circuit of a head, in factors: what it writes for a token that it attends to.

W_OV = W_V W_O (d_model × d_model) is not formed, nor E W_OV W_U over the vocabulary. Axes: `d_model` the residual
stream, `d_head` the head, `token` rows of E, `output` columns of W_U. Value and output biases are left out: they are
the same for every token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from headclaims.checkpoint.ov_weights import OVWeights


@dataclass(frozen=True)
class OVCircuit:
    """Folded and centred value and output weights of one head: a normed token x is written as x W_V W_O."""

    W_V: Float[Tensor, "d_model d_head"]
    W_O: Float[Tensor, "d_head d_model"]

    @classmethod
    def of(cls, weights: OVWeights, head: int) -> OVCircuit:
        """Select one head's circuit from its layer's weights."""
        return cls(weights.W_V[head], weights.W_O[head])

    @property
    def norm(self) -> float:
        """Frobenius norm of W_V W_O: of R_V W_O, with W_V = Q R_V."""
        R = torch.linalg.qr(self.W_V.double(), mode="r").R
        return float(torch.linalg.matrix_norm(R @ self.W_O.double()))

    def reading(self, E: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_head"]:
        """Return the values of tokens, without bias: the left factor of E W_OV W_U."""
        return E @ self.W_V

    def writing(self, W_U: Float[Tensor, "d_model output"]) -> Float[Tensor, "output d_head"]:
        """Return what each value dimension adds to each logit: the right factor of E W_OV W_U, transposed."""
        return (self.W_O @ W_U).T

    def eigenvalues(
        self, E: Float[Tensor, "token d_model"], W_U: Float[Tensor, "d_model token"], centred: bool = False
    ) -> Complex[Tensor, " d_head"]:
        """Return the d_head eigenvalues of E W_V W_O W_U (token × token) that need not be 0, in float64.

        They are those of W_O W_U E W_V, as XY and YX share their non-zero ones. `centred` takes the mean over tokens
        off E, so that what all tokens have in common does not count.
        """
        rows = E.double() - E.double().mean(dim=0) if centred else E.double()
        return torch.linalg.eigvals((self.W_O.double() @ W_U.double()) @ (rows @ self.W_V.double()))


def positive_share(eigenvalues: Complex[Tensor, " value"]) -> float:
    """Return Σ Re λ/Σ |λ|: 1 where every token raises its own logit along each eigenvector, −1 where it lowers it.

    Raises ValueError where all are 0, as of a head that writes nothing.
    """
    size = float(eigenvalues.abs().sum())
    if not size:
        raise ValueError("all eigenvalues are 0; wanted a head that writes")
    return float(eigenvalues.real.sum()) / size
