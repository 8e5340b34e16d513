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
from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.measures.layer_map import LayerMap
from headclaims.vocabulary.cosine import SimilarityCurve, similarity_curve
from headclaims.vocabulary.scores import TokenScores, mean_rotation

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit


@dataclass(frozen=True)
class TokenMap:
    """A layer's map under one variant of E: the sets' tokens in `layer`, and the whole vocabulary in `E`."""

    layer: LayerMap
    E: Tensor

    def scores(self, circuit: QKCircuit, queries: Tensor) -> TokenScores:
        """Return a head's scores of some tokens as queries with the whole vocabulary as keys."""
        return TokenScores.of(circuit, self.E[queries], self.E, self.layer.turn)


def embedding(audit: Audit, variant: Variant) -> Tensor | None:
    """Return the effective embedding of the whole vocabulary; None where the evidence has no embedding.

    Evidence that does not run, partial weights, gives the variant `zero` whatever was asked.
    """
    checkpoint, layer = audit.checkpoint, audit.target.layer
    if Capability.EMBEDDING in checkpoint.lacks:
        return None
    if Capability.INTERVENTIONS in checkpoint.lacks:
        return effective_embedding(checkpoint, layer, None, audit.cache, Variant.ZERO)
    return embedding_with(checkpoint, layer, audit.workspace.ablated_terms(layer, variant), audit.cache)


def token_maps(audit: Audit) -> dict[Variant, TokenMap]:
    """Return the map of the target's layer under each variant of E, the primary one first."""
    _ = audit.qk  # says why where the weights are lacking
    sets, primary = audit.sets.tokens, audit.E
    assert primary is not None  # the sets' tokens need an embedding, too
    turn = mean_rotation(audit.checkpoint.rotation, audit.settings.seq_len)
    embeddings = {Variant.MEAN: primary}
    if not audit.settings.verdicts_only:
        for variant in (Variant.ZERO, Variant.AUTHOR):
            terms = audit.workspace.ablated_terms(audit.target.layer, variant)
            embeddings[variant] = embedding_with(audit.checkpoint, audit.target.layer, terms, audit.cache)
    return {
        variant: TokenMap(LayerMap(sets, E[sets.needed], turn, audit.settings.seed), E)
        for variant, E in embeddings.items()
    }


def vocabulary_curve(audit: Audit) -> SimilarityCurve | None:
    """Return scores by cosine similarity over the whole vocabulary; None where the claim beside it isn't assessed."""
    if audit.settings.verdicts_only or "common" in audit.sets.missing:
        return None
    token_map = audit.maps[Variant.MEAN]
    scores = TokenScores.of(audit.qk, token_map.E, token_map.E, token_map.layer.turn)
    arrays = audit.cached(similarity_curve_arrays, scores, token_map.E)
    return SimilarityCurve(arrays["sums"], arrays["pairs"], float(arrays["square"][0]))


@kept("similarity-curve", version=2)
def similarity_curve_arrays(scores: TokenScores, E: Tensor) -> dict[str, np.ndarray | Tensor]:
    """Return sums and pairs by bin of cosine, and the mean square score."""
    curve = similarity_curve(scores, E)
    return {"sums": curve.sums, "pairs": curve.pairs, "square": torch.tensor([curve.mean_square], dtype=torch.float64)}
