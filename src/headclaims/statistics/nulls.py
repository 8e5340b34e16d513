"""Null populations: what a statistic is where the claim's head, or its labels, mean nothing.

A p-value is one-sided, (1 + #{null at least as favourable})/(n + 1): the target counts as a draw of its null.
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

    `values` are the statistic's values there, one a member; None where the evidence can't give the population, with
    the reason in `missing`. `chosen_among` is 1, or under `--head auto` the number of heads the target was chosen
    among: the target is then compared with the extreme of so many draws.
    """

    population: str
    values: Float[np.ndarray, " member"] | None
    missing: str | None = None
    chosen_among: int = 1

    @property
    def n(self) -> int:
        """The size of the population."""
        return 0 if self.values is None else len(self.values)

    def at_least_as_favourable(self, measured: float, favourable: Favourable) -> int:
        """How many members are; one that is no number counts against the claim, too."""
        if self.values is None:
            return 0
        return int((~(self.values < measured) if favourable == "high" else ~(self.values > measured)).sum())

    def p_value(self, measured: float, favourable: Favourable) -> float:
        """One-sided p of a measured value: (1 + #{at least as favourable})/(n + 1), and for the extreme of m draws
        1 − (1 − p)^m.

        Raises ValueError where the population is missing.
        """
        if self.values is None:
            raise ValueError(f"null {self.population!r} is missing: {self.missing}")
        p = (1 + self.at_least_as_favourable(measured, favourable)) / (self.n + 1)
        return float(1 - (1 - p) ** self.chosen_among) if self.chosen_among > 1 else p
