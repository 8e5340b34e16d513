"""E of one layer at the tokens that map claims are about, and the scatter of grouped tokens in it.

Axes: `token` rows of a set, `needed` the tokens of all sets, `head` heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.cache import kept
from headclaims.checkpoint.interface import Checkpoint
from headclaims.circuit.effective_embedding import AblatedTerms
from headclaims.circuit.head_score import Scorer
from headclaims.circuit.qk_circuit import QKCircuit, Rotation
from headclaims.circuit.scatter import Eigenspace, Scatter, scatter
from headclaims.errors import NotAssessable
from headclaims.measures.similar_words import WordSpace, word_space
from headclaims.measures.similarity_peak import CosineBins, cosine_bins
from headclaims.measures.token_sets import CommonWords, Groups, TokenSets
from headclaims.threads import each_in_one_thread
from headclaims.vocabulary.token_scores import TokenScores


@dataclass(frozen=True)
class LayerMap:
    """E of one layer at the tokens of all sets; `turn` is the mean rotation between tokens (`mean_rotation`)."""

    sets: TokenSets
    rows: Float[Tensor, "needed d_model"]
    turn: Rotation | None
    seed: int

    def vectors(self, tokens: Int[Tensor, " token"]) -> Float[Tensor, "token d_model"]:
        """Return the rows of E of some of the sets' tokens."""
        return self.rows[torch.searchsorted(self.sets.needed, tokens)]

    def among(self, head: Scorer, groups: Groups, biased: bool) -> Float[np.ndarray, "token token"]:
        """Compute a head's scores among grouped tokens, with or without both biases."""
        x = self.vectors(groups.tokens)
        return TokenScores.of(head, x, x, self.turn, biased).matrix().numpy()

    @property
    def common(self) -> CommonWords:
        """Common words; raises NotAssessable where there are none."""
        if self.sets.common is None:
            raise NotAssessable("no common words under this tokenizer")
        return self.sets.common

    @cached_property
    def space(self) -> WordSpace:
        """Common words with the mean vectors of the words that each is compared with."""
        variants = [self.vectors(tokens) for tokens in self.common.variants]
        return word_space(self.vectors(self.common.tokens), variants, self.seed)

    @cached_property
    def bins(self) -> CosineBins:
        """Pairs of common words by cosine; raises NotAssessable where no high bin holds enough pairs."""
        return cosine_bins(self.space.words)

    def common_scores(self, head: Scorer) -> TokenScores:
        """Return a head's scores among common words, as factors."""
        return TokenScores.of(head, self.space.words, self.space.words, self.turn)


def eigen_scatter(layer: LayerMap, space: Eigenspace, groups: Groups) -> Scatter:
    """Compute the scatter of grouped tokens along the eigenvectors of a head's W_sym."""
    return scatter(space.values.numpy(), space.coordinates(layer.vectors(groups.tokens)), groups.group)


@kept("scatter-plane", version=3)
def scatter_plane(checkpoint: Checkpoint, groups: Groups, terms: AblatedTerms) -> dict[str, Float[np.ndarray, " head"]]:
    """Compute `Scatter.w` and `Scatter.b` for every head of the model, layer after layer, each on its own layer's E.

    They are returned under `within` and `between`. `terms` are the ablated terms of the last layer.
    """
    layers = sorted({head.layer for head in checkpoint.model_heads})
    embedded = dict(zip(layers, checkpoint.embed_alone_at(groups.tokens, layers, *terms), strict=True))

    def of_layer(layer: int) -> list[Scatter]:
        weights, scatters = checkpoint.qk_weights(layer), []
        for head in range(checkpoint.sizes.n_heads):
            space = Eigenspace.of(QKCircuit.of(weights, head))
            scatters.append(scatter(space.values.numpy(), space.coordinates(embedded[layer]), groups.group))
        return scatters

    by_head = list(chain.from_iterable(each_in_one_thread(of_layer, layers, "scatter of all heads")))
    return {"within": np.array([s.w().value for s in by_head]), "between": np.array([s.b().value for s in by_head])}
