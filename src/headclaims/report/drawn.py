"""What a page draws: the numbers behind each figure, taken where a claim measured them.

They are kept beside the record, in `figures.json`, so that a page can be made anew from a folder alone. Numbers are
rounded to five digits; tokens are as the tokenizer writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from headclaims.checkpoint.interface import Head
from headclaims.circuit.eigenspectrum import HeadSpectra
from headclaims.measures.category_score import Survey
from headclaims.measures.communities import AttentionGraph
from headclaims.measures.similarity_peak import ScoreBySimilarity
from headclaims.measures.steering import ALPHAS, Steered, SteeredMap
from headclaims.prompts.category import CategoryPrompts, target_mask
from headclaims.statistics.nulls import Favourable
from headclaims.statistics.resampling import Resampled
from headclaims.statistics.verdict import Measurement
from headclaims.vocabulary.cosine import BIN_WIDTH, N_BINS, PAIRS_IN_A_BIN, SimilarityCurve, lower_edge

FIGURES_FILE, PAGE_FILE = "figures.json", "index.html"
SCHEMA = 1
DIGITS = 5
REDRAWN = 400

Numbers = list[float]
Matrix = list[list[float]]


def rounded(values: Any) -> Any:
    """Floats of an array in nested lists, to five digits; raises ValueError for one that is not finite."""
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError("a number of a figure is not finite; wanted finite ones")
    if array.ndim == 0:
        return float(f"{float(array):.{DIGITS}g}")
    if array.ndim > 1:
        return [rounded(row) for row in array]
    return [float(f"{value:.{DIGITS}g}") for value in array.tolist()]


@dataclass
class HeadScores:
    """The category score of each head, in nats, and that of uniform attention."""

    heads: list[tuple[int, int]]
    scores: Numbers
    uniform: float

    @classmethod
    def of(cls, survey: Survey) -> HeadScores:
        """Of all heads of a survey."""
        heads = [(head.layer, head.index) for head in survey.heads]
        return cls(heads, rounded(survey.scores), rounded(survey.uniform_score))


@dataclass
class Pattern:
    """The target's attention on one category prompt: row i has the keys 0 to i, and which of them are its target."""

    words: list[str]
    attention: Matrix
    targets: list[list[int]]

    @classmethod
    def of(cls, prompts: CategoryPrompts, pattern: Float[np.ndarray, "query key"]) -> Pattern:
        """On the first of the prompts."""
        words = ["BOS" if w < 0 else prompts.words.words[w] for w in prompts.word_at[0].tolist()]
        mask = target_mask(prompts.subset(slice(0, 1)))[0]
        return cls(
            words,
            [rounded(row[: i + 1]) for i, row in enumerate(pattern)],
            [np.flatnonzero(row).tolist() for row in mask],
        )


@dataclass
class Effect:
    """The effect of ablating what a claim names, in one way; no interval with fewer than ten prompts."""

    kind: str
    effect: float
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, kind: str, effect: Resampled, seed: int) -> Effect:
        """With its interval."""
        found = effect.interval(seed)
        return cls(kind, rounded(effect.value), None if found is None else (rounded(found.low), rounded(found.high)))


@dataclass
class Blocks:
    """Scores among group tokens, in nats, and by the symmetric and the skew part of these scores."""

    tokens: list[str]
    group: list[int]
    scores: Matrix

    @classmethod
    def of(
        cls, texts: Sequence[str], group: Int[np.ndarray, " token"], scores: Float[np.ndarray, "token token"]
    ) -> Blocks:
        """Texts of the tokens in the order of rows and columns."""
        return cls(list(texts), group.tolist(), rounded(scores))


@dataclass
class Spectrum:
    """The eigenvalues of the target's W_sym, and how many of the d_head leading ones are negative in each head."""

    eigenvalues: Numbers
    d_head: int
    heads: list[str]
    negative: list[int]

    @classmethod
    def of(cls, heads: Sequence[Head], spectra: HeadSpectra, target: int) -> Spectrum:
        """Of all heads, the target's by its position."""
        return cls(
            rounded(spectra.eigenvalues[target].numpy()),
            spectra.d_head,
            [head.label for head in heads],
            spectra.negative_count.tolist(),
        )


@dataclass
class ScatterPlane:
    """Of each head how far scatter lies in positive directions of W_sym: within groups and between them, in [−1, 1]."""

    heads: list[str]
    within: Numbers
    between: Numbers

    @classmethod
    def of(cls, heads: Sequence[Head], plane: Mapping[str, np.ndarray]) -> ScatterPlane:
        """Of the statistics `within` and `between` of these heads."""
        return cls([head.label for head in heads], rounded(plane["within"]), rounded(plane["between"]))


@dataclass
class Similarity:
    """The mean of s(i, j) − s(i, i) by the cosine of i and j, with its 95 % interval over redrawn queries.

    `cosine` is the middle of each bin that holds fifty pairs; `vocabulary` the same mean over all pairs of the
    vocabulary, None where there is no such bin or the vocabulary was not walked.
    """

    cosine: Numbers
    mean: Numbers
    low: Numbers
    high: Numbers
    pairs: list[int]
    vocabulary: list[float | None]

    @classmethod
    def of(cls, by_bin: ScoreBySimilarity, vocabulary: SimilarityCurve | None, seed: int) -> Similarity:
        """Common words with band, the vocabulary without."""
        kept = np.flatnonzero(by_bin.pairs.sum(axis=0) >= 2 * PAIRS_IN_A_BIN)
        n = len(by_bin.sums)
        drawn = np.random.default_rng([seed, 7]).multinomial(n, np.full(n, 1 / n), size=REDRAWN).astype(float)
        below = drawn @ by_bin.pairs[:, kept]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(below > 0, drawn @ by_bin.sums[:, kept] / below, by_bin.curve[kept])
        low, high = np.quantile(means, [0.025, 0.975], axis=0)
        whole: list[float | None] = [None] * len(kept)
        if vocabulary is not None:
            full = vocabulary.pairs[kept] >= 2 * PAIRS_IN_A_BIN
            whole = [rounded(m) if there else None for m, there in zip(vocabulary.mean[kept], full, strict=True)]
        middle = np.where(kept == N_BINS - 1, 1.0, lower_edge(kept) + BIN_WIDTH / 2)
        return cls(
            rounded(middle),
            rounded(by_bin.curve[kept]),
            rounded(low),
            rounded(high),
            (by_bin.pairs[:, kept].sum(axis=0) / 2).astype(int).tolist(),
            whole,
        )


@dataclass
class SteeredBlocks:
    """Scores among group tokens under W(α), α by α, with the mean on the diagonal and off it within groups, in nats."""

    tokens: list[str]
    group: list[int]
    alphas: Numbers
    scores: list[Matrix]
    diagonal: Numbers
    in_group: Numbers

    @classmethod
    def of(cls, texts: Sequence[str], group: Int[np.ndarray, " token"], steered: SteeredMap) -> SteeredBlocks:
        """At every α of the claims, means over groups."""
        at = [steered.at(alpha) for alpha in ALPHAS]
        own, rest = zip(*(_block_means(scores, group) for scores in at), strict=True)
        return cls(list(texts), group.tolist(), list(ALPHAS), rounded(np.stack(at)), rounded(own), rounded(rest))


def _block_means(scores: Float[np.ndarray, "token token"], group: Int[np.ndarray, " token"]) -> tuple[float, float]:
    """The mean over groups of the mean diagonal score, and of the mean off-diagonal score."""
    own, rest = [], []
    for g in np.unique(group):
        block = scores[np.ix_(group == g, group == g)]
        n = len(block)
        own.append(np.trace(block) / n)
        rest.append((block.sum() - np.trace(block)) / (n * (n - 1)))
    return float(np.mean(own)), float(np.mean(rest))


@dataclass
class SteeredAttention:
    """Of rows with kin, by α: attention to the word itself and its copies, per kin, and to all kin, as shares."""

    alphas: Numbers
    itself: Numbers
    per_kin: Numbers
    kin: Numbers

    @classmethod
    def of(cls, steered: Steered) -> SteeredAttention:
        """In the model."""
        itself, per_kin, kin = [], [], []
        for alpha in ALPHAS:
            s = steered.at[alpha]
            position, rows = s.position(steered.head), s.has_kin
            itself.append((s.own + s.copy_mass)[position, rows].mean())
            per_kin.append((s.kin_mass[position] / np.maximum(s.n_kin, 1))[rows].mean())
            kin.append(s.kin_mass[position, rows].mean())
        return cls(list(ALPHAS), rounded(itself), rounded(per_kin), rounded(kin))


@dataclass
class TokenGraph:
    """Whom each token attends to most: edges (source, target) with their scores, communities, and known categories."""

    tokens: list[str]
    edges: list[tuple[int, int]]
    scores: Numbers
    community: list[int]
    category: dict[int, str]

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        graph: AttentionGraph,
        community: Int[np.ndarray, " token"],
        category: Mapping[int, str],
    ) -> TokenGraph:
        """Communities numbered by size, the largest first."""
        label, size = np.unique(community, return_counts=True)
        rank = {int(one): number for number, one in enumerate(label[np.argsort(-size, kind="stable")])}
        return cls(
            list(texts),
            [(int(a), int(b)) for a, b in graph.edges],
            rounded(graph.scores),
            [rank[int(one)] for one in community],
            dict(category),
        )


@dataclass
class Drawn:
    """What one claim has to draw."""

    head_scores: HeadScores | None = None
    pattern: Pattern | None = None
    effects: list[Effect] | None = None
    blocks: Blocks | None = None
    spectrum: Spectrum | None = None
    scatter: ScatterPlane | None = None
    similarity: Similarity | None = None
    steered_blocks: SteeredBlocks | None = None
    steered_attention: SteeredAttention | None = None
    token_graph: TokenGraph | None = None


@dataclass
class Part:
    """A statistic of a claim, what it had to be, and its interval."""

    statistic: str
    value: float
    wanted: str
    interval: tuple[float, float] | None


@dataclass
class NullValues:
    """A null population of a claim: its members' values, None for one without, and how many count against the claim.

    Under `--head auto` and `all` the target is compared with the extreme of `chosen_among` draws.
    """

    population: str
    values: list[float | None]
    at_least: int
    chosen_among: int


@dataclass
class ClaimFigures:
    """What a page shows of a claim beyond its record; `compared` is the statistic that the nulls are of."""

    definition: str = ""
    parts: list[Part] = field(default_factory=list)
    compared: str = ""
    compared_value: float | None = None
    favourable: Favourable = "high"
    nulls: list[NullValues] = field(default_factory=list)
    drawn: Drawn = field(default_factory=Drawn)
    undrawn: dict[str, str] = field(default_factory=dict)
    """Why a figure could not be had."""

    def measured(self, m: Measurement) -> None:
        """Take up a measurement."""
        self.parts = [
            Part(
                part.statistic,
                float(part.value),
                str(part.threshold),
                None if part.interval is None else (part.interval.low, part.interval.high),
            )
            for part in m.parts
        ]
        compared = m.compared
        self.compared = m.statistic if compared is None else compared.statistic
        self.compared_value = float(m.value if compared is None else compared.value)
        self.favourable = m.threshold.favourable if compared is None else compared.favourable
        self.nulls = [
            NullValues(
                null.population,
                _known(null.values),
                null.at_least_as_favourable(self.compared_value, self.favourable),
                null.chosen_among,
            )
            for null in m.nulls
            if null.values is not None
        ]


def _known(values: Float[np.ndarray, " member"]) -> list[float | None]:
    """Values to five digits; None for a member that has none."""
    finite: Bool[np.ndarray, " member"] = np.isfinite(values)
    return [rounded(value) if there else None for value, there in zip(values.tolist(), finite.tolist(), strict=True)]


def figures_json(record: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """`figures.json`: what claims of a record draw, by id, in JSON's own types; raises ValueError for no number."""
    content = {"schema": SCHEMA, "record": record_key(record), "claims": claims}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def record_key(record: Mapping[str, Any]) -> list[Any]:
    """What tells the record that figures belong to from one that was written over it."""
    return [record["started"], record["seconds"], record["checkpoint"]["spec"], record["target"]["label"]]


@dataclass
class FiguresFile:
    """`figures.json` as read."""

    schema: Literal[1]
    record: tuple[str, float, str, str]
    claims: dict[str, ClaimFigures]
