"""Verdicts and flags: every one of them, and which exclude each other."""

import itertools
import math
from typing import Any, Literal

import numpy as np
import pytest

from headclaims.statistics.nulls import Null
from headclaims.statistics.resampling import Interval
from headclaims.statistics.verdict import (
    Condition,
    Flag,
    Judgement,
    Measurement,
    NullStatistic,
    Relation,
    Threshold,
    VariantResult,
    Verdict,
    is_found,
    judge,
)

ABOVE_2 = Threshold(">", 2.0)


def interval(low: float, high: float, of_prompts: float = 1.0) -> Interval:
    """An interval, of whose variance prompts give so much."""
    return Interval(low, high, "prompts" if of_prompts > 0.5 else "categories", of_prompts)


def null_with_p(p_in_hundredths: int, n: int = 99, name: str = "made up") -> Null:
    """A null of which a measured 3 has p = so many hundredths, if n is 99."""
    values = np.zeros(n)
    values[: p_in_hundredths - 1] = 9.0
    return Null(name, values)


MISSING = Null("absent", None, missing="the file holds no such heads")


def judged(value: float = 3.0, *nulls: Null, variants: tuple[bool, ...] = (), **options: Any) -> Judgement:
    """The judgement of a point against > 2."""
    named = [VariantResult(f"variant {i}", 0.0, holds) for i, holds in enumerate(variants)]
    return judge(Measurement("statistic", value, ABOVE_2, nulls=nulls, variants=named, **options))


@pytest.mark.parametrize(
    ("relation", "below", "at", "above"),
    [(">", False, False, True), ("≥", False, True, True), ("<", True, False, False), ("≤", True, True, False)],
)
def test_a_threshold_holds_by_its_relation(relation: Relation, below: bool, at: bool, above: bool) -> None:
    threshold = Threshold(relation, 2.0)
    assert [threshold.holds(value) for value in (1.9, 2.0, 2.1)] == [below, at, above]
    assert threshold.favourable == ("high" if above else "low")


def test_a_threshold_reads_as_it_is_written() -> None:
    assert str(Threshold("≥", 0.9)) == "≥ 0.9"
    assert str(Threshold("≤", 1e-12)) == "≤ 1e-12"


@pytest.mark.parametrize(
    ("relation", "low", "high", "verdict"),
    [
        (">", 2.1, 3.0, Verdict.SUPPORTED),
        (">", 2.0, 3.0, Verdict.UNDECIDED),  # 2 itself is no more than 2
        ("≥", 2.0, 3.0, Verdict.SUPPORTED),
        (">", 1.9, 2.1, Verdict.UNDECIDED),
        (">", 1.0, 1.9, Verdict.NOT_SUPPORTED),
        (">", 1.0, 2.0, Verdict.NOT_SUPPORTED),
        ("≥", 1.0, 2.0, Verdict.UNDECIDED),
        ("<", 1.0, 1.9, Verdict.SUPPORTED),
        ("<", 1.0, 2.0, Verdict.UNDECIDED),
        ("≤", 1.0, 2.0, Verdict.SUPPORTED),
        ("<", 2.1, 3.0, Verdict.NOT_SUPPORTED),
        ("≤", 2.0, 3.0, Verdict.UNDECIDED),
    ],
)
def test_the_whole_interval_decides(relation: Relation, low: float, high: float, verdict: Verdict) -> None:
    # The point lies in the interval, on either side of the threshold: it decides nothing.
    for value in (low, high):
        measurement = Measurement(
            "statistic", value, Threshold(relation, 2.0), resampled=True, interval=interval(low, high), n_prompts=32
        )
        assert judge(measurement).verdict is verdict


def test_without_an_interval_the_point_decides() -> None:
    assert judged(2.1).verdict is Verdict.SUPPORTED
    assert judged(1.9).verdict is Verdict.NOT_SUPPORTED
    assert judged(2.0).verdict is Verdict.NOT_SUPPORTED
    assert judged(2.1).flags == ()
    assert judged(2.1).reason is None


def test_a_statistic_with_an_interval_that_has_none_is_flagged() -> None:
    assert judged(3.0, resampled=True).flags == (Flag.NO_INTERVAL,)
    measurement = Measurement("s", 3.0, ABOVE_2, resampled=True, interval=interval(2.5, 3.5), n_prompts=32)
    assert judge(measurement).flags == ()


def test_a_value_that_is_no_number_is_refused() -> None:
    # It is neither on the right side nor on the wrong one, and no record takes it.
    with pytest.raises(ValueError, match="nan"):
        judged(math.nan, null_with_p(5))
    measurement = Measurement(
        "s", 3.0, ABOVE_2, resampled=True, interval=interval(math.nan, math.nan), n_prompts=32, nulls=[null_with_p(5)]
    )
    with pytest.raises(ValueError, match="nan"):
        judge(measurement)


@pytest.mark.parametrize(
    ("nulls", "flags"),
    [
        ([], []),
        ([null_with_p(1)], []),
        ([null_with_p(6)], []),
        ([null_with_p(1, n=19)], []),
        ([null_with_p(1, n=18)], [Flag.NULL_TOO_SMALL]),
        ([null_with_p(9, n=18)], [Flag.NULL_TOO_SMALL]),
        ([null_with_p(1, n=11), null_with_p(1)], [Flag.NULL_TOO_SMALL]),
        ([MISSING], [Flag.NULL_MISSING]),
        ([MISSING, null_with_p(1)], [Flag.NULL_MISSING]),
        ([MISSING, null_with_p(1, n=3)], [Flag.NULL_TOO_SMALL, Flag.NULL_MISSING]),
    ],
)
def test_flags_of_nulls(nulls: list[Null], flags: list[Flag]) -> None:
    """Whether a claim is distinctive is not told before the record ends: see `test_settle`."""
    assert list(judged(3.0, *nulls).flags) == flags


def test_a_claim_about_all_heads_on_some_of_them_is_flagged() -> None:
    judgement = judged(3.0, heads_lacking="the evidence holds 12 of the model's 144 heads")
    assert judgement.flags == (Flag.PART_OF_THE_MODEL,)
    assert judgement.reason == "the evidence holds 12 of the model's 144 heads"


def test_p_values_stand_in_the_nulls_order_and_look_the_favourable_way() -> None:
    null = Null("made up", np.arange(99.0))
    high = judge(Measurement("s", 98.0, Threshold(">", 2.0), nulls=[MISSING, null]))
    assert high.p_values == (None, 0.02)
    low = judge(Measurement("s", 1.0, Threshold("<", 2.0), nulls=[null, MISSING]))
    assert low.p_values == (0.03, None)


def test_a_null_that_is_missing_or_too_small_is_explained() -> None:
    reason = judged(3.0, MISSING, null_with_p(1, n=11, name="other heads")).reason
    assert reason is not None
    assert "null 'absent' missing: the file holds no such heads" in reason
    assert "null 'other heads' has 11 members, fewer than 19" in reason
    assert len(reason.splitlines()) == 1
    assert judged(3.0, null_with_p(1, n=19)).reason is None


@pytest.mark.parametrize(
    ("value", "variants", "conditional"),
    [
        (3.0, (True, True), False),
        (3.0, (True, False), True),
        (1.0, (False, False), False),
        (1.0, (False, True), True),
        (3.0, (), False),
    ],
)
def test_a_variant_that_disagrees_makes_it_conditional(
    value: float, variants: tuple[bool, ...], conditional: bool
) -> None:
    judgement = judged(value, variants=variants)
    assert (Flag.CONDITIONAL in judgement.flags) is conditional
    assert judgement.reason == ("variants that disagree: variant 1" if conditional else None)


def test_an_undecided_claim_has_nothing_that_variants_could_disagree_with() -> None:
    measurement = Measurement(
        "s",
        2.5,
        ABOVE_2,
        resampled=True,
        interval=interval(1.5, 3.5),
        n_prompts=32,
        variants=[VariantResult("yes", 3.0, True), VariantResult("no", 1.0, False)],
    )
    assert judge(measurement).verdict is Verdict.UNDECIDED
    assert Flag.CONDITIONAL not in judge(measurement).flags


@pytest.mark.parametrize(
    ("relation", "value", "low", "high", "n", "needed"),
    [
        # The end beyond the threshold is 3 times as far from the value as the threshold is: 9 times as many.
        (">", 2.5, 1.0, 3.0, 32, 288),
        ("<", 1.5, 1.0, 3.0, 32, 288),
        # The value is on the wrong side: the end that reaches the right one counts. 0.75/0.25 = 3; 2.5² · 10 = 62.5.
        (">", 1.75, 1.0, 2.5, 10, 90),
        ("≥", 1.75, 1.625, 2.375, 10, 63),
        ("≤", 2.25, 1.625, 2.375, 10, 63),
        # Barely straddling: one more at least.
        (">", 2.5, 2.0, 9.0, 40, 41),
    ],
)
def test_an_undecided_claim_says_how_many_prompts_would_do(
    relation: Relation, value: float, low: float, high: float, n: int, needed: int
) -> None:
    measurement = Measurement(
        "s", value, Threshold(relation, 2.0), resampled=True, interval=interval(low, high), n_prompts=n
    )
    judgement = judge(measurement)
    assert judgement.verdict is Verdict.UNDECIDED
    assert judgement.reason is not None
    said = [int(word) for word in judgement.reason.replace(",", "").split() if word.isdigit()]
    assert said == [needed, n]


@pytest.mark.parametrize(
    ("of_prompts", "said"),
    [
        # The threshold is half as far as the interval's end: V must fall to a quarter. Of it prompts give all: 4 times
        # as many; nine tenths: 0.9/n' = 0.25 − 0.1, 6 times as many; three quarters: never quite.
        (1.0, "about 128 prompts would decide, there were 32"),
        (0.9, "about 192 prompts would decide, there were 32"),
        (0.75, "s: more categories would decide, more prompts alone not"),
        (0.1, "s: more categories would decide, more prompts alone not"),
    ],
)
def test_prompts_narrow_their_share_of_the_interval(of_prompts: float, said: str) -> None:
    measurement = Measurement("s", 2.5, ABOVE_2, resampled=True, interval=interval(1.5, 3.5, of_prompts), n_prompts=32)
    assert judge(measurement).reason == said


def test_a_value_at_the_threshold_is_decided_by_no_amount_of_evidence() -> None:
    measurement = Measurement("s", 2.0, ABOVE_2, resampled=True, interval=interval(1.0, 3.0), n_prompts=32)
    assert judge(measurement).reason == "the measured s is the threshold: no amount of evidence would decide"


def test_by_construction_is_said_and_comes_with_the_rest() -> None:
    assert judged(3.0, by_construction=True).flags == (Flag.BY_CONSTRUCTION,)
    assert set(judged(3.0, null_with_p(1), by_construction=True).flags) == {Flag.BY_CONSTRUCTION}


@pytest.mark.parametrize("verdict", [*Verdict, None])
def test_found_is_supported_and_distinctive_and_without_the_flags_that_take_it_back(verdict: Verdict | None) -> None:
    for size in range(len(Flag) + 1):
        for flags in itertools.combinations(Flag, size):
            expected = (
                verdict == "supported"
                and "distinctive" in flags
                and "by construction" not in flags
                and "conditional" not in flags
                and "no interval" not in flags
                and "part of the model" not in flags
            )
            assert is_found(verdict, flags) is expected
            assert is_found(None if verdict is None else str(verdict), [str(flag) for flag in flags]) is expected


def test_verdicts_and_flags_are_called_as_in_the_catalogue() -> None:
    assert [*Verdict] == ["supported", "not supported", "undecided", "not assessable"]
    assert {*Flag} == {
        "by construction",
        "distinctive",
        "not distinctive",
        "null too small",
        "null missing",
        "conditional",
        "no interval",
        "part of the model",
    }


WITHIN_A_TENTH = Threshold("|·| ≤", 0.1)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.1, 0.1, Verdict.SUPPORTED),
        (-0.05, 0.02, Verdict.SUPPORTED),
        (-0.2, 0.05, Verdict.UNDECIDED),
        (0.05, 0.2, Verdict.UNDECIDED),
        (-0.2, 0.2, Verdict.UNDECIDED),
        (0.11, 0.2, Verdict.NOT_SUPPORTED),
        (-0.2, -0.11, Verdict.NOT_SUPPORTED),
    ],
)
def test_a_magnitude_is_held_against_both_sides(low: float, high: float, verdict: Verdict) -> None:
    middle = (low + high) / 2
    measurement = Measurement(
        "effect", middle, WITHIN_A_TENTH, resampled=True, interval=interval(low, high), n_prompts=32
    )
    assert judge(measurement).verdict is verdict


def test_how_many_prompts_decide_a_magnitude() -> None:
    """From 0.05 the near edge is 0.05 away and the interval reaches 0.149: (0.149/0.05)² = 8.88 times as many."""
    measurement = Measurement(
        "effect", 0.05, WITHIN_A_TENTH, resampled=True, interval=interval(-0.1001, 0.199), n_prompts=10
    )
    assert judge(measurement).reason == "about 89 prompts would decide, there were 10"


AT_MOST_1 = Threshold("≤", 1.0)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ((2.5, 3.5), (0.1, 0.9), Verdict.SUPPORTED),
        ((1.5, 3.5), (0.1, 0.9), Verdict.UNDECIDED),
        ((2.5, 3.5), (0.1, 1.9), Verdict.UNDECIDED),
        ((2.5, 3.5), (1.1, 1.9), Verdict.NOT_SUPPORTED),
        ((1.5, 3.5), (1.1, 1.9), Verdict.NOT_SUPPORTED),
        ((1.0, 1.5), (0.1, 0.9), Verdict.NOT_SUPPORTED),
    ],
)
def test_every_condition_has_to_hold(first: tuple[float, float], second: tuple[float, float], verdict: Verdict) -> None:
    condition = Condition("share", sum(second) / 2, AT_MOST_1, interval(*second))
    measurement = Measurement(
        "count",
        sum(first) / 2,
        ABOVE_2,
        resampled=True,
        interval=interval(*first),
        n_prompts=32,
        conditions=[condition],
    )
    judgement = judge(measurement)
    assert judgement.verdict is verdict
    if verdict is Verdict.NOT_SUPPORTED:
        failing = [name for name, wrong in (("count", first[1] < 2), ("share", second[0] > 1)) if wrong]
        assert all(f"{name} " in (judgement.reason or "") for name in failing)


def test_a_condition_without_interval_is_decided_by_its_value() -> None:
    assert judged(3.0, conditions=[Condition("overlap", 7.0, Threshold("≥", 8.0))]).verdict is Verdict.NOT_SUPPORTED
    assert judged(3.0, conditions=[Condition("overlap", 8.0, Threshold("≥", 8.0))]).verdict is Verdict.SUPPORTED


def test_nulls_are_compared_on_what_is_named() -> None:
    """The statistic, 3, is above all but four of a hundred; what is compared, 1, is below none but itself."""
    null = Null("made up", np.arange(99.0))
    low = judged(3.0, null, compared=NullStatistic("variation", 1.0, "low"))
    assert low.p_values == (pytest.approx(3 / 100),)
    high = judged(3.0, null, compared=NullStatistic("variation", 97.0, "high"))
    assert high.p_values == (pytest.approx(3 / 100),)
    assert judged(3.0, null).p_values == (pytest.approx(97 / 100),)


def test_p_among_the_target_s_layer_mates_stands_beside() -> None:
    """Of nine members three are of the layer, and one of these is as high: 2/4. Permutations have no layer."""
    values = np.array([9.0, 1.0, 2.0, *[5.0] * 6])
    mates = np.array([True] * 3 + [False] * 6)
    heads, none = Null("other heads", values, layer_mates=mates), Null("other heads", values, layer_mates=mates < 0)
    judgement = judged(3.0, heads, Null("permuted", values), MISSING, none)
    assert judgement.p_values == (8 / 10, 8 / 10, None, 8 / 10)
    assert judgement.layer_p_values == (2 / 4, None, None, None)
    assert (heads.n_layer, none.n_layer) == (3, None)


@pytest.mark.parametrize("unit", ["groups", "words", "categories"])
def test_other_units_are_narrowed_by_more_of_them(unit: Literal["groups", "words", "categories"]) -> None:
    judgement = judge(Measurement("share", 3.0, ABOVE_2, resampled=True, interval=Interval(1.0, 4.0, unit)))
    assert judgement.verdict is Verdict.UNDECIDED
    assert judgement.reason == f"share: more {unit} would decide"
