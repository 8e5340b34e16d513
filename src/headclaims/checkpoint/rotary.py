"""Rotary positions as matrices."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rotate_half_matrix(
    cos: Float[Tensor, " half"], sin: Float[Tensor, " half"], d_head: int, interleaved: bool = False
) -> Float[Tensor, "d_head d_head"]:
    """Return R such that q R is the rotary rotation of the row vector q by these angles.

    Dimension i is paired with i + half or, `interleaved`, 2i with 2i + 1: (a, b) → (a cos − b sin, b cos + a sin).
    Dimensions beyond those rotated are unchanged.
    """
    half = len(cos)
    first = torch.arange(half) * 2 if interleaved else torch.arange(half)
    second = first + 1 if interleaved else first + half
    R = torch.eye(d_head, dtype=cos.dtype)
    R[first, first], R[second, second] = cos, cos
    R[second, first], R[first, second] = -sin, sin
    return R
