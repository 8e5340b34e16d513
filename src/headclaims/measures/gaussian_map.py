"""Map statistics of heads with Gaussian weights, computed on the target's E, as null populations.

Axes: `token` rows of a set, `head` heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from headclaims.cache import kept
from headclaims.circuit.gaussian_heads import entry_size
from headclaims.circuit.head_score import HeadScore
from headclaims.circuit.qk_circuit import core, symmetric_part
from headclaims.circuit.scatter import contrasts
from headclaims.circuit.symmetric_scores import norm_ratios
from headclaims.errors import NotAssessable
from headclaims.measures.category_blocks import relative_depths
from headclaims.measures.head_batch import HeadBatch, Projected, project
from headclaims.measures.layer_map import LayerMap
from headclaims.measures.own_map import own_statistics
from headclaims.measures.similar_words import shares_above
from headclaims.measures.similarity_peak import BinMoments, bin_moments, peaks_of_heads
from headclaims.measures.token_sets import Groups
from headclaims.threads import each_in_one_thread

GAUSSIAN_AT_ONCE = 16


@kept("map-of-gaussian-heads", version=9)
def statistics_of_gaussian_heads(
    layer: LayerMap, n: int, d_head: int, seed: int
) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute map statistics of n heads with independent Gaussian W_Q and W_K and no biases, on the target's E.

    None of these statistics depends on the scale of the weights, which are drawn at scale 1. Those whose set of tokens
    is missing are left out.
    """
    d_model = layer.rows.shape[1]

    def drawn(start: int) -> dict[str, Float[np.ndarray, " head"]]:
        generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, start]).integers(2**63)))
        W_Q, W_K = torch.randn(2, GAUSSIAN_AT_ONCE, d_model, d_head, generator=generator)[:, : n - start]
        none = torch.zeros(len(W_Q), d_head)
        return _gaussian(layer, moments, HeadBatch(W_Q, W_K, none, none, layer.turn))

    moments = None  # in a wide model the largest matrices of its map, which nothing else needs
    with suppress(NotAssessable):
        moments = bin_moments(layer.space.words, layer.bins)
    parts = each_in_one_thread(drawn, range(0, n, GAUSSIAN_AT_ONCE), "Gaussian heads")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@kept("own-map-of-gaussian-heads", version=2)
def own_statistics_of_gaussian_heads(
    layer: LayerMap, head: HeadScore, n: int, free: int, seed: int
) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute the same of n heads that have Gaussian weights in a score that is not W_QK alone, on the target's E.

    W_Q and W_K are Gaussian, of the head's own scale over `free` dimensions; its biases, norms (gains included), cap
    and rotation stay, as they are part of the model. A norm over all heads keeps the size that the model's heads give.
    """
    sizes = [entry_size(W, free) for W in (head.circuit.W_Q, head.circuit.W_K)]

    def drawn(start: int) -> dict[str, Float[np.ndarray, " head"]]:
        generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, start, 1]).integers(2**63)))
        shape = (min(GAUSSIAN_AT_ONCE, n - start), *head.circuit.W_Q.shape)
        queries, keys = (size * torch.randn(shape, generator=generator) for size in sizes)
        members = [head.by(replace(head.circuit, W_Q=W_Q, W_K=W_K)) for W_Q, W_K in zip(queries, keys, strict=True)]
        return own_statistics(layer, members)

    if layer.sets.common is not None:
        with suppress(NotAssessable):
            _ = layer.bins.pairs  # computed and cached before the threads start
    parts = each_in_one_thread(drawn, range(0, n, GAUSSIAN_AT_ONCE), "Gaussian heads")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _gaussian(layer: LayerMap, moments: BinMoments | None, heads: HeadBatch) -> dict[str, Float[np.ndarray, " head"]]:
    sets = layer.sets
    statistics = {"words_depth": _depths(layer, sets.words, heads)}
    grouped = {"words_contrast": sets.words}
    if sets.groups is not None:
        statistics["groups_depth"] = _depths(layer, sets.groups, heads)
        grouped["groups_contrast"] = sets.groups
    statistics |= _contrasts(layer, grouped, heads)
    if sets.common is None:
        return statistics
    words = Projected.of(layer.space.words, heads)
    statistics |= shares_above(layer.space, heads, words)
    statistics["skew_scores"] = norm_ratios(words.own, words.keys)
    return statistics if moments is None else statistics | {"peak": peaks_of_heads(moments, heads, words)}


def _contrasts(layer: LayerMap, sets: Mapping[str, Groups], heads: HeadBatch) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute the contrast b − w of many heads on the span of M = [W_Q W_K].

    M = U L with Lᵀ the Cholesky factor of MᵀM. Where d_model is at most 2·d_head the span is the whole residual stream:
    U is the identity and L is M.
    """
    both = torch.cat([heads.W_Q, heads.W_K], dim=2).double()
    _, d_model, n_pairs = both.shape
    wide = d_model <= n_pairs
    L = both if wide else torch.linalg.cholesky(both.mT @ both, upper=True)
    values, vectors = torch.linalg.eigh(symmetric_part(core(L)))
    # W_sym's eigenvectors: U times those on the span, where U = M L⁻¹.
    along = (vectors if wide else both @ torch.linalg.solve_triangular(L, vectors, upper=True)).float()
    contrast_by_set = {}
    for name, groups in sets.items():
        member = np.equal.outer(np.unique(groups.group), groups.group).astype(float)
        y = (layer.vectors(groups.tokens) @ along).numpy()
        contrast_by_set[name] = contrasts(values.numpy(), y, member[None])
    return contrast_by_set


def _depths(layer: LayerMap, groups: Groups, heads: HeadBatch) -> Float[np.ndarray, " head"]:
    x = layer.vectors(groups.tokens)
    none = torch.zeros_like(heads.b_Q)
    q, k = (project(x, W, none).transpose(0, 1) for W in (heads.W_Q, heads.W_K))
    scores = heads.turned(q) @ k.mT
    scores.diagonal(dim1=1, dim2=2).copy_((q * k).sum(dim=-1))
    return relative_depths(scores.numpy(), groups.group)
