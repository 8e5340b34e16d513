"""Map statistics of many heads, as null populations: those of `category_blocks`, `similar_words`, `similarity_peak`
and `top_attended`, and the contrast of scatter.

Axes: `token` rows of a set, `key` the tokens whose keys are looked through, `head` heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.cache import kept
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.checkpoint.weights import ScoreWeights
from headclaims.circuit.effective_embedding import AblatedTerms, Met
from headclaims.circuit.head_score import HeadScore
from headclaims.circuit.scatter import Eigenspace
from headclaims.circuit.symmetric_scores import norm_ratio
from headclaims.errors import NotAssessable
from headclaims.measures.category_blocks import block_auc, diagonal
from headclaims.measures.communities import agreement, attention_graph, communities
from headclaims.measures.head_batch import Projected, head_batch
from headclaims.measures.layer_map import LayerMap, eigen_scatter
from headclaims.measures.own_map import own_statistics
from headclaims.measures.similar_words import shares_above
from headclaims.measures.similarity_peak import peak
from headclaims.measures.token_sets import TokenSets
from headclaims.measures.top_attended import top_attended_by
from headclaims.progress import track
from headclaims.threads import each_in_one_thread
from headclaims.vocabulary.token_scores import TokenScores, layer_turn

HEADS_AT_ONCE = 2
Statistics = dict[str, Float[np.ndarray, " head"]]


def statistics_of(
    layer: LayerMap,
    heads: Sequence[HeadScore],
    keys: Float[Tensor, "key d_model"],
    key_tokens: Int[Tensor, " key"],
) -> Statistics:
    """Compute every map statistic of heads of one layer, as {statistic: value of each head}.

    `keys` are rows of E among which probes have their highest keys. A statistic whose set of tokens is missing is left
    out, and those of W_QK where it is not the score.
    """
    sets, values_of = layer.sets, {}
    if sets.probes is not None:
        x = layer.vectors(torch.from_numpy(sets.probes.tokens))
        among = [TokenScores.of(head, x, x, layer.turn) for head in heads]
        scores = [TokenScores(s.queries, head.keys(keys), s.own) for s, head in zip(among, heads, strict=True)]
        values_of["kin"] = [found.mean_kin.value for found in top_attended_by(sets.probes, scores, key_tokens)]
    if sets.groups is not None:
        group = sets.groups.group
        values_of["auc"] = [block_auc(layer.among(head, sets.groups, True), group) for head in heads]
    if sets.labels is not None:
        graphs = [attention_graph(layer.common_scores(head)) for head in heads]
        values_of["ami"] = [agreement(communities(graph), sets.labels) for graph in graphs]
    statistics = {name: np.array(values) for name, values in values_of.items()}
    return statistics | (_bilinear(layer, heads) if heads[0].bilinear else own_statistics(layer, heads))


def _bilinear(layer: LayerMap, heads: Sequence[HeadScore]) -> Statistics:
    """Compute what is said of W_QK, and the statistics in which it is linear, of several heads in one product."""
    sets, circuits = layer.sets, [head.circuit for head in heads]
    spaces = [Eigenspace.of(circuit) for circuit in circuits]
    grouped = {"words": sets.words} | ({} if sets.groups is None else {"groups": sets.groups})
    values_of: dict[str, list[float]] = {}
    for name, groups in grouped.items():
        values_of[f"{name}_contrast"] = [eigen_scatter(layer, space, groups).contrast().value for space in spaces]
        depths = [diagonal(layer.among(c, groups, False), groups.group).relative_depth for c in circuits]
        values_of[f"{name}_depth"] = depths
    statistics = {name: np.array(values) for name, values in values_of.items()}
    if sets.common is None:
        return statistics
    batch = head_batch(circuits, layer.turn)
    statistics |= shares_above(layer.space, batch, Projected(layer.space.words, batch))
    statistics["skew_scores"] = np.array([norm_ratio(c, layer.space.words).value for c in circuits])
    try:
        bins = layer.bins
    except NotAssessable:
        return statistics
    statistics["peak"] = np.array([peak(layer.common_scores(c), bins).value for c in circuits])
    return statistics


@kept("map-of-heads", version=3)
def statistics_of_heads(
    checkpoint: Checkpoint,
    heads: Sequence[Head],
    sets: TokenSets,
    terms: AblatedTerms,
    length: int,
    seed: int,
    met: Met,
) -> Statistics:
    """Compute every map statistic of heads of several layers, each on its own layer's E.

    Returns {statistic: value of each head}, NaN where a layer cannot give it. `terms` are the ablated terms of the
    deepest layer, `length` that of the prompts. Tokens are embedded once for all layers; one layer's E is in memory,
    and that which `met` asks for.
    """
    layers = sorted({head.layer for head in heads})
    every = torch.arange(checkpoint.sizes.d_vocab or 0)
    drawn = sets.needed[:0] if sets.probes is None else sets.probes.rivals(seed)
    rivals = every if drawn is None else drawn
    tokens = torch.cat([sets.needed, rivals]).unique()
    needed, keys = (torch.searchsorted(tokens, some) for some in (sets.needed, rivals))
    by_head: dict[str, dict[Head, float]] = {}
    passed = sorted({*layers, min(met.layer, layers[-1])})
    embedded = track(checkpoint.embed_by_layer(tokens, passed, *terms), "layers of other heads", len(passed))
    for layer, E in zip(passed, embedded, strict=True):
        met.meet(layer, tokens, E)
        if layer not in layers:
            continue
        members = [head for head in heads if head.layer == layer]
        own = LayerMap(sets, E[needed], layer_turn(checkpoint, layer, length), seed)
        statistics = _of_layer(own, checkpoint.score_weights(layer), members, E[keys], rivals)
        for name, values in statistics.items():
            by_head.setdefault(name, {}).update(zip(members, values.tolist(), strict=True))
    return {name: np.array([values.get(head, np.nan) for head in heads]) for name, values in by_head.items()}


def _of_layer(
    layer: LayerMap,
    weights: ScoreWeights,
    members: Sequence[Head],
    keys: Float[Tensor, "key d_model"],
    key_tokens: Int[Tensor, " key"],
) -> Statistics:
    """Compute the statistics of heads of a layer, a few heads a thread."""
    if layer.sets.common is not None:
        with suppress(NotAssessable):
            _ = layer.bins.adjacent  # computed and cached before the threads start

    def of_some(some: Sequence[Head]) -> Statistics:
        return statistics_of(layer, [HeadScore.of(weights, head.index) for head in some], keys, key_tokens)

    pieces = [members[start : start + HEADS_AT_ONCE] for start in range(0, len(members), HEADS_AT_ONCE)]
    parts = each_in_one_thread(of_some, pieces, "other heads")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
