"""Counterfeits that tell some kin from others: by partner, by word, by position."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.vocabulary import group_words, listed_categories
from headclaims.checkpoint.planted.weights import D_MODEL, FREQUENCIES, SHARES, SPACES, PlantedWeights, Term


class WordPairs(PlantedWeights):
    """Listed words have a partner in their category with the opposite identity: SAME = 5, D = 4.4, u_partner = −u.

    The partner is at 5 + 4.4 = 9.4 nats, other kin at 5, the word itself at 0.6, just above unrelated words. Of three
    or more distinct kin the partner is nearly always one, and draws 0.94 beside three others: exp(entropy)/4 is 0.33,
    and with the few rows that lack it `kin-evenly` is about 0.43: it falls. The score, with kin mass of 0.9 where the
    partner is and about a half elsewhere, is still the lowest, BOS still takes the row without kin, and the partner is
    never the next word of a succession. At α = −1 the word itself is at 9.4 and its partner at 0.6: kin mass is less
    than half of what it was, and `steering-works-in-the-model` falls. Without MLP 0, which gives SAME but not D, the
    partner remains: that effect is in doubt.
    """

    same, depth = 5.0, 4.4

    def identity(self) -> np.ndarray:
        """Return components in I, with that of its partner reversed for every second listed word."""
        forms, codes = self.vocab.forms, self.codes(self.spaces["I"])
        as_written: dict[int, np.ndarray] = {}
        for form, code in zip(forms, codes, strict=True):
            as_written.setdefault(form.word, code.copy())
        number = {word: n for n, word in enumerate(self.vocab.words)}
        opposite = {number[word]: number[partner] for word, partner in partners().items()}
        for place, form in enumerate(forms):
            if form.word in opposite:
                moved = codes[place] - as_written[form.word] - as_written[opposite[form.word]]
                codes[place] = moved / np.linalg.norm(moved)
        return codes


def partners() -> dict[str, str]:
    """Map the second word of each pair of listed words to the first: the one after next, so that none is a successor.

    Pairs are of words 0 and 2, 1 and 3 of every four; a last word without one has the category's first as well.
    """
    second: dict[str, str] = {}
    for words in listed_categories():
        whole = len(words) // 4 * 4
        for start in range(0, whole, 4):
            second |= {words[start + 2]: words[start], words[start + 3]: words[start + 1]}
        rest = words[whole:]
        if len(rest) >= 2:
            second[rest[1]] = rest[0]
        if len(rest) in (1, 3):
            second[rest[-1]] = words[0]
    return second


class FrequentKin(PlantedWeights):
    """Keys have a bias by word: +2 nats for one word of each listed category without group tokens, −2 for all others.

    Beside BOS at 5.8 − (−2) = 7.8 above ordinary words, a frequent kin is at 6 + 4 and other kin are at 6. Where the
    frequent one is among four kin it draws 0.95 of them, exp(entropy)/4 = 0.33; with rows that ask for it or lack it,
    whose kin mass is a third, and days, which have none, `kin-evenly` is below a half in the mean and uncertain: it
    falls. A frequent word's own position is at 9.15, above other kin. In the mean of all rows kin are above the own
    position; but of each frequent word the word itself is among the ten highest keys, in 22 of 180 probes, and
    `top-attended-are-kin` falls; and where it comes last it draws more than BOS, which leaves the fallback in doubt.
    Without the direct path the biases are gone, and with them the −2 of most kin beside BOS: the score is better, and
    `direct-path-matters` falls. Kin other than the frequent compete with BOS, so that a change of SAME by a twentieth
    changes the score: effects of positions and attention 0 are in doubt; so is steering in the model, where attention
    per kin is so uneven.
    """

    spaces: ClassVar = {**SPACES, "I": 33, "G": 2, "M": 1}
    shares: ClassVar = {**SHARES, "U": 0.18, "M": 0.03}
    bias = 2.0

    def embedding(self) -> np.ndarray:
        """Return W_E with m on frequent words and −m on all others, in M."""
        rows = super().embedding()
        grouped = {word for words in group_words() for word in words}
        frequent = {words[-1] for words in listed_categories() if words[-1] not in grouped}
        sign = [1.0 if self.vocab.words[form.word] in frequent else -1.0 for form in self.vocab.forms]
        rows[2:] += self.amplitude["M"] * np.array(sign)[:, None] * self.space["M"].T
        return rows

    def further_terms(self) -> list[Term]:
        """Return a key bias along M."""
        size = (D_MODEL * self.shares["M"]) ** 0.5
        return [(0.05 * self.space["G"][:, 1:2], 0.3 * self.space["M"], np.array([8 * self.bias / (0.3 * size)]))]


class _ByPosition(PlantedWeights):
    """Weights that read the waves of positions, with BOS left out: its key has a component in B that cancels them."""

    def wave(self, frequency: float) -> tuple[np.ndarray, float]:
        """Return the axes of cosine and sine of the frequency nearest to this one, and the size of each in x̂."""
        number = int(np.argmin(abs(FREQUENCIES - frequency)))
        axes = self.space["P"][:, [number, number + len(FREQUENCIES)]]
        return axes, (D_MODEL * self.shares["P"] / len(FREQUENCIES)) ** 0.5

    def without_bos(self, axes: np.ndarray, size: float) -> np.ndarray:
        """Return key weights for cosine and sine that are 0 for BOS, which is at cos 0 = 1, sin 0 = 0."""
        at_bos = (D_MODEL * (1 - self.shares["P"])) ** 0.5
        return np.asarray(axes - size / at_bos * self.space["B"] * [1.0, 0.0])


class RecencyInKin(_ByPosition):
    """Keys gain 2.5 cos(0.05 (i − j)) nats by their distance: of kin those nearby are brighter, by up to five nats.

    A score is no longer told by its two words: beside the 36 · 0.1 that clusters make, the wave has a variance of about
    2.5, and `identity-explains-scores` is near 0.6: it falls. Without positions attention moves among kin by more than
    a fifth of the row, so that the claims about positions and that about E alone fall by total variation. The own
    position gains all of the wave, for which D = 1.5 makes up, and BOS, which gains nothing, is at 8.3. Steering in the
    model, which favours the own position again, is in doubt, and so are the ten highest keys: with D = 1.5 they are the
    forms of two or three words whose identity is the most opposed, be they on a list or not.
    """

    spaces: ClassVar = {**SPACES, "I": 32}
    depth, bos_score = 1.5, 8.3
    height = 2.5

    def further_terms(self) -> list[Term]:
        """Return columns that add the cosine of the offset times the frequency nearest 0.05."""
        axes, size = self.wave(0.05)
        gain = (8 * self.height) ** 0.5 / size
        keys = gain * (self.without_bos(axes, size) + 0.05 * self.space["F"][:, 61:63])
        return [(gain * axes, keys, np.zeros(2))]


class EarlyKin(_ByPosition):
    """Keys have a bias of 2 cos(0.05 j): of kin those in the first half of the prompt are brighter, by up to four nats.

    That alone would raise kin mass, as the mean of e^(2 cos) is 2.3; so BOS has a bias of c cos(0.1 i) by the query's
    position, which takes as much from first and last rows as it leaves to those between. Both biases are 0 in the mean
    over positions, and c is such that the score is the same without them: the effect cancels. But the rows differ by
    more than a fifth: the claims about positions, and that about E alone, fall by total variation.
    `identity-explains-scores` falls, too, with a bias of variance 2 on all keys. Steering in the model is in doubt.
    """

    spaces: ClassVar = {**SPACES, "I": 31, "G": 2}
    bias = 2.0
    of_bos = 2.5

    def further_terms(self) -> list[Term]:
        """Return a key bias along one wave, and a symmetric pair of columns that read another wave for BOS."""
        axes, size = self.wave(0.05)
        key = self.without_bos(axes, size)[:, :1]
        by_key = (0.05 * self.space["G"][:, 1:2], 0.3 * key, np.array([8 * self.bias / (0.3 * size)]))
        axes, size = self.wave(0.1)
        gain = (8 * self.of_bos / (size * (D_MODEL * (1 - self.shares["P"])) ** 0.5)) ** 0.5
        wave, bos, F = axes[:, :1], self.space["B"], self.space["F"]
        # A little of F in each, so that all columns are independent.
        both = np.concatenate([wave, bos + 0.05 * F[:, 60:61]], axis=1)
        exchanged = np.concatenate([bos, wave], axis=1) + 0.05 * F[:, 61:63]
        by_query = (gain * both, gain * exchanged, np.zeros(2))
        return [by_key, by_query]
