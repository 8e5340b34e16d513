"""Counterfeits: checkpoints made like the planted one with one property changed, to prove that each claim can fail.

Every docstring says what is changed and derives which claims must fall and which of the others it puts in doubt; all
others must stand. The same is in `fixtures/data/counterfeits.toml`, as data that `make mutants` compares. Numbers are
those of `planted`: kin at SAME = 5.85 nats, the word itself D = 0.85 below, BOS at 5.8; on a row with kin about 3.4 of
them, 0.7 earlier copies and 62 other words at 0, which gives kin 0.65 of the row. Scores are in nats, ŝ² = 768 · share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.folder import kept_folder, save, save_folder
from headclaims.checkpoint.planted.random_weights import GPT2_SMALL, SMALL, Sizes, random_config, random_weights
from headclaims.checkpoint.planted.vocabulary import Vocabulary, vocabulary
from headclaims.checkpoint.planted.weights import (
    BOS_WORTH,
    D_MODEL,
    FREQUENCIES,
    KINDS,
    NORM,
    SHARES,
    SPACES,
    PlantedWeights,
    Projections,
    gelu,
)
from headclaims.prompts.words import BUILT_IN, group_tokens, load_words

Term = tuple[np.ndarray, np.ndarray, np.ndarray]


def _with_kind(layer: int, index: int, kind: str) -> tuple[str, ...]:
    """`KINDS` with one head of another kind."""
    rows = [row.split() for row in KINDS]
    rows[layer][index] = kind
    return tuple(" ".join(row) for row in rows)


def _listed() -> set[str]:
    """The words of both lists and the group tokens, whatever their case."""
    lists = [words.words for words in map(load_words, BUILT_IN)] + _groups()
    return {word.casefold() for words in lists for word in words}


class SelfAttending(PlantedWeights):
    """The identity term has a plus: no large eigenvalue is negative.

    The word itself and its copies are at SAME + D = 6.7. So every claim of a dark diagonal falls: own above kin, own
    above similar words, variants above them, the peak at similarity 1, itself among the ten highest, w > 0, no
    negative count; α and the share of D lapse. Without kin the word itself takes e^6.7/(e^6.7 + e^5.8 + 62) = 0.67 of
    the row and BOS 0.27. In doubt: without the direct path identity goes, which now helps.
    """

    identity_sign = 1.0


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

    kinds = _with_kind(0, 2, "gathering")
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

    kinds = _with_kind(1, 6, "twin")
    same_of_twin = 5.5


class Outdone(PlantedWeights):
    """L1H6 does the same with kin a nat stronger: the target's score isn't the lowest, and no outlier."""

    kinds = _with_kind(1, 6, "twin")
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


class SkewDriven(PlantedWeights):
    """W_QK adds a term a bᵀ, b the same for every word and a set for animals and fruits: a constant of their rows.

    The softmax doesn't see it, and its row-constant leaves every claim about rows alone. Its symmetric half is a key
    bias of 6 nats on animals and fruits, a quarter of all words, which takes the others' rows: W_sym alone is not
    sufficient. Its largest singular values are half and half: the skew is no weaker, or by noise alone.
    """

    spaces: ClassVar = {**SPACES, "I": 33, "M": 1, "K": 1}
    shares: ClassVar = {**SHARES, "U": 0.16, "M": 0.03, "K": 0.02}
    bos_score = 6.2  # BOS gives up a little to the constant, and unmarked words are a little shorter

    def embedding(self) -> np.ndarray:
        """The constant, on BOS too, and the mark."""
        rows = super().embedding()
        clusters = [self.vocab.clusters.index(name) for name in ("animals", "fruits")]
        rows[2:] += self.amplitude["M"] * np.isin(self.clusters(), clusters)[:, None] * self.space["M"].T
        rows[0] *= (1 - self.shares["K"]) ** 0.5
        return np.asarray(rows + self.amplitude["K"] * self.space["K"].T)

    def further_terms(self) -> list[Term]:
        """Twelve nats on marked queries, whatever the key."""
        size = (8 * 12 / (D_MODEL * (self.shares["M"] * self.shares["K"]) ** 0.5)) ** 0.5
        return [(size * self.space["M"], size * self.space["K"], np.zeros(1))]


class SkewIdle(PlantedWeights):
    """A skew term twice as strong as W_sym, on directions that no token has: `skew-is-weaker` falls, no score moves."""

    spaces: ClassVar = {**SPACES, "I": 32, "G": 5}

    def further_terms(self) -> list[Term]:
        """0.5 (g₁ g₂ᵀ − g₂ g₁ᵀ), and a little of g₃ and g₄, so that the columns stay of full rank."""
        g = self.space["G"]
        keys = np.stack([g[:, 2] + 0.02 * g[:, 3], -g[:, 1] + 0.02 * g[:, 4]], axis=1)
        return [(0.5 * g[:, 1:3], keys, np.zeros(2))]


class SkewScored(PlantedWeights):
    """W_skew alone scores 3 nats between the words of the six clusters on no list, ± by cluster, and all others.

    The term is 3 (a_x − a_y), a = ±1 in those clusters: alike for a word, its kin and its variants, so that no
    comparison among them moves, and nothing at all where prompts and groups hold listed words alone. Over common
    words, a sixth of which are in such clusters, it is larger than the symmetric scores: `skew-scores-are-weaker`
    falls, and the largest singular value with it.
    """

    spaces: ClassVar = {**SPACES, "I": 32, "M": 1, "K": 1}
    shares: ClassVar = {**SHARES, "U": 0.16, "M": 0.03, "K": 0.02}
    bos_score = 6.2  # words without the mark are a little shorter, so that their scores are higher

    def embedding(self) -> np.ndarray:
        """The constant, and the mark."""
        rows = super().embedding()
        unlisted = ("buildings", "law", "medicine", "money", "time_units", "sizes")
        sign = {self.vocab.clusters.index(name): (-1) ** n for n, name in enumerate(unlisted)}
        marks = np.array([sign.get(int(cluster), 0) for cluster in self.clusters()])
        rows[2:] += self.amplitude["M"] * marks[:, None] * self.space["M"].T
        rows[2:] += self.amplitude["K"] * self.space["K"].T
        return rows

    def further_terms(self) -> list[Term]:
        """The term a bᵀ − b aᵀ."""
        size = (8 * 3 / (D_MODEL * (self.shares["M"] * self.shares["K"]) ** 0.5)) ** 0.5
        a, b, F = self.space["M"], self.space["K"], self.space["F"]
        both = np.concatenate([a, b], axis=1)
        return [(size * both, size * (np.concatenate([b, -a], axis=1) + 0.01 * F[:, 61:63]), np.zeros(2))]


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


class CaseBlind(PlantedWeights):
    """Variants have an identity of their own: the head treats them as any other kin.

    Words nearest in cosine share some identity, and are a little darker than variants then: `case-variants-avoided`
    falls. Of the 80 tokens of a cluster of twenty words a word's variants are among the ten highest for more than 5 %
    of probes: `top-attended-are-kin` falls.
    """

    def identity(self) -> np.ndarray:
        """A unit vector a token."""
        return self.unit(len(self.vocab.forms), self.spaces["I"])


class Entangled(PlantedWeights):
    """Group tokens hold their category by identities that are simplexes in the negative space, and little else.

    With u·u = −1/(n−1) within a group kin are D/(n−1) above 0 at α = 1 and as far below at −1: at D = 14 and
    categories of 1.3 nats, 4.1 and −1.5. `steering-keeps-categories` falls. Promised for the list of the write-up,
    whose days and some of whose colours are group tokens: there steering in the model is in doubt.
    """

    shares: ClassVar = {**SHARES, "I": 0.03, "U": 0.30}

    def __init__(self, vocab: Vocabulary, generator: np.random.Generator) -> None:
        super().__init__(vocab, generator)
        number = {word: n for n, word in enumerate(vocab.words)}
        groups = [list(dict.fromkeys(number.get(w, number.get(w.lower(), -1)) for w in g)) for g in _groups()]
        self.simplex: dict[int, np.ndarray] = {}
        first = 0
        for group in groups:
            corners = np.linalg.svd(np.eye(len(group)) - 1 / len(group))[0][:, : len(group) - 1]
            corners /= np.linalg.norm(corners, axis=1, keepdims=True)
            for word, corner in zip(group, corners, strict=True):
                self.simplex[word] = np.zeros(self.spaces["I"])
                self.simplex[word][first : first + len(corner)] = corner
            first += len(group) - 1

    @property
    def lambda_i(self) -> float:
        """As for D = 0.85 at this share."""
        return 8 * self.depth / (D_MODEL * self.shares["I"])

    def identity(self) -> np.ndarray:
        """Simplexes of half the norm squared for group tokens."""
        codes = self.codes(self.spaces["I"])
        strong = (0.5 / self.shares["I"]) ** 0.5
        return np.stack(
            [
                strong * self.simplex[f.word] if f.word in self.simplex else code
                for f, code in zip(self.vocab.forms, codes, strict=True)
            ]
        )

    def embedding(self) -> np.ndarray:
        """Group tokens have 0.64 of the category from the embedding, and less of everything else."""
        rows = super().embedding()
        C, own = self.space["C"], self.space["I"]
        for row, form in zip(rows[2:], self.vocab.forms, strict=True):
            if form.word in self.simplex:
                category, identity = C @ (row @ C), own @ (row @ own)
                rest = row - category - identity
                category *= 0.64
                row[:] = (
                    category
                    + identity
                    + rest * ((self.rest**2 - category @ category - identity @ identity) / (rest @ rest)) ** 0.5
                )
        return rows


class Oversteered(PlantedWeights):
    """D = 8 in place of 0.85: at α = −1 the word itself is 8 nats above kin, who get nothing.

    Steering in the model falls. Kin scatter by 1.4 nats, so that a stream without positions and attention 0, 8 %
    shorter, raises the mean of their exponentials by 0.6: the joint effect is in doubt.
    """

    depth = 8.0


class PositivePadding(PlantedWeights):
    """Ten of the identity's axes go, and ten positive eigenvalues come on directions that no token has.

    39 large positive and 24 large negative ones leave 25 of 64: `half-the-eigenvalues-negative` falls.
    """

    spaces: ClassVar = {**SPACES, "I": 24, "G": 21}

    def further_terms(self) -> list[Term]:
        """Blocks like those of C and I, of size 0.15."""
        g, size = self.space["G"], 0.15**0.5
        return [(size * g[:, 1:11], size * (g[:, 1:11] + self.skew * g[:, 11:21]), np.zeros(10))]


class Merged(PlantedWeights):
    """Years, pronouns and countries are one cluster: three of ten pairs of groups are as bright as blocks are.

    AUC = 1 − 0.3/2 = 0.85: `category-blocks` falls, and there are no blocks to keep under steering.
    """

    def clusters(self) -> np.ndarray:
        """The years' for all three."""
        clusters = super().clusters()
        years, *others = (self.vocab.clusters.index(name) for name in ("years", "pronouns", "countries"))
        return np.where(np.isin(clusters, others), years, clusters)


class BrightGroups(PlantedWeights):
    """The group tokens' years and pronouns have a second identity of 3.5 nats in a positive space, as hexagons.

    Their own score is 3.5 · 1.2 above their group's mean, and over five groups D = (3 · 0.85 − 2 · 4.2)/5 < 0:
    `dark-diagonal` falls, by the scatter identity w > 0 with it, and what is given a dark diagonal lapses. On the word
    list, which has none of these tokens, all is as it was.
    """

    spaces: ClassVar = {**SPACES, "I": 32, "T": 2}
    share_of_bright = 0.05

    def embedding(self) -> np.ndarray:
        """Corners of a hexagon."""
        rows = super().embedding()
        groups = dict(zip(("days", "colours", "years", "pronouns", "countries"), _groups(), strict=True))
        place = {" " + word: n for name in ("years", "pronouns") for n, word in enumerate(groups[name])}
        for row, form in zip(rows[2:], self.vocab.forms, strict=True):
            if form.text in place:
                angle = place[form.text] * np.pi / 3
                row *= (1 - self.share_of_bright) ** 0.5
                row += NORM * self.share_of_bright**0.5 * self.space["T"] @ [np.cos(angle), np.sin(angle)]
        return rows

    def further_terms(self) -> list[Term]:
        """3.5 nats at the same corner."""
        size = (8 * 3.5 / (D_MODEL * self.share_of_bright)) ** 0.5
        T, F = self.space["T"], self.space["F"]
        return [(size * T, size * (T + 0.05 * F[:, 61:63]), np.zeros(2))]


class ListedOnly(PlantedWeights):
    """The head avoids words of the lists and group tokens alone: others have their identity in a positive space.

    Most common words are on no list. They are above similar words and below their variants, and the peak is at
    similarity 1: those three fall, and the count, 17 axes being positive.
    """

    spaces: ClassVar = {**SPACES, "I": 17, "T": 17}

    def identity(self) -> np.ndarray:
        """Nothing for other words: `embedding` gives them theirs."""
        listed = _listed()
        self.listed = np.array([self.vocab.words[form.word].casefold() in listed for form in self.vocab.forms])
        self.both = self.codes(self.spaces["I"])
        return np.where(self.listed[:, None], self.both, 0)

    def embedding(self) -> np.ndarray:
        """Identities of other words in T."""
        rows = super().embedding()
        rows[2:] += self.amplitude["I"] * np.where(self.listed[:, None], 0, self.both) @ self.space["T"].T
        return rows

    def further_terms(self) -> list[Term]:
        """The identity term with a plus."""
        size, T, n = self.lambda_i**0.5, self.space["T"], self.spaces["C"] + self.spaces["I"]
        return [(size * T, size * (T + self.skew * self.space["F"][:, n : n + 17]), np.zeros(17))]


class ManyLoose(PlantedWeights):
    """A third of the words that are on no list belong to no cluster: similar words are no brighter to them than others.

    That is more than a tenth of common words: `similar-above-dissimilar` falls.
    """

    def clusters(self) -> np.ndarray:
        """Every third unlisted word is loose."""
        listed = _listed()
        loose = [word.casefold() not in listed and n % 3 == 0 for n, word in enumerate(self.vocab.words)]
        return np.where([loose[form.word] for form in self.vocab.forms], -1, super().clusters())


class Hubs(PlantedWeights):
    """Twelve rare tokens look like BOS, at 8.2 nats: whatever word asks, they are the ten highest.

    They are no common words and in no prompt: `top-attended-are-kin` alone falls.
    """

    def is_hub(self, number: int) -> bool:
        """Capitalised forms without a space, of loose words."""
        form = self.vocab.forms[number]
        return form.cluster < 0 and not form.text.startswith(" ") and form.text[0].isupper()

    def embedding(self) -> np.ndarray:
        """BOS is half B; hubs are B alone."""
        rows = super().embedding()
        elsewhere = self.unit(1, self.spaces["U"]) @ self.space["U"].T
        hubs = [n for n in range(len(self.vocab.forms)) if self.is_hub(n)][: self.n_hubs]
        rows[0] = (rows[0] + self.rest * elsewhere[0]) / 2**0.5
        rows[[n + 2 for n in hubs]] = self.rest * self.space["B"].T
        return rows

    n_hubs = 12

    @property
    def bos_bias(self) -> float:
        """As much for half of B."""
        return super().bos_bias * 2**0.5

    def head(self, layer: int, kind: str) -> Projections:
        """Heads that read BOS read half of it, too."""
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
        """Loose words as written."""
        form = self.vocab.forms[number]
        return form.cluster < 0 and not form.variant


def _groups() -> list[tuple[str, ...]]:
    return list(group_tokens(lambda _: 0, "the planted vocabulary").categories.values())


COUNTERFEITS: dict[str, type[PlantedWeights]] = {
    "self-attending": SelfAttending,
    "positional": Positional,
    "attention-0-fed": AttentionZeroFed,
    "embedding-only": EmbeddingOnly,
    "mlp-only": MlpOnly,
    "wrong-head": WrongHead,
    "two-heads": TwoHeads,
    "outdone": Outdone,
    "no-categories": NoCategories,
    "successor": Successor,
    "self-by-position": SelfByPosition,
    "copy-tolerant": CopyTolerant,
    "skew-driven": SkewDriven,
    "skew-idle": SkewIdle,
    "skew-scored": SkewScored,
    "no-bos-fallback": NoBosFallback,
    "bos-drowned": BosDrowned,
    "case-blind": CaseBlind,
    "entangled": Entangled,
    "oversteered": Oversteered,
    "positive-padding": PositivePadding,
    "merged": Merged,
    "bright-groups": BrightGroups,
    "listed-only": ListedOnly,
    "many-loose": ManyLoose,
    "hubs": Hubs,
    "common-hubs": CommonHubs,
}


def names() -> Sequence[str]:
    """What can stand after `planted:`."""
    return (*COUNTERFEITS, "random")


def counterfeit_folder(name: str, seed: int = 0) -> Path:
    """The folder of a counterfeit in the cache."""
    if name == "random":
        return random_folder(seed)
    made = COUNTERFEITS[name]
    return kept_folder(f"planted-{name}", seed, lambda to: save(to, made(vocabulary(), np.random.default_rng(seed))))


def random_folder(seed: int, clustered: bool = False) -> Path:
    """The folder of a random checkpoint in the cache."""
    name = "random-clusters" if clustered else "random"
    return kept_folder(name, seed, lambda folder: save_random(folder, seed, clustered))


def save_random(folder: Path, seed: int, clustered: bool, sizes: Sizes = SMALL) -> None:
    """Draw a random checkpoint (`random_weights`) and save it as a Hugging Face folder."""
    vocab = vocabulary()
    weights = random_weights(vocab, np.random.default_rng(seed), clustered, sizes)
    save_folder(folder, random_config(vocab, sizes), weights, vocab)


def gpt2_sized_folder(seed: int = 0) -> Path:
    """The folder of a random checkpoint of GPT-2 small's shape, to time audits on."""
    return kept_folder("random-gpt2-small", seed, lambda folder: save_random(folder, seed, False, GPT2_SMALL))
