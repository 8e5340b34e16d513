"""Both scores of pairs of tokens, each as the query of the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.circuit.head_score import capped
from headclaims.vocabulary.token_scores import TokenScores


@dataclass(frozen=True)
class Pairs:
    """Both scores of pairs of tokens, added up: without a cap one product, of each token's query and key together.

    `squares` is Σ s² over both scores of all pairs where it follows from the factors, without a cap; otherwise 0.
    """

    left: Float[Tensor, "token both"]
    right: Float[Tensor, "token both"]
    cap: float | None
    squares: float

    @classmethod
    def of(cls, scores: TokenScores) -> Pairs:
        """Put the factors of scores between the same tokens together, in float32."""
        q, k = scores.queries.float(), scores.keys.float()
        squares = scores.sum_of_squares if scores.cap is None else 0.0
        return cls(torch.cat([q, k], dim=1), torch.cat([k, q], dim=1), scores.cap, squares)

    def scores(
        self, row: slice, column: slice, out: Float[Tensor, "row column"] | None = None
    ) -> tuple[Float[Tensor, "row column"], Float[Tensor, ""]]:
        """Return the sums of both scores of a tile, whose first row or a later one is its first column.

        Without a cap they are put into `out`, where it is given. With one, return Σ s² over both scores of the pairs
        i < j as well, in float64; otherwise 0.
        """
        left, right = self.left[row], self.right[column]
        if self.cap is None:
            return torch.mm(left, right.T, out=out), torch.zeros((), dtype=torch.float64, device=left.device)
        forward, backward = (
            capped(a @ b.T, self.cap) for a, b in zip(left.chunk(2, dim=1), right.chunk(2, dim=1), strict=True)
        )
        squares = (forward.square() + backward.square()).triu(row.start - column.start + 1)
        return forward.add_(backward), squares.sum(dtype=torch.float64)
