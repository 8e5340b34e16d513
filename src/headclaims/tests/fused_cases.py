"""Cases of the fused kernels: `test_fused` has Triton's interpreter run them; on an accelerator they run as they are.

A block is 1024 keys, and the interpreter takes some milliseconds for each row of one: there are few rows.
"""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from headclaims.tests.dense_scores import Dense, assert_swept, drawn
from headclaims.vocabulary import fused
from headclaims.vocabulary.cosine import BIN_WIDTH, N_BINS, SimilarityCurve, _margin, _unit
from headclaims.vocabulary.token_scores import Swept, TokenScores

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were swept once more, by torch."""
    numbers: list[int] = []
    true = fused.FusedSweep.again

    def counted(self: fused.FusedSweep, rows: torch.Tensor) -> Swept:
        numbers.append(len(rows))
        return true(self, rows)

    monkeypatch.setattr(fused.FusedSweep, "again", counted)
    return numbers


def swept(scores: TokenScores, own_key: torch.Tensor, k: int, causal: bool, tile: tuple[int, int]) -> Swept:
    return fused.FusedSweep(scores.to(DEVICE), own_key, k, causal, tile).run()


def curve(scores: TokenScores, vectors: torch.Tensor, tile: int) -> SimilarityCurve:
    scores, vectors = scores.to(DEVICE), vectors.to(DEVICE)
    n, (unit, norms) = len(vectors), _unit(vectors)
    found = fused.FusedBins(scores, vectors, unit, norms, BIN_WIDTH, N_BINS, _margin(vectors.shape[1])).run(tile)
    return SimilarityCurve(found[0].numpy(), found[1].numpy(), found[2] / (n * (n - 1)))


@pytest.mark.parametrize(("k", "causal", "with_own"), [(3, False, False), (3, True, False), (5, False, True)])
def test_keys_of_several_blocks(again: list[int], k: int, causal: bool, with_own: bool) -> None:
    """Own keys at both ends of blocks, equal keys in one block and in two, keys that float32 can't tell apart."""
    queries, keys = (drawn(n, 8, seed=seed).float() for n, seed in ((16, 6), (2100, 7)))
    own_key = torch.tensor([0, 5, 1023, 1024, 1030, 2047, 2048, 2099, 12, 7, 25, 100, 33, 104, 2000, 1500])
    keys[[7, 2050]] = keys[12].clone()
    keys[100:110] = keys[100].clone() * (1 + 1e-7 * torch.arange(10))[:, None]
    queries[3], keys[33] = queries[5].clone(), 0
    scores = TokenScores(queries, keys, drawn(16, seed=3) * 3 if with_own else None)
    assert_swept(swept(scores, own_key, k, causal, (10, 1024)), scores, own_key, k, causal)
    assert sum(again) <= 1


def test_ties_everywhere_and_more_keys_asked_for_than_there_are(again: list[int]) -> None:
    """Small integers as scores, so that most are tied: there is no room for all, and these rows are swept by torch."""
    draw = np.random.default_rng(5)
    queries, keys = (torch.from_numpy(draw.integers(-2, 3, size=(n, 2))).float() for n in (6, 40))
    own_key = torch.from_numpy(draw.permutation(40)[:6])
    for k, causal in ((1, False), (4, True), (55, False)):
        scores = TokenScores(queries, keys, torch.from_numpy(draw.integers(-9, 10, size=6)).double())
        assert_swept(swept(scores, own_key, k, causal, (4, 40)), scores, own_key, k, causal)
    assert again


@pytest.mark.parametrize("causal", [False, True])
def test_a_cap_changes_values_alone(causal: bool) -> None:
    queries, keys = (drawn(n, 3, seed=seed).float() * 3 for n, seed in ((6, 1), (1100, 2)))
    own_key = torch.tensor([0, 700, 1023, 1024, 1099, 3])
    found = swept(TokenScores(queries, keys, cap=5.0), own_key, 4, causal, (6, 2048))
    dense = Dense.of(TokenScores(queries, keys), own_key, 4, causal)
    assert (found.keys.tolist(), found.own_rank.tolist()) == (dense.keys, dense.own_rank)
    for row, own in enumerate(own_key.tolist()):
        products = (keys.double() @ queries[row].double())[: own + 1 if causal else None].tolist()
        expected = math.log(sum(math.exp(5 * math.tanh(product / 5)) for product in products))
        assert float(found.log_sum_exp[row]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [1e-10, 1e-22])
def test_products_that_float32_rounds_to_nothing(size: float) -> None:
    queries, keys = (drawn(n, 4, seed=seed) * size for n, seed in ((6, 12), (80, 13)))
    keys[60:] = keys[:20].clone()
    scores, own_key = TokenScores(queries, keys), torch.arange(6)
    found, dense = swept(scores, own_key, 5, False, (30, 30)), Dense.of(scores, own_key, 5)
    assert (found.keys.tolist(), found.own_rank.tolist()) == (dense.keys, dense.own_rank)


@pytest.mark.parametrize(("rotary", "cap"), [(False, None), (True, 2.0)])
def test_the_curve_of_all_pairs(monkeypatch: pytest.MonkeyPatch, rotary: bool, cap: float | None) -> None:
    """Every pair by itself in float64; two vectors equal, two opposite, two zero, cosines on the edge of a bin."""
    monkeypatch.setattr(fused, "PROGRAMS", 2)
    draw, n = np.random.default_rng(12), 15
    x = draw.standard_normal((n, 5)) + 2 * draw.standard_normal((1, 5))
    x[5:9] = draw.integers(-2, 3, size=(4, 5))
    x[2], x[3], x[4], x[11] = x[13], -x[14], 0, 0
    q, k = draw.standard_normal((2, n, 3))
    own = torch.from_numpy(draw.standard_normal(n)) if rotary else None
    x, q, k = (of.astype(np.float32) for of in (x, q, k))
    found = curve(TokenScores(torch.from_numpy(q), torch.from_numpy(k), own, cap), torch.from_numpy(x), 8)
    x, q, k = (of.astype(float) for of in (x, q, k))

    def score(i: int, j: int) -> float:
        product = float(own[i]) if i == j and own is not None else float(q[i] @ k[j])
        return product if cap is None else cap * math.tanh(product / cap)

    pairs, sums, squares = np.zeros(101, dtype=int), np.zeros(101), 0.0
    for i, j in permutations(range(n), 2):
        lengths = math.sqrt(x[i] @ x[i]) * math.sqrt(x[j] @ x[j])
        cosine = float(x[i] @ x[j]) / lengths if lengths else 0.0
        number = 100 if cosine > 1 - 1e-9 else math.floor((cosine + 1) / 0.02 + 1e-9)
        pairs[number] += 1
        sums[number] += score(i, j) - score(i, i)
        squares += score(i, j) ** 2
    assert found.pairs.tolist() == pairs.tolist()
    assert found.sums == pytest.approx(sums, abs=1e-4)
    assert found.mean_square == pytest.approx(squares / (n * (n - 1)), rel=1e-6)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="hours by the interpreter")
@pytest.mark.parametrize("causal", [False, True])
def test_three_thousand_tokens(again: list[int], causal: bool) -> None:
    """As the processor's test of this name: most rows are decided by kernels."""
    queries, keys = (drawn(3000, 64, seed=s).float() * 0.55 for s in (6, 7))
    keys[[7, 2500]] = keys[1200].clone()
    queries[[0, 2999]] = queries[1500].clone()
    queries[17], keys[33] = 0, 0
    keys[100:200] = keys[100].clone() * (1 + 1e-7 * torch.arange(100))[:, None]
    scores, own_key = TokenScores(queries, keys), torch.arange(3000)
    assert_swept(swept(scores, own_key, 10, causal, (1000, 2048)), scores, own_key, 10, causal)
    assert 0 < sum(again) <= 200


@pytest.mark.skipif(DEVICE.type == "cpu", reason="hours by the interpreter")
def test_strips_of_two_streams_read_what_is_there() -> None:
    """With own scores, one strip long and one short, and another head before."""
    own_key = torch.arange(3000)
    for seed in (1, 2, 3):
        queries, keys = (drawn(3000, 64, seed=seed + s).float() for s in (10, 20))
        scores = TokenScores(queries, keys, drawn(3000, seed=seed + 30))
        assert_swept(swept(scores, own_key, 10, False, (2900, 2048)), scores, own_key, 10)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="hours by the interpreter")
def test_the_curve_of_four_thousand_tokens() -> None:
    """Against the torch operators' on the same device."""
    from headclaims.vocabulary.on_device import DeviceBins

    x = (drawn(4000, 600, seed=4) + drawn(1, 600, seed=5)).to(DEVICE)
    scores = TokenScores(drawn(4000, 8, seed=6), drawn(4000, 8, seed=7)).to(DEVICE)
    unit, norms = _unit(x)
    found, other = (
        kind(scores, x, unit, norms, BIN_WIDTH, N_BINS, _margin(600)).run(1500)
        for kind in (fused.FusedBins, DeviceBins)
    )
    assert found[1].tolist() == other[1].tolist()
    assert found[0].numpy() == pytest.approx(other[0].numpy(), rel=1e-5, abs=1e-2)
