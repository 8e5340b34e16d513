"""The symmetric and skew parts' scores against dense matrices and plain loops."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.circuit.symmetric_scores import QKPart, norm_ratio, norm_ratios, part_scores

D_MODEL, D_HEAD, LENGTH = 9, 4, 5
Rotation = Callable[[int], Tensor | None]


def circuit(seed: int) -> QKCircuit:
    """A random head with biases."""
    W_Q, W_K = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, D_MODEL + 1, D_HEAD))).float()
    return QKCircuit(W_Q[:-1], W_K[:-1], W_Q[-1], W_K[-1], 0.5)


def turned(offset: int) -> Tensor:
    """A rotation of two planes."""
    R = torch.eye(D_HEAD)
    for first, angle in ((0, 0.7 * offset), (2, 0.2 * offset)):
        c, s = np.cos(angle), np.sin(angle)
        R[first : first + 2, first : first + 2] = torch.tensor([[c, s], [-s, c]])
    return R


ROTATIONS: dict[str, Rotation] = {"learned": lambda _: None, "rotary": turned}
X = torch.from_numpy(np.random.default_rng(7).standard_normal((2, LENGTH, D_MODEL))).float()


def parts(head: QKCircuit, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """E W_sym Eᵀ and E W_skew Eᵀ, formed."""
    W = (head.W_Q @ head.W_K.T).double()
    x = x.double()
    return (x @ (W + W.T) @ x.T / 2).numpy(), (x @ (W - W.T) @ x.T / 2).numpy()


@pytest.mark.parametrize("seed", range(3))
def test_the_ratio_of_norms_is_that_of_the_matrices(seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((11, D_MODEL))).float()
    symmetric, skew = parts(circuit(seed), x)
    wanted = np.linalg.norm(skew) / np.linalg.norm(symmetric)
    assert norm_ratio(circuit(seed), x).value == pytest.approx(wanted, rel=1e-5)


def test_a_word_is_left_out_as_query_and_as_key() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((7, D_MODEL))).float()
    wanted = []
    for i in range(7):
        symmetric, skew = parts(circuit(0), x[torch.arange(7) != i])
        wanted.append(np.linalg.norm(skew) / np.linalg.norm(symmetric))
    assert norm_ratio(circuit(0), x).left_out["words"].ravel() == pytest.approx(np.array(wanted), rel=1e-5)


def test_many_heads_at_once() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((11, D_MODEL))).float()
    heads = [circuit(seed) for seed in range(3)]
    queries, keys = (torch.stack([x @ getattr(h, name) for h in heads], dim=1) for name in ("W_Q", "W_K"))
    wanted = [np.linalg.norm(parts(h, x)[1]) / np.linalg.norm(parts(h, x)[0]) for h in heads]
    assert norm_ratios(queries, keys) == pytest.approx(np.array(wanted), rel=1e-5)


def by_loops(head: QKCircuit, kept: QKPart, rotation: Rotation) -> np.ndarray:
    """Entry by entry: (score ± the score with tokens exchanged)/2, and the biases' terms."""
    scores = np.full((2, LENGTH, LENGTH), -np.inf)
    for p in range(2):
        for i in range(LENGTH):
            for j in range(i + 1):
                R = rotation(i - j)
                W = head.W_Q @ (torch.eye(D_HEAD) if R is None else R) @ head.W_K.T
                b_Q = head.b_Q if R is None else head.b_Q @ R
                k_of = head.W_Q if R is None else head.W_Q @ R
                bare, exchanged = X[p, i] @ W @ X[p, j], X[p, j] @ W @ X[p, i]
                part = (bare + exchanged) / 2 if kept is QKPart.SYMMETRIC else (bare - exchanged) / 2
                biases = X[p, i] @ k_of @ head.b_K + b_Q @ (X[p, j] @ head.W_K) + b_Q @ head.b_K
                scores[p, i, j] = float(part + biases) * 0.5
    return scores


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("kept", QKPart)
def test_part_scores_by_loops(kept: QKPart, rotation: str) -> None:
    found = part_scores(circuit(0), X, ROTATIONS[rotation], kept).numpy()
    wanted = by_loops(circuit(0), kept, ROTATIONS[rotation])
    assert np.array_equal(np.isfinite(found), np.isfinite(wanted))
    assert found[np.isfinite(found)] == pytest.approx(wanted[np.isfinite(wanted)], abs=1e-5)


def test_a_symmetric_head_is_its_symmetric_part() -> None:
    """W_Q = W_K: the pattern of the symmetric part is the head's own, the skew part's scores are the biases' alone."""
    W, b_Q, b_K = circuit(0).W_Q, circuit(0).b_Q, circuit(0).b_K
    head = QKCircuit(W, W, b_Q, b_K, 0.5)
    own = head.scores(X, X).masked_fill(torch.triu(torch.ones(LENGTH, LENGTH), 1).bool(), -torch.inf)
    found = part_scores(head, X, lambda _: None, QKPart.SYMMETRIC)
    assert torch.allclose(found.softmax(-1), own.softmax(-1), atol=1e-5)
    skew = part_scores(QKCircuit(W, W, b_Q * 0, b_K * 0, 0.5), X, lambda _: None, QKPart.SKEW)
    assert float(skew[torch.isfinite(skew)].abs().max()) < 1e-5
