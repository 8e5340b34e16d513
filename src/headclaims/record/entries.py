"""The record of an audit: one entry a claim, and all that another person needs to check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headclaims.statistics.multiplicity import adjusted
from headclaims.statistics.verdict import Flag, Judgement, Measurement, Verdict, is_found


@dataclass
class NullEntry:
    """A null population in a record; n and p are None where the evidence could not give it."""

    population: str
    n: int | None
    p: float | None
    p_adjusted: float | None = None


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
    """The claim's p, the largest over its nulls, adjusted over the record's empirical claims (Benjamini–Hochberg)."""

    def conclude(self, measurement: Measurement, judgement: Judgement, measured: Mapping[str, float | int]) -> None:
        """Enter a measurement (its statistic first, then what else was measured) and its judgement."""
        interval = measurement.interval
        self.verdict, self.flags, self.reason = judgement.verdict, list(judgement.flags), judgement.reason
        self.measured = {measurement.statistic: measurement.value, **measured}
        self.interval = None if interval is None else [interval.low, interval.high]
        self.nulls = [
            NullEntry(null.population, None if p is None else null.n, p)
            for null, p in zip(measurement.nulls, judgement.p_values, strict=True)
        ]
        self.variants = [VariantEntry(v.name, v.measured, v.holds) for v in measurement.variants]

    @property
    def statistic(self) -> tuple[str, float | int] | None:
        """The name and value of the claim's statistic; None where nothing was measured."""
        return next(iter(self.measured.items()), None)

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


def adjust(claims: Sequence[ClaimEntry]) -> None:
    """Fill in adjusted p-values of the record's empirical claims (Benjamini–Hochberg): by null and by claim.

    A claim's own p is the largest over its nulls; one with a missing null has none.
    """
    empirical = [claim for claim in claims if Flag.BY_CONSTRUCTION not in claim.flags]
    nulls = [null for claim in empirical for null in claim.nulls if null.p is not None]
    for null, p in zip(nulls, adjusted([null.p for null in nulls if null.p is not None]), strict=True):
        null.p_adjusted = p
    largest = {
        claim.id: max(null.p for null in claim.nulls if null.p is not None)
        for claim in empirical
        if claim.nulls and all(null.p is not None for null in claim.nulls)
    }
    by_claim = dict(zip(largest, adjusted(list(largest.values())), strict=True))
    for claim in claims:
        claim.p_adjusted = by_claim.get(claim.id)


def counts(claims: Sequence[ClaimEntry]) -> dict[str, int]:
    """Count the claims that were assessed, supported and found."""
    assessed = [c for c in claims if c.verdict not in (None, Verdict.NOT_ASSESSABLE)]
    return {
        "assessed": len(assessed),
        "supported": sum(c.verdict is Verdict.SUPPORTED for c in assessed),
        "found": sum(c.found for c in assessed),
    }
