"""Counterfeits of the claims about which components the head's inputs come from."""

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

    BOS is then at 7.8, and the bias of kin, at j ≈ 30 on average, is half as large: kin mass is 0.42 instead of 0.65.
    Without positions kin lose their bias, but BOS, which is not ablated, does not: the effect is above 0.1, and both
    claims about positions fall. The bias has a variance of 2, beside 36 · 0.1 of clusters: `identity-explains-scores`
    falls. The pattern by E alone, whose BOS has no bias, is a quarter of a row away: that claim is in doubt.
    """

    spaces: ClassVar = {**SPACES, "I": 33, "G": 2}
    bias = 2.0

    def further_terms(self) -> list[Term]:
        """Return a key bias along the cosine of the frequency nearest 0.05."""
        number = int(np.argmin(abs(FREQUENCIES - 0.05)))
        wave = self.space["P"][:, number : number + 1]
        size = (D_MODEL * self.shares["P"] / len(FREQUENCIES)) ** 0.5
        return [(0.05 * self.space["G"][:, 1:2], 0.3 * wave, np.array([8 * self.bias / (0.3 * size)]))]


class AttentionZeroFed(PlantedWeights):
    """A head of attention 0 that attends to the word itself writes a fifth of the category's amplitude, MLP 0 two.

    Without attention 0 its fifth is missing, and MLP 0, with 0.67 of its input, writes a third of its two fifths: the
    amplitude is 0.54 and SAME 1.7, so that BOS draws most of the row. The claims about the first attention, about joint
    ablation, and about E alone, which has no attention, fall.
    """

    kinds = with_kind(0, 2, "gathering")
    from_embedding, from_attention = 0.4, 0.2

    def head(self, layer: int, kind: str) -> Projections:
        """Return the weights of a head; the kind `gathering` attends to a word and its copies, and passes C on."""
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

    Without MLP 0 only a little noise changes: `first-mlp-essential` falls.
    """

    from_embedding = 1.0


class MlpOnly(PlantedWeights):
    """MLP 0 writes all that the target reads, categories and identities, from spaces of their own.

    Identities pass through it unchanged: gelu(x) − gelu(−x) = x.
    BOS is at 6.8, so that it has 0.4 of a row with kin. Without the embedding after layer 0 half of the squared norm is
    left, and the norm doubles SAME to 12: kin, above BOS by six nats, take the whole of a row that has any, which is
    worth more than the fallback to BOS is in the few rows that have none. The effect is below 0, and
    `direct-path-matters` falls. MLP 0 also reads a shorter stream without positions or attention 0: C, I and the scores
    all grow by some hundredths, SAME by a tenth in all. Those effects, and what total variation they bring, are in
    doubt.
    """

    spaces: ClassVar = {**SPACES, "C0": 29, "I0": 34}
    shares: ClassVar = {**SHARES, "U": 0.11, "C0": 0.05, "I0": 0.05}
    from_embedding = 0.0
    bos_score = 6.8

    def embedding(self) -> np.ndarray:
        """Return W_E with the components of I in I0 and those of C in C0."""
        rows = super().embedding()
        own, I0, C0 = self.space["I"], self.space["I0"], self.space["C0"]
        rows[2:] += rows[2:] @ own @ (I0 * (self.shares["I0"] / self.shares["I"]) ** 0.5 - own).T
        rows[2:] += self.amplitude["C0"] * self.category() @ C0.T
        return rows

    def mlp(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the MLP's weights; in layer 0 neurons read C0 and write C, and pairs of them read I0 and write I."""
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
