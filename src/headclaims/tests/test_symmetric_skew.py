"""Norms of W_sym and W_skew against numpy on whole matrices, closed forms and real GPT-2 small."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from headclaims.circuit.eigenspectrum import head_spectra
from headclaims.circuit.qk_circuit import QKCircuit, core, span, symmetric_part
from headclaims.circuit.symmetric_skew import PartNorms, largest_skew_self_score, part_norms, random_vectors
from headclaims.tests import real_gpt2


def norms_of(W_Q: np.ndarray, W_K: np.ndarray) -> PartNorms:
    """The norms of heads, by the code under test, from their factors [head, d_model, d_head]."""
    R = span(torch.from_numpy(W_Q), torch.from_numpy(W_K))
    return part_norms(R, torch.linalg.eigvalsh(symmetric_part(core(R))))


@pytest.mark.parametrize(("d_model", "d_head"), [(24, 5), (10, 5), (7, 5), (4, 5)])
def test_norms_are_those_of_the_whole_matrices(d_model: int, d_head: int) -> None:
    W_Q, W_K = np.random.default_rng(d_model).normal(size=(2, 3, d_model, d_head))
    found = norms_of(W_Q, W_K)
    for head in range(3):
        W = W_Q[head] @ W_K[head].T
        symmetric, skew = (W + W.T) / 2, (W - W.T) / 2
        assert float(found.symmetric[head]) == pytest.approx(np.linalg.svd(symmetric, compute_uv=False)[0])
        assert float(found.skew[head]) == pytest.approx(np.linalg.svd(skew, compute_uv=False)[0])
        assert float(found.symmetric_frobenius[head]) == pytest.approx(np.sqrt((symmetric**2).sum()))
        assert float(found.skew_frobenius[head]) == pytest.approx(np.sqrt((skew**2).sum()))
        ratio = np.linalg.norm(skew, ord=2) / np.linalg.norm(symmetric, ord=2)
        assert float(found.ratio[head]) == pytest.approx(ratio)


def test_norms_of_one_plane_are_a_closed_form() -> None:
    # W = λ a (a + t b)ᵀ, a and b orthonormal: on their plane [[λ, λt], [0, 0]]. W_sym has eigenvalues
    # λ(1 ± √(1 + t²))/2, W_skew ±iλt/2. λ = −3, t = 0.75: −3(1 + 1.25)/2 = −3.375, 0.375, and 1.125.
    a, b = np.eye(6)[1], np.eye(6)[4]
    found = norms_of((-3 * a)[None, :, None], (a + 0.75 * b)[None, :, None])
    assert float(found.symmetric[0]) == pytest.approx(3.375)
    assert float(found.symmetric_frobenius[0]) == pytest.approx(np.hypot(3.375, 0.375))
    assert float(found.skew[0]) == pytest.approx(1.125)
    assert float(found.skew_frobenius[0]) == pytest.approx(1.125 * np.sqrt(2))
    assert float(found.ratio[0]) == pytest.approx(1 / 3)


def test_a_symmetric_circuit_has_no_skew_part() -> None:
    W = np.random.default_rng(0).normal(size=(1, 12, 3))
    assert float(norms_of(W, W).ratio[0]) < 1e-14
    assert float(norms_of(W, -W).ratio[0]) < 1e-14


def random_circuit(dtype: torch.dtype = torch.float32) -> QKCircuit:
    """A circuit of Gaussian weights."""
    generator = torch.Generator().manual_seed(0)
    W_Q, W_K = (torch.randn(20, 4, generator=generator, dtype=dtype) for _ in range(2))
    return QKCircuit(W_Q, W_K, torch.zeros(4, dtype=dtype), torch.zeros(4, dtype=dtype), 0.5)


def skew_norm_of(circuit: QKCircuit) -> float:
    """‖W_skew‖ by numpy, in float64."""
    W = circuit.W_Q.double().numpy() @ circuit.W_K.double().numpy().T
    return float(np.linalg.svd((W - W.T) / 2, compute_uv=False)[0])


def self_score(circuit: QKCircuit, x: torch.Tensor, batch: int = 4096) -> float:
    """What is under test, given the circuit's own norm."""
    return largest_skew_self_score(circuit, x, skew_norm_of(circuit), batch)


def test_no_vector_scores_itself_by_the_skew_part() -> None:
    # Weights in float32, the form in float64: 1e-12 holds with room, float32's 1e-7 would not.
    assert 0 < self_score(random_circuit(), random_vectors(20, seed=0)) < 1e-15


def test_the_largest_self_score_is_relative_to_the_vector_and_the_norm() -> None:
    # Powers of two scale rounding errors exactly.
    circuit, x = random_circuit(torch.float64), random_vectors(20, seed=0, n=50)
    bare = self_score(circuit, x)
    assert self_score(circuit, 1024 * x) == bare
    larger = QKCircuit(64 * circuit.W_Q, circuit.W_K, circuit.b_Q, circuit.b_K, circuit.scale)
    assert self_score(larger, x) == pytest.approx(bare, rel=1e-12)
    assert largest_skew_self_score(circuit, x, 4 * skew_norm_of(circuit)) == bare / 4


def test_a_score_below_0_counts_as_one_above() -> None:
    # Rounding errors have either sign; some vanish.
    circuit, x = random_circuit(torch.float64), random_vectors(20, seed=0, n=60)
    assert sum(self_score(circuit, one[None]) > 0 for one in x) > 40


@pytest.mark.parametrize("at", [0, 13, 29])
def test_the_largest_self_score_is_that_of_any_batch(at: int) -> None:
    # Vectors of whole numbers in a circuit of whole numbers score 0 without rounding; one that isn't whole stands out.
    W_Q, b_Q = torch.arange(12.0, dtype=torch.float64).reshape(6, 2), torch.zeros(2, dtype=torch.float64)
    whole = QKCircuit(W_Q, W_Q.roll(1, 0), b_Q, b_Q, 1.0)
    x = torch.arange(180, dtype=torch.float64).reshape(30, 6) % 7 + 1
    assert self_score(whole, x) == 0
    x[at] = random_vectors(6, seed=2, n=1)[0]
    for batch in (7, 30, 4096):
        assert 0 < self_score(whole, x, batch) < 1e-14


@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_zero_vector_hides_no_other(at: int) -> None:
    # 0ᵀ W_skew 0 = 0 of ‖0‖² is no number; the other vectors' largest must not vanish in it.
    circuit, x = random_circuit(torch.float64), random_vectors(20, seed=0, n=9)
    with_zero = torch.cat([x[:at], torch.zeros(1, 20, dtype=torch.float64), x[at:]])
    assert self_score(circuit, with_zero) > 0


def test_a_vector_of_nan_is_not_passed_over() -> None:
    x = random_vectors(20, seed=0, n=9)
    x[3, 3] = torch.nan
    largest = float("nan")
    with suppress(ValueError):  # to refuse it will do as well
        largest = self_score(random_circuit(torch.float64), x)
    assert np.isnan(largest)


def test_random_vectors_come_by_seed() -> None:
    x = random_vectors(5, seed=1)
    assert x.shape == (4096, 5)
    assert x.dtype == torch.float64
    assert torch.equal(x, random_vectors(5, seed=1))
    assert not torch.equal(x, random_vectors(5, seed=2))
    assert float(x.mean()) == pytest.approx(0, abs=4 / np.sqrt(5 * 4096))
    assert float(x.var()) == pytest.approx(1, abs=4 * np.sqrt(2 / (5 * 4096)))


@real_gpt2.needs_weights
def test_norms_of_l1h5_of_real_gpt2_small() -> None:
    norms = real_gpt2.spectra().norms
    at = real_gpt2.AT
    assert float(norms.symmetric[at]) == pytest.approx(1.86104, abs=5e-6)
    assert float(norms.skew[at]) == pytest.approx(1.34723, abs=5e-6)
    assert float(norms.symmetric_frobenius[at]) == pytest.approx(9.22976, abs=5e-6)
    assert float(norms.skew_frobenius[at]) == pytest.approx(7.64849, abs=5e-6)


@real_gpt2.needs_weights
def test_norms_of_l1h5_of_real_gpt2_small_by_the_whole_matrices() -> None:
    W_Q, W_K = real_gpt2.target_weights()
    W = W_Q @ W_K.T
    symmetric, skew = (W + W.T) / 2, (W - W.T) / 2
    norms = real_gpt2.spectra().norms
    at = real_gpt2.AT
    start = np.random.default_rng(0).normal(size=real_gpt2.D_MODEL)
    # Lanczos on the whole matrices; W_skewᵀ W_skew has the squares of W_skew's singular values.
    largest, squared = (float(eigsh(M, k=1, v0=start)[0][0]) for M in (symmetric, skew.T @ skew))
    assert float(norms.symmetric[at]) == pytest.approx(abs(largest), rel=1e-10)
    assert float(norms.skew[at]) == pytest.approx(np.sqrt(squared), rel=1e-10)
    assert float(norms.symmetric_frobenius[at]) == pytest.approx(np.linalg.norm(W + W.T) / 2, rel=1e-10)
    assert float(norms.skew_frobenius[at]) == pytest.approx(np.linalg.norm(W - W.T) / 2, rel=1e-10)


@real_gpt2.needs_weights
def test_l1h5_s_ratios_among_all_heads_of_real_gpt2_small() -> None:
    norms = real_gpt2.spectra().norms
    at = real_gpt2.AT
    of_norms = norms.skew_frobenius / norms.symmetric_frobenius
    assert float(norms.ratio[at]) == pytest.approx(0.724, abs=5e-4)
    assert float(of_norms[at]) == pytest.approx(0.829, abs=5e-4)
    assert len(norms.ratio) == 144
    assert int((norms.ratio < norms.ratio[at]).sum()) + 1 == 18
    assert int((of_norms < of_norms[at]).sum()) + 1 == 10


@real_gpt2.needs_weights
@pytest.mark.parametrize(
    ("folded", "symmetric", "skew", "last_digit"), [(True, 1.86526, 1.35206, 5e-6), (False, 38.206, 26.037, 5e-4)]
)
def test_weights_that_are_not_centred_or_not_folded_have_other_norms(
    folded: bool, symmetric: float, skew: float, last_digit: float
) -> None:
    W_Q, W_K = real_gpt2.target_weights(folded=folded, centred=False)
    norms = head_spectra(span(torch.from_numpy(W_Q)[None], torch.from_numpy(W_K)[None])).norms
    assert float(norms.symmetric[0]) == pytest.approx(symmetric, abs=last_digit)
    assert float(norms.skew[0]) == pytest.approx(skew, abs=last_digit)


@real_gpt2.needs_weights
def test_l1h5_of_real_gpt2_small_scores_no_vector_by_its_skew_part() -> None:
    W_Q, W_K = (torch.from_numpy(W).float() for W in real_gpt2.target_weights())
    circuit = QKCircuit(W_Q, W_K, torch.zeros(64), torch.zeros(64), 0.125)
    assert 0 < largest_skew_self_score(circuit, random_vectors(768, seed=0, n=500), 1.34723) < 1e-12
