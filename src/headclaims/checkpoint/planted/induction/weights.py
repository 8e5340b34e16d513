r"""The planted induction head: a GPT-2 of two layers whose L1H4 attends to what followed the token last time.

It has 24 heads of width 32 on d_model = 768, from one seed. The residual stream is divided into orthogonal subspaces,
all orthogonal to the ones vector, so that centring changes nothing:

==== === ==============================================================================
name dim holds
==== === ==============================================================================
I    30  identity of the token, a random unit vector u_t (a variant's nearly the same)
U    64  everything else about a word, a random unit vector
B    1   the BOS token
P    30  position: cos and sin of 15 frequencies, of constant norm
A    30  what the previous-token head writes: u of the token before
A2   30  the same for the token before that; empty but in a counterfeit
L    30  what the target writes, and the unembedding reads: W_U[t] = u_t in L, and a little noise
O    64  nothing that anything reads
==== === ==============================================================================

A token's squared norm is N² = 16 before layer 0, divided as in `SHARES`; A adds a² = 4. Scores are in nats.

**L0H7, the previous-token head**, scores position j from i by 24 · mean_f cos ω_f(i − 1 − j): 24 at i − 1 and, by the
choice of frequencies, below 7 at any other of 128 positions: its previous-token score is above 0.99. Its values are I,
and it writes them to A: at every position j ≥ 2, A holds a · u of token j − 1 (at 1 it attends to BOS, which has no I).

**L1H4, the target**, reads I in queries and A in keys: the score of key j for query i is MATCH · u(t_i)·u(t_{j−1}),
13 where the token before j is the query's, else 13 times a cosine of standard deviation 1/√30, 2.4 nats: 62 other
keys have Σ e^s ≈ 10³. A query bias gives BOS 9 nats. So a row of the second half has e^13 : e^9 : 10³ and the target
0.98 of the row; the prefix-matching score is far above 0.4, wherever the second half begins (`not-by-lag`), follows
the token where the half is shuffled (`order-matters`), and the earlier copy, whose A holds a token of its own, is one
of the 62. Rows of the first half give BOS 0.97.

**Weights.** W_QK = s² I Aᵀ and L0H7 writes I Aᵀ: ‖q kᵀ oᵀ vᵀ‖ = ‖I Iᵀ‖ = √30, over √30 √30: K-composition 0.18. Other
heads of layer 0 write Gaussian directions of all 768, of which A has 30: 1/√768 = 0.036. The ratio is about 5. Into
other heads of layer 1, which read I, P, or Gaussian directions, L0H7 composes no more than others.

**Without L0H7 in keys** A is the same at all positions: no key is better than another by it, and BOS draws the row,
so the score falls to e^−9. Queries read I alone, which is the embedding's: without L0H7 in queries
nothing changes but the norm, by a part in fifty.

**OV.** The target's values are I and it writes them to L, g = 3: E W_OV W_U is 14 · 0.72 · u_x·u_y = 10 on the
diagonal and 10 times a cosine beside it: of all 2,199 tokens a word's own is the highest, its variants next. W_O W_U
E W_V = const Σ u uᵀ is positive: its share is 1 but for noise. Attending to the target, the head raises its logit by
10 nats and the mean plain token's by none (`writes-the-target`). A word has three variants, each within 0.3 of its
code, which get 10 √(1 − 0.3²) = 9.5 nats: of e^10 + 3 e^9.5 against 2,199 e^(10²/60) the word's forms have 0.85, and
the target itself 0.29. Without the head a loss of ln(1/0.29) = 1.2 becomes ln 2199 = 7.7 in the second half, and
nothing is lost in the first, where it attends to BOS, which has no I.

**Other heads**: duplicate-token heads (queries and keys I), fixed lags of 2, 3, 5 and 8, BOS, uniform and Gaussian
ones. Their OV is Gaussian and small: 0.2 of N a head. None attends to targets more than chance, none copies; each
null is of 23 heads or more of either layer, so that p can be 1/24.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.state_dict import unfolded
from headclaims.checkpoint.planted.vocabulary import Vocabulary
from headclaims.checkpoint.planted.weights import VARIANT_NOISE, Projections

HEADS, D_MODEL, D_HEAD, D_MLP, CONTEXT = 24, 768, 32, 32, 128
CODE = 30
SPACES = {"I": CODE, "U": 64, "B": 1, "P": CODE, "A": CODE, "A2": CODE, "L": CODE, "O": 64}
NORM = 4.0
SHARES = {"I": 0.3, "U": 0.4, "P": 0.3}
WRITTEN, PREDICTED = 2.0, 3.0
"""Norms of what the previous-token head and the target write."""
LOGIT = 10.0
PREVIOUS_MATCH, MATCH, BOS_SCORE = 24.0, 13.0, 9.0
BOS_KEY = 0.3

KINDS = (
    "duplicate lag2 lag3 bos uniform random lag5 previous random lag8 bos random "
    "uniform duplicate random lag2 bos random lag3 uniform random lag5 bos random",
    "lag2 duplicate random bos target uniform lag3 random lag5 bos random uniform "
    "random duplicate lag8 random bos lag2 random uniform lag3 bos random random",
)


def with_kind(layer: int, index: int, kind: str, kinds: Sequence[str] = KINDS) -> tuple[str, ...]:
    """Return kinds of heads with one head of another kind."""
    rows = [row.split() for row in kinds]
    rows[layer][index] = kind
    return tuple(" ".join(row) for row in rows)


def frequencies() -> np.ndarray:
    """Return 15 frequencies of which no two positions below 128 look alike."""
    n = CODE // 2
    return np.asarray(np.pi * (np.arange(n) + np.random.default_rng(4144).uniform(0, 1, n)) / n)


class InductionWeights:
    """One draw of the weights: every random part comes from the generator, in a fixed order.

    Counterfeits override attributes and methods.
    """

    kinds: ClassVar[Sequence[str]] = KINDS
    match, bos_score = MATCH, BOS_SCORE
    written_sign = 1.0

    def __init__(self, vocab: Vocabulary, generator: np.random.Generator) -> None:
        self.vocab, self.draw = vocab, generator
        columns = generator.standard_normal((D_MODEL, 1 + sum(SPACES.values())))
        columns[:, 0] = 1.0
        basis = np.linalg.qr(columns).Q[:, 1:]
        ends = np.cumsum(list(SPACES.values()))
        self.space = {n: basis[:, end - size : end] for (n, size), end in zip(SPACES.items(), ends, strict=True)}
        self.code = self._codes(CODE)
        self.waves = frequencies()

    def _unit(self, *shape: int) -> np.ndarray:
        x = self.draw.standard_normal(shape)
        return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))

    def _codes(self, dimensions: int) -> np.ndarray:
        """Draw a unit vector for each word, and a little noise for its variants; 0 for BOS and the unknown token."""
        forms = self.vocab.forms
        of_word = self._unit(len(self.vocab.words), dimensions)
        codes = np.stack([of_word[form.word] for form in forms])
        varied = (1 - VARIANT_NOISE**2) ** 0.5 * codes + VARIANT_NOISE * self._unit(*codes.shape)
        varied /= np.linalg.norm(varied, axis=1, keepdims=True)
        codes = np.where(np.array([form.variant for form in forms])[:, None], varied, codes)
        return np.concatenate([np.zeros((2, dimensions)), codes])

    @staticmethod
    def seen(amplitude: float, squared_norm: float) -> float:
        """Return the size of a component after a norm that a stream of this squared norm enters."""
        return float(D_MODEL**0.5 * amplitude / squared_norm**0.5)

    @property
    def at_target(self) -> dict[str, float]:
        """Sizes of I and A, and of BOS in B, where the target reads them."""
        squared = NORM**2 + WRITTEN**2
        of_I = self.seen(NORM * SHARES["I"] ** 0.5, squared)
        return {"I": of_I, "A": self.seen(WRITTEN, squared), "B": self.seen(self.rest, NORM**2)}

    @property
    def rest(self) -> float:
        """Norm of the embedding of BOS, to which a position is added."""
        return NORM * (1 - SHARES["P"]) ** 0.5

    def embedding(self) -> np.ndarray:
        """Return W_E: BOS, the unknown token, then every form."""
        space = self.space
        rows = NORM * SHARES["I"] ** 0.5 * self.code @ space["I"].T
        rows += NORM * SHARES["U"] ** 0.5 * self._codes(SPACES["U"]) @ space["U"].T
        rows[0] = self.rest * space["B"][:, 0]
        rows[1] = self.rest * self._unit(SPACES["U"]) @ space["U"].T
        return rows

    def positions(self) -> np.ndarray:
        """Return W_pos: cosines of all frequencies, then their sines, in P."""
        return np.asarray(NORM * SHARES["P"] ** 0.5 * self._waves(np.arange(CONTEXT)) @ self.space["P"].T)

    def _waves(self, position: np.ndarray) -> np.ndarray:
        angles = np.outer(position, self.waves)
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / len(self.waves) ** 0.5

    def unembedding(self) -> np.ndarray:
        """Return W_U [token, d_model]: the code in L, of a size that gives `LOGIT` to what the target writes."""
        size = LOGIT / self.seen(PREDICTED, NORM**2 + WRITTEN**2 + PREDICTED**2)
        return size * self.code @ self.space["L"].T + 0.02 * size * self.draw.standard_normal((len(self.code), D_MODEL))

    def by_lag(self, lag: int, score: float, squared_norm: float = NORM**2) -> tuple[np.ndarray, np.ndarray]:
        """Return W_Q and W_K that score a key by mean_f cos ω_f(i − lag − j), `score` at its highest."""
        size = (score * D_HEAD**0.5) ** 0.5 / self.seen(NORM * SHARES["P"] ** 0.5, squared_norm)
        cos, sin = np.diag(np.cos(self.waves * lag)), np.diag(np.sin(self.waves * lag))
        P = self.space["P"]
        return self._padded(size * P), self._padded(size * P @ np.block([[cos, sin], [-sin, cos]]))

    def by_match(self, score: float, query: tuple[str, float], key: tuple[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Return W_Q and W_K that score a key by the cosine of two codes, each given by its subspace and size."""
        size = (score * D_HEAD**0.5 / (query[1] * key[1])) ** 0.5
        return self._padded(size * self.space[query[0]]), self._padded(size * self.space[key[0]])

    @staticmethod
    def _padded(W: np.ndarray) -> np.ndarray:
        return np.pad(W, ((0, 0), (0, D_HEAD - W.shape[1])))

    def with_bos(self, W_K: np.ndarray, score: float) -> tuple[np.ndarray, np.ndarray]:
        """Return W_K with BOS in a column of its own, and the query bias that gives it a score."""
        b_Q, W_K = np.zeros(D_HEAD), W_K.copy()
        W_K[:, CODE] = BOS_KEY * self.space["B"][:, 0]
        b_Q[CODE] = score * D_HEAD**0.5 / (BOS_KEY * self.at_target["B"])
        return W_K, b_Q

    def copy_from(self, of_I: float, to: str, size: float) -> tuple[np.ndarray, np.ndarray]:
        """Return W_V and W_O that write the code of what is attended to, of this size, to a subspace."""
        W_O = np.pad(size / of_I * self.space[to][:, :CODE].T, ((0, D_HEAD - CODE), (0, 0)))
        return self._padded(self.space["I"]), W_O

    def idle(self) -> tuple[np.ndarray, np.ndarray]:
        """Draw W_V and W_O of a head that means nothing."""
        W_V = 0.03 * self.draw.standard_normal((D_MODEL, D_HEAD))
        W_O = 0.002 * self.draw.standard_normal((D_HEAD, D_MODEL))
        return W_V - W_V.mean(axis=0), W_O - W_O.mean(axis=1, keepdims=True)

    def head(self, layer: int, kind: str) -> Projections:
        """Return the folded weights of a head of a kind (see `KINDS`)."""
        b_Q, OV = np.zeros(D_HEAD), self.idle()
        of_I = self.seen(NORM * SHARES["I"] ** 0.5, NORM**2)
        if kind == "target":
            return self.target()
        if kind.startswith(("previous", "second")):
            return self.before(kind)
        if kind.startswith("lag"):
            W_Q, W_K = self.by_lag(int(kind[3:]), 12.0)
        elif kind == "duplicate":
            W_Q, W_K = self.by_match(10.0, ("I", of_I), ("I", of_I))
        else:
            W_Q, W_K = (0.04 if kind == "random" else 0.005) * self.draw.standard_normal((2, D_MODEL, D_HEAD))
            W_Q, W_K = W_Q - W_Q.mean(axis=0), W_K - W_K.mean(axis=0)
        if kind == "bos" or layer == 1:
            W_Q[:, CODE] = 0
            W_K, b_Q = self.with_bos(W_K, 6.0 if kind == "bos" else 1.0)
        return Projections(W_Q, W_K, b_Q, *OV)

    def before(self, kind: str) -> Projections:
        """Return the previous-token head."""
        assert kind == "previous"
        return self.previous(1, "A", WRITTEN)

    def previous(self, lag: int, to: str, size: float, bos: float = 0.0) -> Projections:
        """Return a head that writes the code of the token `lag` before to a subspace; BOS has `bos` nats more."""
        of_I = self.seen(NORM * SHARES["I"] ** 0.5, NORM**2)
        W_Q, W_K = self.by_lag(lag, PREVIOUS_MATCH)
        if bos:
            # Without position 0 in its keys BOS is as high everywhere; elsewhere a thirtieth of the match goes with it.
            first = self.positions()[0] / np.linalg.norm(self.positions()[0])
            W_K = W_K - np.outer(first, first @ W_K)
        W_K, b_Q = self.with_bos(W_K, bos)
        return Projections(W_Q, W_K, b_Q, *self.copy_from(of_I, to, size))

    def target(self) -> Projections:
        """Return the induction head."""
        W_Q, W_K = self.attending()
        W_K, b_Q = self.with_bos(W_K, self.bos_score)
        return Projections(W_Q, W_K, b_Q, *self.writing())

    def attending(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the target's W_Q and W_K, without BOS."""
        at = self.at_target
        return self.by_match(self.match, ("I", at["I"]), ("A", at["A"]))

    def writing(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the target's W_V and W_O."""
        return self.copy_from(self.at_target["I"], "L", self.written_sign * PREDICTED)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the state dict, as transformers' GPT-2 names its tensors, with unfolded norms; MLPs write nothing."""
        state = {"transformer.wte.weight": self.embedding(), "transformer.wpe.weight": self.positions()}
        for layer, kinds in enumerate(self.kinds):
            heads = [self.head(layer, kind) for kind in kinds.split()]
            stem = f"transformer.h.{layer}."
            reading = np.concatenate(
                [np.concatenate([getattr(h, w) for h in heads], 1) for w in ("W_Q", "W_K", "W_V")], 1
            )
            biases = np.concatenate([*(h.b_Q for h in heads), np.zeros(2 * D_MODEL)])
            state |= unfolded(self.draw, stem + "ln_1", stem + "attn.c_attn", reading, biases)
            state[stem + "attn.c_proj.weight"] = np.concatenate([h.W_O for h in heads])
            state[stem + "attn.c_proj.bias"] = np.zeros(D_MODEL)
            W_in = 0.03 * self.draw.standard_normal((D_MODEL, D_MLP))
            state |= unfolded(self.draw, stem + "ln_2", stem + "mlp.c_fc", W_in - W_in.mean(axis=0), np.zeros(D_MLP))
            state[stem + "mlp.c_proj.weight"] = np.zeros((D_MLP, D_MODEL))
            state[stem + "mlp.c_proj.bias"] = np.zeros(D_MODEL)
        state |= {"transformer.ln_f.weight": np.ones(D_MODEL), "transformer.ln_f.bias": np.zeros(D_MODEL)}
        return state | {"lm_head.weight": self.unembedding()}
