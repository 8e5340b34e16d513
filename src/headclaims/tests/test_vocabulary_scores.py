"""Scores between tokens of the vocabulary: by plain loops over tokens and offsets, and full sorts."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.qk_circuit import QKCircuit
from headclaims.vocabulary_scores import TokenScores, mean_rotation, top_keys

D_MODEL, D_HEAD, LENGTH = 7, 4, 6
FREQUENCIES = (0.9, 0.2)


def turn_by(offset: int) -> Tensor:
    """R of an offset: the two planes of a head of width 4, turned by two frequencies."""
    R = torch.zeros(D_HEAD, D_HEAD, dtype=torch.float64)
    for plane, frequency in enumerate(FREQUENCIES):
        c, s = math.cos(offset * frequency), math.sin(offset * frequency)
        R[2 * plane : 2 * plane + 2, 2 * plane : 2 * plane + 2] = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    return R


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def circuit() -> QKCircuit:
    """A head of random weights and biases whose scale is no power of its width."""
    W_Q, W_K = drawn(2, D_MODEL, D_HEAD, seed=0)
    b_Q, b_K = drawn(2, D_HEAD, seed=1)
    return QKCircuit(W_Q, W_K, b_Q, b_K, 0.37)


def score(circuit: QKCircuit, x: Tensor, y: Tensor, offset: int | None, biased: bool) -> float:
    """One score, sum by sum; without an offset there is no rotation."""
    q = [sum(float(x[d] * circuit.W_Q[d, h]) for d in range(D_MODEL)) for h in range(D_HEAD)]
    k = [sum(float(y[d] * circuit.W_K[d, h]) for d in range(D_MODEL)) for h in range(D_HEAD)]
    if biased:
        q = [value + float(circuit.b_Q[h]) for h, value in enumerate(q)]
        k = [value + float(circuit.b_K[h]) for h, value in enumerate(k)]
    if offset is not None:
        R = turn_by(offset)
        q = [sum(q[h] * float(R[h, g]) for h in range(D_HEAD)) for g in range(D_HEAD)]
    return 0.37 * sum(a * b for a, b in zip(q, k, strict=True))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
def test_scores_among_tokens_are_those_of_loops(circuit: QKCircuit, biased: bool, rotary: bool) -> None:
    """Off the diagonal the mean over offsets 1…S − 1, on it the score at offset 0."""
    x = drawn(5, D_MODEL, seed=2)
    turn = mean_rotation(lambda offset: turn_by(offset) if rotary else None, LENGTH)
    scores = TokenScores.of(circuit, x, x, turn, biased).matrix()
    for i in range(5):
        for j in range(5):
            offsets = range(1, LENGTH) if rotary else [None]
            mean = np.mean([score(circuit, x[i], x[j], offset, biased) for offset in offsets])
            expected = score(circuit, x[i], x[i], None, biased) if i == j else mean
            assert float(scores[i, j]) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_queries_and_keys_may_be_other_tokens(circuit: QKCircuit) -> None:
    """`own` is each query's score with itself, whatever the keys are; biases are in by default."""
    x, y = drawn(3, D_MODEL, seed=3), drawn(5, D_MODEL, seed=4)
    scores = TokenScores.of(circuit, x, y, None)
    both = (scores.queries @ scores.keys.T).numpy()
    assert both == pytest.approx(np.array([[score(circuit, a, b, None, True) for b in y] for a in x]), rel=1e-10)
    assert scores.own.numpy() == pytest.approx(np.array([score(circuit, a, a, None, True) for a in x]), rel=1e-10)
    with pytest.raises(ValueError, match="3 queries and 5 keys"):
        scores.matrix()


def test_the_matrix_leaves_the_factors_as_they_are() -> None:
    """By hand: two tokens, keys the axes."""
    scores = TokenScores(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.eye(2), torch.tensor([-5.0, -6.0]))
    assert scores.matrix().tolist() == [[-5.0, 2.0], [3.0, -6.0]]
    assert scores.queries.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_the_mean_rotation_of_one_plane_has_a_closed_form() -> None:
    """Offsets 1…n of a frequency ω: Σ cos(ωd) = sin(nω/2) cos((n + 1)ω/2)/sin(ω/2), and with sin for the sines."""
    mean = mean_rotation(turn_by, LENGTH)
    assert mean is not None
    n = LENGTH - 1
    for plane, w in enumerate(FREQUENCIES):
        common = math.sin(n * w / 2) / math.sin(w / 2) / n
        c, s = common * math.cos((n + 1) * w / 2), common * math.sin((n + 1) * w / 2)
        block = mean[2 * plane : 2 * plane + 2, 2 * plane : 2 * plane + 2]
        assert block.numpy() == pytest.approx(np.array([[c, s], [-s, c]]), abs=1e-12)
    assert mean[:2, 2:].abs().max() == 0


def test_offsets_run_from_one_to_the_last_position() -> None:
    asked: list[int] = []

    def rotation(offset: int) -> Tensor:
        asked.append(offset)
        return torch.eye(2)

    mean_rotation(rotation, 4)
    assert asked == [1, 2, 3]
    assert mean_rotation(lambda _: None, 4) is None


def sorted_in_full(matrix: Tensor, k: int) -> list[list[int]]:
    """The k highest keys of each row, equal ones in the order of keys, by a full sort in Python."""
    return [sorted(range(len(row)), key=lambda key, row=row: (-row[key], key))[:k] for row in matrix.tolist()]


@pytest.mark.parametrize("tile", [1, 3, 7, 10, 40, 41, 8192])
@pytest.mark.parametrize("k", [1, 4, 10, 40])
def test_top_keys_are_those_of_a_full_sort(tile: int, k: int) -> None:
    """Small integers as scores, so that most are tied, within tiles and at their boundaries."""
    draw = np.random.default_rng(5)
    queries = torch.from_numpy(draw.integers(-2, 3, size=(12, 2))).float()
    keys = torch.from_numpy(draw.integers(-2, 3, size=(40, 2))).float()
    own_key = torch.from_numpy(draw.permutation(40)[:12])
    own = torch.from_numpy(draw.integers(-9, 10, size=12)).float()
    matrix = queries @ keys.T
    matrix[torch.arange(12), own_key] = own
    found = top_keys(TokenScores(queries, keys, own), own_key, k, tile)
    expected = sorted_in_full(matrix, k)
    assert found.keys.tolist() == expected
    assert found.scores.tolist() == [[float(row[key]) for key in best] for row, best in zip(matrix, expected)]  # noqa: B905
    rank = [order.index(key) for order, key in zip(sorted_in_full(matrix, 40), own_key.tolist(), strict=True)]
    assert found.own_rank.tolist() == rank


@pytest.mark.parametrize("tile", [2, 5])
def test_the_own_score_takes_the_place_of_the_product(tile: int) -> None:
    """By hand: products 5 4 3 2 1, the own key 1; its own score, not its product 4, says where it stands."""
    queries, keys = torch.ones(1, 1), torch.tensor([[5.0], [4.0], [3.0], [2.0], [1.0]])
    for own, order, rank in ((9.0, [1, 0, 2], 0), (0.0, [0, 2, 3], 4), (3.0, [0, 1, 2], 1), (2.0, [0, 2, 1], 2)):
        found = top_keys(TokenScores(queries, keys, torch.tensor([own])), torch.tensor([1]), 3, tile)
        assert found.keys[0].tolist() == order
        assert found.own_rank.tolist() == [rank]


def test_no_more_than_all_keys_can_be_asked_for() -> None:
    scores = TokenScores(torch.ones(2, 1), torch.ones(3, 1), torch.ones(2))
    assert top_keys(scores, torch.tensor([0, 1]), 3).keys.tolist() == [[0, 1, 2], [0, 1, 2]]
    with pytest.raises(ValueError, match="4 highest of 3 keys"):
        top_keys(scores, torch.tensor([0, 1]), 4)
