"""The eigenspectrum of W_sym, in float64 on the span of [W_Q W_K], for many heads at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.circuit.qk_circuit import core, symmetric_part
from headclaims.circuit.symmetric_skew import PartNorms, part_norms
from headclaims.threads import each_in_one_thread


@dataclass(frozen=True)
class HeadSpectra:
    """For each head, the eigenvalues of W_sym on its span (ascending, before the scale) and the norms of both parts."""

    eigenvalues: Float[Tensor, "head span"]
    norms: PartNorms
    d_head: int

    @property
    def negative_count(self) -> Int[Tensor, " head"]:
        """Number of negative eigenvalues among the d_head largest in magnitude."""
        return leading_negative_count(self.eigenvalues, self.d_head)

    @property
    def signs(self) -> Int[Tensor, "head sign"]:
        """Number of positive and number of negative eigenvalues."""
        return torch.stack([(self.eigenvalues > 0).sum(-1), (self.eigenvalues < 0).sum(-1)], dim=-1)

    def scaled(self, factor: float) -> HeadSpectra:
        """Return the spectra of the same heads with W_QK times a positive factor."""
        scaled = {name: tensor * factor for name, tensor in spectra_tensors(self).items()}
        return spectra_from(scaled, self.d_head)


def head_spectra(R: Float[Tensor, "head span pair"], at_once: int = 16) -> HeadSpectra:
    """Compute spectra and norms of heads from the spans of their [W_Q W_K] (`qk_circuit.span`)."""
    parts = each_in_one_thread(_spectra, R.split(at_once), "spectra")
    tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return spectra_from(tensors, R.shape[-1] // 2)


def _spectra(R: Float[Tensor, "head span pair"]) -> dict[str, Tensor]:
    eigenvalues = torch.linalg.eigvalsh(symmetric_part(core(R)))
    return {"eigenvalues": eigenvalues, **vars(part_norms(R, eigenvalues))}


def spectra_from(tensors: dict[str, Tensor], d_head: int) -> HeadSpectra:
    """Restore spectra from their `spectra_tensors`."""
    norms = {name: tensor for name, tensor in tensors.items() if name != "eigenvalues"}
    return HeadSpectra(tensors["eigenvalues"], PartNorms(**norms), d_head)


def spectra_tensors(spectra: HeadSpectra) -> dict[str, Tensor]:
    """Return the tensors of spectra by name, for a cache."""
    return {"eigenvalues": spectra.eigenvalues, **vars(spectra.norms)}


def column_rank_ratio(R: Float[Tensor, "span pair"]) -> float:
    """Return σ_min/σ_max of [W_Q W_K], 0 for more columns than dimensions; above 1e-6 columns count as independent."""
    values = torch.linalg.svdvals(R)
    return float(values[-1] / values[0]) if R.shape[0] >= R.shape[1] else 0.0


def leading_negative_count(spectrum: Float[Tensor, "*head span"], d_head: int) -> Int[Tensor, "*head"]:
    """Count the negative eigenvalues among the d_head largest in magnitude."""
    order = spectrum.abs().argsort(dim=-1, descending=True, stable=True)
    return (spectrum.gather(-1, order[..., :d_head]) < 0).sum(dim=-1)
