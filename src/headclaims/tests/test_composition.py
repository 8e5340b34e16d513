"""Composition of heads: against the products written out, and on the real attention weights of GPT-2 small."""

import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Head
from headclaims.checkpoint.ov_weights import OVWeights
from headclaims.checkpoint.weights import QKWeights
from headclaims.circuit.composition import (
    Compositions,
    all_compositions,
    compositions,
    reading_factors,
    writing_factors,
)
from headclaims.circuit.ov_circuit import OVCircuit, positive_share
from headclaims.errors import NotAssessable
from headclaims.tests.real_gpt2 import WEIGHTS, needs_weights
from headclaims.tests.small_models import build

PREVIOUS = Head(4, 11)
# The literature's induction heads, with their K-composition over the largest of any other earlier head.
ABOVE_ONE = {
    "L6H9": 1.106,
    "L5H0": 1.082,
    "L5H5": 1.078,
    "L7H11": 1.077,
    "L7H10": 1.056,
    "L5H1": 1.048,
    "L7H2": 1.003,
}


def drawn(heads: int, seed: int, d_model: int = 10, d_head: int = 3) -> list[np.ndarray]:
    """Gaussian W_Q, W_K, W_V [head, d_model, d_head] and W_O [head, d_head, d_model]."""
    draw = np.random.default_rng(seed).standard_normal
    return [draw((heads, d_model, d_head)) for _ in range(3)] + [draw((heads, d_head, d_model))]


def layer_of(W: list[np.ndarray]) -> tuple[QKWeights, OVWeights]:
    q, k, v, o = (torch.from_numpy(part).float() for part in W)
    nothing = torch.zeros(len(q), q.shape[2])
    return QKWeights(q, k, nothing, nothing, 1.0), OVWeights(v, o)


def written_out(q: np.ndarray, k: np.ndarray, v: np.ndarray, o: np.ndarray) -> float:
    """‖W_QK W_OVᵀ‖/(‖W_QK‖ ‖W_OV‖) with d_model × d_model matrices: the writer's output, v o, enters k."""
    W_QK, W_OV = q @ k.T, v @ o
    return float(np.linalg.norm(W_QK @ W_OV.T) / (np.linalg.norm(W_QK) * np.linalg.norm(W_OV)))


def test_compositions_are_those_of_the_products_written_out() -> None:
    early, late = drawn(2, 0), drawn(3, 1)
    (_, ov), (qk, _) = layer_of(early), layer_of(late)
    keys = compositions(reading_factors(qk, "keys"), writing_factors(ov)).numpy()
    queries = compositions(reading_factors(qk, "queries"), writing_factors(ov)).numpy()
    for b in range(3):
        for a in range(2):
            q, k, v, o = late[0][b], late[1][b], early[2][a], early[3][a]
            assert keys[b, a] == pytest.approx(written_out(q, k, v, o), rel=1e-5)
            assert queries[b, a] == pytest.approx(written_out(k, q, v, o), rel=1e-5)


def test_a_head_that_reads_what_another_writes_composes_wholly_and_one_that_reads_elsewhere_not_at_all() -> None:
    """With k = oᵀ and q, v orthonormal ‖q o oᵀ v‖ = ‖I‖ = √h, over √h √h: 1/√h, the most that such factors give."""
    basis = np.linalg.qr(np.random.default_rng(2).standard_normal((12, 12))).Q
    q, written, elsewhere, v = (basis[None, :, i : i + 3] for i in (0, 3, 6, 9))
    _, ov = layer_of([q, q, v, written.transpose(0, 2, 1)])
    same, _ = layer_of([q, written, v, written.transpose(0, 2, 1)])
    apart, _ = layer_of([q, elsewhere, v, written.transpose(0, 2, 1)])
    assert float(compositions(reading_factors(same, "keys"), writing_factors(ov))) == pytest.approx(3**-0.5)
    assert float(compositions(reading_factors(apart, "keys"), writing_factors(ov))) == pytest.approx(0, abs=1e-6)


def test_a_head_without_weights_composes_with_none() -> None:
    W = drawn(2, 3)
    W[2][1] = 0
    qk, ov = layer_of(W)
    found = compositions(reading_factors(qk, "keys"), writing_factors(ov)).numpy()
    assert (found[:, 1] == 0).all()
    assert (found[:, 0] > 0).all()


def three_layers() -> Compositions:
    heads = tuple(Head(layer, index) for layer in range(3) for index in range(2))
    matrix = np.full((6, 6), np.nan)
    matrix[2:4, :2] = [[0.1, 0.2], [0.4, 0.3]]
    matrix[4:, :4] = [[0.1, 0.2, 0.5, 0.4], [0.3, 0.1, 0.2, 0.2]]
    return Compositions(heads, matrix)


def test_above_others_is_over_the_largest_of_every_earlier_layer() -> None:
    found = three_layers()
    assert found.above_others(Head(0, 1), Head(1, 0)) == pytest.approx(2)
    assert found.above_others(Head(1, 0), Head(2, 0)) == pytest.approx(0.5 / 0.4)
    assert found.above_others(Head(0, 0), Head(2, 0)) == pytest.approx(0.1 / 0.5)
    assert found.above_others(Head(0, 0), Head(2, 1)) == pytest.approx(0.3 / 0.2)


def test_what_does_not_compose_says_so() -> None:
    found = three_layers()
    with pytest.raises(NotAssessable, match="not in a layer before"):
        found.of(Head(1, 0), Head(1, 1))
    with pytest.raises(NotAssessable, match="lacks its weights"):
        found.of(Head(0, 5), Head(1, 1))
    part = Compositions(found.heads[2:], found.matrix[2:, 2:])
    with pytest.raises(NotAssessable, match="layer 0 is lacking"):
        part.above_others(Head(1, 0), Head(2, 0))


def test_a_model_s_compositions_are_those_of_its_folded_weights_written_out(tmp_path: Path) -> None:
    """From transformers' own parameters: gain into W_Q, W_K and W_V, columns centred, rows of W_O centred."""
    small = build("gpt2", tmp_path)
    found = all_compositions(load(str(tmp_path)), "keys")

    def parts(layer: int, head: int) -> list[np.ndarray]:
        block, d, h = small.block(layer), 48, 12
        gain = block.ln_1.weight.detach().double().numpy()[:, None]
        fused = gain * block.attn.c_attn.weight.detach().double().numpy()
        fused = fused - fused.mean(axis=0)
        W_O = block.attn.c_proj.weight.detach().double().numpy()[head * h : (head + 1) * h]
        return [*(fused[:, i * d + head * h :][:, :h] for i in range(3)), W_O - W_O.mean(axis=1, keepdims=True)]

    for writer, reader in [((0, 1), (1, 3)), ((0, 0), (2, 2)), ((1, 2), (2, 0))]:
        q, k, _, _ = parts(*reader)
        _, _, v, o = parts(*writer)
        assert found.of(Head(*writer), Head(*reader)) == pytest.approx(written_out(q, k, v, o), rel=1e-4)


def test_composition_is_not_defined_with_rotary_positions(tmp_path: Path) -> None:
    build("llama", tmp_path)
    with pytest.raises(NotAssessable, match="not defined with rotary positions"):
        all_compositions(load(str(tmp_path)), "keys")


@cache
def of_gpt2() -> tuple[Compositions, float]:
    checkpoint = load(str(WEIGHTS))
    start = time.process_time()
    return all_compositions(checkpoint, "keys"), time.process_time() - start


@pytest.mark.slow
@needs_weights
def test_all_pairs_of_gpt2_small_take_less_than_twenty_seconds_of_one_core() -> None:
    found, seconds = of_gpt2()
    assert np.isfinite(found.matrix).sum() == 9504
    assert seconds < 20


@pytest.mark.slow
@needs_weights
def test_k_composition_singles_out_seven_heads_of_gpt2_small() -> None:
    found, _ = of_gpt2()
    later = [head for head in found.heads if head.layer > PREVIOUS.layer]
    ratios = {head.label: found.above_others(PREVIOUS, head) for head in later}
    assert len(ratios) == 84
    above = {label: ratio for label, ratio in sorted(ratios.items(), key=lambda item: -item[1]) if ratio > 1}
    assert list(above) == list(ABOVE_ONE)
    for label, ratio in ABOVE_ONE.items():
        assert above[label] == pytest.approx(ratio, abs=6e-4)
    assert found.of(PREVIOUS, Head(5, 5)) == pytest.approx(0.0972, abs=5e-5)
    assert found.of(Head(4, 7), Head(5, 5)) == pytest.approx(0.0902, abs=5e-5)
    assert sum(ratio >= ratios["L5H5"] for ratio in ratios.values()) == 3


def test_ov_circuit_in_factors_is_the_product_written_out() -> None:
    draw = np.random.default_rng(4).standard_normal
    W_V, W_O, E, W_U = draw((9, 3)), draw((3, 9)), draw((7, 9)), draw((9, 7))
    ov = OVCircuit(torch.from_numpy(W_V), torch.from_numpy(W_O))
    assert ov.norm == pytest.approx(np.linalg.norm(W_V @ W_O))
    logits = ov.reading(torch.from_numpy(E)) @ ov.writing(torch.from_numpy(W_U)).T
    assert_allclose(logits.numpy(), E @ W_V @ W_O @ W_U)
    every = np.linalg.eigvals(E @ W_V @ W_O @ W_U)
    largest = every[np.argsort(-np.abs(every))[:3]]
    found = ov.eigenvalues(torch.from_numpy(E), torch.from_numpy(W_U)).numpy()
    assert_allclose(np.sort_complex(found), np.sort_complex(largest))
    centred = np.linalg.eigvals((E - E.mean(axis=0)) @ W_V @ W_O @ W_U)
    largest = centred[np.argsort(-np.abs(centred))[:3]]
    found = ov.eigenvalues(torch.from_numpy(E), torch.from_numpy(W_U), centred=True).numpy()
    assert_allclose(np.sort_complex(found), np.sort_complex(largest))


def test_positive_share_of_a_copying_and_of_an_opposing_head() -> None:
    """W_O = ±W_Vᵀ and W_U = Eᵀ: all eigenvalues are ± squares; a turn by 90° has none that is real."""
    draw = np.random.default_rng(5).standard_normal
    W_V, E = torch.from_numpy(draw((9, 2))), torch.from_numpy(draw((7, 9)))
    assert positive_share(OVCircuit(W_V, W_V.T).eigenvalues(E, E.T)) == pytest.approx(1)
    assert positive_share(OVCircuit(W_V, -W_V.T).eigenvalues(E, E.T)) == pytest.approx(-1)
    assert positive_share(torch.tensor([1j, -1j])) == 0
    with pytest.raises(ValueError, match="all eigenvalues are 0"):
        positive_share(torch.zeros(2, dtype=torch.complex128))
