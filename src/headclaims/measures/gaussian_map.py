"""Map statistics of heads with Gaussian weights, computed on the target's E, as null populations.

Axes: `token` rows of a set, `head` heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from headclaims.measures.similar_words import MARGINS, shares_above
from headclaims.measures.similarity_peak import BinMoments, bin_moments, peaks_of_heads
from headclaims.measures.token_sets import Groups
from headclaims.threads import each_in_one_thread

GAUSSIAN_AT_ONCE = 16
GAUSSIAN_STATISTICS = (
    *("words_depth", "groups_depth", "words_contrast", "groups_contrast"),
    *(*MARGINS, "skew_scores", "peak"),
)


@kept("map-of-gaussian-heads", version=11)
def statistics_of_gaussian_heads(
    layer: LayerMap, members: range, d_head: int, seed: int, names: Sequence[str] = GAUSSIAN_STATISTICS
) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute the named map statistics of heads with independent Gaussian W_Q and W_K, no biases, on the target's E.

    `members` are the heads' numbers in an endless population: a head depends on its number and the seed alone. None of
    these statistics depends on the scale of the weights, which are drawn at scale 1. Those whose set of tokens is
    missing are left out.
    """
    d_model = layer.rows.shape[1]

    def drawn(start: int) -> dict[str, Float[np.ndarray, " head"]]:
        generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, start]).integers(2**63)))
        both = torch.randn(2, GAUSSIAN_AT_ONCE, d_model, d_head, generator=generator)
        W_Q, W_K = both[:, _of_batch(start, members)]
        none = torch.zeros(len(W_Q), d_head)
        return _gaussian(layer, moments, HeadBatch(W_Q, W_K, none, none, layer.turn), names)

    moments = None  # in a wide model the largest matrices of its map, which nothing else needs
    if "peak" in names:
        with suppress(NotAssessable):
            moments = bin_moments(layer.space.words, layer.bins)
    parts = each_in_one_thread(drawn, _batches(members), "Gaussian heads")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@kept("own-map-of-gaussian-heads", version=3)
def own_statistics_of_gaussian_heads(
    layer: LayerMap, head: HeadScore, members: range, free: int, seed: int
) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute the same of heads that have Gaussian weights in a score that is not W_QK alone, on the target's E.

    W_Q and W_K are Gaussian, of the head's own scale over `free` dimensions; its biases, norms (gains included), cap
    and rotation stay, as they are part of the model. A norm over all heads keeps the size that the model's heads give.
    """
    sizes = [entry_size(W, free) for W in (head.circuit.W_Q, head.circuit.W_K)]

    def drawn(start: int) -> dict[str, Float[np.ndarray, " head"]]:
        generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, start, 1]).integers(2**63)))
        shape = (GAUSSIAN_AT_ONCE, *head.circuit.W_Q.shape)
        queries, keys = (size * torch.randn(shape, generator=generator) for size in sizes)
        of_batch = _of_batch(start, members)
        of_members = zip(queries[of_batch], keys[of_batch], strict=True)
        return own_statistics(layer, [head.by(replace(head.circuit, W_Q=W_Q, W_K=W_K)) for W_Q, W_K in of_members])

    if layer.sets.common is not None:
        with suppress(NotAssessable):
            _ = layer.bins.pairs  # computed and cached before the threads start
    parts = each_in_one_thread(drawn, _batches(members), "Gaussian heads")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batches(members: range) -> range:
    """Return the numbers of the first heads of the batches that hold these members."""
    return range(members.start // GAUSSIAN_AT_ONCE * GAUSSIAN_AT_ONCE, members.stop, GAUSSIAN_AT_ONCE)


def _of_batch(start: int, members: range) -> slice:
    """Return which heads of a batch are members."""
    return slice(max(0, members.start - start), min(GAUSSIAN_AT_ONCE, members.stop - start))


def _gaussian(
    layer: LayerMap, moments: BinMoments | None, heads: HeadBatch, names: Sequence[str]
) -> dict[str, Float[np.ndarray, " head"]]:
    sets = layer.sets
    grouped = {"words": sets.words} | ({} if sets.groups is None else {"groups": sets.groups})
    statistics = {f"{of}_depth": _depths(layer, one, heads) for of, one in grouped.items() if f"{of}_depth" in names}
    contrasted = {f"{of}_contrast": one for of, one in grouped.items() if f"{of}_contrast" in names}
    if contrasted:
        statistics |= _contrasts(layer, contrasted, heads)
    if sets.common is None or not {*MARGINS, "skew_scores", "peak"}.intersection(names):
        return statistics
    words = Projected(layer.space.words, heads)
    if set(MARGINS).intersection(names):
        statistics |= shares_above(layer.space, heads, words, names)
    if "skew_scores" in names:
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
