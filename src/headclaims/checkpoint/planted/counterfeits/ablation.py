"""Counterfeits of where the head's inputs come from."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.weights import (
    D_MODEL,
    FREQUENCIES,
    NORM,
    SHARES,
    SPACES,
    PlantedWeights,
    Projections,
    Term,
    gelu,
    with_kind,
)


class Positional(PlantedWeights):
    """Keys have a bias of 2 cos(0.05 j) by position, which BOS at position 0 has in full.

    BOS is at 7.8, kin, at j of 30 in the mean, at half of that: kin mass is 0.42 in place of 0.65. Without positions
    kin lose their bias and BOS, which is left alone, does not: an effect above 0.1. Both claims of positions fall.
    """

    spaces: ClassVar = {**SPACES, "I": 33, "G": 2}
    bias = 2.0

    def further_terms(self) -> list[Term]:
        """A key bias along the cosine of the frequency nearest 0.05."""
        number = int(np.argmin(abs(FREQUENCIES - 0.05)))
        wave = self.space["P"][:, number : number + 1]
        size = (D_MODEL * self.shares["P"] / len(FREQUENCIES)) ** 0.5
        return [(0.05 * self.space["G"][:, 1:2], 0.3 * wave, np.array([8 * self.bias / (0.3 * size)]))]


class AttentionZeroFed(PlantedWeights):
    """A head of attention 0 that attends to the word itself writes a fifth of the category's amplitude, MLP 0 two.

    Without attention 0 its fifth is missing and MLP 0, at 0.67 of its input, writes a third of its two: 0.54 of the
    amplitude, SAME = 1.7, and BOS takes the row. First attention, jointly, and E alone, which has no attention, fall.
    """

    kinds = with_kind(0, 2, "gathering")
    from_embedding, from_attention = 0.4, 0.2

    def head(self, layer: int, kind: str) -> Projections:
        """Attention to the word itself and its copies, C moved on as it is."""
        if kind != "gathering":
            return super().head(layer, kind)
        made = super().head(layer, "copying")
        before = self.norm_at(self.from_embedding) * (1 - self.shares["A"]) ** 0.5
        n, C = self.spaces["C"], self.space["C"]
        W_V, W_O = np.zeros_like(made.W_V), np.zeros_like(made.W_O)
        W_V[:, :n] = C
        W_O[:n] = self.from_attention / self.from_embedding * before / D_MODEL**0.5 * C.T
        return Projections(made.W_Q * 1.4, made.W_K * 1.4, made.b_Q, W_V, W_O)


class EmbeddingOnly(PlantedWeights):
    """The embedding holds the whole of the category's amplitude, and MLP 0 writes none of it.

    Without MLP 0 nothing changes but a little noise: `first-mlp-essential` falls.
    """

    from_embedding = 1.0


class MlpOnly(PlantedWeights):
    """MLP 0 writes all that the target reads, categories and identities, from spaces of their own.

    Identities pass it as they are: gelu(x) − gelu(−x) = x.
    Without the embedding past layer 0 the stream is shorter and what is left counts for more: SAME grows, the effect
    is below 0. `direct-path-matters` falls. MLP 0, too, sees it when positions or attention 0 no longer lengthen the
    stream: C, I and the scores all grow by some hundredths, SAME by a tenth in all. Those effects are in doubt.
    """

    spaces: ClassVar = {**SPACES, "C0": 29, "I0": 34}
    shares: ClassVar = {**SHARES, "U": 0.11, "C0": 0.05, "I0": 0.05}
    from_embedding = 0.0

    def embedding(self) -> np.ndarray:
        """What would be in I is in I0, and what would be in C in C0."""
        rows = super().embedding()
        own, I0, C0 = self.space["I"], self.space["I0"], self.space["C0"]
        rows[2:] += rows[2:] @ own @ (I0 * (self.shares["I0"] / self.shares["I"]) ** 0.5 - own).T
        rows[2:] += self.amplitude["C0"] * self.category() @ C0.T
        return rows

    def mlp(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neurons on C0 that write C, and pairs of neurons on I0 that write I."""
        W_in, b_in, W_out = super().mlp(layer)
        if layer == 0:
            n, m = self.spaces["C"], self.spaces["I"]
            before = NORM * (1 - self.shares["C"] - self.shares["I"]) ** 0.5
            seen = {name: D_MODEL**0.5 * self.amplitude[name] / before for name in ("C0", "I0")}
            W_in[:, :n] = self.space["C0"] * 5.5 / seen["C0"]
            W_out[:n] = self.amplitude["C"] / gelu(3.0) * self.space["C"].T
            for start, sign in ((n, 1.0), (n + m, -1.0)):
                W_in[:, start : start + m] = sign * self.space["I0"]
                W_out[start : start + m] = sign * self.amplitude["I"] / seen["I0"] * self.space["I"].T
        return W_in, b_in, W_out
