"""Scores between tokens of the vocabulary, in factors: E W_QK Eᵀ is never formed.

Axes: `query` and `key` tokens, `rank` the best keys of a query. Scores are before the softmax and after the scale. With
rotary positions a token's score with itself is at offset 0, with others the mean over offsets 1…S − 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.qk_circuit import QKCircuit, Rotation, RotationAt


def mean_rotation(rotation: RotationAt, length: int) -> Rotation | None:
    """The mean of R over offsets 1…length − 1: (q R̄) kᵀ is the mean score; None with learned positions."""
    turns = [rotation(offset) for offset in range(1, length)]
    kept = [R for R in turns if R is not None]
    return torch.stack(kept).mean(dim=0) if kept else None


@dataclass(frozen=True)
class TokenScores:
    """Scores of query tokens with key tokens: `queries` @ `keys`ᵀ, and `own`, each query's score with itself."""

    queries: Float[Tensor, "query d_head"]
    keys: Float[Tensor, "key d_head"]
    own: Float[Tensor, " query"]

    @classmethod
    def of(
        cls,
        circuit: QKCircuit,
        queries: Float[Tensor, "query d_model"],
        keys: Float[Tensor, "key d_model"],
        turn: Rotation | None,
        biased: bool = True,
    ) -> TokenScores:
        """From rows of E; `turn` is `mean_rotation`."""
        b_Q, b_K = (circuit.b_Q, circuit.b_K) if biased else (0.0, 0.0)
        q = (queries @ circuit.W_Q + b_Q) * circuit.scale
        own = (q * (queries @ circuit.W_K + b_K)).sum(dim=-1)
        return cls(q if turn is None else q @ turn.to(q), keys @ circuit.W_K + b_K, own)

    def matrix(self) -> Float[Tensor, "token token"]:
        """All scores of tokens among themselves, own scores on the diagonal; raises ValueError unless it is square."""
        if len(self.queries) != len(self.keys):
            raise ValueError(f"{len(self.queries)} queries and {len(self.keys)} keys; wanted the same tokens")
        scores = self.queries @ self.keys.T
        scores.diagonal().copy_(self.own)
        return scores


@dataclass(frozen=True)
class TopKeys:
    """The best keys of each query, best first, with their scores, and the own token's rank among all keys, from 0."""

    keys: Int[Tensor, "query rank"]
    scores: Float[Tensor, "query rank"]
    own_rank: Int[Tensor, " query"]


def top_keys(scores: TokenScores, own_key: Int[Tensor, " query"], k: int, tile: int = 8192) -> TopKeys:
    """The k highest-scoring keys of each query, tile by tile; `own_key` says which key each query is.

    Equal scores rank by key. Raises ValueError for more than all keys.
    """
    n_queries, n_keys = len(scores.queries), len(scores.keys)
    if not 1 <= k <= n_keys:
        raise ValueError(f"the {k} highest of {n_keys} keys; wanted one at least and at most all")
    best = torch.full((n_queries, 0), -torch.inf)
    which = torch.zeros((n_queries, 0), dtype=torch.int64)
    above = torch.zeros(n_queries, dtype=torch.int64)
    rows = torch.arange(n_queries)
    for start in range(0, n_keys, tile):
        keys = torch.arange(start, min(start + tile, n_keys))
        block = scores.queries @ scores.keys[keys].T
        inside = (own_key >= start) & (own_key < start + len(keys))
        block[rows[inside], own_key[inside] - start] = scores.own[inside]
        tied_before = (block == scores.own[:, None]) & (keys < own_key[:, None])
        above += ((block > scores.own[:, None]) | tied_before).sum(dim=1)
        some = _highest(block, min(k, len(keys)))
        merged, ids = torch.cat([best, block.gather(1, some)], 1), torch.cat([which, some + start], 1)
        order = merged.sort(dim=1, descending=True, stable=True).indices[:, :k]
        best, which = merged.gather(1, order), ids.gather(1, order)
    return TopKeys(which, best, above)


def _highest(block: Float[Tensor, "query key"], k: int) -> Int[Tensor, "query best"]:
    """The k highest of each row, equal ones in the order of keys."""
    values, found = block.topk(k, dim=1)
    last = values[:, -1:]
    # Which of several equal ones `topk` takes is not said: where not all of them fit, rows are sorted in full.
    tied = (block == last).sum(dim=1) > (values == last).sum(dim=1)
    if bool(tied.any()):
        found[tied] = block[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return found.sort(dim=1).values
