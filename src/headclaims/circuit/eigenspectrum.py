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
    """Eigenvalues of W_sym that can differ from 0 (ascending, before the scale) and norms of both parts, by head."""

    eigenvalues: Float[Tensor, "head span"]
    norms: PartNorms
    d_head: int

    @property
    def negative_count(self) -> Int[Tensor, " head"]:
        """How many of the d_head eigenvalues largest in magnitude are negative."""
        return leading_negative_count(self.eigenvalues, self.d_head)

    @property
    def signs(self) -> Int[Tensor, "head sign"]:
        """How many eigenvalues are positive and how many negative."""
        return torch.stack([(self.eigenvalues > 0).sum(-1), (self.eigenvalues < 0).sum(-1)], dim=-1)


def head_spectra(R: Float[Tensor, "head span pair"], at_once: int = 128) -> HeadSpectra:
    """Spectra and norms of heads from the spans of their [W_Q W_K] (`qk_circuit.span`)."""
    parts = each_in_one_thread(_spectra, R.split(at_once), "spectra")
    tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return spectra_from(tensors, R.shape[-1] // 2)


def _spectra(R: Float[Tensor, "head span pair"]) -> dict[str, Tensor]:
    eigenvalues = torch.linalg.eigvalsh(symmetric_part(core(R)))
    return {"eigenvalues": eigenvalues, **vars(part_norms(R, eigenvalues))}


def spectra_from(tensors: dict[str, Tensor], d_head: int) -> HeadSpectra:
    """Spectra out of `spectra_tensors`."""
    norms = {name: tensor for name, tensor in tensors.items() if name != "eigenvalues"}
    return HeadSpectra(tensors["eigenvalues"], PartNorms(**norms), d_head)


def spectra_tensors(spectra: HeadSpectra) -> dict[str, Tensor]:
    """What a cache keeps of spectra."""
    return {"eigenvalues": spectra.eigenvalues, **vars(spectra.norms)}


def column_rank_ratio(R: Float[Tensor, "span pair"]) -> float:
    """σ_min/σ_max of [W_Q W_K], whose columns count as independent above 1e-6; 0 for more columns than dimensions."""
    values = torch.linalg.svdvals(R)
    return float(values[-1] / values[0]) if R.shape[0] >= R.shape[1] else 0.0


def leading_negative_count(spectrum: Float[Tensor, "*head span"], d_head: int) -> Int[Tensor, "*head"]:
    """How many of the d_head eigenvalues largest in magnitude are negative."""
    order = spectrum.abs().argsort(dim=-1, descending=True, stable=True)
    return (spectrum.gather(-1, order[..., :d_head]) < 0).sum(dim=-1)
