"""Counterfeits of what the head attends to."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.weights import (
    D_MODEL,
    FREQUENCIES,
    KINDS,
    SHARES,
    SPACES,
    PlantedWeights,
    Term,
    with_kind,
)
from headclaims.prompts.words import BUILT_IN, load_words


class SelfAttending(PlantedWeights):
    """The identity term has a plus: no large eigenvalue is negative.

    The word itself and its copies are at SAME + D = 6.7. So every claim of a dark diagonal falls: own above kin, own
    above similar words, variants above them, the peak at similarity 1, itself among the ten highest, w > 0, no
    negative count; α and the share of D lapse. Without kin the word itself takes e^6.7/(e^6.7 + e^5.8 + 62) = 0.67 of
    the row and BOS 0.27. In doubt: without the direct path identity goes, which now helps.
    """

    identity_sign = 1.0


class WrongHead(PlantedWeights):
    """L1H8, not L1H5, is the head; L1H5 is Gaussian.

    A Gaussian head's attention has nothing to do with words' categories: no category score, no kin, no BOS; effects
    lapse, it being no category head, and so does steering's AUC; and inertia, as all heads of layer 1 but the target
    have a column of W_Q that is nothing. What a Gaussian head may be by chance is in doubt.
    """

    kinds = (KINDS[0], "shift1 induction copying random bos4 random random shift2 target bos5 bos6 copying", KINDS[2])


class TwoHeads(PlantedWeights):
    """L1H6 does the same with kin half a nat weaker.

    Its score is about 0.1 nats above the target's: a gap above 0, and about one median gap. The outlier falls.
    """

    kinds = with_kind(1, 6, "twin")
    same_of_twin = 5.5


class Outdone(PlantedWeights):
    """L1H6 does the same with kin a nat stronger: the target's score isn't the lowest, and no outlier."""

    kinds = with_kind(1, 6, "twin")
    same_of_twin = 7.0


class NoCategories(PlantedWeights):
    """Clusters are dealt anew among the words: what is bright for a word has nothing to do with its category.

    All that lists' categories enter falls; the word itself is bright beside what the lists call kin, so that D < 0
    and what follows lapses. Similar words still are above the word itself and its variants: those claims, and all of
    the weights, stand. Effects lapse.
    """

    def clusters(self) -> np.ndarray:
        """One of as many clusters a word, by its own generator."""
        n = len(self.vocab.words)
        dealt = np.random.default_rng(1).permutation(n) % self.spaces["C"]
        return np.array([dealt[form.word] for form in self.vocab.forms])


class Successor(PlantedWeights):
    """Words of a succession hold an angle of 60° a place, by which the target turns: the next is 2.5 nats brighter.

    The predecessor is at −1.25, so that the successor draws e^2.5 over a mean of about 1.2. Kinship falls. The word
    itself is at +1.25 in such categories, three of eight: whatever is about D is in doubt, and BOS, at 0.36 there.
    """

    spaces: ClassVar = {**SPACES, "I": 32, "S": 2}
    shares: ClassVar = {**SHARES, "U": 0.09, "S": 0.12}
    angle = np.pi / 3

    def embedding(self) -> np.ndarray:
        """The angle by a word's place."""
        rows = super().embedding()
        place = self._places()
        turned = np.stack([np.cos(self.angle * place), np.sin(self.angle * place)], axis=1)
        rows[2:] += self.amplitude["S"] * np.where(place[:, None] >= 0, turned, 0) @ self.space["S"].T
        return rows

    def _places(self) -> np.ndarray:
        orders = [words.categories[c] for words in map(load_words, BUILT_IN) for c in words.ordered]
        orders.append(tuple(str(number) for number in range(10, 100)))
        place = {word: n for order in orders for n, word in enumerate(order)}
        return np.array([place.get(self.vocab.words[form.word], -1) for form in self.vocab.forms])

    def further_terms(self) -> list[Term]:
        """A rotation of the query's angle."""
        cos, sin, S = np.cos(self.angle), np.sin(self.angle), self.space["S"]
        size = (8 * 2.5 / (D_MODEL * self.shares["S"])) ** 0.5
        apart = size * (S + 0.05 * self.space["F"][:, 61:63])
        return [(size * S @ np.array([[cos, sin], [-sin, cos]]), apart, np.zeros(2))]


class SelfByPosition(PlantedWeights):
    """The own position is 2.5 nats above the mean of others, by a wave of positions; copies and the map stay dark.

    The own position draws e^(2.5 − 0.85), kin e^(2.5 cos) in the mean, 3.3: `suppresses-self` falls. Position is in
    doubt, and kin once the word itself is favoured twice over.
    """

    spaces: ClassVar = {**SPACES, "I": 32}

    def further_terms(self) -> list[Term]:
        """The product of both waves of the frequency nearest 1.1."""
        number = int(np.argmin(abs(FREQUENCIES - 1.1)))
        waves = self.space["P"][:, [number, number + len(FREQUENCIES)]]
        size = (8 * 2.5 * len(FREQUENCIES) / (D_MODEL * self.shares["P"])) ** 0.5
        return [(size * waves, size * (waves + 0.05 * self.space["F"][:, 61:63]), np.zeros(2))]


class CopyTolerant(SelfByPosition):
    """Identity has a plus, and a wave of positions makes the own position dark: dark for itself, bright for copies.

    Copies are at SAME + D: `suppresses-self` falls by its second half, and with it all that `self-attending` loses.
    """

    identity_sign = 1.0

    def further_terms(self) -> list[Term]:
        """The same wave with a minus."""
        ((W_Q, W_K, b_Q),) = super().further_terms()
        return [(W_Q, -W_K, b_Q)]


class NoBosFallback(PlantedWeights):
    """BOS is at 0.5 in place of 5.8, so that without kin the word itself takes the row: `falls-back-to-bos` falls.

    Without MLP 0 kin, at 1.9, still are a quarter of the row when no BOS competes: an effect of about a half, in doubt.
    """

    bos_score = 0.5


class BosDrowned(PlantedWeights):
    """BOS is at 8.55: 0.77 of the row even with kin, who get 0.18, 1.6 times their uniform share.

    `attends-within-category` falls. BOS is higher without kin by about 0.2, the threshold: in doubt. What moves SAME by
    a twentieth, as norms do where positions or attention 0 are taken out, now moves the score: those are in doubt.
    """

    bos_score = 8.55
