"""Mechanism: the symmetric part of W_QK does the work, the skew part is weaker."""

import pytest

from headclaims import NullStatistic, QKPart, Variant, norm_ratio


@pytest.mark.claim("skew-adds-no-self-attention")
def test_skew_adds_no_self_attention(claim, audit):
    """xᵀ W_skew x is 0 to rounding for every x: over E, or over Gaussian x where the evidence has no E."""
    largest, vectors = audit.skew_self_score
    claim.check("self_score", largest, measured={"vectors": vectors})


@pytest.mark.claim("skew-is-weaker")
def test_skew_is_weaker(claim, audit, spectrum, offset_spectra):
    """The largest singular value of W_skew is below that of W_sym."""
    at_offsets = {offset: float(spectra.norms.ratio) for offset, spectra in offset_spectra.items()}
    claim.check(
        "ratio",
        float(spectrum.norms.ratio),
        nulls=audit.nulls.spectral(lambda spectra: spectra.norms.ratio),
        variants=[claim.variant(f"offset {d}", "ratio", ratio) for d, ratio in at_offsets.items()],
        measured={
            "sigma_max_skew": float(spectrum.norms.skew),
            "sigma_max_sym": float(spectrum.norms.symmetric),
            "frobenius_skew": float(spectrum.norms.skew_frobenius),
            "frobenius_sym": float(spectrum.norms.symmetric_frobenius),
        },
    )


@pytest.mark.claim("skew-scores-are-weaker")
def test_skew_scores_are_weaker(claim, audit, sets, other_maps, maps, circuit, offset_circuits):
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
    claim.check(
        "ratio",
        norm_ratio(circuit, words[Variant.MEAN]),
        nulls=[other_maps("skew_scores"), audit.nulls.gaussian_maps("skew_scores")],
        variants=variants,
    )


@pytest.mark.claim("symmetric-part-sufficient")
def test_symmetric_part_sufficient(claim, category_head, parts):
    """W_sym in place of W_QK leaves the category score where it was, W_skew does not."""
    category_head()
    symmetric, skew = parts.target(QKPart.SYMMETRIC), parts.target(QKPart.SKEW)
    claim.check(
        "effect",
        symmetric.effect,
        conditions={"skew_effect": skew.effect},
        measured={"total_variation": symmetric.variation},
        nulls=[parts.null],
        compared=NullStatistic("total variation", symmetric.variation, "low"),
    )
