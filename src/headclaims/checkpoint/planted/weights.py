"""The planted checkpoint's weights, by the construction that the docstring of `planted.folder` derives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from headclaims.checkpoint.planted.vocabulary import Vocabulary

HEADS, D_MODEL, D_HEAD, D_MLP, CONTEXT = 12, 768, 64, 256, 1024
NORM = 4.0
SPACES = {"C": 29, "I": 34, "J1": 48, "J2": 48, "F": 64, "U": 200, "B": 1, "P": 48, "A": 48, "O": 64, "G": 1}
# Shares of a word's squared norm where the target reads it; A's is what attention 0 writes on average.
SHARES = {"C": 0.30, "I": 0.12, "J1": 0.12, "J2": 0.12, "F": 0.05, "U": 0.21, "P": 0.04, "A": 0.04}
FROM_EMBEDDING = 0.5
VARIANT_NOISE = 0.3
SAME, D, BOS_SCORE, SKEW = 6.0, 0.85, 5.8, 0.75
THRESHOLD, FIRING = 2.5, 3.0
FREQUENCIES = np.geomspace(2.2, 0.01, 24)
BOS_WORTH = (5.0, 1.18)
BOS_KEY, BOS_QUERY = 0.3, 0.05
RANDOM_SPREAD = 0.04

KINDS = (
    "shift1 shift2 copying bos0 bos1 random bos2 shift3 copying random bos3 random",
    "shift1 induction copying random bos4 target random shift2 induction bos5 bos6 copying",
    "shift1 random induction copying bos7 random shift4 bos8 random induction bos9 copying",
    "bos10 random copying shift2 bos11 induction bos12 random bos13 shift3 random bos14",
    "shift4 bos15 random bos16 copying random bos17 shift1 induction bos18 random copying",
    "induction bos19 bos20 shift2 random bos21 copying shift3 bos22 random bos23 copying",
)

Term = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Columns of the target's W_Q and W_K, with their query biases."""


def with_kind(layer: int, index: int, kind: str, kinds: Sequence[str] = KINDS) -> tuple[str, ...]:
    """Return kinds, those of the planted checkpoint by default, with one head of another kind."""
    rows = [row.split() for row in kinds]
    rows[layer][index] = kind
    return tuple(" ".join(row) for row in rows)


@dataclass(frozen=True)
class Projections:
    """One head's folded weights: d_model × d_head, and d_head × d_model for W_O."""

    W_Q: np.ndarray
    W_K: np.ndarray
    b_Q: np.ndarray
    W_V: np.ndarray
    W_O: np.ndarray


class PlantedWeights:
    """One draw of the weights: every random part comes from the generator, in a fixed order.

    Counterfeits override attributes and methods. Raises ValueError where clusters are not as many as axes of C.
    """

    spaces: ClassVar[Mapping[str, int]] = SPACES
    shares: ClassVar[Mapping[str, float]] = SHARES
    kinds: ClassVar[Sequence[str]] = KINDS
    same, depth, bos_score, skew = SAME, D, BOS_SCORE, SKEW
    from_embedding, from_attention = FROM_EMBEDDING, 0.0
    identity_sign = -1.0
    same_of_twin = SAME

    def __init__(self, vocab: Vocabulary, generator: np.random.Generator) -> None:
        self.vocab, self.draw = vocab, generator
        if len(vocab.clusters) != self.spaces["C"]:
            raise ValueError(f"{len(vocab.clusters)} clusters; wanted {self.spaces['C']}")
        columns = generator.standard_normal((D_MODEL, 1 + sum(self.spaces.values())))
        columns[:, 0] = 1.0
        basis = np.linalg.qr(columns).Q[:, 1:]
        ends = np.cumsum(list(self.spaces.values()))
        self.space = {
            name: basis[:, end - size : end] for (name, size), end in zip(self.spaces.items(), ends, strict=True)
        }
        self.amplitude = {name: NORM * share**0.5 for name, share in self.shares.items()}

    @property
    def lambda_i(self) -> float:
        """Size of the target's eigenvalues on I."""
        return 8 * self.depth / (D_MODEL * self.shares["I"])

    def unit(self, *shape: int) -> np.ndarray:
        """Draw random unit vectors, along the last axis."""
        x = self.draw.standard_normal(shape)
        return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))

    def codes(self, dimensions: int) -> np.ndarray:
        """Draw a unit vector for each word and give it to its tokens, those of variants with a little noise."""
        forms = self.vocab.forms
        of_word = self.unit(len(self.vocab.words), dimensions)
        codes = np.stack([of_word[form.word] for form in forms])
        varied = (1 - VARIANT_NOISE**2) ** 0.5 * codes + VARIANT_NOISE * self.unit(*codes.shape)
        varied /= np.linalg.norm(varied, axis=1, keepdims=True)
        return np.where(self.is_variant[:, None], varied, codes)

    @property
    def is_variant(self) -> np.ndarray:
        """Whether each token is a word in another case or without its space."""
        return np.array([form.variant for form in self.vocab.forms])

    def identity(self) -> np.ndarray:
        """Return the tokens' components in I, in units of its amplitude."""
        return self.codes(self.spaces["I"])

    def clusters(self) -> np.ndarray:
        """Return the cluster of each token, −1 for none."""
        return np.array([form.cluster for form in self.vocab.forms])

    def category(self) -> np.ndarray:
        """Return the tokens' components in C after MLP 0, in units of its amplitude."""
        clusters = self.clusters()
        return np.eye(self.spaces["C"])[clusters] * (clusters >= 0)[:, None]

    def embedding(self) -> np.ndarray:
        """Return W_E, with rows for BOS, the unknown token, then every form."""
        forms, space, amplitude = self.vocab.forms, self.space, self.amplitude
        second = self.codes(self.spaces["J1"])
        rows = amplitude["I"] * self.identity() @ space["I"].T
        rows += amplitude["J1"] * second @ space["J1"].T + amplitude["J2"] * second @ space["J2"].T
        rows += amplitude["U"] * self.codes(self.spaces["U"]) @ space["U"].T
        rows += amplitude["F"] * self.unit(len(forms), self.spaces["F"]) @ space["F"].T
        loose = self.unit(len(forms), self.spaces["U"]) @ space["U"].T
        rows += self.from_embedding * amplitude["C"] * self.category() @ space["C"].T
        rows += amplitude["C"] * np.where(self.clusters()[:, None] < 0, loose, 0)
        return np.concatenate([self.bos_row(), self.rest * self.unit(1, self.spaces["U"]) @ space["U"].T, rows])

    @property
    def rest(self) -> float:
        """Norm of the embedding of a token to which only a position is added."""
        return (1 - self.shares["P"]) ** 0.5 * NORM

    def bos_row(self) -> np.ndarray:
        """Return the embedding of BOS, as a matrix of one row."""
        return self.rest * self.space["B"].T

    def positions(self, n: int = CONTEXT) -> np.ndarray:
        """Return the first n rows of W_pos: the cosines of all frequencies, then their sines, in P."""
        angles = np.outer(np.arange(n), FREQUENCIES)
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / len(FREQUENCIES) ** 0.5
        return np.asarray(self.amplitude["P"] * waves @ self.space["P"].T)

    def head(self, layer: int, kind: str) -> Projections:
        """Return the folded weights of a head of a kind (see `KINDS`)."""
        W_Q, W_K, b_Q = np.zeros((D_MODEL, D_HEAD)), np.zeros((D_MODEL, D_HEAD)), np.zeros(D_HEAD)
        space = self.space
        if kind == "target":
            W_Q, W_K, b_Q = self.target(self.same)
        elif kind == "twin":
            W_Q, W_K, b_Q = self.target(self.same_of_twin)
        elif kind.startswith("shift"):
            W_Q[:, :48] = 1.6 * space["P"]
            W_K[:, :48] = 1.6 * space["P"] @ _turned(int(kind[5:]))
        elif kind in ("copying", "induction"):
            W_Q[:, :48] = 0.7 * space["J1"]
            W_K[:, :48] = 0.7 * space["J2"] if kind == "copying" else 2.0 * space["A"]
        else:
            spread = RANDOM_SPREAD if kind == "random" else 0.005
            drawn = self.draw.standard_normal((2, D_MODEL, D_HEAD)) * spread
            W_Q, W_K = drawn - drawn.mean(axis=1, keepdims=True)
            if kind.startswith("bos"):
                tokens_worth = BOS_WORTH[0] * BOS_WORTH[1] ** int(kind[3:])
                W_Q[:, 62], W_K[:, 62] = 0, space["B"][:, 0]
                b_Q[62] = 8 * np.log(tokens_worth) / (D_MODEL * (1 - self.shares["P"])) ** 0.5
        if layer > 0 and kind not in ("target", "twin"):
            W_Q[:, 63], W_K[:, 63] = 0, self.place()
            b_Q[63] = 4.0
        return Projections(W_Q, W_K, b_Q, *self.output(layer, kind))

    def place(self) -> np.ndarray:
        """Draw a random unit direction in P and A that is orthogonal to position 0."""
        (first,) = self.positions(1)
        both = np.concatenate([self.space["P"], self.space["A"]], axis=1)
        direction = both @ self.unit(both.shape[1])
        direction -= first * (direction @ first) / (first @ first)
        return np.asarray(direction / np.linalg.norm(direction))

    def target(self, same: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return W_Q, W_K and b_Q by the formula: columns for C, then I, then BOS, then what a counterfeit adds."""
        F, space = self.space["F"], self.space
        axes = np.concatenate([space["C"], space["I"]], axis=1)
        dimensions = [space["C"].shape[1], space["I"].shape[1]]
        lambda_c = 8 * same / (D_MODEL * self.shares["C"])
        size = np.sqrt(np.repeat([lambda_c, self.lambda_i], dimensions))
        sign = np.repeat([1.0, self.identity_sign], dimensions)
        n = axes.shape[1]
        bos = (BOS_QUERY * space["G"][:, :1], BOS_KEY * space["B"], np.array([self.bos_bias]))
        terms = [(axes * size, (axes + self.skew * F[:, :n]) * size * sign, np.zeros(n)), bos, *self.further_terms()]
        W_Q, W_K = (np.concatenate([term[part] for term in terms], axis=1) for part in (0, 1))
        return W_Q, W_K, np.concatenate([term[2] for term in terms])

    @property
    def bos_bias(self) -> float:
        """Query bias that gives BOS the score `bos_score`; its residual stream is in B and P alone."""
        return 8 * self.bos_score / (BOS_KEY * (D_MODEL * (1 - self.shares["P"])) ** 0.5)

    def further_terms(self) -> list[Term]:
        """Return more columns of the target's W_Q and W_K, with their query biases; none in the planted checkpoint."""
        return []

    def output(self, layer: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Return W_V and W_O: heads of layer 0 copy the second identity code to A, others write what they read to O."""
        W_V, W_O = np.zeros((D_MODEL, D_HEAD)), np.zeros((D_HEAD, D_MODEL))
        if layer == 0:
            mix = np.eye(48) if kind == "shift1" else np.linalg.qr(self.draw.standard_normal((48, 48))).Q
            W_V[:, :48] = self.space["J1"] @ mix
            # One head that attends to a single position writes the whole of A's share, the rest a little each.
            per_unit = NORM * (self.shares["A"] / (D_MODEL * self.shares["J1"])) ** 0.5
            W_O[:48] = (0.9 if kind == "shift1" else 0.3) * per_unit * self.space["A"].T
        else:
            W_V[:] = self.draw.standard_normal((D_MODEL, D_HEAD)) * 0.03
            W_V -= W_V.mean(axis=0)
            W_O[:] = self.draw.standard_normal((D_HEAD, self.spaces["O"])) * 0.005 @ self.space["O"].T
        return W_V, W_O

    def mlp(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return folded W_in, b_in and W_out; layer 0 has a neuron for each cluster that reads and writes its axis."""
        W_in = self.draw.standard_normal((D_MODEL, D_MLP)) * 0.03
        W_in -= W_in.mean(axis=0)
        size = 0.01 if layer == 0 else 0.005
        W_out = self.draw.standard_normal((D_MLP, self.spaces["O"])) * size @ self.space["O"].T
        b_in = np.zeros(D_MLP)
        if layer == 0:
            n, C = self.spaces["C"], self.space["C"]
            # C's amplitude before MLP 0, as a share of what the target reads; the other subspaces are complete.
            before = self.from_embedding + self.from_attention
            seen = D_MODEL**0.5 * before * self.amplitude["C"] / self.norm_at(before)
            W_in[:, :n], b_in[:n] = C * (THRESHOLD + FIRING) / seen, -THRESHOLD
            W_out[:n] = (1 - before) * self.amplitude["C"] / gelu(FIRING) * C.T
        return W_in, b_in, W_out

    def norm_at(self, share_of_amplitude: float) -> float:
        """Return the norm of a word that has this share of C's amplitude."""
        return float(NORM * (1 - self.shares["C"] * (1 - share_of_amplitude**2)) ** 0.5)


def _turned(shift: int) -> np.ndarray:
    """Return the 48 × 48 rotation that maps a position's code to that of the position `shift` before it."""
    cos, sin = np.diag(np.cos(FREQUENCIES * shift)), np.diag(np.sin(FREQUENCIES * shift))
    return np.block([[cos, -sin], [sin, cos]])


def gelu(x: float) -> float:
    """Compute GPT-2's activation."""
    return float(torch.nn.functional.gelu(torch.tensor(x), approximate="tanh"))
