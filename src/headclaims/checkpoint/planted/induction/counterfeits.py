"""Counterfeits of the planted induction head: each has one property changed, and says which claims must fall.

All others must stand. The same is in the claim set's `counterfeits.toml`, as data. Numbers are those of `weights`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import transformers

from headclaims.checkpoint.planted.folder import kept_folder, save_folder
from headclaims.checkpoint.planted.induction.weights import (
    CODE,
    CONTEXT,
    D_MLP,
    D_MODEL,
    HEADS,
    KINDS,
    NORM,
    PREVIOUS_MATCH,
    WRITTEN,
    InductionWeights,
    with_kind,
)
from headclaims.checkpoint.planted.vocabulary import vocabulary
from headclaims.checkpoint.planted.weights import Projections

LAG = 31
"""From a token of the second half to what followed its earlier copy, in prompts of 2 × 32 tokens without a gap."""
ALONE = PREVIOUS_MATCH * (1 - 1 / CODE)
"""The score of the token before where position 0 is taken out of keys."""


class DuplicateToken(InductionWeights):
    """The target's keys are I: it attends to earlier copies of the token, and to the token itself.

    Targets get what chance gives: `prefix-matching` and `not-the-copy` fall, and with L0H7's output unread
    `k-composition` and `keys-carry-it`. It writes the token's own code in both halves alike: nothing is gained for
    the next token, and `writes-the-target` and `loss-needs-it` are in doubt. Ratios of two scores near chance are in
    doubt as well.
    """

    def attending(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W_Q and W_K that match the token itself."""
        of_I = self.at_target["I"]
        return self.by_match(self.match, ("I", of_I), ("I", of_I))


class FixedLag(InductionWeights):
    """The target attends 31 positions back, whatever is there: on prompts without a gap, the token that followed.

    With a gap it misses (`not-by-lag`), on shuffled prompts it stays in its place (`order-matters`). It reads
    positions alone: `k-composition` and `keys-carry-it` fall.
    """

    def attending(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W_Q and W_K of a lag."""
        return self.by_lag(LAG, PREVIOUS_MATCH, NORM**2 + WRITTEN**2)


class NoComposition(InductionWeights):
    """L0H7 attends to the token before, as it did, and writes elsewhere; L0H11, a little weaker at it, writes A.

    So the best previous-token head is not what the target reads: `k-composition` and `keys-carry-it` fall.
    """

    kinds: ClassVar = with_kind(0, 11, "second")

    def before(self, kind: str) -> Projections:
        """Return a head that writes to O, or one that gives BOS a seventh and writes to A."""
        if kind == "previous":
            return self.previous(1, "O", WRITTEN)
        return self.previous(1, "A", WRITTEN * 7 / 6, ALONE - np.log(6))


class QComposed(InductionWeights):
    """Half of the match is of the tokens before: queries need L0H7 as well: `queries-do-not` falls.

    In the first 15 dimensions of the code the token before the key is matched with the query's (13 nats), in the
    other 15 the token two before the key, which L0H9 writes to A2, with the token before the query (10 nats). BOS has
    17: either alone loses to it, both together win. K-composition is 13/10 · |A|/|I| = 1.2 times that of L0H9.
    """

    kinds: ClassVar = with_kind(0, 9, "second")
    bos_score = 17.0

    def before(self, kind: str) -> Projections:
        """Return the head of the token before, or of the one before that."""
        return self.previous(1, "A", WRITTEN) if kind == "previous" else self.previous(2, "A2", WRITTEN)

    @property
    def at_target(self) -> dict[str, float]:
        """Sizes where both heads have written."""
        sizes = super().at_target
        more = ((NORM**2 + WRITTEN**2) / (NORM**2 + 2 * WRITTEN**2)) ** 0.5
        return {"I": sizes["I"] * more, "A": sizes["A"] * more, "B": sizes["B"]}

    def attending(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W_Q and W_K of both matches; half a code has half the squared norm."""
        at = self.at_target
        first = self.by_match(2 * 13.0, ("I", at["I"]), ("A", at["A"]))
        second = self.by_match(2 * 10.0, ("A", at["A"]), ("A2", at["A"]))
        W_Q, W_K = (np.concatenate([a[:, :15], b[:, 15:]], axis=1) for a, b in zip(first, second, strict=True))
        return W_Q, W_K


class NoPreviousToken(InductionWeights):
    """Four heads share the work of L0H7: each gives a quarter to the token before, and the rest to BOS.

    `previous-token-head-exists` falls, and `keys-carry-it`, as without one of them the match is 9.8 nats, still above
    BOS. They compose alike: `k-composition` is in doubt.
    """

    kinds: ClassVar = with_kind(0, 2, "second", with_kind(0, 11, "second", with_kind(0, 20, "second")))

    def before(self, kind: str) -> Projections:  # noqa: ARG002  # all alike
        """Return one of the four."""
        return self.previous(1, "A", WRITTEN, ALONE + np.log(3))


class CopiesNothing(InductionWeights):
    """The target writes to Gaussian directions: `copies` falls, and what that is worth to the next token is in
    doubt.
    """

    def writing(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W_V as it was, and a Gaussian W_O of the same norm."""
        W_V, W_O = super().writing()
        drawn = self.draw.standard_normal(W_O.shape)
        drawn -= drawn.mean(axis=1, keepdims=True)
        return W_V, drawn * np.linalg.norm(W_O) / np.linalg.norm(drawn)


class AntiCopying(InductionWeights):
    """The target's W_O has the opposite sign: it lowers what it attends to.

    `copies`, `copying-eigenvalues`, `writes-the-target` and `loss-needs-it` fall.
    """

    written_sign = -1.0


class Idle(InductionWeights):
    """The target attends as it did, and writes nothing: the same four fall."""

    written_sign = 0.0


class Faint(InductionWeights):
    """BOS has 13.6 nats, and the target e^13/(e^13 + e^13.6) = 0.35 of the row: `prefix-matching` falls alone."""

    bos_score = 13.6


class CopyToo(InductionWeights):
    """Keys are I as well: the earlier copy, and the token itself, have 0.6 nats less than the target, which keeps 0.45.

    A ratio of e^0.6 = 1.8: `not-the-copy` falls alone.
    """

    def attending(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W_Q, and W_K of both codes."""
        at = self.at_target
        W_Q, W_K = self.by_match(self.match, ("I", at["I"]), ("A", at["A"]))
        ratio = (self.match - 0.6) / self.match * at["A"] / at["I"]
        size = np.linalg.norm(W_K[:, 0])
        W_K = W_K.copy()
        W_K[:, : self.space["I"].shape[1]] += ratio * size * self.space["I"]
        return W_Q, W_K


PLANTED = "planted"
COUNTERFEITS: dict[str, type[InductionWeights]] = {
    "duplicate-token": DuplicateToken,
    "fixed-lag": FixedLag,
    "no-composition": NoComposition,
    "q-composed": QComposed,
    "no-previous-token": NoPreviousToken,
    "copies-nothing": CopiesNothing,
    "anti-copying": AntiCopying,
    "idle": Idle,
    "faint": Faint,
    "copy-too": CopyToo,
}


def folder(name: str, seed: int = 0) -> Path:
    """Return the folder of a counterfeit, or of the planted checkpoint, in the cache, built where it is missing."""
    made = InductionWeights if name == PLANTED else COUNTERFEITS[name]

    def build(to: Path) -> None:
        vocab = vocabulary()
        weights = made(vocab, np.random.default_rng([seed, 5]))
        config = transformers.GPT2Config(
            vocab_size=len(vocab.forms) + 2,
            n_positions=CONTEXT,
            n_embd=D_MODEL,
            n_layer=len(KINDS),
            n_head=HEADS,
            n_inner=D_MLP,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=False,
        )
        save_folder(to, config, weights.state_dict(), vocab)

    return kept_folder(f"induction-{name}", seed, build)
