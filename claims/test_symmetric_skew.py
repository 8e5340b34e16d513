"""Mechanism: the symmetric part of W_QK does the work, the skew part is weaker."""

import pytest

from headclaims.symmetric_skew import largest_skew_self_score, random_vectors
from headclaims.verdict import Measurement, VariantResult


@pytest.mark.claim("skew-adds-no-self-attention")
def test_skew_adds_no_self_attention(claim, audit, circuit, spectrum, E):
    """xᵀ W_skew x is 0 to rounding for every x: over E, or over Gaussian x where the evidence has no E."""
    vectors = random_vectors(circuit.W_Q.shape[0], audit.settings.seed) if E is None else E
    claim.holds(
        Measurement(
            "self_score",
            largest_skew_self_score(circuit, vectors, float(spectrum.norms.skew)),
            claim.threshold("self_score"),
            by_construction=True,
        ),
        measured={"vectors": len(vectors)},
    )


@pytest.mark.claim("skew-is-weaker")
def test_skew_is_weaker(claim, spectrum, offset_spectra, spectral_nulls):
    """The largest singular value of W_skew is below that of W_sym."""
    threshold = claim.threshold("ratio")
    at_offsets = {offset: float(spectra.norms.ratio) for offset, spectra in offset_spectra.items()}
    claim.holds(
        Measurement(
            "ratio",
            float(spectrum.norms.ratio),
            threshold,
            nulls=spectral_nulls(lambda spectra: spectra.norms.ratio),
            variants=[VariantResult(f"offset {d}", ratio, threshold.holds(ratio)) for d, ratio in at_offsets.items()],
        ),
        measured={
            "sigma_max_skew": float(spectrum.norms.skew),
            "sigma_max_sym": float(spectrum.norms.symmetric),
            "frobenius_skew": float(spectrum.norms.skew_frobenius),
            "frobenius_sym": float(spectrum.norms.symmetric_frobenius),
        },
    )
