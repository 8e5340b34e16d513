"""The loss of every next token, from a run's logits."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


def next_token_losses(
    logits: Float[Tensor, "prompt position d_vocab"], tokens: Int[Tensor, "prompt position"]
) -> Float[Tensor, "prompt next"]:
    """Return the loss of every token after the first, in nats, by the tokens before it; `next` is its position − 1.

    Prompt after prompt: logits of a large vocabulary in float32 take more memory than all else.
    """
    return torch.stack(
        [
            cross_entropy(of[:-1].float().cpu(), some[1:], reduction="none")
            for of, some in zip(logits, tokens, strict=True)
        ]
    )
