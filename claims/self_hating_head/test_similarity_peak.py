"""Mechanism: the score rises with similarity and falls before similarity 1."""

import pytest

from headclaims import Similarity, Variant, peak, score_by_similarity


@pytest.mark.claim("similarity-peak-below-one")
def test_similarity_peak_below_one(claim, audit, sets, other_maps, maps, score, vocabulary_curve):
    """Against the own score, the mean score by similarity rises to a maximum of its own, and falls before similarity 1.

    That is judged on common words; the same over all pairs of the vocabulary is recorded beside it.
    """
    sets.require("common")

    def height(token_map, by_column=False):
        layer = token_map.layer
        return peak(layer.common_scores(score), layer.bins, by_column)

    layer, found = maps[Variant.MEAN].layer, height(maps[Variant.MEAN])
    curve = score_by_similarity(layer.common_scores(score), layer.bins)
    others = {f"E {variant.value}": height(maps[variant]) for variant in maps if variant is not Variant.MEAN}
    others["author"] = height(maps[Variant.MEAN], by_column=True)
    claim.draw(similarity=lambda: Similarity.of(curve, vocabulary_curve))
    rise, fall = found.values
    measured = {"rise": rise, "fall": fall, "peak_at": curve.peak_at, "high_bins": len(layer.bins.high)}
    if vocabulary_curve is not None and vocabulary_curve.has_peak:
        measured |= {"vocabulary_height": vocabulary_curve.height, "vocabulary_peak_at": vocabulary_curve.peak_at}
    claim.check(
        "height",
        found,
        conditions={"lead": curve.lead},
        measured=measured,
        nulls=[other_maps("peak"), audit.nulls.gaussian_maps("peak")],
        variants=[claim.variant(name, "height", one.value) for name, one in others.items()],
    )
