"""Map statistics of many heads, as null populations: those of `category_blocks`, `similar_words`, `similarity_peak`
and `top_attended`, and the contrast of scatter.

Axes: `token` rows of a set, `head` heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.cache import kept
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.effective_embedding import AblatedTerms
from headclaims.circuit.qk_circuit import QKCircuit, Rotation
from headclaims.circuit.scatter import Eigenspace
from headclaims.circuit.symmetric_scores import norm_ratio
from headclaims.errors import NotAssessable
from headclaims.measures.category_blocks import block_auc, diagonal
from headclaims.measures.communities import agreement, attention_graph, communities
from headclaims.measures.head_batch import Projected, head_batch
from headclaims.measures.layer_map import LayerMap, eigen_scatter
from headclaims.measures.similar_words import shares_above
from headclaims.measures.similarity_peak import peak
from headclaims.measures.token_sets import TokenSets
from headclaims.measures.top_attended import top_attended_by
from headclaims.progress import track
from headclaims.threads import each_in_one_thread
from headclaims.vocabulary.scores import TokenScores

TOKENS_AT_ONCE = 4096


def statistics_of(
    layer: LayerMap, circuits: Sequence[QKCircuit], keys: Sequence[Float[Tensor, "token d_head"]]
) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute every map statistic of heads of one layer, as {statistic: value of each head}.

    `keys` are the heads' keys over the whole vocabulary, with bias. A statistic whose set of tokens is missing is left
    out.
    """
    sets, values_of = layer.sets, {}
    spaces = [Eigenspace.of(circuit) for circuit in circuits]
    values_of["words_contrast"] = [eigen_scatter(layer, space, sets.words).contrast().value for space in spaces]
    values_of["words_depth"] = [
        diagonal(layer.among(c, sets.words, False), sets.words.group).relative_depth for c in circuits
    ]
    if sets.groups is not None:
        group = sets.groups.group
        values_of["groups_depth"] = [
            diagonal(layer.among(c, sets.groups, False), group).relative_depth for c in circuits
        ]
        values_of["groups_contrast"] = [eigen_scatter(layer, space, sets.groups).contrast().value for space in spaces]
        values_of["auc"] = [block_auc(layer.among(c, sets.groups, True), group) for c in circuits]
    if sets.probes is not None:
        probe_tokens = torch.from_numpy(sets.probes.tokens)
        x = layer.vectors(probe_tokens)
        among_probes = [TokenScores.of(circuit, x, x, layer.turn) for circuit in circuits]
        scores = [TokenScores(s.queries, vocabulary, s.own) for s, vocabulary in zip(among_probes, keys, strict=True)]
        values_of["kin"] = [attended.mean_kin.value for attended in top_attended_by(sets.probes, scores)]
    statistics = {name: np.array(values) for name, values in values_of.items()}
    if sets.common is None:
        return statistics
    batch = head_batch(circuits, layer.turn)
    statistics |= shares_above(layer.space, batch, Projected.of(layer.space.words, batch))
    statistics["skew_scores"] = np.array([norm_ratio(c, layer.space.words).value for c in circuits])
    if sets.labels is not None:
        graphs = [attention_graph(layer.common_scores(c)) for c in circuits]
        statistics["ami"] = np.array([agreement(communities(graph), sets.labels) for graph in graphs])
    try:
        bins = layer.bins
    except NotAssessable:
        return statistics
    statistics["peak"] = np.array([peak(layer.common_scores(c), bins).value for c in circuits])
    return statistics


@kept("map-of-other-heads", version=9)
def statistics_of_other_heads(
    checkpoint: Checkpoint,
    heads: Sequence[Head],
    sets: TokenSets,
    terms: AblatedTerms,
    turn: Rotation | None,
    seed: int,
) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute every map statistic of heads of several layers, each on its own layer's E.

    Returns {statistic: value of each head}, NaN where a layer cannot give it. `terms` are the ablated terms of the
    deepest layer. The vocabulary is embedded once for all layers.
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
        needed_rows = needed[(needed >= tokens[0]) & (needed <= tokens[-1])] - tokens[0]
        if sets.probes is None:
            # Without probes no statistic reads the whole vocabulary.
            tokens, needed_rows = tokens[needed_rows], torch.arange(len(needed_rows))
            if not len(tokens):
                continue
        embedded = checkpoint.embed_alone_at(tokens, layers, *terms)
        for layer, E in zip(layers, embedded, strict=True):
            rows[layer].append(E[needed_rows])
            for head in of_layer[layer]:
                keys[head].append(E @ circuits[head].W_K + circuits[head].b_K)

    def of_one(layer: int) -> dict[str, dict[Head, float]]:
        members = of_layer[layer]
        own = LayerMap(sets, torch.cat(rows.pop(layer)), turn, seed)
        statistics = statistics_of(own, [circuits[h] for h in members], [torch.cat(keys.pop(h)) for h in members])
        return {name: dict(zip(members, values.tolist(), strict=True)) for name, values in statistics.items()}

    by_statistic: dict[str, dict[Head, float]] = {}
    for statistics in each_in_one_thread(of_one, layers, "other heads"):
        for name, values in statistics.items():
            by_statistic.setdefault(name, {}).update(values)
    return {name: np.array([values.get(head, np.nan) for head in heads]) for name, values in by_statistic.items()}
