"""A layer's value and output weights, folded and centred as TransformerLens does."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class OVWeights:
    """A layer's folded and centred value and output weights; where heads share a value head its weights are repeated.

    With the attention pattern A and the normed stream x of a layer, without the norm's gain, head h adds A x W_V W_O to
    the residual stream, besides a constant: rows of A sum to 1, so that the value bias is the same whatever the head
    attends to, and counts with the layer's output bias. Where a norm stands between (Gemma 2 and 3, OLMo 2) its gain is
    folded into W_O, and what is added is divided by that norm's scale.
    """

    W_V: Float[Tensor, "head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]


def fold_ov(
    W_V: Float[Tensor, "value_head d_model d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    gain: Float[Tensor, " d_model"],
    centre: bool,
) -> OVWeights:
    """Fold the gain of the norm before a layer's attention into its value weights, and centre both where norms centre.

    W_V ← gain · W_V, minus each column's mean over d_model; W_O ← W_O, minus each row's mean over d_model, which the
    next norm would take off.
    """
    W = gain[None, :, None] * W_V
    if centre:
        W, W_O = W - W.mean(dim=1, keepdim=True), W_O - W_O.mean(dim=-1, keepdim=True)
    return OVWeights(W.repeat_interleave(W_O.shape[0] // W_V.shape[0], 0), W_O)
