"""Copying: whether a head raises the logits of the very tokens that it attends to, by its weights alone.

Axes: `token` the plain tokens, `d_vocab` all tokens, `head` heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.effective_embedding import AblatedTerms
from headclaims.circuit.ov_circuit import OVCircuit, positive_share
from headclaims.statistics.resampling import Within, mean_over
from headclaims.vocabulary.scores import sweep_heads
from headclaims.vocabulary.token_scores import TokenScores

COPIED = 10
"""Highest logits among which a token's own has to be."""
MOST_TOKENS = 1000
"""Plain tokens, the most frequent ones, of which copying is asked."""


def copied(
    circuits: Sequence[OVCircuit],
    E: Float[Tensor, "token d_model"],
    W_U: Float[Tensor, "d_model d_vocab"],
    plain: Int[np.ndarray, " token"],
) -> Bool[np.ndarray, "head token"]:
    """Return whether each plain token is among the ten highest of its row of E W_OV W_U, for heads of one layer.

    E holds the plain tokens' rows; the matrix is streamed over the whole vocabulary.
    """
    own = torch.from_numpy(plain)
    scores = [TokenScores(circuit.reading(E), circuit.writing(W_U)) for circuit in circuits]
    return np.stack([(swept.own_rank < COPIED).numpy() for swept in sweep_heads(scores, own, COPIED)])


def copying(
    checkpoint: Checkpoint, heads: Sequence[Head], plain: Int[np.ndarray, " token"], terms: AblatedTerms
) -> dict[str, np.ndarray]:
    """Return by head `copied` [head, token], and Σ Re λ/Σ |λ| of E W_OV W_U over plain tokens, as it is and centred.

    E is the effective embedding at each head's own layer, with these terms for positions and attention; `centred` takes
    its mean over plain tokens off. A head that writes nothing has 0.
    """
    W_U = checkpoint.W_U
    layers = sorted({head.layer for head in heads})
    embedded = checkpoint.embed_alone_at(torch.from_numpy(plain), layers, *terms)
    found: dict[str, list[np.ndarray]] = {"copied": [], "positive": [], "centred": []}
    order: list[int] = []
    of_plain = W_U[:, torch.from_numpy(plain)]
    for layer, E in zip(layers, embedded, strict=True):
        weights = checkpoint.ov_weights(layer)
        numbers = [number for number, head in enumerate(heads) if head.layer == layer]
        circuits = [OVCircuit.of(weights, heads[number].index) for number in numbers]
        order += numbers
        found["copied"] += list(copied(circuits, E, W_U, plain))
        for circuit in circuits:
            for name in ("positive", "centred"):
                found[name].append(np.array(_share(circuit, E, of_plain, name == "centred")))
    back = np.argsort(order)
    return {name: np.stack(values)[back] for name, values in found.items()}


def copied_share(copied: Bool[np.ndarray, " token"]) -> Within:
    """Return the share of plain tokens that a head copies, with an interval over words."""
    return Within(mean_over("words", np.asarray(copied, dtype=float)), 0.0, 1.0)


def gaussian_positive_shares(
    circuit: OVCircuit,
    E: Float[Tensor, "token d_model"],
    W_U: Float[Tensor, "d_model token"],
    n: int,
    seed: int,
) -> Float[np.ndarray, " member"]:
    """Return Σ Re λ/Σ |λ| of E W_OV W_U for n heads with Gaussian W_V and W_O; the scale of either does not count."""
    generator = torch.Generator().manual_seed(seed)
    middle = (W_U @ E).double()
    shares = []
    for _ in range(n):
        W_V, W_O = (torch.randn(W.shape, generator=generator, dtype=torch.float64) for W in (circuit.W_V, circuit.W_O))
        shares.append(positive_share(torch.linalg.eigvals(W_O @ middle @ W_V)))
    return np.array(shares)


def _share(circuit: OVCircuit, E: Tensor, W_U: Tensor, centred: bool) -> float:
    if not circuit.norm:
        return 0.0
    return positive_share(circuit.eigenvalues(E, W_U, centred))
