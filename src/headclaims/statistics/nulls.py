"""Null populations: values of a statistic where the claim cannot be true, as of other heads or of permuted labels.

A p-value is one-sided, (1 + #{members at least as favourable})/(n + 1): the target counts as one draw of its null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

DRAWS = 999
SMALLEST_POPULATION = 19

Favourable = Literal["high", "low"]


@dataclass(frozen=True)
class Null:
    """A null population of a statistic.

    `values` holds one value a member; it is None where the evidence cannot give the population, and `missing` then
    says why. `chosen_among` is the number of heads from which `--head auto` chose the target, otherwise 1: the target
    is then compared with the most favourable of that many draws. `layer_mates` tells, where members are heads, which of
    them are of the target's layer.
    """

    population: str
    values: Float[np.ndarray, " member"] | None
    missing: str | None = None
    chosen_among: int = 1
    layer_mates: Bool[np.ndarray, " member"] | None = None

    @property
    def of_layer(self) -> Null | None:
        """The members of the target's layer as a null population; None where members are no heads, or there is none."""
        if self.values is None or self.layer_mates is None or not self.layer_mates.any():
            return None
        return Null(f"{self.population} of its layer", self.values[self.layer_mates])

    @property
    def n_layer(self) -> int | None:
        """Number of members of the target's layer; None where there is none."""
        return None if (mates := self.of_layer) is None else mates.n

    @property
    def n(self) -> int:
        """Number of members, 0 where the population is missing."""
        return 0 if self.values is None else len(self.values)

    @property
    def is_too_small(self) -> bool:
        """Whether there is a population, of fewer than 19 members: its p cannot reach 0.05."""
        return self.values is not None and self.n < SMALLEST_POPULATION

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
        return self._p_of(self.at_least_as_favourable(measured, favourable))

    def quantiles(self, **shares: float) -> dict[str, float]:
        """Return quantiles of the members by name, `quantiles(upper=0.95)`; none where the population is missing."""
        return {} if self.values is None else {name: float(np.quantile(self.values, q)) for name, q in shares.items()}

    @property
    def least_p(self) -> float | None:
        """The p of a value more favourable than every member; None where the population is missing.

        1/(n + 1), or 1 − (1 − 1/(n + 1))^m for a target chosen among m heads; members that are NaN count against it.
        """
        return None if self.values is None else self._p_of(int(np.isnan(self.values).sum()))

    def _p_of(self, at_least: int) -> float:
        p = (1 + at_least) / (self.n + 1)
        return float(1 - (1 - p) ** self.chosen_among) if self.chosen_among > 1 else p
