"""The verdict on a claim, which says whether the evidence supports it, and its flags, which qualify the verdict."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from headclaims.statistics.nulls import SMALLEST_POPULATION, Favourable, Null
from headclaims.statistics.resampling import Interval

SIGNIFICANT = 0.05
RELATIONS = {">": operator.gt, "≥": operator.ge, "<": operator.lt, "≤": operator.le, "|·| ≤": operator.le}
Relation = Literal[">", "≥", "<", "≤", "|·| ≤"]


class Verdict(StrEnum):
    """Whether a claim holds on the evidence."""

    SUPPORTED = "supported"
    """The whole 95 % interval lies on the right side of the threshold."""
    NOT_SUPPORTED = "not supported"
    """The whole interval lies on the wrong side."""
    UNDECIDED = "undecided"
    """The interval straddles the threshold."""
    NOT_ASSESSABLE = "not assessable"
    """The evidence lacks what the claim needs, or a precondition fails."""


class Flag(StrEnum):
    """A qualification of a verdict; all that apply are given."""

    BY_CONSTRUCTION = "by construction"
    """True of any weights, or implied by another claim: it checks arithmetic."""
    DISTINCTIVE = "distinctive"
    """Adjusted p ≤ 0.05 against every null that the claim names: settled at the end of a record (`record.settle`)."""
    NOT_DISTINCTIVE = "not distinctive"
    """Adjusted p > 0.05 against at least one of these nulls."""
    NULL_TOO_SMALL = "null too small"
    """A null has fewer than 19 members, so that p cannot reach 0.05."""
    NULL_MISSING = "null missing"
    """The evidence cannot give a null that the claim names."""
    CONDITIONAL = "conditional"
    """The claim under a variant of its definition disagrees with the verdict."""
    NO_INTERVAL = "no interval"
    """Fewer than ten prompts, so that the measured value alone decides."""
    PART_OF_THE_MODEL = "part of the model"
    """A claim about all heads of the model, on evidence that holds some."""


@dataclass(frozen=True)
class Threshold:
    """The condition that a statistic has to meet: its `relation` to `value`. `|·| ≤` compares its magnitude."""

    relation: Relation
    value: float

    @property
    def two_sided(self) -> bool:
        """Whether a statistic can fail on either side, as under `|·| ≤`."""
        return self.relation == "|·| ≤"

    def holds(self, measured: float) -> bool:
        """Return whether a value meets the condition."""
        return bool(RELATIONS[self.relation](abs(measured) if self.two_sided else measured, self.value))

    def verdict(self, low: float, high: float) -> Verdict:
        """Return the verdict on an interval [low, high]; for a value without interval both ends are that value."""
        if self.holds(low) and self.holds(high):
            return Verdict.SUPPORTED
        if self.holds(low) or self.holds(high) or (self.two_sided and low < 0 < high):
            return Verdict.UNDECIDED
        return Verdict.NOT_SUPPORTED

    @property
    def favourable(self) -> Favourable:
        """Direction in which values favour the claim, which a null population must not reach too often."""
        return "high" if self.relation in (">", "≥") else "low"

    def __str__(self) -> str:
        return f"{self.relation} {self.value:g}"


@dataclass(frozen=True)
class VariantResult:
    """A claim measured under another definition that CLAIMS.md names, and whether it holds there."""

    name: str
    measured: float
    holds: bool


@dataclass(frozen=True)
class Condition:
    """A further statistic of a claim, which has to meet its threshold as well."""

    statistic: str
    value: float
    threshold: Threshold
    interval: Interval | None = None

    @property
    def verdict(self) -> Verdict:
        """Verdict on the interval, or on the value where there is none; raises ValueError unless all are finite."""
        ends = (self.value, self.value) if self.interval is None else (self.interval.low, self.interval.high)
        if not all(math.isfinite(number) for number in (self.value, *ends)):
            raise ValueError(f"{self.statistic} {self.value}, interval {list(ends)}; wanted finite numbers")
        return self.threshold.verdict(*ends)


@dataclass(frozen=True)
class NullStatistic:
    """The value compared with the nulls, where it is not the claim's own statistic, and its favourable direction."""

    statistic: str
    value: float
    favourable: Favourable


@dataclass(frozen=True)
class Measurement:
    """A claim's statistic as measured, with everything that its verdict depends on.

    `resampled` says whether the statistic can have an interval; `interval` is None where it cannot, or where there
    were fewer than ten prompts. All `conditions` have to hold as well. Of a claim about all heads `heads_lacking` says
    that the evidence holds some alone; None where it holds all, or where the claim is about the target.
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
    conditions: Sequence[Condition] = field(default_factory=tuple)
    compared: NullStatistic | None = None
    heads_lacking: str | None = None

    @property
    def parts(self) -> list[Condition]:
        """The statistic and all further conditions."""
        return [Condition(self.statistic, self.value, self.threshold, self.interval), *self.conditions]

    @property
    def held_against_nulls(self) -> NullStatistic:
        """What is compared with the nulls: the claim's own statistic, unless there is another."""
        return self.compared or NullStatistic(self.statistic, self.value, self.threshold.favourable)


@dataclass(frozen=True)
class Judgement:
    """A verdict with its flags, p-values in the order of the nulls (None where missing), and remarks in `reason`.

    `layer_p_values` are those against the target's layer-mates alone, None where a null has none.
    Whether the claim is distinctive is not among the flags: that depends on the other claims of the record.
    """

    verdict: Verdict
    flags: tuple[Flag, ...]
    p_values: tuple[float | None, ...]
    layer_p_values: tuple[float | None, ...]
    reason: str | None


def judge(measurement: Measurement) -> Judgement:
    """Derive the verdict and the flags of a measurement by itself, by the rules of `Verdict` and `Flag`."""
    m = measurement
    compared = m.held_against_nulls

    def p_of(null: Null | None) -> float | None:
        if null is None or null.values is None:
            return None
        return null.p_value(compared.value, compared.favourable)

    p_values = tuple(p_of(null) for null in m.nulls)
    layer_p_values = tuple(p_of(null.of_layer) for null in m.nulls)
    flags = [Flag.BY_CONSTRUCTION] if m.by_construction else []
    flags += [Flag.NULL_TOO_SMALL] if any(null.is_too_small for null in m.nulls) else []
    flags += [Flag.NULL_MISSING] if any(null.values is None for null in m.nulls) else []
    verdict = _verdict(m)
    disagreeing = [v.name for v in m.variants if v.holds != (verdict is Verdict.SUPPORTED)]
    if disagreeing and verdict is not Verdict.UNDECIDED:
        flags.append(Flag.CONDITIONAL)
    if m.resampled and m.interval is None:
        flags.append(Flag.NO_INTERVAL)
    if m.heads_lacking is not None:
        flags.append(Flag.PART_OF_THE_MODEL)
    notes = []
    if verdict is Verdict.UNDECIDED:
        notes = [_more_evidence(part, m.n_prompts) for part in m.parts if part.verdict is verdict]
    elif verdict is Verdict.NOT_SUPPORTED and m.conditions:
        failing = (part for part in m.parts if part.verdict is verdict)
        notes = [f"{part.statistic} {part.value:.4g} is not {part.threshold}" for part in failing]
    if Flag.CONDITIONAL in flags:
        notes.append(f"variants that disagree: {', '.join(disagreeing)}")
    notes += [f"null {null.population!r} missing: {null.missing}" for null in m.nulls if null.values is None]
    notes += [
        f"null {null.population!r} has {null.n} members, fewer than {SMALLEST_POPULATION}"
        for null in m.nulls
        if null.is_too_small
    ]
    notes += [m.heads_lacking] if m.heads_lacking is not None else []
    return Judgement(verdict, tuple(flags), p_values, layer_p_values, "; ".join(notes) or None)


def _verdict(m: Measurement) -> Verdict:
    """Combine the verdicts on all parts into the worst of them."""
    part_verdicts = {part.verdict for part in m.parts}
    return next(v for v in (Verdict.NOT_SUPPORTED, Verdict.UNDECIDED, Verdict.SUPPORTED) if v in part_verdicts)


def _more_evidence(part: Condition, n_prompts: int | None) -> str:
    """Say what evidence would decide.

    V = V_prompt + V_category, and V_prompt falls with the number of prompts. Where that alone can bring the interval's
    end to the threshold, the number is given; else more categories, groups or words are wanted. Raises ValueError where
    the part has no interval.
    """
    interval = part.interval
    if interval is None:
        raise ValueError("an undecided measurement without interval; wanted one that straddles the threshold")
    edges = (-part.threshold.value, part.threshold.value) if part.threshold.two_sided else (part.threshold.value,)
    crossed = [edge for edge in edges if interval.low <= edge <= interval.high]
    if any(edge == part.value for edge in crossed):
        return f"the measured {part.statistic} is the threshold: no amount of evidence would decide"
    # How far the variance has to shrink: the distance of the threshold over that of the interval's end, squared.
    shrunk = min(
        ((part.value - edge) / (part.value - (interval.low if edge < part.value else interval.high))) ** 2
        for edge in crossed
    )
    of_prompts = interval.share_of_prompts
    left = shrunk - (1 - of_prompts)
    if n_prompts is not None and left > 0:
        needed = math.ceil(n_prompts * of_prompts / left)
        return f"about {max(needed, n_prompts + 1)} prompts would decide, there were {n_prompts}"
    unit = "categories" if interval.unit == "prompts" else interval.unit
    return f"{part.statistic}: more {unit} would decide" + ("" if n_prompts is None else ", more prompts alone not")


NEVER_FOUND = (Flag.BY_CONSTRUCTION, Flag.CONDITIONAL, Flag.NO_INTERVAL, Flag.PART_OF_THE_MODEL)


def is_found(verdict: str | None, flags: Iterable[str]) -> bool:
    """Return whether a claim counts as found: supported and distinctive, with none of the flags `NEVER_FOUND`.

    Verdict and flags may be those of a record, as text.
    """
    given = set(flags)
    return verdict == Verdict.SUPPORTED and Flag.DISTINCTIVE in given and given.isdisjoint(NEVER_FOUND)
