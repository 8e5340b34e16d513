"""Counterfeits of the claims about the head's scores over the vocabulary."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.vocabulary import group_words, listed_words
from headclaims.checkpoint.planted.weights import BOS_WORTH, D_MODEL, NORM, SPACES, PlantedWeights, Projections, Term


class CaseBlind(PlantedWeights):
    """Variants have an identity of their own: the head treats them as any other kin.

    Words nearest in cosine share some identity, and score a little less than variants then: `case-variants-avoided`
    falls. A cluster of twenty words has 80 tokens, among whose ten highest are variants of the probe itself for more
    than 5 % of probes: `top-attended-are-kin` falls.
    """

    def identity(self) -> np.ndarray:
        """Return a unit vector for each token."""
        return self.unit(len(self.vocab.forms), self.spaces["I"])


class Merged(PlantedWeights):
    """Years, pronouns and countries are one cluster: three of ten pairs of groups are as bright as blocks are.

    AUC = 1 − 0.3/2 = 0.85: `category-blocks` falls, and the claim that steering keeps the blocks lapses.
    """

    def clusters(self) -> np.ndarray:
        """Return the clusters, with that of years for all three."""
        clusters = super().clusters()
        years, *others = (self.vocab.clusters.index(name) for name in ("years", "pronouns", "countries"))
        return np.where(np.isin(clusters, others), years, clusters)


class BrightGroups(PlantedWeights):
    """The group tokens' years and pronouns have a second identity of 3.5 nats in a positive space, as hexagons.

    Their scores with themselves are 3.5 · 1.2 above their group's mean, so that over five groups
    D = (3 · 0.85 − 2 · 4.2)/5 < 0: `dark-diagonal` falls, by the scatter identity w > 0 too, and claims that presuppose
    a dark diagonal lapse. Scores within these two groups spread by 2.5 nats, within others by 0.3: how far blocks stand
    out is in doubt. On the word list, which has none of these tokens, nothing changes.
    """

    spaces: ClassVar = {**SPACES, "I": 32, "T": 2}
    share_of_bright = 0.05

    def embedding(self) -> np.ndarray:
        """Return W_E with corners of a hexagon in T for years and pronouns."""
        rows = super().embedding()
        groups = dict(zip(("days", "colours", "years", "pronouns", "countries"), group_words(), strict=True))
        place = {" " + word: n for name in ("years", "pronouns") for n, word in enumerate(groups[name])}
        for row, form in zip(rows[2:], self.vocab.forms, strict=True):
            if form.text in place:
                angle = place[form.text] * np.pi / 3
                row *= (1 - self.share_of_bright) ** 0.5
                row += NORM * self.share_of_bright**0.5 * self.space["T"] @ [np.cos(angle), np.sin(angle)]
        return rows

    def further_terms(self) -> list[Term]:
        """Return columns that add 3.5 nats at the same corner of the hexagon."""
        size = (8 * 3.5 / (D_MODEL * self.share_of_bright)) ** 0.5
        T, F = self.space["T"], self.space["F"]
        return [(size * T, size * (T + 0.05 * F[:, 61:63]), np.zeros(2))]


class ListedOnly(PlantedWeights):
    """The head avoids words of the lists and group tokens alone: others have their identity in a positive space.

    Most common words are on no list. Their scores with themselves are above those with similar words, as are those with
    their variants, and the peak is at similarity 1: these three claims fall, and that about the negative count, as 17
    axes are positive.
    """

    spaces: ClassVar = {**SPACES, "I": 17, "T": 17}

    def identity(self) -> np.ndarray:
        """Return components in I, 0 for words on no list, whose identity `embedding` puts into T."""
        listed = listed_words()
        self.listed = np.array([self.vocab.words[form.word].casefold() in listed for form in self.vocab.forms])
        self.both = self.codes(self.spaces["I"])
        return np.where(self.listed[:, None], self.both, 0)

    def embedding(self) -> np.ndarray:
        """Return W_E with the identities of words on no list in T."""
        rows = super().embedding()
        rows[2:] += self.amplitude["I"] * np.where(self.listed[:, None], 0, self.both) @ self.space["T"].T
        return rows

    def further_terms(self) -> list[Term]:
        """Return columns of the identity term on T, with a plus."""
        size, T, n = self.lambda_i**0.5, self.space["T"], self.spaces["C"] + self.spaces["I"]
        return [(size * T, size * (T + self.skew * self.space["F"][:, n : n + 17]), np.zeros(17))]


class ManyLoose(PlantedWeights):
    """A third of the words that are on no list belong to no cluster: similar words are no brighter to them than others.

    These are more than a tenth of common words: `similar-above-dissimilar` falls.
    """

    def clusters(self) -> np.ndarray:
        """Return the clusters, with none for every third word on no list."""
        listed = listed_words()
        loose = [word.casefold() not in listed and n % 3 == 0 for n, word in enumerate(self.vocab.words)]
        return np.where([loose[form.word] for form in self.vocab.forms], -1, super().clusters())


class Hubs(PlantedWeights):
    """Twelve rare tokens look like BOS, at 8.2 nats: whatever word asks, they are the ten highest.

    They are not among the common words and in no prompt: `top-attended-are-kin` alone falls.
    """

    def is_hub(self, number: int) -> bool:
        """Return whether a token can be a hub: a capitalised loose word without a space."""
        form = self.vocab.forms[number]
        return form.cluster < 0 and not form.text.startswith(" ") and form.text[0].isupper()

    def embedding(self) -> np.ndarray:
        """Return W_E, in which BOS is half in B by squared norm and hubs are in B alone."""
        rows = super().embedding()
        elsewhere = self.unit(1, self.spaces["U"]) @ self.space["U"].T
        hubs = [n for n in range(len(self.vocab.forms)) if self.is_hub(n)][: self.n_hubs]
        rows[0] = (rows[0] + self.rest * elsewhere[0]) / 2**0.5
        rows[[n + 2 for n in hubs]] = self.rest * self.space["B"].T
        return rows

    n_hubs = 12

    @property
    def bos_bias(self) -> float:
        """Query bias that gives BOS the same score with half of B."""
        return super().bos_bias * 2**0.5

    def head(self, layer: int, kind: str) -> Projections:
        """Return the weights of a head; those that read BOS are adjusted to its half in B."""
        made = super().head(layer, kind)
        if kind.startswith("bos"):
            made.b_Q[62] = 8 * np.log(BOS_WORTH[0] * BOS_WORTH[1] ** int(kind[3:]))
            made.b_Q[62] /= (D_MODEL * (1 - self.shares["P"]) / 2) ** 0.5
        return made


class CommonHubs(Hubs):
    """Four common words look like BOS, and are the four highest of every word: communities are of those alone.

    `communities-are-semantic` falls. They take four of the ten highest: `top-attended-are-kin` is in doubt.
    """

    n_hubs = 4

    def is_hub(self, number: int) -> bool:
        """Return whether a token can be a hub: a loose word as written."""
        form = self.vocab.forms[number]
        return form.cluster < 0 and not form.variant
