"""Constructed checkpoints: one on which every claim holds, counterfeits of it, and random ones."""

CONSTRUCTIONS = ("categories", "induction")
"""Names that a claim set can give for its planted checkpoint; `constructions` has what they stand for."""
