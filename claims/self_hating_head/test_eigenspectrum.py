"""Mechanism: about half of the eigenvalues of W_sym are negative, and why that says little."""

import numpy as np
import pytest

from headclaims import (
    DRAWS,
    Eigenspace,
    NotAssessable,
    NullStatistic,
    ScatterPlane,
    Spectrum,
    Variant,
    VariantResult,
    column_rank_ratio,
    eigen_scatter,
    permuted_contrasts,
    span,
)


@pytest.mark.claim("half-the-eigenvalues-negative")
def test_half_the_eigenvalues_negative(claim, spectrum, all_spectra, offset_spectra, audit):
    """More than half of the d_head eigenvalues of W_sym largest in magnitude are negative."""
    claim.draw(spectrum=lambda: Spectrum.of(all_spectra.heads, all_spectra.spectra, all_spectra.position(audit.target)))
    threshold = claim.threshold("share", times=spectrum.d_head)
    at_offsets = {offset: float(spectra.negative_count) for offset, spectra in offset_spectra.items()}
    claim.check(
        "count",
        float(spectrum.negative_count),
        threshold=threshold,
        nulls=audit.nulls.spectral(lambda spectra: spectra.negative_count),
        variants=[VariantResult(f"offset {d}", count, threshold.holds(count)) for d, count in at_offsets.items()],
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
    claim.check(
        "off_balance",
        float(abs(positive - spectrum.d_head) + abs(negative - spectrum.d_head)),
        measured={"positive": positive, "negative": negative, "rank_ratio": rank_ratio},
    )


@pytest.mark.claim("within-scatter-negative-between-positive")
def test_within_scatter_negative_between_positive(claim, audit, sets, other_maps, maps, circuit, offset_circuits):
    """The signs are w < 0 < b on the group tokens and on the word list; the smaller b − w of both is compared."""
    sets.require("groups")
    claim.draw(scatter=lambda: ScatterPlane.of(*audit.scatter_plane()))
    both = {"groups": sets.tokens.groups, "words": sets.tokens.words}

    def scatters(variant=Variant.MEAN, at=circuit):
        space = Eigenspace.of(at)
        return {name: eigen_scatter(maps[variant].layer, space, groups) for name, groups in both.items()}

    def smallest(found):
        """The smaller contrast where w < 0 < b in both, else how far the sign is missed."""
        missed = max(max(of.w().value, -of.b().value) for of in found.values())
        return min(of.contrast().value for of in found.values()) if missed < 0 else -missed

    primary = scatters()
    others = {f"offset {d}": scatters(at=at) for d, at in offset_circuits.items() if d}
    others |= {f"E {variant.value}": scatters(variant) for variant in maps if variant is not Variant.MEAN}
    space, layer = Eigenspace.of(circuit), maps[Variant.MEAN].layer

    def of_permuted_words():
        seed = audit.settings.seed
        tokens = [(space.coordinates(layer.vectors(groups.tokens)), groups.group) for groups in both.values()]
        return np.minimum(*(permuted_contrasts(space.values.numpy(), *some, DRAWS, seed) for some in tokens))

    contrast = {name: of.contrast() for name, of in primary.items()}
    claim.check(
        "contrast",
        contrast["groups"],
        conditions={f"within_{name}": of.w() for name, of in primary.items()}
        | {f"between_{name}": of.b() for name, of in primary.items()},
        measured={"contrast_words": contrast["words"].value},
        compared=NullStatistic("smaller contrast", min(of.value for of in contrast.values()), "high"),
        nulls=[
            other_maps("groups_contrast", "words_contrast"),
            audit.nulls.gaussian_maps("groups_contrast", "words_contrast"),
            audit.nulls.draw("permuted words", of_permuted_words),
        ],
        variants=[claim.variant(name, "contrast", smallest(found)) for name, found in others.items()],
    )


@pytest.mark.claim("suppression-is-in-negative-directions")
def test_suppression_is_in_negative_directions(claim, sets, maps, circuit):
    """D = D₋ + D₊ with D₊ ≤ 0: wherever the diagonal is dark, D₋ is all of D and more."""
    sets.require("groups")
    found = eigen_scatter(maps[Variant.MEAN].layer, Eigenspace.of(circuit), sets.tokens.groups)
    if found.D <= 0:
        raise NotAssessable(f"the diagonal is not dark: D = {found.D:.3g} nats on the group tokens, at offset 0")
    claim.check(
        "share",
        found.D_negative / found.D,
        measured={"D": found.D, "D_negative": found.D_negative, "D_positive": found.D_positive},
    )
