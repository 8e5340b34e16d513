"""A head's map over the vocabulary under each variant of the effective embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from headclaims.cache import kept
from headclaims.checkpoint.interface import Capability
from headclaims.circuit.effective_embedding import Variant, effective_embedding, embedding_with
from headclaims.circuit.head_score import Scorer
from headclaims.measures.layer_map import LayerMap
from headclaims.measures.top_attended import drawn_tokens
from headclaims.vocabulary.cosine import SimilarityCurve, similarity_curve
from headclaims.vocabulary.token_scores import TokenScores, layer_turn

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit


@dataclass(frozen=True)
class TokenMap:
    """A layer's map under one variant of E: the sets' tokens in `layer`, and in `E` the vocabulary.

    Of a large vocabulary variants beside the primary one have E at some `tokens` alone, ascending; None for all.
    """

    layer: LayerMap
    E: Tensor
    tokens: Tensor | None = None

    def scores(self, head: Scorer, queries: Tensor) -> TokenScores:
        """Return a head's scores of some tokens as queries with all tokens of the map as keys."""
        rows = queries if self.tokens is None else torch.searchsorted(self.tokens, queries)
        return TokenScores.of(head, self.E[rows], self.E, self.layer.turn)

    def among(self, tokens: Tensor) -> TokenMap:
        """Return the map of some of its tokens, ascending."""
        rows = tokens if self.tokens is None else torch.searchsorted(self.tokens, tokens)
        return TokenMap(self.layer, self.E[rows], tokens)


def embedding(audit: Audit) -> Tensor | None:
    """Return the primary effective embedding of the whole vocabulary; None where the evidence has no embedding.

    Evidence that does not run, partial weights, gives the variant `zero`.
    """
    checkpoint, layer, known = audit.checkpoint, audit.target.layer, audit.met.take()
    if Capability.EMBEDDING in checkpoint.lacks:
        return None
    if Capability.INTERVENTIONS in checkpoint.lacks:
        return effective_embedding(checkpoint, layer, None, audit.cache, Variant.ZERO)
    return embedding_with(checkpoint, layer, audit.workspace.ablated_terms(layer), audit.cache, known=known)


def token_maps(audit: Audit) -> dict[Variant, TokenMap]:
    """Return the map of the target's layer under each variant of E, the primary one first.

    Of a large vocabulary the others hold the tokens of `Probes.rivals`.
    """
    _ = audit.score  # says why where the weights are lacking
    sets, primary = audit.sets.tokens, audit.E
    assert primary is not None  # the sets' tokens need an embedding, too
    turn = layer_turn(audit.checkpoint, audit.target.layer, audit.settings.seq_len)
    seed = audit.settings.seed
    maps = {Variant.MEAN: TokenMap(LayerMap(sets, primary[sets.needed], turn, seed), primary)}
    if audit.settings.verdicts_only:
        return maps
    rivals = None if sets.probes is None else sets.probes.rivals(seed)
    some = None if rivals is None else torch.cat([sets.needed, rivals]).unique()
    needed = sets.needed if some is None else torch.searchsorted(some, sets.needed)
    for variant in (Variant.ZERO, Variant.AUTHOR):
        terms = audit.workspace.ablated_terms(audit.target.layer, variant)
        E = embedding_with(audit.checkpoint, audit.target.layer, terms, audit.cache, some)
        whole = TokenMap(LayerMap(sets, E[needed], turn, seed), E, some)
        maps[variant] = whole if rivals is None else whole.among(rivals)
    return maps


def vocabulary_curve(audit: Audit) -> SimilarityCurve | None:
    """Return scores by cosine similarity over the vocabulary; None where the claim beside it isn't assessed.

    Of a vocabulary of more than 32,768 tokens they are over 16,384 drawn by seed.
    """
    if audit.settings.verdicts_only or "common" in audit.sets.missing:
        return None
    token_map = audit.maps[Variant.MEAN]
    drawn = drawn_tokens(len(token_map.E), audit.settings.seed)
    E = token_map.E if drawn is None else token_map.E[drawn]
    scores = TokenScores.of(audit.score, E, E, token_map.layer.turn)
    arrays = audit.cached(similarity_curve_arrays, scores, E)
    return SimilarityCurve(arrays["sums"], arrays["pairs"], float(arrays["square"][0]))


@kept("similarity-curve", version=2)
def similarity_curve_arrays(scores: TokenScores, E: Tensor) -> dict[str, np.ndarray | Tensor]:
    """Return sums and pairs by bin of cosine, and the mean square score."""
    curve = similarity_curve(scores, E)
    return {"sums": curve.sums, "pairs": curve.pairs, "square": torch.tensor([curve.mean_square], dtype=torch.float64)}
