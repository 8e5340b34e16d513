"""Category scores of Gaussian heads from their patterns: where positions or a window make a difference.

Axes: `token` the distinct tokens
of the prompts, `prompt`, `position`, `query` and `key` positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headclaims.circuit.qk_circuit import RotationAt
from headclaims.measures.category_score import SCORE_FLOOR
from headclaims.prompts.category import CategoryPrompts, target_mask


@dataclass(frozen=True)
class PromptTokens:
    """Which token stands where, and which positions each query should attend to (`target_mask`)."""

    token_at: Int[np.ndarray, "prompt position"]
    target: Bool[np.ndarray, "prompt query key"]

    @classmethod
    def of(cls, prompts: CategoryPrompts) -> tuple[PromptTokens, Int[Tensor, " token"]]:
        """Return the prompts' places among their distinct tokens, and those tokens' ids."""
        tokens = np.asarray(prompts.tokens)
        distinct, places = np.unique(tokens, return_inverse=True)
        return cls(places.reshape(tokens.shape), target_mask(prompts)), torch.from_numpy(distinct)


@dataclass(frozen=True)
class Turns:
    """Rotary positions as (x R_p)[c] = x[c] cos[p, c] + x[partner[c]] sin[p, c], for query and key alike."""

    cos: Float[Tensor, "position d_head"]
    sin: Float[Tensor, "position d_head"]
    partner: Int[Tensor, " d_head"]

    @classmethod
    def of(cls, rotation: RotationAt, length: int) -> Turns | None:
        """Return the turns of a prompt's positions; None with learned positions.

        Raises ValueError where a rotation is none of planes of two dimensions.
        """
        at_positions = [R for R in (rotation(position) for position in range(length)) if R is not None]
        if not at_positions:
            return None
        R = torch.stack(at_positions)
        cos = R.diagonal(dim1=1, dim2=2)
        others = R - torch.diag_embed(cos)
        is_partner = (others != 0).any(dim=0)
        if int(is_partner.sum(dim=0).max()) > 1:
            raise ValueError("a rotation mixes three dimensions or more; wanted planes of two")
        partner = is_partner.int().argmax(dim=0)
        return cls(cos.contiguous(), others[:, partner, torch.arange(len(partner))], partner)


def scores_by_patterns(
    q: Float[Tensor, "draw token d_head"],
    k: Float[Tensor, "draw token d_head"],
    scale: float,
    prompts: PromptTokens,
    turns: Turns | None,
    cap: float | None,
    window: int | None,
) -> Float[Tensor, " draw"]:
    """Return each draw's category score, in nats, from its patterns: −ln of the target's share, the mean over rows."""
    from headclaims.measures.kernels import category_scores

    length, d_head = prompts.token_at.shape[1], q.shape[-1]
    turns = turns or Turns(torch.ones(length, d_head), torch.zeros(length, d_head), torch.arange(d_head))
    vectors = (q, k, q[..., turns.partner], k[..., turns.partner], turns.cos, turns.sin)
    target = prompts.target.astype(np.float32)
    limits = np.float32(scale), np.float32(cap or 0.0), window or length, SCORE_FLOOR
    return torch.from_numpy(category_scores(*(x.numpy() for x in vectors), prompts.token_at, target, *limits))
