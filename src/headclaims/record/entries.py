"""The record of an audit: one entry a claim, and all that another person needs to check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from headclaims.statistics.nulls import SMALLEST_POPULATION
from headclaims.statistics.verdict import Flag, Judgement, Measurement, Verdict, is_found


@dataclass
class NullEntry:
    """A null population in a record; n and p are None where the evidence could not give it.

    `n` members were drawn, and `p_least` is the least p that as many can give, or as many more as would have been drawn
    for it (`Null.enough_for`). `n_layer` and `p_layer` are of those members that are heads of the
    target's layer; None where there are none.
    """

    population: str
    n: int | None
    p: float | None
    p_least: float | None = None
    n_layer: int | None = None
    p_layer: float | None = None

    @property
    def decides(self) -> bool:
        """Whether the population is there and large enough for its p to reach 0.05."""
        return self.p is not None and (self.n or 0) >= SMALLEST_POPULATION


@dataclass
class VariantEntry:
    """A variant in a record."""

    name: str
    measured: float
    holds: bool


@dataclass
class ClaimEntry:
    """A claim in a record. `verdict` is None where its test ended in an error: the record is then incomplete."""

    id: str
    group: str
    statement: str
    source: str
    verdict: Verdict | None
    flags: list[Flag] = field(default_factory=list)
    measured: dict[str, float | int] = field(default_factory=dict)
    interval: list[float] | None = None
    reported: dict[str, float | int] | None = None
    nulls: list[NullEntry] = field(default_factory=list)
    variants: list[VariantEntry] = field(default_factory=list)
    reason: str | None = None
    seconds: float = 0.0
    p_adjusted: float | None = None
    """The claim's p, adjusted over the record's empirical claims; None where it has none or was judged alone."""
    p_adjusted_least: float | None = None
    """The least that it could have been: with the least p that the nulls' sizes allow, other claims as they are."""
    wanted: dict[str, str] = field(default_factory=dict)
    """The thresholds of the statistic and of what else had to hold, as text."""
    half_width: float | None = None
    """Half the width of the interval, in the statistic's unit."""

    def conclude(self, measurement: Measurement, judgement: Judgement, measured: Mapping[str, float | int]) -> None:
        """Enter a measurement (its statistic first, then what else was measured) and its judgement."""
        interval = measurement.interval
        self.verdict, self.flags, self.reason = judgement.verdict, list(judgement.flags), judgement.reason
        self.measured = {measurement.statistic: measurement.value, **measured}
        self.wanted = {part.statistic: str(part.threshold) for part in measurement.parts}
        self.interval = None if interval is None else [interval.low, interval.high]
        self.half_width = None if interval is None else interval.half_width
        self.nulls = [
            NullEntry(null.population, None if p is None else null.n, p, null.least_p, null.n_layer, p_layer)
            for null, p, p_layer in zip(measurement.nulls, judgement.p_values, judgement.layer_p_values, strict=True)
        ]
        self.variants = [VariantEntry(v.name, v.measured, v.holds) for v in measurement.variants]

    @property
    def statistic(self) -> tuple[str, float | int] | None:
        """The name and value of the claim's statistic; None where nothing was measured."""
        return next(iter(self.measured.items()), None)

    @property
    def p(self) -> float | None:
        """The claim's p, the largest over the nulls that decide; None where there is none, or by construction."""
        return max((null.p for null in self._deciding if null.p is not None), default=None)

    @property
    def p_least(self) -> float | None:
        """The least p that the sizes of these nulls allow; None where there is none, or a record doesn't give it."""
        least = [null.p_least for null in self._deciding]
        return None if None in least else max((p for p in least if p is not None), default=None)

    @property
    def _deciding(self) -> list[NullEntry]:
        return [] if Flag.BY_CONSTRUCTION in self.flags else [null for null in self.nulls if null.decides]

    @property
    def assessed(self) -> bool:
        """Whether it has a verdict other than not assessable."""
        return self.verdict not in (None, Verdict.NOT_ASSESSABLE)

    @property
    def found(self) -> bool:
        """Whether the headline counts it."""
        return is_found(self.verdict, self.flags)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> ClaimEntry:
        """Return the entry that a JSON object holds."""
        return cls(
            **entry
            | {
                "verdict": None if entry["verdict"] is None else Verdict(entry["verdict"]),
                "flags": [Flag(flag) for flag in entry["flags"]],
                "nulls": [NullEntry(**null) for null in entry["nulls"]],
                "variants": [VariantEntry(**variant) for variant in entry["variants"]],
            }
        )


class Outcome(StrEnum):
    """What the evidence says of a sentence of the write-up, by the claim that fares worst, the best first."""

    FOUND = "found"
    TRUE = "true"
    """Supported by claims that rule a rival reading out and have no null."""
    BY_CONSTRUCTION = "by construction"
    NOT_RARE = "not rare"
    LIMITED = "as far as told"
    CONDITIONAL = "conditional"
    NOT_RUN = "not run"
    NOT_ASSESSABLE = "not assessable"
    UNDECIDED = "undecided"
    NOT_SUPPORTED = "not supported"
    ERROR = "error"


@dataclass
class SentenceEntry:
    """A sentence of the write-up in a record, the claims that it rests on, and the answer of the evidence in words."""

    says: str
    claims: list[str]
    outcome: Outcome
    answer: str


def counts(claims: Sequence[ClaimEntry]) -> dict[str, int]:
    """Count the empirical claims, how many were assessed, supported and found; and apart, identities assessed and held.

    Identities are the claims that are true by construction.
    """
    empirical = [claim for claim in claims if Flag.BY_CONSTRUCTION not in claim.flags]
    identities = [claim for claim in claims if Flag.BY_CONSTRUCTION in claim.flags and claim.assessed]
    return {
        "empirical": len(empirical),
        "assessed": sum(claim.assessed for claim in empirical),
        "supported": sum(claim.verdict is Verdict.SUPPORTED for claim in empirical),
        "found": sum(claim.found for claim in empirical),
        "identities": len(identities),
        "identities_hold": sum(claim.verdict is Verdict.SUPPORTED for claim in identities),
    }
