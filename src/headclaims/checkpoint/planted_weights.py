"""The planted checkpoint's weights, by the construction that the docstring of `planted` derives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from headclaims.checkpoint.planted_vocabulary import Form, Vocabulary

LAYERS, HEADS, D_MODEL, D_HEAD, D_MLP, CONTEXT = 3, 12, 768, 64, 256, 1024
NORM = 4.0
SPACES = {"C": 29, "I": 34, "J1": 48, "J2": 48, "F": 64, "U": 200, "B": 1, "P": 48, "A": 48, "O": 64, "G": 1}
# Shares of a word's squared norm where the target reads it; A's is what attention 0 writes on average.
SHARES = {"C": 0.30, "I": 0.12, "J1": 0.12, "J2": 0.12, "F": 0.05, "U": 0.21, "P": 0.04, "A": 0.04}
FROM_EMBEDDING = 0.5
VARIANT_NOISE = 0.3
SAME, D, BOS_SCORE, SKEW = 6.0, 0.85, 5.8, 0.75
THRESHOLD, FIRING = 2.5, 3.0
FREQUENCIES = np.geomspace(2.2, 0.01, 24)
BOS_WORTH = (20.0, 1.3)
BOS_KEY, BOS_QUERY = 0.3, 0.05
LAMBDA_C = 8 * SAME / (D_MODEL * SHARES["C"])
LAMBDA_I = 8 * D / (D_MODEL * SHARES["I"])

KINDS = (
    "shift1 shift2 copying bos0 bos1 random bos2 shift3 copying random bos3 random",
    "shift1 induction copying random bos4 target random shift2 induction bos5 bos6 copying",
    "shift1 random induction copying bos7 random shift4 bos8 random induction bos9 copying",
)


@dataclass(frozen=True)
class _Projections:
    """One head's folded weights: d_model × d_head, and d_head × d_model for W_O."""

    W_Q: np.ndarray
    W_K: np.ndarray
    b_Q: np.ndarray
    W_V: np.ndarray
    W_O: np.ndarray


class PlantedWeights:
    """One draw of the weights: every random part comes from the generator, in a fixed order."""

    def __init__(self, vocab: Vocabulary, generator: np.random.Generator) -> None:
        self.vocab, self.draw = vocab, generator
        if len(vocab.clusters) != SPACES["C"]:
            raise ValueError(f"{len(vocab.clusters)} clusters; wanted {SPACES['C']}")
        columns = generator.standard_normal((D_MODEL, 1 + sum(SPACES.values())))
        columns[:, 0] = 1.0
        basis = np.linalg.qr(columns).Q[:, 1:]
        ends = np.cumsum(list(SPACES.values()))
        self.space = {name: basis[:, end - SPACES[name] : end] for name, end in zip(SPACES, ends, strict=True)}
        self.amplitude = {name: NORM * share**0.5 for name, share in SHARES.items()}

    def unit(self, *shape: int) -> np.ndarray:
        """Random unit vectors."""
        x = self.draw.standard_normal(shape)
        return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))

    def codes(self, dimensions: int, forms: Iterable[Form]) -> np.ndarray:
        """One unit vector a word, a variant's a little off it."""
        of_word = self.unit(len(self.vocab.words), dimensions)
        codes = np.stack([of_word[form.word] for form in forms])
        varied = (1 - VARIANT_NOISE**2) ** 0.5 * codes + VARIANT_NOISE * self.unit(*codes.shape)
        varied /= np.linalg.norm(varied, axis=1, keepdims=True)
        return np.where([[form.variant] for form in forms], varied, codes)

    def embedding(self) -> np.ndarray:
        """W_E: BOS, the unknown token, then every form."""
        forms, space, amplitude = self.vocab.forms, self.space, self.amplitude
        second = self.codes(SPACES["J1"], forms)
        rows = amplitude["I"] * self.codes(SPACES["I"], forms) @ space["I"].T
        rows += amplitude["J1"] * second @ space["J1"].T + amplitude["J2"] * second @ space["J2"].T
        rows += amplitude["U"] * self.codes(SPACES["U"], forms) @ space["U"].T
        features = self.unit(len(self.vocab.words), SPACES["F"])
        rows += amplitude["F"] * features[[form.word for form in forms]] @ space["F"].T
        loose = self.unit(len(forms), SPACES["U"]) @ space["U"].T
        own = np.stack([space["C"][:, form.cluster] * (form.cluster >= 0) for form in forms])
        rows += FROM_EMBEDDING * amplitude["C"] * own
        rows += amplitude["C"] * np.where([[form.cluster < 0] for form in forms], loose, 0)
        rest = (1 - SHARES["P"]) ** 0.5 * NORM
        return np.concatenate([rest * space["B"].T, rest * self.unit(1, SPACES["U"]) @ space["U"].T, rows])

    def positions(self) -> np.ndarray:
        """W_pos: cos and sin of each frequency, one after the other."""
        angles = np.outer(np.arange(CONTEXT), FREQUENCIES)
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / len(FREQUENCIES) ** 0.5
        return np.asarray(self.amplitude["P"] * waves @ self.space["P"].T)

    def head(self, layer: int, kind: str) -> _Projections:
        """A head's folded weights by what it does."""
        W_Q, W_K, b_Q = np.zeros((D_MODEL, D_HEAD)), np.zeros((D_MODEL, D_HEAD)), np.zeros(D_HEAD)
        space = self.space
        if kind == "target":
            W_Q, W_K, b_Q = self.target()
        elif kind.startswith("shift"):
            W_Q[:, :48] = 1.6 * space["P"]
            W_K[:, :48] = 1.6 * space["P"] @ _turned(int(kind[5:]))
        elif kind in ("copying", "induction"):
            W_Q[:, :48] = 0.7 * space["J1"]
            W_K[:, :48] = 0.7 * space["J2"] if kind == "copying" else 2.0 * space["A"]
        else:
            spread = 0.06 if kind == "random" else 0.005
            drawn = self.draw.standard_normal((2, D_MODEL, D_HEAD)) * spread
            W_Q, W_K = drawn - drawn.mean(axis=1, keepdims=True)
            if kind.startswith("bos"):
                tokens_worth = BOS_WORTH[0] * BOS_WORTH[1] ** int(kind[3:])
                W_Q[:, 62], W_K[:, 62] = 0, space["B"][:, 0]
                b_Q[62] = 8 * np.log(tokens_worth) / (D_MODEL * (1 - SHARES["P"])) ** 0.5
        if layer > 0 and kind != "target":
            W_Q[:, 63], W_K[:, 63] = 0, self.place()
            b_Q[63] = 4.0
        return _Projections(W_Q, W_K, b_Q, *self.output(layer, kind))

    def place(self) -> np.ndarray:
        """A random unit direction of positions and of what attention 0 writes, to which position 0 is nothing."""
        first = self.positions()[0]
        direction = np.concatenate([self.space["P"], self.space["A"]], axis=1) @ self.unit(SPACES["P"] + SPACES["A"])
        direction -= first * (direction @ first) / (first @ first)
        return np.asarray(direction / np.linalg.norm(direction))

    def target(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """W_Q, W_K and b_Q of the module's formula: axes of C, then of I, then BOS."""
        F = self.space["F"]
        axes = np.concatenate([self.space["C"], self.space["I"]], axis=1)
        dimensions = [SPACES["C"], SPACES["I"]]
        size = np.sqrt(np.repeat([LAMBDA_C, LAMBDA_I], dimensions))
        sign = np.repeat([1.0, -1.0], dimensions)
        n = axes.shape[1]
        W_Q = np.concatenate([axes * size, BOS_QUERY * self.space["G"]], axis=1)
        W_K = np.concatenate([(axes + SKEW * F[:, :n]) * size * sign, BOS_KEY * self.space["B"]], axis=1)
        b_Q = np.zeros(D_HEAD)
        # BOS stands in a residual stream of B and position, nothing else.
        b_Q[n] = 8 * BOS_SCORE / (BOS_KEY * (D_MODEL * (1 - SHARES["P"])) ** 0.5)
        return W_Q, W_K, b_Q

    def output(self, layer: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """W_V and W_O: layer 0 moves the second identity code to A, the others what they see to O."""
        W_V, W_O = np.zeros((D_MODEL, D_HEAD)), np.zeros((D_HEAD, D_MODEL))
        if layer == 0:
            mix = np.eye(48) if kind == "shift1" else np.linalg.qr(self.draw.standard_normal((48, 48))).Q
            W_V[:, :48] = self.space["J1"] @ mix
            # One head that attends to a single position writes the whole of A's share, the rest a little each.
            per_unit = NORM * (SHARES["A"] / (D_MODEL * SHARES["J1"])) ** 0.5
            W_O[:48] = (0.9 if kind == "shift1" else 0.3) * per_unit * self.space["A"].T
        else:
            W_V[:] = self.draw.standard_normal((D_MODEL, D_HEAD)) * 0.03
            W_V -= W_V.mean(axis=0)
            W_O[:] = self.draw.standard_normal((D_HEAD, SPACES["O"])) * 0.01 @ self.space["O"].T
        return W_V, W_O

    def mlp(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Folded W_in, b_in and W_out: in layer 0 one neuron a cluster that fires on its axis and writes it."""
        W_in = self.draw.standard_normal((D_MODEL, D_MLP)) * 0.03
        W_in -= W_in.mean(axis=0)
        W_out = self.draw.standard_normal((D_MLP, SPACES["O"])) * 0.01 @ self.space["O"].T
        b_in = np.zeros(D_MLP)
        if layer == 0:
            n, C = SPACES["C"], self.space["C"]
            from_embedding = FROM_EMBEDDING * self.amplitude["C"]
            before = NORM * (1 - SHARES["C"] * (1 - FROM_EMBEDDING**2)) ** 0.5
            seen = D_MODEL**0.5 * from_embedding / before
            W_in[:, :n], b_in[:n] = C * (THRESHOLD + FIRING) / seen, -THRESHOLD
            W_out[:n] = (self.amplitude["C"] - from_embedding) / _gelu(FIRING) * C.T
        return W_in, b_in, W_out

    def state(self) -> dict[str, np.ndarray]:
        """The state dict, norms unfolded: every norm has a gain and a bias of its own, undone in what reads it."""
        state = {"transformer.wte.weight": self.embedding(), "transformer.wpe.weight": self.positions()}
        for layer, kinds in enumerate(KINDS):
            heads = [self.head(layer, kind) for kind in kinds.split()]
            stem = f"transformer.h.{layer}."
            reading = np.concatenate(
                [np.concatenate([getattr(h, w) for h in heads], 1) for w in ("W_Q", "W_K", "W_V")], 1
            )
            biases = np.concatenate([*(h.b_Q for h in heads), np.zeros(2 * D_MODEL)])
            state |= self.unfolded(stem + "ln_1", stem + "attn.c_attn", reading, biases)
            state[stem + "attn.c_proj.weight"] = np.concatenate([h.W_O for h in heads])
            state[stem + "attn.c_proj.bias"] = np.zeros(D_MODEL)
            W_in, b_in, W_out = self.mlp(layer)
            state |= self.unfolded(stem + "ln_2", stem + "mlp.c_fc", W_in, b_in)
            state[stem + "mlp.c_proj.weight"] = W_out
            state[stem + "mlp.c_proj.bias"] = np.zeros(D_MODEL)
        state["transformer.ln_f.weight"] = np.ones(D_MODEL)
        state["transformer.ln_f.bias"] = np.zeros(D_MODEL)
        return state

    def unfolded(self, norm: str, reader: str, W: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        """A norm with a gain and a bias, and the reader's weights that give W and b once these are folded in."""
        gain = self.draw.uniform(0.8, 1.25, D_MODEL)
        bias = self.draw.standard_normal(D_MODEL) * 0.05
        raw = W / gain[:, None]
        return {
            f"{norm}.weight": gain,
            f"{norm}.bias": bias,
            f"{reader}.weight": raw,
            f"{reader}.bias": b - bias @ raw,
        }


def _turned(shift: int) -> np.ndarray:
    """The 48 × 48 rotation that makes the key `shift` positions back look like the query's position."""
    cos, sin = np.diag(np.cos(FREQUENCIES * shift)), np.diag(np.sin(FREQUENCIES * shift))
    return np.block([[cos, -sin], [sin, cos]])


def _gelu(x: float) -> float:
    return float(torch.nn.functional.gelu(torch.tensor(x), approximate="tanh"))
