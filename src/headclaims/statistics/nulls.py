"""Null populations: values of a statistic where the claim cannot be true, as of other heads or of permuted labels.

A p-value is one-sided, (1 + #{members at least as favourable})/(n + 1): the target counts as one draw of its null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

DRAWS = 999
SMALLEST_POPULATION = 19

Favourable = Literal["high", "low"]


@dataclass(frozen=True)
class Null:
    """A null population of a statistic.

    `values` holds one value a member; it is None where the evidence cannot give the population, and `missing` then
    says why. `chosen_among` is the number of heads from which `--head auto` chose the target, otherwise 1: the target
    is then compared with the most favourable of that many draws.
    """

    population: str
    values: Float[np.ndarray, " member"] | None
    missing: str | None = None
    chosen_among: int = 1

    @property
    def n(self) -> int:
        """Number of members, 0 where the population is missing."""
        return 0 if self.values is None else len(self.values)

    def at_least_as_favourable(self, measured: float, favourable: Favourable) -> int:
        """Count the members at least as favourable as `measured`; NaN counts as favourable, that is against the claim.

        Returns 0 where the population is missing.
        """
        if self.values is None:
            return 0
        return int((~(self.values < measured) if favourable == "high" else ~(self.values > measured)).sum())

    def p_value(self, measured: float, favourable: Favourable) -> float:
        """Return the one-sided p-value of a measured value.

        p = (1 + #{at least as favourable})/(n + 1); for a target chosen among m heads, 1 − (1 − p)^m.
        Raises ValueError where the population is missing.
        """
        if self.values is None:
            raise ValueError(f"null {self.population!r} is missing: {self.missing}")
        p = (1 + self.at_least_as_favourable(measured, favourable)) / (self.n + 1)
        return float(1 - (1 - p) ** self.chosen_among) if self.chosen_among > 1 else p
