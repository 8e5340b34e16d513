"""The effective embedding E: what the target head's query and key weights read of each vocabulary token by itself.

This is the write-up's E = MLP0(W_E) + W_E, generalised to any target layer: the position embedding and the attention
outputs before the layer are ablated, MLPs run as usual, and the layer's input norm is applied without its gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.cache import Cache, kept
from headclaims.checkpoint.interface import Capability, Checkpoint
from headclaims.progress import track
from headclaims.prompts.category import DEFAULT_LENGTH, DEFAULT_PROMPTS, category_prompts
from headclaims.prompts.words import WordList

AUTHOR_LENGTH = 1024
MOST_MET = 3 * 2**24
"""Numbers of E that are held for who asks for the vocabulary's: 200 MB."""


AblatedTerms = tuple[Float[Tensor, " d_model"], Float[Tensor, "before d_model"]]
Rows = tuple[Int[Tensor, " known"], Float[Tensor, "known d_model"]]


class Variant(StrEnum):
    """What replaces the ablated terms: the position embedding and each attention output before the target layer."""

    MEAN = "mean"
    """Their mean over the default category prompts (32 × 64, seed 0), positions ≥ 1. The primary one."""
    ZERO = "zero"
    """0, as in the write-up's formula."""
    AUTHOR = "author"
    """Their mean over all positions of one sequence of the token ids 0…1023, as in the write-up's code."""


def effective_embedding(
    checkpoint: Checkpoint,
    layer: int,
    words: WordList | None,
    cache: Cache,
    variant: Variant = Variant.MEAN,
    batch: int = 4096,
    tokens: Int[Tensor, " token"] | None = None,
) -> Float[Tensor, "token d_model"]:
    """Compute E for the whole vocabulary, or some tokens of it, in float32, or read it from the cache.

    x = W_E + position, then x ← x + attention_l + MLP_l(x) for each l < layer, then the norm. `words` are those that
    count for the checkpoint, needed by `mean` alone. Raises NotAssessable where the evidence lacks tensors or, for
    `mean` and `author`, cannot be run; ValueError for `mean` without words.
    """
    checkpoint.require(Capability.EMBEDDING)
    terms = ablated_terms(checkpoint, layer, words, variant, cache)
    return embedding_with(checkpoint, layer, terms, cache, tokens, batch)


def embedding_with(
    checkpoint: Checkpoint,
    layer: int,
    terms: AblatedTerms,
    cache: Cache,
    tokens: Int[Tensor, " token"] | None = None,
    batch: int = 4096,
    known: Rows | None = None,
) -> Float[Tensor, "token d_model"]:
    """Compute the same with terms that are known, or read it from the cache; `known` rows are not computed again."""
    embedder = Embedder(checkpoint, layer, batch, known)
    return torch.from_numpy(cache.call(embedding_arrays, embedder, *terms, tokens)["E"])


@dataclass(eq=False)
class Met:
    """E of one layer at some tokens, as a computation over several layers meets it: held until somebody takes it.

    A computation fills it and doesn't read it, so that no result depends on it.
    """

    layer: int
    _rows: Rows | None = None
    _taken: bool = False

    def cache_inputs(self) -> dict[str, Tensor | str]:
        """Return nothing."""
        return {}

    def meet(self, layer: int, tokens: Int[Tensor, " token"], E: Float[Tensor, "token d_model"]) -> None:
        """Hold E of these tokens if it is of the layer that is wanted, not too large, and nobody has come for it."""
        if layer == self.layer and not self._taken and E.numel() <= MOST_MET:
            self._rows = tokens, E

    def take(self) -> Rows | None:
        """Return the tokens with their rows of E, None if they weren't met, and hold nothing from now on."""
        rows, self._rows, self._taken = self._rows, None, True
        return rows


@dataclass(frozen=True)
class Embedder:
    """The tokens of a checkpoint as a layer's norm would leave them, each alone, `batch` at a time.

    Some rows may be `known`, with the places of their tokens among those to be embedded.
    """

    checkpoint: Checkpoint
    layer: int
    batch: int
    known: Rows | None = None

    def cache_inputs(self) -> dict[str, Tensor | str]:
        """Return every tensor and setting that embedding computes from."""
        return self.checkpoint.embedding_inputs(self.layer)


@kept("effective-embedding", version=4)
def embedding_arrays(
    embedder: Embedder, position: Tensor, attention: Tensor, tokens: Tensor | None
) -> dict[str, Tensor]:
    """Return E for some tokens, None for all, with these terms in place of positions and attention outputs."""
    checkpoint, layer = embedder.checkpoint, embedder.layer
    tokens = torch.arange(checkpoint.sizes.d_vocab or 0) if tokens is None else tokens
    E, left = torch.empty(len(tokens), checkpoint.sizes.d_model), torch.ones(len(tokens), dtype=torch.bool)
    if embedder.known is not None:
        places, rows = embedder.known
        E[places], left[places] = rows, False
    for rows in track([some for some in left.nonzero()[:, 0].split(embedder.batch) if len(some)], "embedding"):
        E[rows] = checkpoint.embed_alone(tokens[rows], layer, position, attention)
    return {"E": E}


def ablated_terms(
    checkpoint: Checkpoint, layer: int, words: WordList | None, variant: Variant, cache: Cache
) -> AblatedTerms:
    """Compute what replaces the position embedding and each attention output before `layer`, or read it from the cache.

    An earlier layer's attention terms are the first rows of a later layer's. `words` and what is raised are as for
    `effective_embedding`.
    """
    if variant is Variant.ZERO:
        d_model = checkpoint.sizes.d_model
        return torch.zeros(d_model), torch.zeros(layer, d_model)
    longest = checkpoint.sizes.n_ctx or DEFAULT_LENGTH
    if variant is Variant.AUTHOR:
        tokens = torch.arange(min(AUTHOR_LENGTH, longest, checkpoint.sizes.d_vocab or 0))[None]
        first = 0
    else:
        if words is None:
            raise ValueError("no word list; wanted one for the variant mean")
        prompts = category_prompts(
            words,
            checkpoint.single_token,
            checkpoint.bos,
            DEFAULT_PROMPTS,
            min(DEFAULT_LENGTH, longest),
            seed=0,
        )
        tokens, first = torch.as_tensor(prompts.tokens), 1
    arrays = cache.call(mean_terms, checkpoint, tokens, layer, first)
    return torch.from_numpy(arrays["position"]), torch.from_numpy(arrays["attention"])


@kept("ablated-terms", version=3)
def mean_terms(checkpoint: Checkpoint, tokens: Tensor, layer: int, first: int) -> dict[str, Tensor]:
    """Return the mean position embedding and attention outputs before a layer, over positions from `first` on."""
    d_model, learned = checkpoint.sizes.d_model, checkpoint.learned_positions
    position, attention = torch.zeros(d_model), torch.zeros(layer, d_model)
    checkpoint.require_sum(layer)
    outputs = {checkpoint.mixing_output(before): before for before in range(layer)}
    names = [*outputs, *(["hook_pos_embed"] if learned else [])]
    recorded = checkpoint.run(tokens, record=names) if names else {}
    for name, before in outputs.items():
        attention[before] = recorded[name][:, first:].double().mean(dim=(0, 1)).float().cpu()
    if learned:
        # Learned positions come once for all prompts.
        position.copy_(recorded["hook_pos_embed"][:, first:].double().mean(dim=(0, 1)))
    return {"position": position, "attention": attention}
