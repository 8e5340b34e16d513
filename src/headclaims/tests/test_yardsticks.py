"""Yardsticks: the same answers as the sweep, scores as spread as they should be, memory and time as they are."""

import time

import numpy as np
import pytest
import torch

from headclaims.benchmarks.yardsticks import (
    SPREAD,
    bare_products,
    dense_way,
    fastest,
    give_back,
    peak_growth,
    random_factors,
    random_head,
)
from headclaims.vocabulary.scores import sweep
from headclaims.vocabulary.token_scores import TokenScores


def test_the_dense_way_answers_the_same() -> None:
    E, circuit = random_head(400, 48, 8, seed=1)
    dense, swept = dense_way(E, circuit), sweep(TokenScores.of(circuit, E, E, None), torch.arange(400), 10)
    assert torch.equal(dense.keys, swept.keys)
    assert torch.equal(dense.own_rank.long(), swept.own_rank)
    assert dense.log_sum_exp.numpy() == pytest.approx(swept.log_sum_exp.numpy(), abs=1e-4)


def test_scores_spread_as_a_head_s() -> None:
    queries, keys = random_factors(2000, 64, seed=0)
    assert float((queries @ keys.T).std()) == pytest.approx(SPREAD, rel=0.05)
    E, circuit = random_head(2000, 96, 64, seed=0)
    assert float(circuit.scores(E, E).std()) == pytest.approx(SPREAD, rel=0.1)
    assert E.square().mean(dim=1).numpy() == pytest.approx(np.ones(2000), rel=1e-5)


@pytest.mark.parametrize("freed", [False, True], ids=["", "from a heap with room"])
def test_growth_is_what_was_held_at_most(freed: bool) -> None:
    """128 MiB, given back before the end."""
    if freed:
        # Pieces too small to be mapped apart, freed all but the last: the heap keeps their room.
        pieces = [np.ones(12_000) for _ in range(2000)]
        pieces[:-1] = []

    def work() -> float:
        held = np.ones(2**24)
        time.sleep(0.2)
        return float(held.sum())

    give_back()
    made, growth = peak_growth(work)
    assert made == 2**24
    assert 120 * 2**20 < growth < 200 * 2**20


def test_the_fastest_of_some_rounds_leaves_the_first_out() -> None:
    pauses = iter([0.0, 0.3, 0.1, 0.2])
    assert 0.1 <= fastest(lambda: time.sleep(next(pauses)), 3) < 0.2
    assert fastest(lambda: None, 1) < 0.1


def test_the_bare_product_takes_any_shape() -> None:
    bare_products([(torch.ones(3, 2), torch.ones(1500, 2)), (torch.ones(1, 1), torch.ones(1, 1))])
