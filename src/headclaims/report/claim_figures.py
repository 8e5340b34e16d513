"""What a page shows of a claim beyond its record: its definition, its parts, its null values, and its figures' data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from headclaims.errors import NotAssessable
from headclaims.report.figures.form import Form, form_data, form_name
from headclaims.report.figures.rounding import rounded
from headclaims.statistics.nulls import Favourable
from headclaims.statistics.verdict import Measurement


@dataclass
class Part:
    """A statistic of a claim, its threshold as text, and its 95 % interval."""

    statistic: str
    value: float
    wanted: str
    interval: tuple[float, float] | None


@dataclass
class NullValues:
    """A null population of a claim: a value a member, None for one without, and how many count against the claim.

    Under `--head auto` and `all` the target is compared with the extreme of `chosen_among` draws.
    """

    population: str
    values: list[float | None]
    at_least: int
    chosen_among: int


@dataclass
class DrawnForm:
    """A form of figure as `figures.json` has it: the name that it is registered under, and its data in JSON's types."""

    form: str
    data: Any


@dataclass
class ClaimFigures:
    """What a page shows of a claim beyond its record; `compared` is the statistic that the nulls are of.

    `drawn` holds the figures by the names that the claim gave them, `undrawn` why a figure could not be had.
    """

    definition: str = ""
    parts: list[Part] = field(default_factory=list)
    compared: str = ""
    compared_value: float | None = None
    favourable: Favourable = "high"
    nulls: list[NullValues] = field(default_factory=list)
    drawn: dict[str, DrawnForm] = field(default_factory=dict)
    undrawn: dict[str, str] = field(default_factory=dict)

    def draw(self, name: str, make: Callable[[], Form]) -> None:
        """Add the figure that `make` returns; where it fails, for whatever reason, keep the reason instead."""
        try:
            form = make()
            self.drawn[name] = DrawnForm(form_name(form), form_data(form))
        except Exception as error:  # a figure costs neither verdict nor record
            reason = str(error) if isinstance(error, NotAssessable) else f"{type(error).__name__}: {error}"
            self.undrawn[name] = " ".join(reason.split())

    def measured(self, measurement: Measurement) -> None:
        """Enter a measurement: its parts with their thresholds, and the values of its null populations."""
        self.parts = [
            Part(
                part.statistic,
                float(part.value),
                str(part.threshold),
                None if part.interval is None else (part.interval.low, part.interval.high),
            )
            for part in measurement.parts
        ]
        compared = measurement.held_against_nulls
        self.compared, self.compared_value = compared.statistic, float(compared.value)
        self.favourable = compared.favourable
        self.nulls = [
            NullValues(
                null.population,
                _known(null.values),
                null.at_least_as_favourable(self.compared_value, self.favourable),
                null.chosen_among,
            )
            for null in measurement.nulls
            if null.values is not None
        ]


def _known(values: Float[np.ndarray, " member"]) -> list[float | None]:
    """Values to five digits; None for a member that has none."""
    finite: Bool[np.ndarray, " member"] = np.isfinite(values)
    return [rounded(value) if known else None for value, known in zip(values.tolist(), finite.tolist(), strict=True)]
