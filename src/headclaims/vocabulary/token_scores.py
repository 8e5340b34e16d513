"""Scores between tokens of the vocabulary, in factors: E W_QK Eᵀ is never formed.

Axes: `query` and `key` tokens, `factor` the columns of both factors (d_head; for parts of W_QK and under steering up to
2·d_head + 2). Scores are before the softmax and after the scale. With rotary positions a token's score with itself is
that at offset 0, and with others the mean over offsets 1…S − 1, as far as a window sees.

Soft caps: cap(s) = cap·tanh(s/cap) grows with s, so ranks and best keys are those of the products, and the cap is
applied where values are read. With rotary positions the score is the cap of the mean product, not the mean over offsets
of capped ones: so it keeps the order of the products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Checkpoint
from headclaims.circuit.head_score import Scorer, capped
from headclaims.circuit.qk_circuit import QKCircuit, Rotation, RotationAt
from headclaims.circuit.scatter import Eigenspace

ROUNDING = 2.0**-24
"""Largest relative rounding error of one float32 operation."""
SMALLEST = 2.0**-126
"""Smallest normal float32; smaller numbers may be rounded to 0."""


def mean_rotation(rotation: RotationAt, length: int) -> Rotation | None:
    """Return the mean of R over offsets 1…length − 1, with which (q R̄) kᵀ is the mean score; None without R."""
    at_offsets = [rotation(offset) for offset in range(1, length)]
    rotations = [R for R in at_offsets if R is not None]
    return torch.stack(rotations).mean(dim=0) if rotations else None


def layer_turn(checkpoint: Checkpoint, layer: int, length: int) -> Rotation | None:
    """Return a layer's mean R between different tokens of texts of a length, as far as its window sees."""
    return mean_rotation(checkpoint.rotation_at(layer), min(length, checkpoint.window(layer) or length))


@dataclass(frozen=True)
class TokenScores:
    """Scores of query tokens with key tokens: `queries` @ `keys`ᵀ, under a soft `cap` where there is one.

    `own` is each query's product with itself, where it differs from that product, as with rotary positions.
    """

    queries: Float[Tensor, "query factor"]
    keys: Float[Tensor, "key factor"]
    own: Float[Tensor, " query"] | None = None
    cap: float | None = None

    @classmethod
    def of(
        cls,
        head: Scorer,
        queries: Float[Tensor, "query d_model"],
        keys: Float[Tensor, "key d_model"],
        turn: Rotation | None,
        biased: bool = True,
    ) -> TokenScores:
        """Compute a head's factors for rows of E, with or without both biases; `turn` is `mean_rotation`."""
        q, k = head.queries(queries, biased), head.keys(keys, biased)
        if turn is None:
            return cls(q, k, cap=head.cap)
        own = (q.double() * head.keys(queries, biased).double()).sum(dim=-1)
        return cls(q @ turn.to(q), k, own, head.cap)

    @classmethod
    def at_offset(
        cls,
        head: Scorer,
        queries: Float[Tensor, "query d_model"],
        keys: Float[Tensor, "key d_model"],
        rotation: Rotation,
        biased: bool = True,
    ) -> TokenScores:
        """Compute a head's factors at one offset, tokens with themselves included."""
        q = head.queries(queries, biased)
        return cls(q @ rotation.to(q), head.keys(keys, biased), cap=head.cap)

    @classmethod
    def of_part(
        cls,
        circuit: QKCircuit,
        queries: Float[Tensor, "query d_model"],
        keys: Float[Tensor, "key d_model"],
        sign: int,
        biased: bool = True,
    ) -> TokenScores:
        """Compute factors of x W_sym yᵀ (`sign` 1) or x W_skew yᵀ (−1), (q_x·k_y ± k_x·q_y)/2, and of bias terms."""
        q_x, k_x = queries @ circuit.W_Q, queries @ circuit.W_K
        q_y, k_y = keys @ circuit.W_Q, keys @ circuit.W_K
        return cls._with_biases(
            circuit, q_x, k_y, torch.cat([q_x, k_x], dim=1) / 2, torch.cat([k_y, sign * q_y], dim=1), biased
        )

    @classmethod
    def steered(
        cls,
        circuit: QKCircuit,
        queries: Float[Tensor, "query d_model"],
        keys: Float[Tensor, "key d_model"],
        alpha: float,
        biased: bool = True,
    ) -> TokenScores:
        """Compute factors of x W(α) yᵀ, W(α) being W_sym with its negative eigenvalues times α, and of bias terms."""
        space = Eigenspace.of(circuit)
        scaled = torch.where(space.values < 0, alpha * space.values, space.values) / circuit.scale
        x, y = (torch.from_numpy(space.coordinates(rows)) for rows in (queries, keys))
        return cls._with_biases(
            circuit,
            queries @ circuit.W_Q,
            keys @ circuit.W_K,
            (x * scaled).to(queries),
            y.to(keys),
            biased,
        )

    @classmethod
    def _with_biases(
        cls, circuit: QKCircuit, q_x: Tensor, k_y: Tensor, left: Tensor, right: Tensor, biased: bool
    ) -> TokenScores:
        """Add to left rightᵀ, where `biased`, the terms q_x·b_K + b_Q·k_y + b_Q·b_K as two more factors."""
        if biased:
            of_query = q_x @ circuit.b_K + circuit.b_Q @ circuit.b_K
            left = torch.cat([left, of_query[:, None], torch.ones_like(of_query)[:, None]], dim=1)
            of_key = k_y @ circuit.b_Q
            right = torch.cat([right, torch.ones_like(of_key)[:, None], of_key[:, None]], dim=1)
        return cls(left * circuit.scale, right)

    def to(self, device: torch.device) -> TokenScores:
        """Return the same scores with their factors on a device."""
        own = None if self.own is None else self.own.to(device)
        return TokenScores(self.queries.to(device), self.keys.to(device), own, self.cap)

    @property
    def sum_of_squares(self) -> float:
        """Σ (q_i·k_j)² over i ≠ j, where query i and key i are of one token: from the factors, in float64, uncapped."""
        q, k = self.queries.double(), self.keys.double()
        return max(0.0, float(((q.T @ q) * (k.T @ k)).sum() - (q * k).sum(dim=1).square().sum()))

    @property
    def itself(self) -> Float[Tensor, " token"]:
        """Scores of tokens with themselves, in float64; raises ValueError unless queries and keys are as many."""
        self._require_square()
        if self.own is not None:
            return capped(self.own.double(), self.cap)
        return capped((self.queries.double() * self.keys.double()).sum(dim=-1), self.cap)

    def matrix(self) -> Float[Tensor, "token token"]:
        """Compute all scores of tokens among themselves; raises ValueError unless queries and keys are as many."""
        self._require_square()
        scores = self.queries @ self.keys.T
        if self.own is not None:
            scores.diagonal().copy_(self.own)
        return capped(scores, self.cap)

    def _require_square(self) -> None:
        if len(self.queries) != len(self.keys):
            raise ValueError(f"{len(self.queries)} queries and {len(self.keys)} keys; wanted the same tokens")

    def rounding(self) -> Float[Tensor, " query"]:
        """Return a bound, in float64, on the error of each query's products in float32, summed in any order.

        It is 0 where the query or all keys are zero, and its own score is. Raises ValueError where a number is not
        finite, or float32 cannot hold the factors or their products.
        """
        queries, keys = (_norms(part) for part in (self.queries, self.keys))
        for name, sizes in (("queries", queries), ("keys", keys), ("own", self.own)):
            # No number is larger than its row's norm, which is NaN where a number is.
            if sizes is None or not len(sizes) or float(sizes.abs().max()) <= torch.finfo(torch.float32).max:
                continue
            if not bool(getattr(self, name).float().isfinite().all()):
                raise ValueError(f"{name} hold a number that is not finite; wanted finite ones that float32 holds")
        largest = float(keys.max()) if len(keys) else 0.0
        size = queries * largest
        if self.own is not None:
            size = size + self.own.double().abs()
        if len(size) and float(size.max()) > torch.finfo(torch.float32).max:
            raise ValueError(f"scores of up to {float(size.max()):.1g}; wanted scores that float32 holds")
        # Five more than there are terms, for the rounding of the factors and of the numbers compared with.
        terms = self.queries.shape[1] + 5
        underflow = terms * SMALLEST * (1 + queries + largest)
        return torch.where(size > 0, terms * ROUNDING * 1.01 * size + underflow, 0.0)


class Swept(NamedTuple):
    """Results of one pass over the keys (`vocabulary.scores`), for each query.

    `keys` are its best keys with their `scores`, highest first and ties by key, then −1 and −∞ where it has fewer than
    k. `own_rank` is the own key's place among all its keys, from 0, and `log_sum_exp` = ln Σ_j exp s_j. Scores are
    those under the cap, where there is one.
    """

    keys: Int[Tensor, "query rank"]
    scores: Float[Tensor, "query rank"]
    own_rank: Int[Tensor, " query"]
    log_sum_exp: Float[Tensor, " query"]


def _norms(rows: Float[Tensor, "row factor"]) -> Float[Tensor, " row"]:
    return torch.linalg.vector_norm(rows.detach(), dim=1, dtype=torch.float64)
