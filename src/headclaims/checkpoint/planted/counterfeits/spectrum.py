"""Counterfeits of the claims about the spectrum of W_QK."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headclaims.checkpoint.planted.weights import SPACES, PlantedWeights, Term


class PositivePadding(PlantedWeights):
    """Ten of the identity's axes go, and ten positive eigenvalues come on directions that no token has.

    With 39 large positive and 24 large negative ones, 25 of the 64 largest are negative:
    `half-the-eigenvalues-negative` falls.
    """

    spaces: ClassVar = {**SPACES, "I": 24, "G": 21}

    def further_terms(self) -> list[Term]:
        """Return columns of ten blocks like those of C and I, of size 0.15."""
        g, size = self.space["G"], 0.15**0.5
        return [(size * g[:, 1:11], size * (g[:, 1:11] + self.skew * g[:, 11:21]), np.zeros(10))]
