"""The factored QK circuit: scores position by position, rotary offsets, and its span against whole matrices."""

import numpy as np
import pytest
import torch

from headclaims.checkpoint.weights import QKWeights
from headclaims.circuit.qk_circuit import QKCircuit, core, skew_part, span, symmetric_part
from headclaims.tests import real_gpt2


def random_circuit(d_model: int, d_head: int, seed: int, scale: float = 0.25) -> QKCircuit:
    """A circuit of Gaussian weights and biases in float64."""
    W_Q, W_K = vectors(2, d_model, d_head, seed=seed)
    b_Q, b_K = vectors(2, d_head, seed=seed + 100)
    return QKCircuit(W_Q, W_K, b_Q, b_K, scale)


def vectors(*shape: int, seed: int) -> torch.Tensor:
    """Gaussian vectors in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotary(angles: list[float]) -> np.ndarray:
    """The rotation of a row vector by an angle for each pair (2i, 2i + 1): (a, b) → (a cos − b sin, a sin + b cos)."""
    R = np.zeros((2 * len(angles), 2 * len(angles)))
    for i, angle in enumerate(angles):
        R[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    return R


def test_scores_by_hand() -> None:
    # d_model 2, d_head 1: q = 2x₀ + 3, k = 5x₁ − 1, scale 1/2.
    W_Q, W_K = torch.tensor([[2.0], [0.0]]), torch.tensor([[0.0], [5.0]])
    circuit = QKCircuit(W_Q, W_K, torch.tensor([3.0]), torch.tensor([-1.0]), 0.5)
    queries, keys = torch.tensor([[1.0, 9.0], [-1.0, 9.0]]), torch.tensor([[9.0, 1.0], [9.0, 0.0], [9.0, 2.0]])
    assert circuit.scores(queries, keys).tolist() == [[10, -2.5, 22.5], [2, -0.5, 4.5]]
    assert circuit.scores(queries, keys, biased=False).tolist() == [[5, 0, 10], [-5, 0, -10]]


def test_scores_are_the_bilinear_form_with_biases() -> None:
    circuit = random_circuit(7, 3, seed=0)
    x, y = vectors(2, 4, 7, seed=1), vectors(2, 5, 7, seed=2)
    W_Q, W_K, b_Q, b_K = (t.numpy() for t in (circuit.W_Q, circuit.W_K, circuit.b_Q, circuit.b_K))
    biased, bare = circuit.scores(x, y), circuit.scores(x, y, biased=False)
    for batch in range(2):
        for i in range(4):
            for j in range(5):
                q, k = x[batch, i].numpy(), y[batch, j].numpy()
                assert float(biased[batch, i, j]) == pytest.approx((q @ W_Q + b_Q) @ (k @ W_K + b_K) * 0.25)
                assert float(bare[batch, i, j]) == pytest.approx(q @ (W_Q @ W_K.T) @ k * 0.25)


def test_a_head_s_circuit_is_its_slice_of_the_layer() -> None:
    W_Q, W_K, b_Q, b_K = (vectors(*shape, seed=i) for i, shape in enumerate([(3, 5, 2), (3, 5, 2), (3, 2), (3, 2)]))
    circuit = QKCircuit.of(QKWeights(W_Q, W_K, b_Q, b_K, scale=0.7), 1)
    for found, layer in zip((circuit.W_Q, circuit.W_K, circuit.b_Q, circuit.b_K), (W_Q, W_K, b_Q, b_K), strict=True):
        assert torch.equal(found, layer[1])
    assert circuit.scale == 0.7


@pytest.mark.parametrize("d_model", [7, 5])
def test_on_its_span_a_circuit_scores_the_same(d_model: int) -> None:
    # d_head 3: six dimensions are enough for seven, and all of five.
    circuit = random_circuit(d_model, 3, seed=3)
    x, y = vectors(4, d_model, seed=4), vectors(5, d_model, seed=5)
    reduced, basis = circuit.on_span()
    assert basis.shape == (d_model, min(6, d_model))
    for biased in (True, False):
        found, wanted = reduced.scores(x @ basis, y @ basis, biased), circuit.scores(x, y, biased)
        assert torch.allclose(found, wanted, atol=1e-12)


def test_at_offset_rotates_queries_relative_to_keys() -> None:
    # The query at position 9 and the key at position 5, each rotated by its own position, score as the circuit at
    # offset 4.
    circuit = random_circuit(6, 4, seed=7)
    x, y = vectors(3, 6, seed=8), vectors(2, 6, seed=9)
    rates = [0.9, 0.1]
    at_9, at_5, by_4 = (rotary([position * rate for rate in rates]) for position in (9, 5, 4))
    q = (x @ circuit.W_Q + circuit.b_Q).numpy() @ at_9
    k = (y @ circuit.W_K + circuit.b_K).numpy() @ at_5
    turned = circuit.at_offset(torch.from_numpy(by_4))
    assert turned.scores(x, y).numpy() == pytest.approx(q @ k.T * 0.25)
    bare = (x @ circuit.W_Q).numpy() @ at_9 @ ((y @ circuit.W_K).numpy() @ at_5).T * 0.25
    assert turned.scores(x, y, biased=False).numpy() == pytest.approx(bare)


def test_at_offset_takes_its_rotation_in_the_weights_precision() -> None:
    circuit = random_circuit(6, 4, seed=7)
    turned = circuit.at_offset(torch.eye(4, dtype=torch.float32))
    assert turned.W_Q.dtype == torch.float64
    assert torch.equal(turned.W_Q, circuit.W_Q)
    assert torch.equal(turned.b_Q, circuit.b_Q)


@pytest.mark.parametrize(("d_model", "d_head"), [(20, 4), (8, 4), (6, 4), (3, 4)])
def test_the_span_keeps_all_of_the_geometry(d_model: int, d_head: int) -> None:
    W_Q, W_K = vectors(2, d_model, d_head, seed=10), vectors(2, d_model, d_head, seed=11)
    R = span(W_Q, W_K)
    assert R.shape == (2, min(d_model, 2 * d_head), 2 * d_head)
    both = torch.cat([W_Q, W_K], dim=-1).numpy()
    assert (R.mT @ R).numpy() == pytest.approx(np.swapaxes(both, 1, 2) @ both)
    for head in range(2):
        W = W_Q[head].numpy() @ W_K[head].numpy().T
        on_span = core(R)[head].numpy()
        basis = both[head] @ np.linalg.pinv(R[head].numpy())
        assert basis.T @ basis == pytest.approx(np.eye(len(on_span)), abs=1e-10)
        assert basis @ on_span @ basis.T == pytest.approx(W, abs=1e-10)
        assert np.trace(on_span) == pytest.approx(np.trace(W))
        assert np.trace(on_span @ on_span) == pytest.approx(np.trace(W @ W))
        assert np.linalg.norm(on_span) == pytest.approx(np.linalg.norm(W))
        assert np.linalg.norm(on_span, ord=2) == pytest.approx(np.linalg.norm(W, ord=2))


def test_the_span_is_taken_in_float64() -> None:
    W_Q, W_K = vectors(64, 4, seed=12).float(), vectors(64, 4, seed=13).float()
    R = span(W_Q, W_K)
    assert R.dtype == torch.float64
    both = torch.cat([W_Q, W_K], dim=-1).double()
    assert (R.mT @ R).numpy() == pytest.approx((both.mT @ both).numpy(), rel=1e-12)


def test_parts_by_hand() -> None:
    M = torch.tensor([[1.0, 4.0], [2.0, 8.0]])
    assert symmetric_part(M).tolist() == [[1, 3], [3, 8]]
    assert skew_part(M).tolist() == [[0, 1], [-1, 0]]
    batch = torch.stack([M, M.mT])
    assert skew_part(batch)[1].tolist() == [[0, -1], [1, 0]]
    assert symmetric_part(batch)[1].tolist() == [[1, 3], [3, 8]]


@real_gpt2.needs_weights
def test_l1h5_of_real_gpt2_small_has_32_eigenvalues_of_w_qk_with_negative_real_part() -> None:
    W_Q, W_K = real_gpt2.target_weights()
    # The eigenvalues of W_Q W_Kᵀ that can differ from 0 are those of W_Kᵀ W_Q, 64 by 64.
    expected = np.linalg.eigvals(W_K.T @ W_Q)
    found = np.linalg.eigvals(core(span(torch.from_numpy(W_Q), torch.from_numpy(W_K))).numpy())
    found = found[np.argsort(-abs(found))]
    assert (expected.real < 0).sum() == 32
    assert (found[:64].real < 0).sum() == 32
    assert abs(found[:64]) == pytest.approx(np.sort(abs(expected))[::-1], rel=1e-6)
    assert abs(found[64:]).max() < 1e-6 * abs(expected).min()
