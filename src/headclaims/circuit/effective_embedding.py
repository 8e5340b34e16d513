"""The effective embedding E: every vocabulary token alone, as the target head's query and key weights read it.

The write-up's E = MLP0(W_E) + W_E, for any target layer: position embedding and attention outputs before it ablated,
MLPs live, then the target layer's input norm without gain.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.cache import Cache, Input
from headclaims.checkpoint.interface import Capability, Checkpoint
from headclaims.progress import track
from headclaims.prompts.category import DEFAULT_LENGTH, DEFAULT_PROMPTS, category_prompts
from headclaims.prompts.words import WordList

VERSION = 2
AUTHOR_LENGTH = 1024


AblatedTerms = tuple[Float[Tensor, " d_model"], Float[Tensor, "before d_model"]]


class Variant(StrEnum):
    """What stands in for the ablated terms: the position embedding and each attention output before the target."""

    MEAN = "mean"
    """Their mean over the default category prompts (32 × 64, seed 0), positions ≥ 1. The primary one."""
    ZERO = "zero"
    """Nothing: the write-up's formula."""
    AUTHOR = "author"
    """Their mean over all positions of one sequence of the token ids 0…1023, as the write-up's code has it."""


def effective_embedding(
    checkpoint: Checkpoint,
    layer: int,
    words: WordList | None,
    cache: Cache,
    variant: Variant = Variant.MEAN,
    batch: int = 4096,
) -> Float[Tensor, "token d_model"]:
    """E for the whole vocabulary, float32: x = W_E + position, x ← x + attention_l + MLP_l(x) for l < layer, normed.

    `words`, which only `mean` needs, are those that count for the checkpoint. Raises NotAssessable where the
    evidence lacks tensors, or, for `mean` and `author`, doesn't run.
    """
    checkpoint.require(Capability.EMBEDDING)
    position, attention = ablated_terms(checkpoint, layer, words, variant, cache)
    inputs = checkpoint.embedding_inputs(layer) | {"position": position, "attention": attention}

    def compute() -> dict[str, Tensor]:
        tokens = torch.arange(checkpoint.sizes.d_vocab or 0).split(batch)
        rows = [checkpoint.embed_alone(some, layer, position, attention) for some in track(tokens, "embedding")]
        return {"E": torch.cat(rows)}

    return cache.tensors("effective-embedding", VERSION, inputs, compute)["E"]


def ablated_terms(
    checkpoint: Checkpoint, layer: int, words: WordList | None, variant: Variant, cache: Cache
) -> AblatedTerms:
    """What stands in for the position embedding, and for each attention output before `layer`.

    The terms of a layer before are the first of a later layer's. `words` as for `effective_embedding`.
    """
    d_model = checkpoint.sizes.d_model
    position, attention = torch.zeros(d_model), torch.zeros(layer, d_model)
    if variant is Variant.ZERO:
        return position, attention
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
    learned = checkpoint.learned_positions

    def compute() -> dict[str, Tensor]:
        names = {f"blocks.{before}.hook_attn_out": before for before in range(layer)}
        wanted = [*names, *(["hook_pos_embed"] if learned else [])]
        recorded = checkpoint.run(tokens, record=wanted) if wanted else {}
        for name, before in names.items():
            attention[before] = recorded[name][:, first:].double().mean(dim=(0, 1)).float().cpu()
        if learned:
            # Learned positions come once for all prompts.
            position.copy_(recorded["hook_pos_embed"][:, first:].double().mean(dim=(0, 1)))
        return {"position": position, "attention": attention}

    inputs: dict[str, Input] = {"model": lambda: checkpoint.run_digest, "tokens": tokens}
    inputs |= {"layer": layer, "first": first}
    found = cache.tensors("ablated-terms", VERSION, inputs, compute)
    return found["position"], found["attention"]
