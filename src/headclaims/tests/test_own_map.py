"""Map statistics of heads whose queries and keys are normalised or whose scores are capped, by numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.checkpoint.weights import FactorNorm, QKWeights, ScoreWeights
from headclaims.circuit.head_score import HeadScore
from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.measures.gaussian_map import own_statistics_of_gaussian_heads
from headclaims.measures.layer_map import LayerMap
from headclaims.measures.map_statistics import statistics_of
from headclaims.measures.own_map import own_statistics
from headclaims.measures.similar_words import head_margins
from headclaims.measures.top_attended import DRAWN, WHOLE_UP_TO, Probes, drawn_tokens, top_attended
from headclaims.tests.test_head_map import D_HEAD, D_MODEL, SHARES, among, auc, depth, made_up, peak, shares
from headclaims.vocabulary.token_scores import TokenScores

Array = np.ndarray
N_HEADS, SCALE, CAP = 3, 0.6, 9.0


def weights(norm: str | None, cap: float | None) -> ScoreWeights:
    """Three heads with biases; `norm` is that of each head, of all together, or of each with its mean taken off."""
    generator = torch.Generator().manual_seed(3)
    W_Q, W_K = torch.randn(2, N_HEADS, D_MODEL, D_HEAD, generator=generator)
    b_Q, b_K = torch.randn(2, N_HEADS, D_HEAD, generator=generator)
    gains, biases = torch.rand(2, 2, N_HEADS, D_HEAD, generator=generator) + torch.tensor([1, 0])[:, None, None, None]
    made = [
        FactorNorm(gain, bias, eps, norm == "centred", norm == "together")
        for gain, bias, eps in zip(gains, biases, (0.1, 0.2), strict=True)
    ]
    query_norm, key_norm = made if norm else (None, None)
    return ScoreWeights(QKWeights(W_Q, W_K, b_Q, b_K, SCALE), query_norm, key_norm, cap)


class ByHand:
    """One head's score written out in float64."""

    def __init__(self, of: ScoreWeights, head: int) -> None:
        self.of, self.head = of, head

    def factors(self, x: Array, side: str) -> Array:
        """Queries (side "Q") or keys ("K")."""
        qk, norm = self.of.qk, self.of.query_norm if side == "Q" else self.of.key_norm
        W, b = (getattr(qk, name).double().numpy() for name in (f"W_{side}", f"b_{side}"))
        every = np.einsum("nd,hdk->nhk", x, W) + b
        if norm is not None:
            axes = (1, 2) if norm.over_all_heads else (2,)
            if norm.centred:
                every = every - every.mean(axis=axes, keepdims=True)
            every = every / np.sqrt(np.square(every).mean(axis=axes, keepdims=True) + norm.eps)
            every = every * norm.gain.double().numpy() + norm.bias.double().numpy()
        return np.asarray(every[:, self.head])

    def __call__(self, x: Array, y: Array, turn: Array | None) -> Array:
        q = self.factors(x, "Q")
        s = (q if turn is None else q @ turn) @ self.factors(y, "K").T * SCALE
        return s if self.of.cap is None else self.of.cap * np.tanh(s / self.of.cap)


def rows_of(layer: LayerMap, tokens: Tensor) -> Array:
    places = layer.sets.needed.tolist()
    return np.stack([layer.rows[places.index(token)].double().numpy() for token in tokens.tolist()])


def by_numpy(layer: LayerMap, score: ByHand) -> dict[str, float]:
    """Every own statistic of a head."""
    sets, turn = layer.sets, None if layer.turn is None else layer.turn.double().numpy()
    assert sets.groups is not None
    assert sets.common is not None
    values = shares(score, sets.common, lambda tokens: rows_of(layer, tokens), layer.seed, turn)
    for name, groups in (("words_depth", sets.words), ("groups_depth", sets.groups)):
        values[name] = depth(among(score, rows_of(layer, groups.tokens), turn), groups.group)
    x = rows_of(layer, sets.common.tokens)
    return values | {"peak": peak(among(score, x, turn), x)}


CASES = [("own", None), ("together", None), ("centred", CAP), (None, CAP)]


@pytest.mark.parametrize(("norm", "cap"), CASES)
@pytest.mark.parametrize("rotary", [False, True])
def test_own_statistics_of_heads(norm: str | None, cap: float | None, rotary: bool) -> None:
    turn = torch.randn(D_HEAD, D_HEAD, generator=torch.Generator().manual_seed(2)) if rotary else None
    layer, of = made_up(turn=turn), weights(norm, cap)
    heads = [HeadScore.of(of, head) for head in range(N_HEADS)]
    assert not any(head.bilinear for head in heads)
    found = own_statistics(layer, heads)
    assert set(found) == SHARES | {"words_depth", "groups_depth", "peak"}
    for head in range(N_HEADS):
        expected = by_numpy(layer, ByHand(of, head))
        assert {name: values[head] for name, values in found.items()} == pytest.approx(expected, rel=1e-3, abs=1e-3)
        margins = head_margins(layer.space, heads[head], layer.turn)
        for name in SHARES:
            assert float((margins[name] > 0).double().mean()) == pytest.approx(expected[name], abs=1e-9)
    assert len(set(found["peak"].round(3))) == N_HEADS
    bare = [HeadScore.of(ScoreWeights(of.qk), head) for head in range(N_HEADS)]
    assert np.abs(own_statistics(layer, bare)["groups_depth"] - found["groups_depth"]).max() > 0.01


def test_statistics_of_W_QK_are_left_out_where_it_is_not_the_score() -> None:
    layer, of = made_up(), weights("own", None)
    found = statistics_of(layer, [HeadScore.of(of, 1)], layer.rows[:0], torch.arange(0))
    assert set(found) == SHARES | {"words_depth", "groups_depth", "peak", "auc"}
    assert layer.sets.groups is not None
    scores = among(ByHand(of, 1), rows_of(layer, layer.sets.groups.tokens), None)
    assert found["auc"][0] == pytest.approx(auc(scores, layer.sets.groups.group))
    bilinear = statistics_of(layer, [HeadScore.of(ScoreWeights(of.qk), 1)], layer.rows[:0], torch.arange(0))
    assert set(bilinear) == set(found) | {"words_contrast", "groups_contrast", "skew_scores"}


@pytest.mark.parametrize(("norm", "cap"), [("together", None), ("own", CAP)])
def test_gaussian_heads_keep_norms_caps_and_biases(norm: str, cap: float | None) -> None:
    """Weights are drawn, sixteen heads at a time from a seed of their own, of the head's own size over five dimensions.

    A norm over all heads is of the size that the model's own heads give it.
    """
    layer, of, free = made_up(), weights(norm, cap), D_MODEL - 1
    found = own_statistics_of_gaussian_heads(layer, HeadScore.of(of, 1), range(18), free, seed=8)
    assert {len(values) for values in found.values()} == {18}
    sizes = [float(W[1].double().square().sum().div(free * D_HEAD).sqrt()) for W in (of.qk.W_Q, of.qk.W_K)]
    for start in (0, 16):
        generator = torch.Generator().manual_seed(int(np.random.default_rng([8, start, 1]).integers(2**63)))
        W_Q, W_K = (size * torch.randn(16, D_MODEL, D_HEAD, generator=generator) for size in sizes)
        for place in (0, 1):
            drawn = ByHand(of, 1)
            x = rows_of(layer, layer.sets.words.tokens)
            own = {side: drawn.factors(x, side) for side in "QK"}
            changed = of.qk.W_Q.clone(), of.qk.W_K.clone()
            for W, one in zip(changed, (W_Q[place], W_K[place]), strict=True):
                W[1] = one
            if norm == "own":
                expected = by_numpy(layer, ByHand(replace(of, qk=replace(of.qk, W_Q=changed[0], W_K=changed[1])), 1))
                got = {name: values[start + place] for name, values in found.items()}
                assert got == pytest.approx(expected, rel=1e-3, abs=1e-3)
            else:
                scores = []
                for side, W in zip("QK", (W_Q[place], W_K[place]), strict=True):
                    b = getattr(of.qk, f"b_{side}").double().numpy()
                    every = np.einsum("nd,hdk->nhk", x, getattr(of.qk, f"W_{side}").double().numpy()) + b
                    factor_norm = of.query_norm if side == "Q" else of.key_norm
                    assert factor_norm is not None
                    size = np.sqrt(np.square(every).mean(axis=(1, 2)) + factor_norm.eps)[:, None]
                    z = (x @ W.double().numpy() + b[1]) / size
                    scores.append(z * factor_norm.gain[1].double().numpy() + factor_norm.bias[1].double().numpy())
                expected_depth = depth(scores[0] @ scores[1].T * SCALE, layer.sets.words.group)
                assert found["words_depth"][start + place] == pytest.approx(expected_depth, rel=1e-3, abs=1e-3)
            assert all(np.isfinite(part).all() for part in own.values())


def test_a_large_vocabulary_is_drawn_from() -> None:
    """Members of categories, probes and their variants are among the keys, and sixteen thousand others."""
    n = WHOLE_UP_TO + 10
    assert drawn_tokens(WHOLE_UP_TO, 0) is None
    member = np.zeros((2, n), dtype=bool)
    member[0, [5, 70]], member[1, [n - 1, 900]] = True, True
    form_of = np.arange(n)
    form_of[[6, 7]] = form_of[5]
    asked = Probes(np.array([5, n - 1]), np.array([0, 1]), member, form_of)
    rivals = asked.rivals(3)
    assert rivals is not None
    assert {5, 6, 7, 70, 900, n - 1} <= set(rivals.tolist())
    assert DRAWN <= len(rivals) <= DRAWN + 6
    assert rivals.tolist() == sorted(set(rivals.tolist()))
    assert torch.equal(rivals, asked.rivals(3))
    assert not torch.equal(rivals, asked.rivals(4))
    # With probe 5 member 70 and then its variant 6 score highest; with probe n − 1 member 900 and then itself.
    queries, keys = torch.eye(2), torch.zeros(n, 2)
    keys[[70, 6], 0], keys[[900, n - 1], 1] = torch.tensor([2.0, 1.0]), torch.tensor([2.0, 1.0])
    found = top_attended(asked, TokenScores(queries, keys[rivals]), rivals)
    assert found.kin.tolist() == [1, 1]
    assert found.itself.tolist() == [True, True]


def test_a_small_vocabulary_is_whole() -> None:
    asked = Probes(np.array([1]), np.array([0]), np.zeros((2, 40), dtype=bool), np.arange(40))
    assert asked.rivals(0) is None


def test_biases_are_left_out_where_they_are_terms_of_their_own() -> None:
    """Inside a norm they are none; a capped score is the head's with them."""
    x = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(1))
    for norm, cap in (("own", None), (None, CAP)):
        head = HeadScore.of(weights(norm, cap), 0)
        assert torch.equal(head.queries(x, biased=False), head.queries(x))
        assert torch.equal(head.keys(x, biased=False), head.keys(x))
    bare = HeadScore.of(ScoreWeights(weights(None, None).qk), 0)
    circuit: QKCircuit = bare.circuit
    torch.testing.assert_close(bare.queries(x, biased=False), x @ circuit.W_Q * SCALE)
    torch.testing.assert_close(bare.keys(x, biased=False), x @ circuit.W_K)
