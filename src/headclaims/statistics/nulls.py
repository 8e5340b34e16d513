"""Null populations: values of a statistic where the claim cannot be true, as of other heads or of permuted labels.

A p-value is one-sided, (1 + #{members at least as favourable})/(n + 1): the target counts as one draw of its null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

DRAWS = 999
SMALLEST_POPULATION = 19
ENOUGH = 20
"""With so many members at least as favourable no more are drawn (`Null.enough_for`)."""
DRAWN_AT_A_TIME = 6

Favourable = Literal["high", "low"]


@dataclass(frozen=True)
class Null:
    """A null population of a statistic.

    `values` holds one value a member; it is None where the evidence cannot give the population, and `missing` then
    says why. `chosen_among` is the number of heads from which `--head auto` chose the target, otherwise 1: the target
    is then compared with the most favourable of that many draws. `layer_mates` tells, where members are heads, which of
    them are of the target's layer. `more` draws members of further numbers, `at_most` in all, where those that are
    there leave p open; None where there is no more to draw.
    """

    population: str
    values: Float[np.ndarray, " member"] | None
    missing: str | None = None
    chosen_among: int = 1
    layer_mates: Bool[np.ndarray, " member"] | None = None
    more: Callable[[range], Float[np.ndarray, " member"]] | None = None
    at_most: int = 0

    def enough_for(self, measured: float, favourable: Favourable) -> Null:
        """Draw members, up to six times as many at a time, until 20 are at least as favourable as `measured`, or all.

        A population has `more` where the target was chosen among m heads, and 20 m are `at_most` drawn. With 20 of
        fewer, p is above 1 − (1 − 21/(20 m))^m > 0.65. So p is at most α < 0.65 only where all members say so, which
        is no more often than without stopping.
        """
        null = self
        while null.values is not None and null.more is not None:
            if null.at_least_as_favourable(measured, favourable) >= ENOUGH:
                break
            numbers = range(null.n, min(DRAWN_AT_A_TIME * null.n, self.at_most))
            values = np.concatenate([null.values, null.more(numbers)])
            null = replace(null, values=values, more=null.more if len(values) < self.at_most else None)
        return null

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
        return self._p_of(self.at_least_as_favourable(measured, favourable), self.n)

    def quantiles(self, **shares: float) -> dict[str, float]:
        """Return quantiles of the members by name, `quantiles(upper=0.95)`; none where the population is missing."""
        return {} if self.values is None else {name: float(np.quantile(self.values, q)) for name, q in shares.items()}

    @property
    def least_p(self) -> float | None:
        """The p of a value more favourable than every member; None where the population is missing.

        1/(n + 1), or 1 − (1 − 1/(n + 1))^m for a target chosen among m heads; members that are NaN count against it.
        n counts what would have been drawn for such a value.
        """
        if self.values is None:
            return None
        return self._p_of(int(np.isnan(self.values).sum()), self.n if self.more is None else self.at_most)

    def _p_of(self, at_least: int, n: int) -> float:
        p = (1 + at_least) / (n + 1)
        return float(1 - (1 - p) ** self.chosen_among) if self.chosen_among > 1 else p
