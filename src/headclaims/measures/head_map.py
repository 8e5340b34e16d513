"""The map of a head over the vocabulary: the sets of tokens that map claims are about, and their statistics for a head.

Axes: `token` rows of a set, `head` heads. Statistics are those of `category_blocks`, `similarity` and `top_attended`;
here they are taken of many heads, as null populations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.effective_embedding import AblatedTerms
from headclaims.circuit.qk_circuit import QKCircuit, Rotation, core, symmetric_part
from headclaims.circuit.scatter import Eigenspace, Scatter, contrasts, scatter
from headclaims.circuit.symmetric_scores import norm_ratio, norm_ratios
from headclaims.errors import NotAssessable
from headclaims.measures.category_blocks import block_auc, diagonal, relative_depth, relative_depths
from headclaims.measures.communities import agreement, attention_graph, communities
from headclaims.measures.similarity import (
    BinMoments,
    CosineBins,
    HeadBatch,
    Projected,
    WordSpace,
    bin_moments,
    cosine_bins,
    margins,
    peak,
    peaks_of_heads,
    project,
    score_by_similarity,
    word_space,
)
from headclaims.measures.top_attended import Probes, form, top_attended_by
from headclaims.progress import track
from headclaims.prompts.words import WordList
from headclaims.threads import each_in_one_thread
from headclaims.vocabulary.scores import TokenScores

TOKENS_AT_ONCE = 4096
GAUSSIAN_AT_ONCE = 16


@dataclass(frozen=True)
class Groups:
    """Tokens in groups, one group after the other."""

    tokens: Int[Tensor, " token"]
    group: Int[np.ndarray, " token"]

    @classmethod
    def of(cls, words: WordList, single_token: Callable[[str], int | None]) -> Groups:
        """The words of a list that counts."""
        ids = [single_token(" " + word) for word in words.words]
        return cls(torch.tensor(ids), np.asarray(words.category_of_word))


@dataclass(frozen=True)
class CommonWords:
    """Common words as tokens, and for each its case and space variants in the vocabulary."""

    tokens: Int[Tensor, " word"]
    variants: tuple[Int[Tensor, " _"], ...]

    @classmethod
    def of(
        cls, words: Sequence[str], single_token: Callable[[str], int | None], vocabulary: Sequence[str]
    ) -> CommonWords:
        """A variant differs in case and white space around it alone."""
        of_form: dict[str, list[int]] = {}
        for token, text in enumerate(vocabulary):
            of_form.setdefault(form(text), []).append(token)
        tokens = [single_token(" " + word) for word in words]
        variants = (
            torch.tensor([other for other in of_form.get(form(word), []) if other != token], dtype=torch.int64)
            for word, token in zip(words, tokens, strict=True)
        )
        return cls(torch.tensor(tokens), tuple(variants))


@dataclass(frozen=True)
class TokenSets:
    """The sets that map claims are about; None where the tokenizer can't give one."""

    words: Groups
    groups: Groups | None
    common: CommonWords | None
    probes: Probes | None
    labels: Mapping[int, str] | None = None
    """The categories of common words, by their number among these."""

    @cached_property
    def needed(self) -> Int[Tensor, " token"]:
        """All tokens of all sets, ascending, each once."""
        parts = [self.words.tokens]
        if self.groups is not None:
            parts.append(self.groups.tokens)
        if self.common is not None:
            parts += [self.common.tokens, *self.common.variants]
        if self.probes is not None:
            parts.append(torch.from_numpy(self.probes.tokens))
        return torch.cat(parts).unique()


@dataclass(frozen=True)
class LayerMap:
    """E of one layer at the tokens of the sets; `turn` is the mean rotation between tokens."""

    sets: TokenSets
    rows: Float[Tensor, "needed d_model"]
    turn: Rotation | None
    seed: int

    def vectors(self, tokens: Int[Tensor, " token"]) -> Float[Tensor, "token d_model"]:
        """E at some of the sets' tokens."""
        return self.rows[torch.searchsorted(self.sets.needed, tokens)]

    def among(self, circuit: QKCircuit, groups: Groups, biased: bool) -> Float[np.ndarray, "token token"]:
        """A head's scores among grouped tokens."""
        x = self.vectors(groups.tokens)
        return TokenScores.of(circuit, x, x, self.turn, biased).matrix().numpy()

    @property
    def common(self) -> CommonWords:
        """The common words; raises NotAssessable where there are none."""
        if self.sets.common is None:
            raise NotAssessable("no common words under this tokenizer")
        return self.sets.common

    @cached_property
    def space(self) -> WordSpace:
        """The common words with what each is compared with."""
        variants = [self.vectors(tokens) for tokens in self.common.variants]
        return word_space(self.vectors(self.common.tokens), variants, self.seed)

    @cached_property
    def bins(self) -> CosineBins:
        """Pairs of common words by cosine; raises NotAssessable where no high bin holds pairs enough."""
        return cosine_bins(self.space.words)

    @cached_property
    def moments(self) -> BinMoments:
        """The moments of the high bins."""
        return bin_moments(self.space.words, self.bins)

    def common_scores(self, circuit: QKCircuit) -> TokenScores:
        """A head's scores among common words."""
        return TokenScores.of(circuit, self.space.words, self.space.words, self.turn)


def head_batch(circuits: Sequence[QKCircuit], turn: Rotation | None) -> HeadBatch:
    """Heads of one layer as a batch."""
    names = ("W_Q", "W_K", "b_Q", "b_K")
    stacked = {name: torch.stack([getattr(circuit, name) for circuit in circuits]) for name in names}
    return HeadBatch(**stacked, turn=turn)


def _shares(space: WordSpace, heads: HeadBatch, words: Projected) -> dict[str, Float[np.ndarray, " head"]]:
    found = margins(space, heads, words)
    return {name: (margin > 0).double().mean(dim=1).numpy() for name, margin in vars(found).items() if margin.numel()}


def statistics_of(
    layer: LayerMap, circuits: Sequence[QKCircuit], keys: Sequence[Float[Tensor, "token d_head"]]
) -> dict[str, Float[np.ndarray, " head"]]:
    """Every map statistic of heads of one layer; `keys` are their keys over the whole vocabulary, with bias.

    A statistic whose set of tokens is missing is left out.
    """
    sets, found = layer.sets, {}
    spaces = [Eigenspace.of(circuit) for circuit in circuits]
    found["words_contrast"] = [eigen_scatter(layer, space, sets.words).contrast().value for space in spaces]
    found["words_depth"] = [
        relative_depth(diagonal(layer.among(c, sets.words, False), sets.words.group)).value for c in circuits
    ]
    if sets.groups is not None:
        group = sets.groups.group
        found["groups_depth"] = [
            relative_depth(diagonal(layer.among(c, sets.groups, False), group)).value for c in circuits
        ]
        found["groups_contrast"] = [eigen_scatter(layer, space, sets.groups).contrast().value for space in spaces]
        found["auc"] = [block_auc(layer.among(c, sets.groups, True), group).value for c in circuits]
    if sets.probes is not None:
        asked = torch.from_numpy(sets.probes.tokens)
        x = layer.vectors(asked)
        some = [TokenScores.of(circuit, x, x, layer.turn) for circuit in circuits]
        scores = [TokenScores(s.queries, vocabulary, s.own) for s, vocabulary in zip(some, keys, strict=True)]
        found["kin"] = [attended.mean_kin.value for attended in top_attended_by(sets.probes, scores)]
    statistics = {name: np.array(values) for name, values in found.items()}
    if sets.common is None:
        return statistics
    batch = head_batch(circuits, layer.turn)
    statistics |= _shares(layer.space, batch, Projected.of(layer.space, batch))
    statistics["skew_scores"] = np.array([norm_ratio(c, layer.space.words).value for c in circuits])
    if sets.labels is not None:
        graphs = [attention_graph(layer.common_scores(c)) for c in circuits]
        statistics["ami"] = np.array([agreement(communities(graph), sets.labels) for graph in graphs])
    try:
        bins = layer.bins
    except NotAssessable:
        return statistics
    statistics["peak"] = np.array([peak(score_by_similarity(layer.common_scores(c), bins)).value for c in circuits])
    return statistics


def statistics_of_other_heads(
    checkpoint: Checkpoint,
    heads: Sequence[Head],
    sets: TokenSets,
    terms: AblatedTerms,
    turn: Rotation | None,
    seed: int,
) -> dict[str, Float[np.ndarray, " head"]]:
    """Every map statistic of heads of several layers, each on its own layer's E; NaN where a layer can't give one.

    `terms` are the ablated terms of the deepest layer. The vocabulary is embedded once for all layers.
    """
    layers = sorted({head.layer for head in heads})
    of_layer = {layer: [head for head in heads if head.layer == layer] for layer in layers}
    circuits: dict[Head, QKCircuit] = {}
    for layer in layers:
        weights = checkpoint.qk_weights(layer)
        circuits |= {head: QKCircuit.of(weights, head.index) for head in of_layer[layer]}
    needed = sets.needed
    rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    keys: dict[Head, list[Tensor]] = {head: [] for head in heads}
    for tokens in track(torch.arange(checkpoint.sizes.d_vocab or 0).split(TOKENS_AT_ONCE), "other heads' vocabulary"):
        wanted = needed[(needed >= tokens[0]) & (needed <= tokens[-1])] - tokens[0]
        if sets.probes is None:
            # Nothing asks for the whole vocabulary.
            tokens, wanted = tokens[wanted], torch.arange(len(wanted))
            if not len(tokens):
                continue
        embedded = checkpoint.embed_alone_at(tokens, layers, *terms)
        for layer, E in zip(layers, embedded, strict=True):
            rows[layer].append(E[wanted])
            for head in of_layer[layer]:
                keys[head].append(E @ circuits[head].W_K + circuits[head].b_K)

    def of_one(layer: int) -> dict[str, dict[Head, float]]:
        members = of_layer[layer]
        own = LayerMap(sets, torch.cat(rows.pop(layer)), turn, seed)
        statistics = statistics_of(own, [circuits[h] for h in members], [torch.cat(keys.pop(h)) for h in members])
        return {name: dict(zip(members, values.tolist(), strict=True)) for name, values in statistics.items()}

    found: dict[str, dict[Head, float]] = {}
    for statistics in each_in_one_thread(of_one, layers, "other heads"):
        for name, values in statistics.items():
            found.setdefault(name, {}).update(values)
    return {name: np.array([values.get(head, np.nan) for head in heads]) for name, values in found.items()}


def statistics_of_gaussian_heads(
    layer: LayerMap, n: int, d_head: int, seed: int
) -> dict[str, Float[np.ndarray, " head"]]:
    """Map statistics of heads with independent Gaussian W_Q and W_K and no biases, on the target's E.

    None of these statistics depends on the scale of the weights, so they are drawn at scale 1.
    """
    d_model = layer.rows.shape[1]

    def drawn(start: int) -> dict[str, Float[np.ndarray, " head"]]:
        generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, start]).integers(2**63)))
        W_Q, W_K = torch.randn(2, GAUSSIAN_AT_ONCE, d_model, d_head, generator=generator)[:, : n - start]
        none = torch.zeros(len(W_Q), d_head)
        return _gaussian(layer, HeadBatch(W_Q, W_K, none, none, layer.turn))

    with suppress(NotAssessable):
        _ = layer.moments  # made once, before there are threads
    parts = each_in_one_thread(drawn, range(0, n, GAUSSIAN_AT_ONCE), "Gaussian heads")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _gaussian(layer: LayerMap, heads: HeadBatch) -> dict[str, Float[np.ndarray, " head"]]:
    sets = layer.sets
    statistics = {"words_depth": _depths(layer, sets.words, heads)}
    grouped = {"words_contrast": sets.words}
    if sets.groups is not None:
        statistics["groups_depth"] = _depths(layer, sets.groups, heads)
        grouped["groups_contrast"] = sets.groups
    statistics |= _contrasts(layer, grouped, heads)
    if sets.common is None:
        return statistics
    words = Projected.of(layer.space, heads)
    statistics |= _shares(layer.space, heads, words)
    statistics["skew_scores"] = norm_ratios(words.own, words.keys)
    try:
        return statistics | {"peak": peaks_of_heads(layer.moments, heads, words)}
    except NotAssessable:
        return statistics


def eigen_scatter(layer: LayerMap, space: Eigenspace, groups: Groups) -> Scatter:
    """The scatter of grouped tokens along the eigenvectors of a head's W_sym."""
    return scatter(space.values.numpy(), space.coordinates(layer.vectors(groups.tokens)), groups.group)


def scatter_plane(checkpoint: Checkpoint, groups: Groups, terms: AblatedTerms) -> dict[str, Float[np.ndarray, " head"]]:
    """`within` and `between` of `Scatter` for every head of the model, layer after layer, each on its own layer's E.

    `terms` are the ablated terms of the last layer.
    """
    layers = range(checkpoint.sizes.n_layers)
    embedded = checkpoint.embed_alone_at(groups.tokens, list(layers), *terms)

    def of_layer(layer: int) -> list[Scatter]:
        weights, found = checkpoint.qk_weights(layer), []
        for head in range(checkpoint.sizes.n_heads):
            space = Eigenspace.of(QKCircuit.of(weights, head))
            found.append(scatter(space.values.numpy(), space.coordinates(embedded[layer]), groups.group))
        return found

    every = [of for some in each_in_one_thread(of_layer, layers, "scatter of all heads") for of in some]
    return {"within": np.array([of.w().value for of in every]), "between": np.array([of.b for of in every])}


def _contrasts(layer: LayerMap, sets: Mapping[str, Groups], heads: HeadBatch) -> dict[str, Float[np.ndarray, " head"]]:
    """The contrast b − w for many heads, on the span of M = [W_Q W_K]: M = U L with Lᵀ the Cholesky factor of MᵀM.

    Where d_model is no more than 2·d_head the span is the whole stream: U is the identity and L is M.
    """
    both = torch.cat([heads.W_Q, heads.W_K], dim=2).double()
    _, d_model, n_pairs = both.shape
    wide = d_model <= n_pairs
    L = both if wide else torch.linalg.cholesky(both.mT @ both, upper=True)
    values, vectors = torch.linalg.eigh(symmetric_part(core(L)))
    # W_sym's eigenvectors: U times those on the span, where U = M L⁻¹.
    along = (vectors if wide else both @ torch.linalg.solve_triangular(L, vectors, upper=True)).float()
    found = {}
    for name, groups in sets.items():
        member = np.equal.outer(np.unique(groups.group), groups.group).astype(float)
        y = (layer.vectors(groups.tokens) @ along).numpy()
        found[name] = contrasts(values.numpy(), y, member[None])
    return found


def _depths(layer: LayerMap, groups: Groups, heads: HeadBatch) -> Float[np.ndarray, " head"]:
    x = layer.vectors(groups.tokens)
    none = torch.zeros_like(heads.b_Q)
    q, k = (project(x, W, none).transpose(0, 1) for W in (heads.W_Q, heads.W_K))
    scores = heads.turned(q) @ k.mT
    scores.diagonal(dim1=1, dim2=2).copy_((q * k).sum(dim=-1))
    return relative_depths(scores.numpy(), groups.group)
