"""One finding under test: its threshold, its verdict, and the way into the record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headclaims.audit.audit import Audit
from headclaims.claim.claim_set import ClaimSet
from headclaims.errors import NotAssessable, NotSupported
from headclaims.record.entries import ClaimEntry
from headclaims.report.claim_figures import ClaimFigures
from headclaims.statistics.nulls import Null
from headclaims.statistics.resampling import Estimate
from headclaims.statistics.verdict import (
    Condition,
    Flag,
    Measurement,
    NullStatistic,
    Threshold,
    VariantResult,
    Verdict,
    judge,
)

Number = int | float | np.generic
Measured = Number | Estimate
"""A statistic: a number, Python's or numpy's, or one with an interval."""


class Claim:
    """One claim of a set under one audit: a test measures, and `check` settles what is entered into the record."""

    def __init__(self, claim_id: str, claim_set: ClaimSet, audit: Audit) -> None:
        self.id, self.claim_set, self.audit = claim_id, claim_set, audit
        self.statement = claim_set.claims[claim_id]
        self.entry = new_entry(claim_set, claim_id)
        if self._is_of_the_write_up and self.statement.reported:
            self.entry.reported = {name: reported.value for name, reported in self.statement.reported.items()}
        self._figures = ClaimFigures(self.statement.definition)
        self._to_draw: dict[str, Callable[[], Any]] = {}
        self._measurement: Measurement | None = None
        self.concluded = False

    def threshold(self, statistic: str, times: float | int = 1.0) -> Threshold:
        """Return the threshold of a statistic as `thresholds.toml` has it, its value multiplied by `times`.

        Raises BadInput, which ends the run with status 2, where there is none.
        """
        stated = self.claim_set.threshold(self.id, statistic)
        return Threshold(stated.relation, stated.value * times)

    def has_threshold(self, statistic: str) -> bool:
        """Return whether `thresholds.toml` has one of a statistic."""
        return statistic in self.claim_set.limits[self.id]

    @property
    def published(self) -> Mapping[str, list[str]]:
        """The lists that the write-up gives for this claim; empty for another checkpoint or head."""
        return self.statement.published if self._is_of_the_write_up else {}

    @property
    def _is_of_the_write_up(self) -> bool:
        """Whether this is the head of the checkpoint that numbers were reported for."""
        target = self.audit.target
        return self.claim_set.discovered_on(target, self.audit.checkpoint.fingerprint(target.layer))

    def variant(self, name: str, statistic: str, value: Number) -> VariantResult:
        """Return a variant of the claim, held against the threshold of one of its statistics."""
        number = float(value)
        return VariantResult(name, number, self.threshold(statistic).holds(number))

    def draw(self, **figures: Callable[[], Any]) -> None:
        """Name figures for the page, each with a function that returns a form of figure: `Line`, `Bars`, `HeatMap`, ….

        The functions are called, if a page is asked for, once the verdict is settled.
        """
        self._to_draw |= figures

    def check(
        self,
        statistic: str,
        value: Measured,
        *,
        conditions: Mapping[str, Measured] | None = None,
        nulls: Sequence[Null] = (),
        variants: Sequence[VariantResult] = (),
        compared: NullStatistic | None = None,
        measured: Mapping[str, Number] | None = None,
        about_all_heads: bool = False,
        threshold: Threshold | None = None,
        note: str | None = None,
    ) -> None:
        """Judge a statistic by its threshold and its nulls, and enter it into the record.

        The claim holds where the whole 95 % interval of `value` (or the number itself) is on the right side of the
        threshold, and those of all `conditions` are on theirs. `nulls` are compared with `value`, or with `compared`.
        `measured` are further numbers for the record. `threshold` stands in for the one that `thresholds.toml` has of
        `statistic`. A claim `about_all_heads` is flagged where the evidence holds some of the model's heads. `note` is
        what a reader has to know of how it was measured.

        Raises NotSupported, with what was measured and wanted, unless the claim is supported; ValueError where a number
        is not finite.
        """
        __tracebackhide__ = True
        main = self._condition(statistic, value, threshold)
        further = [self._condition(name, of) for name, of in (conditions or {}).items()]
        numbers = dict(measured or {})
        for condition in further:
            if condition.interval is None and condition.value == main.value:
                continue  # a second limit on the statistic itself
            numbers[condition.statistic] = condition.value
            if condition.interval is not None:
                numbers[f"{condition.statistic}_low"] = condition.interval.low
                numbers[f"{condition.statistic}_high"] = condition.interval.high
        measurement = Measurement(
            main.statistic,
            main.value,
            main.threshold,
            resampled=isinstance(value, Estimate),
            interval=main.interval,
            n_prompts=value.n_prompts if isinstance(value, Estimate) else None,
            by_construction=self.statement.by_construction,
            nulls=nulls,
            variants=variants,
            conditions=further,
            compared=compared,
            heads_lacking=self.audit.heads_lacking if about_all_heads else None,
        )
        against = measurement.held_against_nulls
        drawn = [null.enough_for(against.value, against.favourable) for null in nulls]
        self._conclude(replace(measurement, nulls=drawn), numbers, note)

    def _condition(self, statistic: str, value: Measured, threshold: Threshold | None = None) -> Condition:
        limit = threshold or self.threshold(statistic)
        if isinstance(value, Estimate):
            return Condition(statistic, value.value, limit, value.interval())
        return Condition(statistic, float(value), limit)

    def _conclude(self, measurement: Measurement, numbers: Mapping[str, Number], note: str | None) -> None:
        __tracebackhide__ = True
        judgement = judge(measurement)
        for variant in measurement.variants:
            _plain(f"variant {variant.name}", variant.measured)
        if measurement.compared is not None:
            _plain(measurement.compared.statistic, measurement.compared.value)
        plain_numbers = {name: _plain(name, number) for name, number in numbers.items()}
        self.entry.conclude(measurement, judgement, plain_numbers)
        self._measurement = measurement
        notes = [note, self.entry.reason, *self._replication()]
        self.entry.reason = "; ".join(note for note in notes if note) or None
        self.concluded = True
        if judgement.verdict is not Verdict.SUPPORTED:
            raise NotSupported(self._message(measurement))

    def _replication(self) -> list[str]:
        """Return whether reported numbers, where they apply, are met within their tolerance."""
        notes = []
        for name in self.entry.reported or {}:
            stated, value = self.statement.reported[name], self.entry.measured.get(name)
            if value is not None:
                outcome = "met" if abs(value - stated.value) <= stated.tolerance else "not met"
                notes.append(f"reported {name} {stated.value:g} ± {stated.tolerance:g} {outcome}: {value:.6g}")
        return notes

    def _message(self, m: Measurement) -> str:
        """Return claim, verdict, measured, wanted and checkpoint, in a few lines."""
        interval = (
            "" if m.interval is None else f", 95 % [{m.interval.low:.6g}, {m.interval.high:.6g}] over {m.interval.unit}"
        )
        lines = [
            f"{self.id}: {self.entry.verdict}",
            f"  claim     {self.entry.statement}",
            f"  measured  {m.statistic} {m.value:.6g}{interval}",
            f"  wanted    {', '.join(f'{part.statistic} {part.threshold}' for part in m.parts)}",
            f"  audited   {self.audit.target.label} of {self.audit.checkpoint.spec}",
        ]
        return "\n".join(lines + ([f"  note      {self.entry.reason}"] if self.entry.reason else []))

    def figures(self) -> ClaimFigures:
        """Return what a page shows of the claim. What can't be drawn says why, and costs neither verdict nor record."""
        if self._measurement is not None:
            self._figures.measured(self._measurement)
        for name, make in self._to_draw.items():
            self._figures.draw(name, make)
        return self._figures


def _plain(name: str, number: Number) -> int | float:
    """Return a number as Python's own, as a record has it; raises ValueError unless it is finite."""
    plain = number.item() if isinstance(number, np.generic) else number
    if not math.isfinite(plain):
        raise ValueError(f"{name} {plain}; wanted a finite number")
    return int(plain) if isinstance(plain, bool) else plain


def new_entry(claim_set: ClaimSet, claim_id: str) -> ClaimEntry:
    """Return an entry with what is known of a claim before it is measured."""
    stated = claim_set.claims[claim_id]
    flags = [Flag.BY_CONSTRUCTION] if stated.by_construction else []
    return ClaimEntry(claim_id, stated.group, stated.statement, stated.source, None, flags)


def not_assessable(claim_set: ClaimSet, claim_id: str, error: NotAssessable) -> ClaimEntry:
    """Return the entry of a claim that the evidence can't tell of."""
    entry = new_entry(claim_set, claim_id)
    entry.verdict, entry.reason = Verdict.NOT_ASSESSABLE, str(error)
    return entry


def errored(claim_set: ClaimSet, claim_id: str, message: str) -> ClaimEntry:
    """Return the entry of a claim whose test ended in an error."""
    entry = new_entry(claim_set, claim_id)
    entry.reason = f"error: {(message.splitlines() or [''])[0]}"
    return entry
