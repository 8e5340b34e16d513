"""Counterfeits of the claims about what the head attends to."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.vocabulary import successions
from headclaims.checkpoint.planted.weights import (
    D_MODEL,
    FREQUENCIES,
    SHARES,
    SPACES,
    PlantedWeights,
    Term,
    with_kind,
)


class SelfAttending(PlantedWeights):
    """The identity term has a plus: no large eigenvalue is negative.

    The word itself and its copies are at SAME + D = 6.7. So every claim of a dark diagonal falls: the word itself is
    above kin and above similar words, variants are above these, the peak is at similarity 1, the word is among its ten
    highest keys, w > 0, and the negative count is low; α and the share of D lapse. Without kin the word itself draws
    e^6.7/(e^6.7 + e^5.8 + 62) = 0.67 of the row and BOS 0.27. The effect of the direct path is in doubt, since without
    it identity disappears, which now raises the scores.
    """

    identity_sign = 1.0


class WrongHead(PlantedWeights):
    """L1H8, not L1H5, is the head; L1H5 is Gaussian.

    A Gaussian head's attention does not depend on words' categories: the claims about the category score, kin and BOS
    fall. Effects of ablations lapse, as it is not a category head, and so does steering's AUC; inertia lapses as well,
    since all heads of layer 1 except the target have a column of zeros in W_Q. Claims that a Gaussian head may meet by
    chance are in doubt.
    """

    kinds = with_kind(1, 8, "target", with_kind(1, 5, "random"))


class TwoHeads(PlantedWeights):
    """L1H6 does the same with kin half a nat weaker.

    Its score is about 0.1 nats above the target's: the gap is above 0, but only about one median gap, so that the claim
    of an outlier falls.
    """

    kinds = with_kind(1, 6, "twin")
    same_of_twin = 5.5


class Outdone(PlantedWeights):
    """L1H6 does the same with kin a nat stronger: the target's score isn't the lowest, and no outlier."""

    kinds = with_kind(1, 6, "twin")
    same_of_twin = 7.0


class NoCategories(PlantedWeights):
    """Clusters are dealt anew among the words: what is bright for a word has nothing to do with its category.

    Every claim that the lists' categories enter falls; the word itself is bright beside what the lists call kin, so
    that D < 0, and claims that follow from D > 0 lapse. Similar words are still above the word itself and its variants:
    those claims, and all about the weights, stand. Effects of ablations lapse.
    """

    def clusters(self) -> np.ndarray:
        """Return random clusters, as many as before, one for each word, by a generator of their own."""
        n = len(self.vocab.words)
        dealt = np.random.default_rng(1).permutation(n) % self.spaces["C"]
        return np.array([dealt[form.word] for form in self.vocab.forms])


class Successor(PlantedWeights):
    """Words of a succession hold an angle of 60° a place, by which the target turns: the next is 2.5 nats brighter.

    The predecessor is at −1.25, so that the successor draws e^2.5 over a mean of about 1.2: the claim of kinship falls.
    The word itself is at +1.25 in such categories, three of eight: claims about D are in doubt, and that about BOS,
    which draws 0.36 there. The scores of days spread by 1.8 nats, those of the other groups by 0.3: how far blocks
    stand out depends on one group, and is in doubt.
    """

    spaces: ClassVar = {**SPACES, "I": 32, "S": 2}
    shares: ClassVar = {**SHARES, "U": 0.09, "S": 0.12}
    angle = np.pi / 3

    def embedding(self) -> np.ndarray:
        """Return W_E with each word's angle, by its place in a succession, in S."""
        rows = super().embedding()
        place = self._places()
        turned = np.stack([np.cos(self.angle * place), np.sin(self.angle * place)], axis=1)
        rows[2:] += self.amplitude["S"] * np.where(place[:, None] >= 0, turned, 0) @ self.space["S"].T
        return rows

    def _places(self) -> np.ndarray:
        orders = [*successions(), [str(number) for number in range(10, 100)]]
        place = {word: n for order in orders for n, word in enumerate(order)}
        return np.array([place.get(self.vocab.words[form.word], -1) for form in self.vocab.forms])

    def further_terms(self) -> list[Term]:
        """Return columns that rotate the query's angle by one place."""
        cos, sin, S = np.cos(self.angle), np.sin(self.angle), self.space["S"]
        size = (8 * 2.5 / (D_MODEL * self.shares["S"])) ** 0.5
        apart = size * (S + 0.05 * self.space["F"][:, 61:63])
        return [(size * S @ np.array([[cos, sin], [-sin, cos]]), apart, np.zeros(2))]


class SelfByPosition(PlantedWeights):
    """The own position is 2.5 nats above the mean of others, by a wave of positions; copies and the map stay dark.

    The own position draws e^(2.5 − 0.85), and kin e^(2.5 cos), on average 3.3: `suppresses-self` falls. So does
    `identity-explains-scores`, as the wave's variance, 3.1, is nearly that of clusters, 36 · 0.1. Without positions two
    fifths of a row move: both claims about positions fall, and that about E alone, by total variation. Steering in the
    model, which favours the word itself a second time, is in doubt, and so is the fallback to BOS: at the last position
    BOS gains 2.2 nats of the wave, and the word itself 2.5.
    """

    spaces: ClassVar = {**SPACES, "I": 32}

    def further_terms(self) -> list[Term]:
        """Return columns that add the cosine of the offset times the frequency nearest 1.1."""
        number = int(np.argmin(abs(FREQUENCIES - 1.1)))
        waves = self.space["P"][:, [number, number + len(FREQUENCIES)]]
        size = (8 * 2.5 * len(FREQUENCIES) / (D_MODEL * self.shares["P"])) ** 0.5
        return [(size * waves, size * (waves + 0.05 * self.space["F"][:, 61:63]), np.zeros(2))]


class CopyTolerant(SelfByPosition):
    """Identity has a plus, and a wave of positions makes the own position dark: dark for itself, bright for copies.

    Copies are at SAME + D: `suppresses-self` falls by its second half, and with it all claims that fall for
    `self-attending` or, by the wave, for `self-by-position`.
    """

    identity_sign = 1.0

    def further_terms(self) -> list[Term]:
        """Return the columns of `SelfByPosition` with the opposite sign."""
        ((W_Q, W_K, b_Q),) = super().further_terms()
        return [(W_Q, -W_K, b_Q)]


class NoBosFallback(PlantedWeights):
    """BOS is at 0.5 in place of 5.8, so that without kin the word itself takes the row: `falls-back-to-bos` falls.

    Without MLP 0 kin, at 1.9, still draw a quarter of the row, as BOS does not compete: the effect is about a half, and
    in doubt.
    """

    bos_score = 0.5


class BosDrowned(PlantedWeights):
    """BOS is at 8.55: 0.77 of the row even with kin, who get 0.18, 1.6 times their uniform share.

    `attends-within-category` falls. BOS draws about 0.2 more without kin, which is the threshold: in doubt. A change of
    SAME by a twentieth, as by the norm where positions or attention 0 are ablated, now changes the score: these effects
    are in doubt.
    """

    bos_score = 8.55
