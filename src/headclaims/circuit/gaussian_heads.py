"""Heads with Gaussian weights: the null population of spectra."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def entry_size(W: Float[Tensor, "d_model d_head"], free: int) -> float:
    """Return the root mean square of a head's weights over the free dimensions of their columns."""
    return float(W.double().square().sum().div(free * W.shape[1]).sqrt())


def gaussian_spans(
    n: int,
    d_model: int,
    W_Q: Float[Tensor, "d_model d_head"],
    W_K: Float[Tensor, "d_model d_head"],
    seed: int,
) -> Float[Tensor, "member span pair"]:
    """Draw the spans (`qk_circuit.span`) of n heads with independent Gaussian weights, scaled like W_Q and W_K.

    The weights have the root mean squares of the target's W_Q and W_K. R of a QR decomposition of an m × k standard
    Gaussian matrix has independent entries: χ(m − i) on the diagonal of row i (from 0), standard normal above it
    (Bartlett's decomposition), so no d_model-sized matrix is drawn. Columns centred by a centring norm have
    m = d_model − 1 free dimensions: pass that as `d_model`.
    """
    generator = np.random.default_rng(seed)
    k = 2 * W_Q.shape[1]
    rows = min(d_model, k)
    R = np.triu(generator.standard_normal((n, rows, k)), k=1)
    diagonal = np.sqrt(generator.chisquare(d_model - np.arange(rows), size=(n, rows)))
    R[:, np.arange(rows), np.arange(rows)] = diagonal
    size = [entry_size(W, d_model) for W in (W_Q, W_K)]
    return torch.from_numpy(R * np.repeat(size, k // 2))
