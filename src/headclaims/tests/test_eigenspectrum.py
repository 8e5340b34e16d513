"""Spectra against dense float64 eigenproblems, closed forms and real GPT-2 small."""

import time

import numpy as np
import pytest
import torch

from headclaims.circuit.eigenspectrum import (
    HeadSpectra,
    column_rank_ratio,
    head_spectra,
    leading_negative_count,
    spectra_from,
    spectra_tensors,
)
from headclaims.circuit.qk_circuit import span
from headclaims.tests import real_gpt2


def spectra_of(W_Q: np.ndarray, W_K: np.ndarray, at_once: int = 256) -> HeadSpectra:
    """The spectra of heads, by the code under test, from their factors [head, d_model, d_head]."""
    return head_spectra(span(torch.from_numpy(W_Q), torch.from_numpy(W_K)), at_once)


def dense_eigenvalues(W_Q: np.ndarray, W_K: np.ndarray) -> np.ndarray:
    """All d_model eigenvalues of one head's W_sym, in float64."""
    W = W_Q.astype(np.float64) @ W_K.astype(np.float64).T
    return np.linalg.eigvalsh((W + W.T) / 2)


def count_by_sorting(eigenvalues: np.ndarray, d_head: int) -> int:
    """Negatives among the d_head largest in magnitude."""
    return sum(bool(value < 0) for value in sorted(eigenvalues, key=abs)[-d_head:])


def test_scaled_spectra_are_those_of_scaled_weights() -> None:
    W_Q, W_K = np.random.default_rng(3).normal(size=(2, 4, 40, 6))
    scaled, expected = spectra_of(W_Q, W_K).scaled(0.5 * 3.0), spectra_of(0.5 * W_Q, 3.0 * W_K)
    assert scaled.d_head == 6
    for name, tensor in spectra_tensors(expected).items():
        torch.testing.assert_close(spectra_tensors(scaled)[name], tensor, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("d_model", "d_head"), [(40, 6), (13, 6), (12, 6), (9, 6), (5, 6)])
def test_spectra_are_those_of_the_dense_matrix(d_model: int, d_head: int) -> None:
    W_Q, W_K = np.random.default_rng(d_model).normal(size=(2, 4, d_model, d_head))
    found = spectra_of(W_Q, W_K)
    assert found.eigenvalues.dtype == torch.float64
    for head in range(4):
        dense = dense_eigenvalues(W_Q[head], W_K[head])
        # The rest of the d_model eigenvalues are 0.
        padded = np.sort(np.append(found.eigenvalues[head].numpy(), np.zeros(max(d_model - 2 * d_head, 0))))
        assert padded == pytest.approx(dense, abs=1e-11)
        assert int(found.negative_count[head]) == count_by_sorting(dense, d_head)


@pytest.mark.parametrize("d_head", [1, 4, 16])
def test_inertia_of_full_column_rank(d_head: int) -> None:
    W_Q, W_K = np.random.default_rng(d_head).normal(size=(2, 5, 40, d_head))
    found = spectra_of(W_Q, W_K)
    assert found.signs.tolist() == [[d_head, d_head]] * 5
    assert found.eigenvalues.shape == (5, 2 * d_head)


def test_signs_are_positive_then_negative() -> None:
    # d_model 2 and d_head 2 leave two eigenvalues: W = diag(−1, −2).
    found = spectra_of(np.eye(2)[None], np.diag([-1.0, -2.0])[None])
    assert found.signs.tolist() == [[0, 2]]
    assert found.eigenvalues[0].tolist() == pytest.approx([-2, -1])


def test_rank_ratio_is_that_of_the_columns_singular_values() -> None:
    W_Q, W_K = np.random.default_rng(1).normal(size=(2, 3, 20, 4))
    W_K[1] = 3 * W_Q[1]  # one circuit whose keys are its queries: rank 4 of 8
    W_K[2, :, 0] = W_Q[2, :, 1] + 1e-9 * W_K[2, :, 0]  # and one that nearly shares a column
    found = [column_rank_ratio(R) for R in span(torch.from_numpy(W_Q), torch.from_numpy(W_K))]
    columns = [np.linalg.svd(np.hstack([q, k]), compute_uv=False) for q, k in zip(W_Q, W_K, strict=True)]
    assert found[0] == pytest.approx(columns[0][-1] / columns[0][0])
    assert found[1] < 1e-14
    assert 1e-11 < found[2] < 1e-8
    assert found[2] == pytest.approx(columns[2][-1] / columns[2][0], rel=1e-4)


def test_more_columns_than_dimensions_have_rank_ratio_0() -> None:
    for d_model, zero in ((7, True), (8, False)):
        W_Q, W_K = torch.from_numpy(np.random.default_rng(2).normal(size=(2, d_model, 4)))
        assert (column_rank_ratio(span(W_Q, W_K)) == 0) is zero


def test_float32_on_all_of_d_model_would_show_a_full_rank() -> None:
    # The trap: W_sym has rank 2·d_head, and in float32 on d_model dimensions all its eigenvalues differ from 0, half of
    # them negative, so that counts of signs mean nothing. On the span, in float64, from the same float32 weights, none
    # is spurious.
    W_Q, W_K = np.random.default_rng(3).normal(size=(2, 1, 96, 8)).astype(np.float32)
    W = W_Q[0] @ W_K[0].T
    trapped = np.linalg.eigvalsh((W + W.T) / 2)
    assert trapped.dtype == np.float32
    assert (trapped < 0).sum() > 3 * 8
    found = spectra_of(W_Q, W_K)
    assert found.eigenvalues.dtype == torch.float64
    assert found.signs.tolist() == [[8, 8]]
    dense = dense_eigenvalues(W_Q[0], W_K[0])
    largest = np.sort(dense[np.argsort(abs(dense))[-16:]])
    assert found.eigenvalues[0].numpy() == pytest.approx(largest, rel=1e-10)


def test_a_circuit_of_planes_has_its_count() -> None:
    # W = Σ λ_i a_i (a_i + t b_i)ᵀ: eigenvalues λ_i(1 ± √(1 + t²))/2. With t = 0.5 the larger one, in magnitude at least
    # 1.06, has λ_i's sign, and the three others are at most 0.06 · 4 = 0.24.
    a, b = np.eye(8)[:3].T, np.eye(8)[3:6].T
    signs = np.array([4.0, -2.0, -1.0])
    found = spectra_of((signs * a)[None], (a + 0.5 * b)[None])
    r = np.sqrt(1.25)
    expected = sorted(value for s in signs for value in (s * (1 + r) / 2, s * (1 - r) / 2))
    assert found.eigenvalues[0].tolist() == pytest.approx(expected)
    assert found.negative_count.tolist() == [2]
    assert found.signs.tolist() == [[3, 3]]


def test_only_the_d_head_largest_in_magnitude_are_counted() -> None:
    spectrum = torch.tensor([[-9.0, -0.5, -0.4, 1.0, 2.0, 3.0], [-3.0, -2.0, -1.0, 0.4, 0.5, 9.0]])
    assert leading_negative_count(spectrum, 3).tolist() == [1, 2]
    assert leading_negative_count(spectrum, 1).tolist() == [1, 0]
    assert leading_negative_count(spectrum, 6).tolist() == [3, 3]
    assert int(leading_negative_count(spectrum[0], 3)) == 1


def test_heads_in_batches_are_the_same_heads() -> None:
    W_Q, W_K = np.random.default_rng(4).normal(size=(2, 7, 12, 3))
    whole, batched = spectra_of(W_Q, W_K), spectra_of(W_Q, W_K, at_once=3)
    assert batched.eigenvalues.numpy() == pytest.approx(whole.eigenvalues.numpy())
    assert batched.norms.skew.numpy() == pytest.approx(whole.norms.skew.numpy())
    assert batched.d_head == whole.d_head == 3


def test_spectra_leave_the_number_of_threads_as_it_was() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        spectra_of(*np.random.default_rng(6).normal(size=(2, 1, 6, 2)))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_what_a_cache_keeps_gives_the_spectra_again() -> None:
    W_Q, W_K = np.random.default_rng(5).normal(size=(2, 2, 12, 3))
    spectra = spectra_of(W_Q, W_K)
    again = spectra_from(spectra_tensors(spectra), 3)
    for name, tensor in vars(spectra.norms).items():
        assert torch.equal(getattr(again.norms, name), tensor), name
    assert torch.equal(again.eigenvalues, spectra.eigenvalues)
    assert again.d_head == 3


@real_gpt2.needs_weights
def test_counts_of_real_gpt2_small() -> None:
    spectra = real_gpt2.spectra()
    counts = spectra.negative_count.numpy()
    assert counts.shape == (144,)
    assert counts[real_gpt2.AT] == 33
    assert (counts.min(), counts.max(), np.median(counts)) == (2, 58, 34)


@real_gpt2.needs_weights
def test_inertia_of_real_gpt2_small() -> None:
    assert real_gpt2.spectra().signs.tolist() == [[64, 64]] * 144
    W_Q, W_K = real_gpt2.target_weights()
    columns = np.linalg.svd(np.hstack([W_Q, W_K]), compute_uv=False)
    found = column_rank_ratio(span(torch.from_numpy(W_Q), torch.from_numpy(W_K)))
    assert found == pytest.approx(columns[-1] / columns[0])
    assert found > 1e-6


@real_gpt2.needs_weights
def test_l1h5_of_real_gpt2_small_by_the_dense_matrix() -> None:
    dense = dense_eigenvalues(*real_gpt2.target_weights())
    kept = np.sort(dense[np.argsort(abs(dense))[-128:]])
    assert real_gpt2.spectra().eigenvalues[real_gpt2.AT].numpy() == pytest.approx(kept, abs=1e-10)
    assert count_by_sorting(dense, 64) == 33
    assert (dense < -1e-10).sum() == (dense > 1e-10).sum() == 64


def test_spectra_of_every_head_are_quick() -> None:
    """144 heads of GPT-2 small's shape are a null population: under five seconds, on one thread too."""
    W_Q, W_K = torch.randn(2, 144, 768, 64, generator=torch.Generator().manual_seed(0))
    start = time.monotonic()
    spectra = head_spectra(span(W_Q, W_K))
    assert time.monotonic() - start < 5
    assert spectra.signs.tolist() == [[64, 64]] * 144
