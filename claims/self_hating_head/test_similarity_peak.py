"""Mechanism: the score rises with similarity and falls before similarity 1."""

import pytest

from headclaims import Similarity, Variant, peak, score_by_similarity


@pytest.mark.claim("similarity-peak-below-one")
def test_similarity_peak_below_one(claim, audit, sets, maps, circuit, vocabulary_curve):
    """Against the own score, the mean score by similarity has its maximum above 0 and below similarity 1.

    That is judged on common words; the same over all pairs of the vocabulary is recorded beside it.
    """
    sets.require("common")

    def by_similarity(token_map, by_column=False):
        layer = token_map.layer
        return score_by_similarity(layer.common_scores(circuit), layer.bins, by_column)

    primary = by_similarity(maps[Variant.MEAN])
    others = {f"E {variant.value}": by_similarity(maps[variant]) for variant in maps if variant is not Variant.MEAN}
    others["author"] = by_similarity(maps[Variant.MEAN], by_column=True)
    claim.draw(similarity=lambda: Similarity.of(primary, vocabulary_curve, audit.settings.seed))
    measured = {"peak_at": primary.peak_at, "high_bins": len(primary.high)}
    if vocabulary_curve is not None and vocabulary_curve.has_peak:
        measured |= {"vocabulary_height": vocabulary_curve.height, "vocabulary_peak_at": vocabulary_curve.peak_at}
    claim.check(
        "height",
        peak(primary),
        measured=measured,
        nulls=[audit.nulls.other_maps("peak"), audit.nulls.gaussian_maps("peak")],
        variants=[claim.variant(name, "height", peak(of).value) for name, of in others.items()],
    )
