"""What sweeps should find, of all scores in float64 at once."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.vocabulary.token_scores import Swept, TokenScores


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True)
class Dense:
    """What a sweep should find, of all scores in float64 at once."""

    keys: list[list[int]]
    scores: list[list[float]]
    own_rank: list[int]
    log_sum_exp: Tensor

    @classmethod
    def of(cls, scores: TokenScores, own_key: Tensor, k: int, causal: bool = False) -> "Dense":
        """By full sorts in Python, (−score, key) after (−score, key).

        Row by row, as a matrix product may round the same two rows differently at its edges.
        """
        matrix = torch.stack([(query * scores.keys.double()).sum(dim=1) for query in scores.queries.double()])
        if scores.own is not None:
            matrix[torch.arange(len(matrix)), own_key] = scores.own.double()
        if causal:
            matrix[torch.arange(matrix.shape[1]) > own_key[:, None]] = -torch.inf
        keys, best, rank = [], [], []
        for row, own in zip(matrix.tolist(), own_key.tolist(), strict=True):
            seen = [key for key in range(len(row)) if row[key] > -math.inf]
            order = sorted(seen, key=lambda key, row=row: (-row[key], key))
            rank.append(order.index(own))
            lacking = k - len(order[:k])
            keys.append(order[:k] + [-1] * lacking)
            best.append([row[key] for key in order[:k]] + [-math.inf] * lacking)
        return cls(keys, best, rank, matrix.logsumexp(dim=1))


def assert_swept(found: Swept, scores: TokenScores, own_key: Tensor, k: int, causal: bool = False) -> None:
    dense = Dense.of(scores, own_key, k, causal)
    assert found.keys.tolist() == dense.keys
    assert found.own_rank.tolist() == dense.own_rank
    assert found.scores.numpy() == pytest.approx(np.array(dense.scores), rel=1e-13, abs=1e-13)
    bound = scores.rounding() + 1e-6
    assert bool(((found.log_sum_exp - dense.log_sum_exp).abs() <= bound).all())
