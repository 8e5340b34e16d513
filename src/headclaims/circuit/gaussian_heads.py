"""Heads with Gaussian weights: the null population of spectra."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def entry_size(W: Float[Tensor, "d_model d_head"], free: int) -> float:
    """Return the root mean square of a head's weights over the free dimensions of their columns."""
    return float(W.double().square().sum().div(free * W.shape[1]).sqrt())


def gaussian_spans(n: int, d_model: int, d_head: int, seed: int) -> Float[Tensor, "member span pair"]:
    """Draw the spans (`qk_circuit.span`) of n heads with independent standard Gaussian weights.

    R of a QR decomposition of an m × k standard Gaussian matrix has independent entries: χ(m − i) on the diagonal of
    row i (from 0), standard normal above it (Bartlett's decomposition), so no d_model-sized matrix is drawn. Columns
    centred by a centring norm have m = d_model − 1 free dimensions: pass that as `d_model`.
    """
    generator = np.random.default_rng(seed)
    k = 2 * d_head
    rows = min(d_model, k)
    R = np.triu(generator.standard_normal((n, rows, k)), k=1)
    diagonal = np.sqrt(generator.chisquare(d_model - np.arange(rows), size=(n, rows)))
    R[:, np.arange(rows), np.arange(rows)] = diagonal
    return torch.from_numpy(R)
