"""Mechanism: the symmetric part of W_QK does the work, the skew part is weaker."""

import pytest

from headclaims.circuit.effective_embedding import Variant
from headclaims.circuit.symmetric_scores import Kept, norm_ratio
from headclaims.statistics.verdict import Compared, Measurement, VariantResult


@pytest.mark.claim("skew-adds-no-self-attention")
def test_skew_adds_no_self_attention(claim, skew_self_score):
    """xᵀ W_skew x is 0 to rounding for every x: over E, or over Gaussian x where the evidence has no E."""
    largest, vectors = skew_self_score
    claim.holds(
        Measurement("self_score", largest, claim.threshold("self_score"), by_construction=True),
        measured={"vectors": vectors},
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


@pytest.mark.claim("skew-scores-are-weaker")
def test_skew_scores_are_weaker(claim, sets, maps, circuit, map_nulls, offset_circuits):
    """Over common words the skew part's scores are smaller than the symmetric part's; biases are left out."""
    sets.require("common")
    circuits = {f"offset {d}": at for d, at in offset_circuits.items() if d}
    words = {variant: token_map.layer.space.words for variant, token_map in maps.items()}
    variants = [claim.variant(name, "ratio", norm_ratio(c, words[Variant.MEAN]).value) for name, c in circuits.items()]
    variants += [
        claim.variant(f"E {variant.value}", "ratio", norm_ratio(circuit, words[variant]).value)
        for variant in maps
        if variant is not Variant.MEAN
    ]
    claim.resampled(
        "ratio",
        norm_ratio(circuit, words[Variant.MEAN]),
        nulls=[map_nulls.other_heads("skew_scores"), map_nulls.gaussian_heads("skew_scores")],
        variants=variants,
    )


@pytest.mark.claim("symmetric-part-sufficient")
def test_symmetric_part_sufficient(claim, category_head, parts):
    """W_sym in place of W_QK leaves the category score where it was, W_skew does not."""
    category_head()
    symmetric, skew = parts.target(Kept.SYMMETRIC), parts.target(Kept.SKEW)
    claim.resampled(
        "effect",
        symmetric.effect,
        conditions={"skew_effect": skew.effect},
        measured={"total_variation": symmetric.variation},
        nulls=[parts.null],
        compared=Compared("total variation", symmetric.variation, "low"),
    )
