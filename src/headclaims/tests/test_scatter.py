"""Scatter in W_sym's eigenspaces: against loops over score matrices, dense matrices and traces, and by hand."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.circuit.scatter import Eigenspace, Scatter, permuted_contrasts, scatter

GROUP = np.array([0, 2, 0, 1, 1, 2, 0, 1, 1])  # of 3, 4 and 2 tokens, mixed
SIZES = {0: 3, 1: 4, 2: 2}
D_MODEL, D_HEAD, SCALE = 11, 3, 0.4
Case = tuple[QKCircuit, np.ndarray]
ALL_SEEDS = pytest.mark.parametrize("seed", range(6))


def drawn(seed: int, d_model: int = D_MODEL) -> Case:
    """A random circuit with biases, whose W_QK has a skew part, and tokens of `GROUP`."""
    draw = np.random.default_rng(seed)
    W_Q, W_K = (torch.from_numpy(draw.normal(size=(d_model, D_HEAD))) for _ in range(2))
    b_Q, b_K = (torch.from_numpy(draw.normal(size=D_HEAD)) for _ in range(2))
    tokens = draw.normal(size=(9, d_model)) + 2 * draw.normal(size=(3, d_model))[GROUP]
    return QKCircuit(W_Q, W_K, b_Q, b_K, SCALE), tokens


def of(case: Case) -> Scatter:
    """What is under test."""
    space = Eigenspace.of(case[0])
    return scatter(space.values.numpy(), space.coordinates(torch.from_numpy(case[1])), GROUP)


def dense(circuit: QKCircuit) -> np.ndarray:
    """W_QK · scale, whole."""
    return circuit.W_Q.numpy() @ circuit.W_K.numpy().T * circuit.scale


def changed(circuit: QKCircuit, change: str, alpha: float = 1.0) -> np.ndarray:
    """W_sym from all its d_model eigenvalues: their sizes (`abs`), or the negative ones times α (`steer`)."""
    values, vectors = np.linalg.eigh((dense(circuit) + dense(circuit).T) / 2)
    values = np.abs(values) if change == "abs" else np.where(values < 0, alpha * values, values)
    return np.asarray((vectors * values) @ vectors.T)


def dark_by_loops(scores: np.ndarray) -> float:
    """The mean over groups of (mean off-diagonal less mean diagonal score)."""
    by_group = []
    for g in SIZES:
        members = [i for i in range(len(GROUP)) if GROUP[i] == g]
        off = [scores[i, j] for i in members for j in members if i != j]
        by_group.append(np.mean(off) - np.mean([scores[i, i] for i in members]))
    return float(np.mean(by_group))


def between(tokens: np.ndarray) -> np.ndarray:
    """S_b."""
    return np.cov(np.stack([tokens[g == GROUP].mean(axis=0) for g in SIZES]).T)


def within(tokens: np.ndarray) -> np.ndarray:
    """S_w."""
    return np.asarray(sum(np.cov(tokens[g == GROUP].T) for g in SIZES) / len(SIZES))


@ALL_SEEDS
@pytest.mark.parametrize("d_model", [D_MODEL, 2 * D_HEAD, 4])  # of 4, W_Q and W_K span no more
def test_the_scatter_identity(seed: int, d_model: int) -> None:
    """D by loops over full scores, skew part and biases included, is −tr(W_sym S_w), and so what is measured."""
    circuit, tokens = case = drawn(seed, d_model)
    W_Q, W_K, b_Q, b_K = (w.numpy() for w in (circuit.W_Q, circuit.W_K, circuit.b_Q, circuit.b_K))
    expected = dark_by_loops((tokens @ W_Q + b_Q) @ (tokens @ W_K + b_K).T * SCALE)
    assert abs(expected) > 0.01
    assert -np.trace(dense(circuit) @ within(tokens)) == pytest.approx(expected, abs=1e-9)
    found = of(case)
    assert pytest.approx(expected, abs=1e-9) == found.D


@ALL_SEEDS
def test_negative_eigenvalues_darken_and_positive_ones_brighten(seed: int) -> None:
    """D₋ and D₊ are what either sign's dense part gives by loops."""
    circuit, tokens = case = drawn(seed)
    found = of(case)
    positive = changed(circuit, "steer", alpha=0.0)
    negative = changed(circuit, "steer") - positive
    assert found.D_negative >= 0 >= found.D_positive
    assert found.D_negative == pytest.approx(dark_by_loops(tokens @ negative @ tokens.T), abs=1e-9)
    assert found.D_positive == pytest.approx(dark_by_loops(tokens @ positive @ tokens.T), abs=1e-9)
    assert found.D_negative + found.D_positive == pytest.approx(dark_by_loops(tokens @ dense(circuit) @ tokens.T))


@ALL_SEEDS
def test_the_crossing_is_where_steered_scores_lose_their_diagonal(seed: int) -> None:
    circuit, tokens = case = drawn(seed)

    def dark(alpha: float) -> float:
        return dark_by_loops(tokens @ changed(circuit, "steer", alpha) @ tokens.T)

    crossing = of(case).crossing
    assert crossing == pytest.approx(brentq(dark, -100, 100, xtol=1e-12), rel=1e-8)
    assert (dark(1.0) > 0) == (0 <= crossing < 1)


@ALL_SEEDS
def test_b_and_w_are_quotients_of_traces(seed: int) -> None:
    circuit, tokens = case = drawn(seed)
    W, size = changed(circuit, "steer"), changed(circuit, "abs")
    b, w = (np.trace(W @ S) / np.trace(size @ S) for S in (between(tokens), within(tokens)))
    found = of(case)
    assert found.b().value == pytest.approx(b, rel=1e-9)
    assert found.w().value == pytest.approx(w, rel=1e-9)
    assert found.contrast().value == pytest.approx(b - w, rel=1e-9)
    assert abs(w) > 0.01
    assert abs(b) > 0.01


@ALL_SEEDS
def test_a_group_is_left_out_whole(seed: int) -> None:
    """w, b and b − w without each group are the quotients of traces of the tokens that are left."""
    circuit, tokens = case = drawn(seed)
    W, size = changed(circuit, "steer"), changed(circuit, "abs")
    found, w, b = of(case), [], []
    for left in SIZES:
        rest = [g for g in SIZES if g != left]
        S_w = sum(np.cov(tokens[g == GROUP].T) for g in rest) / 2
        S_b = np.cov(np.stack([tokens[g == GROUP].mean(axis=0) for g in rest]).T)
        w.append(np.trace(W @ S_w) / np.trace(size @ S_w))
        b.append(np.trace(W @ S_b) / np.trace(size @ S_b))
    assert found.w().jackknifed.left_out["groups"].ravel() == pytest.approx(np.array(w), rel=1e-9)
    assert found.b().jackknifed.left_out["groups"].ravel() == pytest.approx(np.array(b), rel=1e-9)
    assert found.contrast().jackknifed.left_out["groups"].ravel() == pytest.approx(np.array(b) - np.array(w), rel=1e-9)


def test_two_groups_by_hand() -> None:
    """Groups of two at (±1, 5) and of three at (0 or ±3, −5), eigenvalues −2 and 3."""
    values, group = np.array([-2.0, 3.0]), np.array([0, 0, 1, 1, 1])
    at = np.array([[1.0, 5], [-1, 5], [3, -5], [0, -5], [-3, -5]])
    found = scatter(values, at, group)
    assert found.mean_within.tolist() == [(2 / 1 + 18 / 2) / 2, 0]
    assert found.between.tolist() == [0, 50]
    assert (found.D, found.D_negative, found.crossing) == (11, 11, 0)
    assert (found.w().value, found.b().value, found.contrast().value) == (-1, 1, 2)
    turned = scatter(-values, at, group)
    assert (turned.D, turned.crossing, turned.contrast().value) == (-11, float("inf"), -2)


def test_the_largest_eigenvalues_are_so_in_magnitude() -> None:
    space = Eigenspace(torch.tensor([-5.0, -1.0, 0.5, 2.0]), torch.eye(4))
    largest = space.largest(2)
    assert largest.values.tolist() == [-5, 2]
    assert largest.vectors.T.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert space.largest(9).values.tolist() == space.values.tolist()


def by_traces(values: np.ndarray, tokens: np.ndarray, first: list[int]) -> float:
    """The contrast b − w of two groups, `first` and the rest."""
    groups = [tokens[first], np.delete(tokens, first, axis=0)]
    S_b, S_w = np.cov(np.stack([g.mean(axis=0) for g in groups]).T), sum(np.cov(g.T) for g in groups)
    b, w = (np.trace(np.diag(values) @ S) / np.trace(np.diag(np.abs(values)) @ S) for S in (S_b, S_w))
    return float(b - w)


def test_permuted_tokens_are_dealt_into_groups_of_the_same_sizes() -> None:
    """Of five tokens two can be chosen in ten ways: those and no other contrasts are found, each about as often."""
    draw = np.random.default_rng(3)
    values, tokens = np.array([-1.5, 0.5, 2.0]), draw.normal(size=(5, 3))
    group = np.array([1, 0, 1, 1, 0])
    possible = sorted(by_traces(values, tokens, list(pair)) for pair in combinations(range(5), 2))
    found = permuted_contrasts(values, tokens, group, n=400, seed=0)
    nearest = np.abs(found[:, None] - possible).argmin(axis=1)
    assert found == pytest.approx(np.array(possible)[nearest], abs=1e-9)
    assert (np.bincount(nearest, minlength=10) > 15).all()  # 40 in the mean, give or take 6
    assert np.array_equal(permuted_contrasts(values, tokens, group, n=400, seed=0), found)
    assert not np.array_equal(permuted_contrasts(values, tokens, group, n=400, seed=1), found)


@pytest.mark.parametrize(("group", "sizes"), [([0, 0, 1], r"\[2, 1\]"), ([4, 4, 4], r"\[3\]")])
def test_too_few_tokens_are_refused(group: list[int], sizes: str) -> None:
    with pytest.raises(ValueError, match=f"groups of {sizes} tokens; wanted two or more groups of two or more"):
        scatter(np.ones(2), np.ones((3, 2)), np.array(group))
