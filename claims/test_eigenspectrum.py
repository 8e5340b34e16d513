"""Mechanism: about half of the eigenvalues of W_sym are negative, and why that says little."""

import pytest

from headclaims.eigenspectrum import column_rank_ratio
from headclaims.errors import NotAssessable
from headclaims.qk_circuit import span
from headclaims.verdict import Measurement, VariantResult


@pytest.mark.claim("half-the-eigenvalues-negative")
def test_half_the_eigenvalues_negative(claim, spectrum, offset_spectra, spectral_nulls):
    """More than half of the d_head eigenvalues of W_sym largest in magnitude are negative."""
    threshold = claim.threshold("share", times=spectrum.d_head)
    at_offsets = {offset: float(spectra.negative_count) for offset, spectra in offset_spectra.items()}
    claim.holds(
        Measurement(
            "count",
            float(spectrum.negative_count),
            threshold,
            nulls=spectral_nulls(lambda spectra: spectra.negative_count),
            variants=[VariantResult(f"offset {d}", count, threshold.holds(count)) for d, count in at_offsets.items()],
        ),
        measured={"of": spectrum.d_head},
    )


@pytest.mark.claim("inertia")
def test_inertia(claim, spectrum, circuit):
    """W_sym has d_head eigenvalues of either sign: Sylvester's law for [W_Q W_K] of full column rank."""
    rank_ratio = column_rank_ratio(span(circuit.W_Q, circuit.W_K))
    needed = claim.threshold("rank_ratio")
    if not needed.holds(rank_ratio):
        raise NotAssessable(f"[W_Q W_K] is not of full column rank: σ_min/σ_max {rank_ratio:.3g}, wanted {needed}")
    positive, negative = (int(count) for count in spectrum.signs[0])
    claim.holds(
        Measurement(
            "off_balance",
            abs(positive - spectrum.d_head) + abs(negative - spectrum.d_head),
            claim.threshold("off_balance"),
            by_construction=True,
        ),
        measured={"positive": positive, "negative": negative, "rank_ratio": rank_ratio},
    )
