"""Map statistics of heads whose score is not W_QK alone: queries and keys are normalised, or scores capped.

Each is computed from all scores of pairs of words, which are few. Axes: `head` heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from headclaims.circuit.head_score import HeadScore
from headclaims.errors import NotAssessable
from headclaims.measures.category_blocks import diagonal
from headclaims.measures.layer_map import LayerMap
from headclaims.measures.similar_words import margins_by_pairs
from headclaims.measures.similarity_peak import peak_of_scores


def own_statistics(layer: LayerMap, heads: Sequence[HeadScore]) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute the statistics that both other and Gaussian heads have, as {statistic: value of each head}.

    A statistic whose set of tokens is missing is left out.
    """
    by_head = [_of_head(layer, head) for head in heads]
    return {name: np.array([values[name] for values in by_head]) for name in by_head[0]}


def _of_head(layer: LayerMap, head: HeadScore) -> dict[str, float]:
    sets = layer.sets
    grouped = {"words_depth": sets.words} | ({} if sets.groups is None else {"groups_depth": sets.groups})
    among = {name: (layer.among(head, groups, False), groups.group) for name, groups in grouped.items()}
    values = {name: diagonal(*of).relative_depth for name, of in among.items()}
    if sets.common is None:
        return values
    scores = layer.common_scores(head)
    matrix = scores.matrix()
    margins = margins_by_pairs(layer.space, matrix, scores.queries, head)
    values |= {name: float((margin > 0).double().mean()) for name, margin in margins.items() if margin.numel()}
    try:
        bins = layer.bins
    except NotAssessable:
        return values
    return values | {"peak": peak_of_scores(matrix, bins)}
