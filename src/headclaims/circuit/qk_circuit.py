"""The QK circuit of a head, in factors, and its span.

W_QK = W_Q W_Kᵀ (d_model × d_model) is not formed where its factors suffice. Axes: `d_model` the residual stream after
the target layer's norm (gain folded in, centred where the norm centres), `d_head` the head, `pair` the 2·d_head columns
of [W_Q W_K], `span` the at most 2·d_head dimensions they span.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.checkpoint.weights import QKWeights

Rotation = Float[Tensor, "d_head d_head"]
RotationAt = Callable[[int], Rotation | None]
"""Maps an offset, the query's position minus the key's, to R; to None with learned positions."""


@dataclass(frozen=True)
class QKCircuit:
    """Folded and centred weights of one head.

    The score of a query x and a key y, before the softmax, is (x W_Q + b_Q)(y W_K + b_K)ᵀ · `scale`, with scale
    1/√d_head in most models.
    """

    W_Q: Float[Tensor, "d_model d_head"]
    W_K: Float[Tensor, "d_model d_head"]
    b_Q: Float[Tensor, " d_head"]
    b_K: Float[Tensor, " d_head"]
    scale: float

    @property
    def cap(self) -> None:
        """W_QK alone has no cap, as a head's own score may have."""
        return

    @classmethod
    def of(cls, weights: QKWeights, head: int) -> QKCircuit:
        """Select one head's circuit from its layer's weights."""
        return cls(weights.W_Q[head], weights.W_K[head], weights.b_Q[head], weights.b_K[head], weights.scale)

    def at_offset(self, rotation: Float[Tensor, "d_head d_head"]) -> QKCircuit:
        """Return the circuit between a query and a key some positions before it, under rotary positions.

        `rotation` is R with score = (q R) kᵀ: the rotation of the query relative to the key.
        """
        rotation = rotation.to(self.W_Q)
        return replace(self, W_Q=self.W_Q @ rotation, b_Q=self.b_Q @ rotation)

    def queries(self, x: Float[Tensor, "*row d_model"], biased: bool = True) -> Float[Tensor, "*row d_head"]:
        """Return the queries of rows of E, after the scale and before the rotation."""
        return (x @ self.W_Q + (self.b_Q if biased else 0.0)) * self.scale

    def keys(self, y: Float[Tensor, "*row d_model"], biased: bool = True) -> Float[Tensor, "*row d_head"]:
        """Return the keys of rows of E."""
        return y @ self.W_K + (self.b_K if biased else 0.0)

    def on_span(self) -> tuple[QKCircuit, Float[Tensor, "d_model span"]]:
        """Return the circuit on the span of [W_Q W_K] and an orthonormal basis of it.

        Vectors x enter the returned circuit as x @ basis: its W_Q maps them to x W_Q, and its W_K to x W_K.
        """
        basis, R = torch.linalg.qr(torch.cat([self.W_Q, self.W_K], dim=1).double())
        reduced, d_head = R.to(self.W_Q), self.W_Q.shape[1]
        return replace(self, W_Q=reduced[:, :d_head], W_K=reduced[:, d_head:]), basis.to(self.W_Q)

    def scores(
        self,
        queries: Float[Tensor, "*batch query d_model"],
        keys: Float[Tensor, "*batch key d_model"],
        biased: bool = True,
    ) -> Float[Tensor, "*batch query key"]:
        """Compute scores before the softmax and after the scale; without biases these are the bilinear form alone."""
        q, k = queries @ self.W_Q, keys @ self.W_K
        if biased:
            q, k = q + self.b_Q, k + self.b_K
        return q @ k.mT * self.scale


def causal(scores: Float[Tensor, "prompt query key"], window: int | None = None) -> Float[Tensor, "prompt query key"]:
    """Return scores with −∞ for keys after their query, and for those beyond a `window`."""
    everywhere = torch.ones(scores.shape[1:], dtype=torch.bool)
    unseen = everywhere.triu(1) if window is None else everywhere.triu(1) | everywhere.tril(-window)
    return scores.masked_fill(unseen, -torch.inf)


def causal_scores(
    n_prompts: int,
    length: int,
    at_offset: Callable[[int], Float[Tensor, "prompt row"]],
    window: int | None = None,
) -> Float[Tensor, "prompt query key"]:
    """Assemble all scores from those at each offset; keys after their query, and those beyond a `window`, get −∞.

    `at_offset(offset)` gives the scores of the queries from position `offset` on, each with the key `offset` before it.
    """
    scores = torch.full((n_prompts, length, length), -torch.inf)
    for offset in range(min(length, window or length)):
        row = torch.arange(offset, length)
        scores[:, row, row - offset] = at_offset(offset)
    return scores


def span(
    W_Q: Float[Tensor, "*head d_model d_head"], W_K: Float[Tensor, "*head d_model d_head"]
) -> Float[Tensor, "*head span pair"]:
    """Return R of the QR decomposition [W_Q W_K] = U R, in float64: all of W_QK's geometry, without d_model.

    W_QK = U (R_Q R_Kᵀ) Uᵀ with orthonormal U, where R_Q and R_K are R's left and right d_head columns. In float32 on
    d_model dimensions, rounding would make the symmetric part, of rank 2·d_head, appear to have full rank.
    """
    return torch.linalg.qr(torch.cat([W_Q, W_K], dim=-1).double(), mode="r").R


def core(R: Float[Tensor, "*head span pair"]) -> Float[Tensor, "*head span span"]:
    """Return W_QK on its span: R_Q R_Kᵀ."""
    d_head = R.shape[-1] // 2
    return R[..., :d_head] @ R[..., d_head:].mT


def symmetric_part(matrix: Float[Tensor, "*head n n"]) -> Float[Tensor, "*head n n"]:
    """Return (M + Mᵀ)/2."""
    return (matrix + matrix.mT) / 2


def skew_part(matrix: Float[Tensor, "*head n n"]) -> Float[Tensor, "*head n n"]:
    """Return (M − Mᵀ)/2."""
    return (matrix - matrix.mT) / 2
