"""Spectra of W_sym: of every head whose weights are there, and of single circuits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from headclaims.cache import Cache, kept
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.eigenspectrum import HeadSpectra, head_spectra, spectra_from, spectra_tensors
from headclaims.circuit.qk_circuit import QKCircuit, span
from headclaims.circuit.symmetric_skew import largest_skew_self_score
from headclaims.errors import NotAssessable
from headclaims.threads import each_in_one_thread

HEADS_AT_ONCE = 8


@dataclass(frozen=True)
class AllSpectra:
    """Spectra of every head whose weights are there."""

    heads: tuple[Head, ...]
    spectra: HeadSpectra

    @cached_property
    def _position(self) -> dict[Head, int]:
        return {head: position for position, head in enumerate(self.heads)}

    def position(self, head: Head) -> int:
        """Return where a head is among the spectra."""
        return self._position[head]

    def one(self, head: Head) -> HeadSpectra:
        """Return one head's spectrum; raises NotAssessable where its W_QK is zero, as a pruned head's is."""
        tensors = spectra_tensors(self.spectra)
        one = {name: tensor[[self.position(head)]] for name, tensor in tensors.items()}
        if not float(one["symmetric"]):
            raise NotAssessable(f"W_QK of {head.label} is zero")
        return spectra_from(one, self.spectra.d_head)


def all_spectra(checkpoint: Checkpoint, cache: Cache) -> AllSpectra:
    """Return the spectra of all heads, at offset 0; raises NotAssessable without query and key weights."""
    heads: list[Head] = []
    by_layer = []
    for layer in checkpoint.qk_layers():  # weights of one layer are in memory
        weights = checkpoint.qk_weights(layer)
        by_layer.append(spectra_tensors(spectra_of(cache, weights.W_Q, weights.W_K)))
        heads += [Head(layer, index) for index in range(weights.W_Q.shape[0])]
    every = {name: torch.cat([of[name] for of in by_layer]) for name in by_layer[0]}
    return AllSpectra(tuple(heads), spectra_from(every, checkpoint.sizes.d_head))


@kept("spectra", version=3)
def spectra_arrays(W_Q: Tensor, W_K: Tensor) -> dict[str, Tensor]:
    """Return eigenvalues and norms of W_sym and W_skew of heads [head, d_model, d_head]."""
    spans = each_in_one_thread(
        lambda some: span(*some), list(zip(W_Q.split(HEADS_AT_ONCE), W_K.split(HEADS_AT_ONCE), strict=True)), "spans"
    )
    return spectra_tensors(head_spectra(torch.cat(spans)))


def spectra_of(cache: Cache, W_Q: Tensor, W_K: Tensor) -> HeadSpectra:
    """Return the spectra of heads, from the cache when present."""
    arrays = cache.call(spectra_arrays, W_Q, W_K)
    return spectra_from({name: torch.from_numpy(values) for name, values in arrays.items()}, W_Q.shape[-1])


@kept("skew-self-score", version=2)
def skew_self_score_arrays(circuit: QKCircuit, vectors: Tensor, norm: float) -> dict[str, Tensor]:
    """Return the largest |xᵀ W_skew x| of these vectors, of ‖x‖²‖W_skew‖."""
    largest = largest_skew_self_score(circuit, vectors, norm)
    return {"largest": torch.tensor([largest], dtype=torch.float64)}
