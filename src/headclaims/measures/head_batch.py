"""Several heads that read the same E, computed together.

Axes: `head` heads, `token` and `word` rows of E.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit, Rotation


@dataclass(frozen=True)
class HeadBatch:
    """Weights of several heads that read the same E; `turn` is `vocabulary.scores.mean_rotation`."""

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "head d_model d_head"]
    b_Q: Float[Tensor, "head d_head"]
    b_K: Float[Tensor, "head d_head"]
    turn: Rotation | None

    def turned(self, queries: Float[Tensor, "token head d_head"]) -> Float[Tensor, "token head d_head"]:
        """Rotate queries by the mean rotation, as for scores with other tokens; unchanged with learned positions."""
        return queries if self.turn is None else queries @ self.turn.to(queries)


def project(
    rows: Float[Tensor, "token d_model"], W: Float[Tensor, "head d_model d_head"], b: Float[Tensor, "head d_head"]
) -> Float[Tensor, "token head d_head"]:
    """Compute x W + b of rows x for several heads, in one product."""
    n_heads, d_model, d_head = W.shape
    return (rows @ W.transpose(0, 1).reshape(d_model, -1)).view(-1, n_heads, d_head).add_(b)


@dataclass(frozen=True)
class Projected:
    """Queries and keys of common words, given as rows of E, for several heads; each is computed when first asked for.

    `own` are queries at offset 0, for a word's score with itself; `queries` those rotated for scores with other words.
    """

    words: Float[Tensor, "word d_model"]
    heads: HeadBatch

    @cached_property
    def own(self) -> Float[Tensor, "word head d_head"]:
        """Queries x W_Q + b_Q."""
        return project(self.words, self.heads.W_Q, self.heads.b_Q)

    @cached_property
    def queries(self) -> Float[Tensor, "word head d_head"]:
        """The same under the mean rotation."""
        return self.heads.turned(self.own)

    @cached_property
    def keys(self) -> Float[Tensor, "word head d_head"]:
        """Keys x W_K + b_K."""
        return project(self.words, self.heads.W_K, self.heads.b_K)


def head_batch(circuits: Sequence[QKCircuit], turn: Rotation | None) -> HeadBatch:
    """Stack the circuits of heads of one layer; `turn` is their mean rotation."""
    names = ("W_Q", "W_K", "b_Q", "b_K")
    stacked = {name: torch.stack([getattr(circuit, name) for circuit in circuits]) for name in names}
    return HeadBatch(**stacked, turn=turn)
