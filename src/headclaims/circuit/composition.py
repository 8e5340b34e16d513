"""Composition of heads by their weights: how much of what one head writes another reads into its keys, or queries.

With v = W_V, o = W_O of the writer and q = W_Q, k = W_K of a later reader, all folded and centred (Elhage et al. 2021):

    K-composition = ‖q kᵀ oᵀ vᵀ‖/(‖q kᵀ‖ ‖v o‖),   Q-composition = ‖k qᵀ oᵀ vᵀ‖/(‖q kᵀ‖ ‖v o‖),   Frobenius norms.

With the QR decompositions q = Q_q R_q and v = Q_v R_v the numerator is ‖(R_q kᵀ)(oᵀ R_vᵀ)‖: no d_model × d_model matrix
is formed. Biases are left out. With rotary positions q kᵀ depends on the offset, and so does composition.

Axes: `reader` and `writer` heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.cache import Input, kept
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.checkpoint.ov_weights import OVWeights
from headclaims.checkpoint.weights import QKWeights
from headclaims.errors import NotAssessable

Into = Literal["keys", "queries"]


def reading_factors(weights: QKWeights, into: Into) -> Float[Tensor, "head d_head d_model"]:
    """Return R_q kᵀ of a layer's heads over ‖q kᵀ‖ (R_k qᵀ into queries); zeros for a head without weights."""
    other, read = (weights.W_Q, weights.W_K) if into == "keys" else (weights.W_K, weights.W_Q)
    return _scaled(_triangles(other) @ read.double().mT)


def writing_factors(weights: OVWeights) -> Float[Tensor, "head d_model d_head"]:
    """Return oᵀ R_vᵀ of a layer's heads over ‖v o‖; zeros for a head without weights."""
    return _scaled(weights.W_O.double().mT @ _triangles(weights.W_V).mT)


def compositions(
    readers: Float[Tensor, "reader d_head d_model"], writers: Float[Tensor, "writer d_model width"]
) -> Float[Tensor, "reader writer"]:
    """Return the composition of every writer with every reader from their factors, by one matrix product."""
    n, d_head, d_model = readers.shape
    m, _, width = writers.shape
    product = readers.reshape(n * d_head, d_model) @ writers.transpose(0, 1).reshape(d_model, m * width)
    return product.square_().view(n, d_head, m, width).sum(dim=(1, 3), dtype=torch.float64).sqrt()


def _triangles(W: Float[Tensor, "head d_model d_head"]) -> Float[Tensor, "head d_head d_head"]:
    return torch.linalg.qr(W.double(), mode="r").R


def _scaled(factors: Float[Tensor, "head _ _"]) -> Float[Tensor, "head _ _"]:
    norms = torch.linalg.matrix_norm(factors, keepdim=True)
    return torch.where(norms > 0, factors / norms, torch.zeros(())).float()


@dataclass(frozen=True)
class Compositions:
    """The composition of all pairs of heads whose weights are there: `matrix[reader, writer]`, else NaN.

    A writer is of a layer before its reader's. Made by `all_compositions`.
    """

    heads: tuple[Head, ...]
    matrix: Float[np.ndarray, "reader writer"]

    @cached_property
    def _position(self) -> dict[Head, int]:
        return {head: position for position, head in enumerate(self.heads)}

    def earlier(self, reader: Head) -> list[Head]:
        """Return the heads of layers before a reader's."""
        return [head for head in self.heads if head.layer < reader.layer]

    def of(self, writer: Head, reader: Head) -> float:
        """Return the composition of a writer with a later reader; raises NotAssessable where there is none."""
        for head in (writer, reader):
            if head not in self._position:
                raise NotAssessable(f"needs qk and ov of {head.label}: the evidence lacks its weights")
        if writer.layer >= reader.layer:
            raise NotAssessable(f"{writer.label} is not in a layer before {reader.label}: they don't compose")
        return float(self.matrix[self._position[reader], self._position[writer]])

    def above_others(self, writer: Head, reader: Head) -> float:
        """Return the composition of a writer over the largest of any other head before the reader.

        Raises NotAssessable where there is no other head, none that composes, or a layer whose weights are lacking.
        """
        own = self.of(writer, reader)
        layers = {head.layer for head in self.heads}
        missing = [layer for layer in range(reader.layer) if layer not in layers]
        if missing:
            raise NotAssessable(f"needs qk and ov of every layer before {reader.label}: layer {missing[0]} is lacking")
        others = [self.of(head, reader) for head in self.earlier(reader) if head != writer]
        if not others or not max(others) > 0:
            raise NotAssessable(f"no other head before {reader.label} composes with it")
        return own / max(others)


@dataclass(frozen=True)
class _Weights:
    """The weights of all layers that have both circuits, read when they are needed."""

    checkpoint: Checkpoint

    @cached_property
    def layers(self) -> list[int]:
        """Layers with query, key, value and output weights."""
        return sorted(set(self.checkpoint.qk_layers()) & set(self.checkpoint.ov_layers()))

    def each(self) -> Iterator[tuple[QKWeights, OVWeights]]:
        """Yield the weights layer by layer."""
        for layer in self.layers:
            yield self.checkpoint.qk_weights(layer), self.checkpoint.ov_weights(layer)

    def cache_inputs(self) -> dict[str, Input]:
        """Return every weight that composition is computed from."""
        return {
            f"{name} {layer}": weights
            for layer, (qk, ov) in zip(self.layers, self.each(), strict=True)
            for name, weights in (("Q", qk.W_Q), ("K", qk.W_K), ("V", ov.W_V), ("O", ov.W_O))
        }


def weights_of(checkpoint: Checkpoint) -> _Weights:
    """Return what `composition_arrays` computes from; raises NotAssessable with rotary positions or without weights."""
    weights = _Weights(checkpoint)
    if not weights.layers:
        raise NotAssessable("needs qk and ov of one layer: the evidence has them of different ones")
    if checkpoint.rotation(weights.layers[0], 1) is not None:
        raise NotAssessable(
            "composition by weights is not defined with rotary positions: W_QK depends on the offset of query and key"
        )
    return weights


@kept("composition", version=1)
def composition_arrays(weights: _Weights, into: Into) -> dict[str, Tensor]:
    """Return the composition of all pairs [reader, writer] of heads, NaN where the writer is in no earlier layer."""
    rows: list[Tensor] = []
    written: list[Tensor] = []
    for qk, ov in weights.each():
        readers = reading_factors(qk, into)
        rows.append(
            torch.cat(
                [torch.empty(len(readers), 0, dtype=torch.float64)]
                + [compositions(readers, factors) for factors in written],
                dim=1,
            )
        )
        written.append(writing_factors(ov))
    n = sum(len(row) for row in rows)
    matrix = torch.full((n, n), torch.nan, dtype=torch.float64)
    first = 0
    for row in rows:
        matrix[first : first + len(row), : row.shape[1]] = row
        first += len(row)
    return {"matrix": matrix}


def heads_of(weights: _Weights, n_heads: int) -> tuple[Head, ...]:
    """Return the heads of the rows and columns of `composition_arrays`."""
    return tuple(Head(layer, index) for layer in weights.layers for index in range(n_heads))


def all_compositions(checkpoint: Checkpoint, into: Into) -> Compositions:
    """Return the composition of all pairs of heads into keys, or queries; raises NotAssessable as `weights_of` does."""
    weights = weights_of(checkpoint)
    matrix = composition_arrays(weights, into)["matrix"].numpy()
    return Compositions(heads_of(weights, checkpoint.sizes.n_heads), matrix)
