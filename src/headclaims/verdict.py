"""Verdict and flags of a claim: what the numbers say, and what that is worth."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from headclaims.nulls import SMALLEST_POPULATION, Favourable, Null
from headclaims.resampling import Interval

SIGNIFICANT = 0.05
RELATIONS = {">": operator.gt, "≥": operator.ge, "<": operator.lt, "≤": operator.le}
Relation = Literal[">", "≥", "<", "≤"]


class Verdict(StrEnum):
    """Whether a claim holds on the evidence."""

    SUPPORTED = "supported"
    """The whole 95 % interval lies on the right side of the threshold."""
    NOT_SUPPORTED = "not supported"
    """It lies wholly on the wrong side."""
    UNDECIDED = "undecided"
    """It straddles the threshold."""
    NOT_ASSESSABLE = "not assessable"
    """The evidence lacks what the claim needs, or a precondition fails."""


class Flag(StrEnum):
    """What a verdict is worth; all that apply."""

    BY_CONSTRUCTION = "by construction"
    """True of any weights, or given another claim: it checks arithmetic."""
    DISTINCTIVE = "distinctive"
    """p ≤ 0.05 against every null named."""
    NOT_DISTINCTIVE = "not distinctive"
    """p > 0.05 against a null named."""
    NULL_TOO_SMALL = "null too small"
    """A null has fewer than 19 members: p could not reach 0.05."""
    NULL_MISSING = "null missing"
    """The evidence can't give a null that is named."""
    CONDITIONAL = "conditional"
    """A named variant disagrees."""
    NO_INTERVAL = "no interval"
    """Fewer than ten prompts: the point decides."""


@dataclass(frozen=True)
class Threshold:
    """What a statistic must be: on the right side of `value`, by `relation`."""

    relation: Relation
    value: float

    def holds(self, measured: float) -> bool:
        """Whether a value is on the right side."""
        return bool(RELATIONS[self.relation](measured, self.value))

    @property
    def favourable(self) -> Favourable:
        """Which values a null population must not reach too often."""
        return "high" if self.relation in (">", "≥") else "low"

    def __str__(self) -> str:
        return f"{self.relation} {self.value:g}"


@dataclass(frozen=True)
class VariantResult:
    """A claim under another definition that CLAIMS.md names, and whether it holds there."""

    name: str
    measured: float
    holds: bool


@dataclass(frozen=True)
class Measurement:
    """A claim's statistic as measured, with all that its verdict depends on.

    `resampled` says whether the statistic is one with an interval; `interval` is None where it isn't, or where there
    were fewer than ten prompts.
    """

    statistic: str
    value: float
    threshold: Threshold
    resampled: bool = False
    interval: Interval | None = None
    n_prompts: int | None = None
    by_construction: bool = False
    nulls: Sequence[Null] = field(default_factory=tuple)
    variants: Sequence[VariantResult] = field(default_factory=tuple)


@dataclass(frozen=True)
class Judgement:
    """A verdict with its flags, p-values in the order of the nulls (None where missing), and what to know of it."""

    verdict: Verdict
    flags: tuple[Flag, ...]
    p_values: tuple[float | None, ...]
    reason: str | None


def judge(measurement: Measurement) -> Judgement:
    """The verdict and the flags of a measurement, by the rules of `Verdict` and `Flag`."""
    m = measurement
    p_values = tuple(None if null.values is None else null.p_value(m.value, m.threshold.favourable) for null in m.nulls)
    flags = [Flag.BY_CONSTRUCTION] if m.by_construction else []
    flags += _null_flags(m.nulls, p_values)
    verdict = _verdict(m)
    disagreeing = [v.name for v in m.variants if v.holds != (verdict is Verdict.SUPPORTED)]
    if disagreeing and verdict is not Verdict.UNDECIDED:
        flags.append(Flag.CONDITIONAL)
    if m.resampled and m.interval is None:
        flags.append(Flag.NO_INTERVAL)
    notes = [_more_evidence(m)] if verdict is Verdict.UNDECIDED else []
    if Flag.CONDITIONAL in flags:
        notes.append(f"variants that disagree: {', '.join(disagreeing)}")
    notes += [f"null {null.population!r} missing: {null.missing}" for null in m.nulls if null.values is None]
    notes += [
        f"null {null.population!r} has {null.n} members, fewer than {SMALLEST_POPULATION}"
        for null in m.nulls
        if null.values is not None and null.n < SMALLEST_POPULATION
    ]
    return Judgement(verdict, tuple(flags), p_values, "; ".join(notes) or None)


def _verdict(m: Measurement) -> Verdict:
    ends = [m.value] if m.interval is None else [m.interval.low, m.interval.high]
    if not all(math.isfinite(number) for number in (m.value, *ends)):
        raise ValueError(f"{m.statistic} {m.value}, interval {ends}; wanted finite numbers")
    holding = {m.threshold.holds(end) for end in ends}
    if len(holding) == 2:
        return Verdict.UNDECIDED
    return Verdict.SUPPORTED if holding == {True} else Verdict.NOT_SUPPORTED


def _null_flags(nulls: Sequence[Null], p_values: Sequence[float | None]) -> list[Flag]:
    if not nulls:
        return []
    told = [p for null, p in zip(nulls, p_values, strict=True) if p is not None and null.n >= SMALLEST_POPULATION]
    flags = []
    if any(p > SIGNIFICANT for p in told):
        flags.append(Flag.NOT_DISTINCTIVE)
    elif len(told) == len(nulls):
        flags.append(Flag.DISTINCTIVE)
    if any(null.values is not None and null.n < SMALLEST_POPULATION for null in nulls):
        flags.append(Flag.NULL_TOO_SMALL)
    if any(null.values is None for null in nulls):
        flags.append(Flag.NULL_MISSING)
    return flags


def _more_evidence(m: Measurement) -> str:
    """How many prompts would do: an interval shrinks with the root of their number."""
    if m.interval is None or m.n_prompts is None:
        raise ValueError("an undecided measurement without interval; wanted one that straddles the threshold")
    if m.interval.unit == "categories":
        return "the interval over categories straddles the threshold: more categories would narrow it, more prompts not"
    towards = m.interval.low if m.threshold.holds(m.value) else m.interval.high
    if m.threshold.favourable == "low":
        towards = m.interval.high if m.threshold.holds(m.value) else m.interval.low
    distance = abs(m.value - m.threshold.value)
    if distance == 0:
        return "the measured value is the threshold: no number of prompts would decide"
    needed = math.ceil(m.n_prompts * ((m.value - towards) / distance) ** 2)
    return f"about {max(needed, m.n_prompts + 1)} prompts would decide, there were {m.n_prompts}"


def is_found(verdict: Verdict | None, flags: Sequence[Flag]) -> bool:
    """Supported, distinctive, not by construction and not conditional: what the headline counts."""
    return (
        verdict is Verdict.SUPPORTED
        and Flag.DISTINCTIVE in flags
        and Flag.BY_CONSTRUCTION not in flags
        and Flag.CONDITIONAL not in flags
    )
