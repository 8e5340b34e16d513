"""Scores between tokens of the vocabulary: by plain loops over tokens and offsets, and against dense float64."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.audit.prepare import open_workspace
from headclaims.audit.settings import Settings
from headclaims.cache import Cache
from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.circuit.scatter import Eigenspace
from headclaims.claim.claim_set import ClaimSet
from headclaims.tests.claims_run import SET
from headclaims.tests.dense_scores import Dense, assert_swept, drawn
from headclaims.vocabulary import cosine, where
from headclaims.vocabulary import scores as sweeps
from headclaims.vocabulary.on_device import DeviceSweep
from headclaims.vocabulary.scores import Swept, _on_device, sweep, sweep_heads
from headclaims.vocabulary.token_scores import TokenScores, mean_rotation

D_MODEL, D_HEAD, LENGTH = 7, 4, 6
FREQUENCIES = (0.9, 0.2)


def turn_by(offset: int) -> Tensor:
    """R of an offset: the two planes of a head of width 4, turned by two frequencies."""
    R = torch.zeros(D_HEAD, D_HEAD, dtype=torch.float64)
    for plane, frequency in enumerate(FREQUENCIES):
        c, s = math.cos(offset * frequency), math.sin(offset * frequency)
        R[2 * plane : 2 * plane + 2, 2 * plane : 2 * plane + 2] = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    return R


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
    """`own` is each query's score with itself, whatever the keys are, under a turn; biases are in by default."""
    x, y = drawn(3, D_MODEL, seed=3), drawn(5, D_MODEL, seed=4)
    scores = TokenScores.of(circuit, x, y, None)
    both = (scores.queries @ scores.keys.T).numpy()
    assert both == pytest.approx(np.array([[score(circuit, a, b, None, True) for b in y] for a in x]), rel=1e-10)
    turned = TokenScores.of(circuit, x, y, torch.eye(D_HEAD))
    assert turned.own is not None
    assert turned.own.numpy() == pytest.approx(np.array([score(circuit, a, a, None, True) for a in x]), rel=1e-10)
    for refused in (scores.matrix, lambda: scores.itself):
        with pytest.raises(ValueError, match="3 queries and 5 keys"):
            refused()


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


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_parts_are_those_of_the_matrix(circuit: QKCircuit, sign: int, biased: bool) -> None:
    """(W_QK ± W_QKᵀ)/2 formed; the biases' linear terms are those of the whole."""
    x, y = drawn(3, D_MODEL, seed=3), drawn(5, D_MODEL, seed=4)
    W = circuit.W_Q @ circuit.W_K.T
    scores = TokenScores.of_part(circuit, x, y, sign, biased)
    assert_scores(scores, circuit, x, y, (W + sign * W.T) / 2, biased)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("alpha", [1.0, 0.0, -1.0])
def test_steered_scores_are_those_of_the_matrix(circuit: QKCircuit, alpha: float, biased: bool) -> None:
    """Negative eigenvalues of the dense symmetric part times α."""
    x, y = drawn(3, D_MODEL, seed=3), drawn(5, D_MODEL, seed=4)
    W = circuit.W_Q @ circuit.W_K.T
    values, vectors = torch.linalg.eigh((W + W.T) / 2)
    steered = vectors @ torch.diag(torch.where(values < 0, alpha * values, values)) @ vectors.T
    assert_scores(TokenScores.steered(circuit, x, y, alpha, biased), circuit, x, y, steered, biased)
    assert len(Eigenspace.of(circuit).values) <= 2 * D_HEAD


def assert_scores(scores: TokenScores, circuit: QKCircuit, x: Tensor, y: Tensor, W: Tensor, biased: bool) -> None:
    expected = x @ W @ y.T
    if biased:
        expected = expected + (x @ circuit.W_Q @ circuit.b_K)[:, None] + y @ circuit.W_K @ circuit.b_Q
        expected = expected + circuit.b_Q @ circuit.b_K
    assert (scores.queries @ scores.keys.T).numpy() == pytest.approx((0.37 * expected).numpy(), rel=1e-9, abs=1e-9)


SWEEPS = pytest.mark.parametrize("by", [sweep, _on_device], ids=["compiled", "on-device"])
Sweep = Callable[[TokenScores, Tensor, int, bool, tuple[int, int]], Swept]


@SWEEPS
@pytest.mark.parametrize("tile", [(1, 1), (5, 3), (12, 7), (4, 40), (100, 1000)])
@pytest.mark.parametrize(("k", "causal"), [(1, False), (4, True), (10, False), (40, False), (55, True)])
def test_ties_everywhere(by: Sweep, tile: tuple[int, int], k: int, causal: bool) -> None:
    """Small integers as scores, so that most are tied, within tiles and at their boundaries; k beyond all keys."""
    draw = np.random.default_rng(5)
    queries = torch.from_numpy(draw.integers(-2, 3, size=(12, 2))).float()
    keys = torch.from_numpy(draw.integers(-2, 3, size=(40, 2))).float()
    own_key = torch.from_numpy(draw.permutation(40)[:12])
    for own in (None, torch.from_numpy(draw.integers(-9, 10, size=12)).double()):
        scores = TokenScores(queries, keys, own)
        assert_swept(by(scores, own_key, k, causal, tile), scores, own_key, k, causal)


@SWEEPS
@pytest.mark.parametrize("causal", [False, True])
def test_a_cap_changes_values_alone(by: Sweep, causal: bool) -> None:
    """Ranks and best keys are those without it; scores and ln Σ exp are of 5 tanh(s/5)."""
    draw = np.random.default_rng(6)
    queries, keys = (torch.from_numpy(draw.normal(size=(n, 3))).float() * 3 for n in (12, 40))
    own_key, own = torch.from_numpy(draw.permutation(40)[:12]), torch.from_numpy(draw.normal(size=12) * 9)
    bare, capped = (TokenScores(queries, keys, own, cap) for cap in (None, 5.0))
    found, dense = by(capped, own_key, 4, causal, (5, 7)), Dense.of(bare, own_key, 4, causal)
    assert (found.keys.tolist(), found.own_rank.tolist()) == (dense.keys, dense.own_rank)
    assert found.scores.numpy() == pytest.approx(
        np.array([[5 * math.tanh(s / 5) if s > -math.inf else s for s in row] for row in dense.scores])
    )
    for row, query in enumerate(queries.double()):
        products = (keys.double() @ query).tolist()
        products[int(own_key[row])] = float(own[row])
        seen = products[: int(own_key[row]) + 1] if causal else products
        expected = math.log(sum(math.exp(5 * math.tanh(s / 5)) for s in seen))
        assert float(found.log_sum_exp[row]) == pytest.approx(expected, abs=1e-5)


def test_a_cap_is_applied_where_values_are_read() -> None:
    """By hand: products 0 1 of token 0 and 3 2 of token 1, own ones in their place 4 and −6, all under 2 tanh(s/2)."""
    scores = TokenScores(torch.tensor([[0.0, 1.0], [3.0, 2.0]]), torch.eye(2), torch.tensor([4.0, -6.0]), 2.0)
    by_hand = [[2 * math.tanh(s / 2) for s in row] for row in ((4.0, 1.0), (3.0, -6.0))]
    assert scores.matrix().numpy() == pytest.approx(np.array(by_hand), rel=1e-6)
    assert scores.itself.tolist() == pytest.approx([by_hand[0][0], by_hand[1][1]])
    assert scores.queries.tolist() == [[0.0, 1.0], [3.0, 2.0]]


@SWEEPS
def test_three_thousand_tokens(by: Sweep) -> None:
    """Of a head's width, with duplicate rows, rows of nothing, and keys that float32 can't tell apart."""
    queries, keys = (drawn(3000, 64, seed=s).float() * 0.55 for s in (6, 7))
    keys[[7, 2500]] = keys[1200].clone()
    queries[[0, 2999]] = queries[1500].clone()
    queries[17], keys[33] = 0, 0
    keys[100:200] = keys[100].clone() * (1 + 1e-7 * torch.arange(100))[:, None]
    own_key = torch.arange(3000)
    scores = TokenScores(queries, keys)
    assert_swept(by(scores, own_key, 10, False, (256, 1024)), scores, own_key, 10)


def test_candidates_decide_almost_every_row_of_a_device_s_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Gaussian scores float32 tells hardly any apart wrongly; of keys that are all equal it decides nothing."""
    swept_again: list[int] = []
    again = DeviceSweep.again

    def counted(self: DeviceSweep, rows: Tensor) -> Swept:
        swept_again.append(len(rows))
        return again(self, rows)

    monkeypatch.setattr(DeviceSweep, "again", counted)
    queries, keys = (drawn(600, 16, seed=s).float() for s in (20, 21))
    scores, own_key = TokenScores(queries, keys), torch.arange(600)
    assert_swept(_on_device(scores, own_key, 5, False, (256, 100)), scores, own_key, 5)
    assert sum(swept_again) <= 6
    equal = TokenScores(queries, keys[:1].expand(600, -1))
    assert_swept(_on_device(equal, own_key, 5, False, None), equal, own_key, 5)
    assert sum(swept_again) >= 600


@pytest.mark.parametrize("k", [1, 9, 130])
@pytest.mark.parametrize("causal", [False, True])
def test_the_first_tile_of_a_row_leaves_out_none_of_its_best(k: int, causal: bool) -> None:
    """The best keys in one place of every 128, equal ones among them, or the last of a tile that is no whole one."""
    queries, keys, own_key = (
        torch.ones(6, 1),
        drawn(1500, 1, seed=2).float(),
        torch.tensor([0, 100, 127, 128, 1499, 700]),
    )
    keys[3::128], keys[1400:1420], keys[256] = 5.0, 6.0, 5.0
    scores = TokenScores(queries * torch.tensor([[1.0], [-1.0], [0.0], [1e-3], [2.0], [1.0]]), keys)
    for tile in ((6, 1500), (6, 1300), (6, 2048)):
        assert_swept(sweep(scores, own_key, k, causal, tile), scores, own_key, k, causal)


@SWEEPS
@pytest.mark.parametrize("size", [1e-10, 1e-20, 1e-22, 1e-30])
def test_products_that_float32_rounds_to_nothing(by: Sweep, size: float) -> None:
    """The bound knows of underflow; with float64 factors the exact products are ordinary numbers."""
    queries, keys = (drawn(80, 4, seed=s) * size for s in (12, 13))
    keys[60:] = keys[:20].clone()
    scores, own_key = TokenScores(queries, keys), torch.arange(80)
    found, dense = by(scores, own_key, 5, False, (30, 30)), Dense.of(scores, own_key, 5)
    assert (found.keys.tolist(), found.own_rank.tolist()) == (dense.keys, dense.own_rank)


def test_a_head_of_nothing_takes_no_longer() -> None:
    """All scores are equal: keys rank in their order, and none is computed anew."""
    found = sweep(TokenScores(torch.zeros(3000, 64), torch.ones(3000, 64)), torch.arange(3000), 3)
    assert found.keys.tolist() == [[0, 1, 2]] * 3000
    assert found.own_rank.tolist() == list(range(3000))


def test_threads_and_tiles_change_nothing() -> None:
    queries, keys = (drawn(700, 16, seed=s).float() for s in (8, 9))
    own_key, before = torch.arange(700), torch.get_num_threads()
    found = []
    try:
        for threads, tile in ((1, (256, 1024)), (2, (33, 70)), (3, (700, 700))):
            torch.set_num_threads(threads)
            found.append(sweep(TokenScores(queries, keys), own_key, 5, tile=tile))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(other.keys, found[0].keys)
        assert torch.equal(other.scores, found[0].scores)
        assert torch.equal(other.own_rank, found[0].own_rank)
        assert other.log_sum_exp.numpy() == pytest.approx(found[0].log_sum_exp.numpy(), abs=1e-5)


def test_several_heads_and_some_queries() -> None:
    """Each head as it is alone; queries and keys are any subset of tokens."""
    x = drawn(50, D_MODEL, seed=2).float()
    some = torch.tensor([4, 49, 0])
    heads = []
    for seed in (10, 11):
        W_Q, W_K = drawn(2, D_MODEL, D_HEAD, seed=seed).float()
        head = QKCircuit(W_Q, W_K, torch.ones(D_HEAD), -torch.ones(D_HEAD), 0.5)
        heads.append(TokenScores.of(head, x[some], x, turn_by(2).float()))
    for scores, found in zip(heads, sweep_heads(heads, some, 3), strict=True):
        assert_swept(found, scores, some, 3)


@SWEEPS
def test_a_single_key(by: Sweep) -> None:
    scores = TokenScores(torch.tensor([[2.0], [-3.0]]), torch.tensor([[5.0]]))
    found = by(scores, torch.tensor([0, 0]), 2, False, (256, 1024))
    assert found.keys.tolist() == [[0, -1], [0, -1]]
    assert found.scores.tolist() == [[10.0, -math.inf], [-15.0, -math.inf]]
    assert found.own_rank.tolist() == [0, 0]
    assert found.log_sum_exp.tolist() == [10.0, -15.0]


def test_the_log_sum_exp_of_far_scores() -> None:
    """By hand: ln(e^300 + e^299.5 + e^−300), far beyond any float32 exponential, highest first and last."""
    keys = torch.tensor([[300.0], [299.5], [-300.0]])
    expected = 300 + math.log1p(math.exp(-0.5))
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        found = sweep(TokenScores(torch.ones(1, 1), keys[order]), torch.tensor([0]), 1, tile=(1, 1))
        assert float(found.log_sum_exp) == pytest.approx(expected, abs=1e-6)


@SWEEPS
def test_the_own_score_takes_the_place_of_the_product(by: Sweep) -> None:
    """By hand: products 5 4 3 2 1, the own key 1; its own score, not its product 4, says where it stands."""
    queries, keys = torch.ones(1, 1), torch.tensor([[5.0], [4.0], [3.0], [2.0], [1.0]])
    for own, order, rank in ((9.0, [1, 0, 2], 0), (0.0, [0, 2, 3], 4), (3.0, [0, 1, 2], 1), (2.0, [0, 2, 1], 2)):
        scores = TokenScores(queries, keys, torch.tensor([own]))
        found = by(scores, torch.tensor([1]), 3, False, (256, 2))
        assert found.keys[0].tolist() == order
        assert found.own_rank.tolist() == [rank]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "the 0 highest of 3 keys; wanted one at least of either"),
        ({"keys": torch.ones(0, 1)}, "the 2 highest of 0 keys"),
        ({"own_key": torch.tensor([0])}, "1 own keys of 2 queries"),
        ({"own_key": torch.tensor([0, 3])}, "own keys from 0 to 3; wanted some of 3 keys"),
        ({"queries": torch.tensor([[1.0], [math.inf]])}, "queries hold a number that is not finite"),
        ({"keys": torch.tensor([[1.0], [math.nan], [1.0]])}, "keys hold a number that is not finite"),
        ({"own": torch.tensor([-math.inf, 0.0])}, "own hold a number that is not finite"),
        ({"keys": torch.full((3, 1), 1e40, dtype=torch.float64)}, "keys hold .* finite ones that float32 holds"),
        ({"queries": torch.full((2, 1), 1e30), "keys": torch.full((3, 1), 1e30)}, r"scores of up to .*float32 holds"),
    ],
)
def test_what_cannot_be_swept_is_refused(change: dict[str, Any], message: str) -> None:
    asked = {
        "queries": torch.ones(2, 1),
        "keys": torch.ones(3, 1),
        "own": None,
        "own_key": torch.tensor([0, 1]),
        "k": 2,
    }
    asked |= change
    with pytest.raises(ValueError, match=message):
        sweep(TokenScores(asked["queries"], asked["keys"], asked["own"]), asked["own_key"], asked["k"])


def test_tiles_are_walked_where_the_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an accelerator by torch alone, which is forced here; an audit on the processor goes back to the kernels."""
    by: list[str] = []
    for name in ("_compiled", "_on_device"):
        for module in (sweeps, cosine):
            true = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *of, name=name, true=true: by.append(name) or true(*of))
    monkeypatch.setattr(where, "_chosen", [where.PROCESSOR])
    head, x = TokenScores(drawn(30, 3, seed=1).float(), drawn(30, 3, seed=2).float()), drawn(30, 4, seed=3).float()
    results = []
    for compiled in (None, False):
        where.walk_on(torch.device("cpu"), compiled)
        results.append((sweep(head, torch.arange(30), 3), cosine.similarity_curve(head, x)))
    assert by == ["_compiled", "_compiled", "_on_device", "_on_device"]
    (here, curve), (there, other) = results
    assert here.keys.tolist() == there.keys.tolist()
    assert curve.pairs.tolist() == other.pairs.tolist()
    claim_set = ClaimSet.read(SET)
    open_workspace(Settings(no_cache=True, checkpoint="planted"), claim_set.word_lists, claim_set.defaults)
    assert where.place() == where.PROCESSOR


@pytest.mark.parametrize("causal", [False, True])
def test_a_kept_sweep_is_the_one_that_was_made(causal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys = drawn(2, 40, 5, seed=3)
    scores, own, cache = TokenScores(queries, keys, cap=2.0), torch.arange(40), Cache(tmp_path)
    made = sweep(scores, own, 3, causal)
    assert all(map(torch.equal, sweep(scores, own, 3, causal, cache=cache), made))
    monkeypatch.setattr(sweeps, "sweep_heads", lambda *_: pytest.fail("it was kept"))
    kept = sweep(TokenScores(queries.clone(), keys.clone(), cap=2.0), own, 3, causal, cache=cache)
    assert all(map(torch.equal, kept, made))
    assert [of.dtype for of in kept] == [of.dtype for of in made]
    for other in (
        lambda: sweep(scores, own, 4, causal, cache=cache),
        lambda: sweep(scores, own, 3, not causal, cache=cache),
        lambda: sweep(scores, own.flip(0), 3, causal, cache=cache),
        lambda: sweep(TokenScores(queries, keys), own, 3, causal, cache=cache),
        lambda: sweep(TokenScores(queries, keys.flip(0), cap=2.0), own, 3, causal, cache=cache),
    ):
        with pytest.raises(pytest.fail.Exception):
            other()
