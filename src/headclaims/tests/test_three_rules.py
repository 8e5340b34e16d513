"""Attention to kin, to the word itself and to unrelated words: by hand, by plain loops, and on real GPT-2 small."""

import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey, survey
from headclaims.measures.three_rules import kin_preference, self_above_unrelated, self_suppression
from headclaims.prompts.category import category_prompts, recorded_prompts
from headclaims.prompts.words import WordList
from headclaims.statistics.resampling import Interval
from headclaims.tests import real_gpt2
from headclaims.tests.plain_loops import Row, categories_of, random_patterns, rows_of

WORDS = WordList("small", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse", "sheep")})
TARGET = Head(0, 0)


def survey_of(patterns: np.ndarray, *prompts: str) -> Survey:
    """A survey of prompts of these words, BOS before them, from patterns [prompt, head, query, key]."""
    recorded = recorded_prompts(WORDS, [["<s>", *(" " + word for word in prompt.split())] for prompt in prompts])
    heads = tuple(Head(0, head) for head in range(patterns.shape[1]))
    return survey(recorded, heads, [(slice(0, len(prompts)), torch.from_numpy(patterns))])


# BOS red dog blue red green blue, position j weighing j + 1: a row's weights sum to (i + 1)(i + 2)/2.
RISING = np.array([[(j + 1) / ((i + 1) * (i + 2) / 2) if j <= i else 0.0 for j in range(7)] for i in range(7)])


def test_kin_preference_by_hand() -> None:
    # BOS red blue red. Row 2, blue: kin red at 1. Row 3, red: kin blue at 2, a copy at 1. Rows 0 and 1 have no kin.
    pattern = np.array([[1.0, 0, 0, 0], [0.9, 0.1, 0, 0], [0.2, 0.5, 0.3, 0], [0.1, 0.2, 0.6, 0.1]])
    s = survey_of(pattern[None, None], "red blue red")
    # Mean kin mass (0.5 + 0.6)/2 over mean uniform share (1/3 + 1/4)/2.
    assert kin_preference(s, TARGET).value == pytest.approx(0.55 / (7 / 24), rel=1e-6)
    # Rows with kin: 3 (kin 1), 4 (3), 5 (1, 3, 4), 6 (1, 4, 5).
    mass = (2 / 10 + 4 / 15 + 11 / 21 + 13 / 28) / 4
    share = (1 / 4 + 1 / 5 + 3 / 6 + 3 / 7) / 4
    s = survey_of(RISING[None, None], "red dog blue red green blue")
    assert kin_preference(s, TARGET).value == pytest.approx(mass / share, rel=1e-6)


def test_log_ratios_by_hand() -> None:
    # Rows with kin and dog before them: 3 (kin 1), 4 (3; copy 1), 5 (1, 3, 4), 6 (1, 4, 5; copy 3); the own position
    # weighs i + 1, dog 3.
    kin = [2 / 10, 4 / 15, 11 / 3 / 21, 13 / 3 / 28]
    own = [4 / 10, 5 / 15, 6 / 21, 7 / 28]
    dog = [3 / 10, 3 / 15, 3 / 21, 3 / 28]
    over_own, over_copies = math.log(sum(kin) / sum(own)), math.log((kin[1] + kin[3]) / (2 / 15 + 4 / 28))
    assert over_own < over_copies
    s = survey_of(RISING[None, None], "red dog blue red green blue")
    assert self_suppression(s, TARGET).value == pytest.approx(over_own, rel=1e-6)
    assert self_above_unrelated(s, TARGET).value == pytest.approx(math.log(sum(own) / sum(dog)), rel=1e-6)


def test_the_copies_ratio_counts_where_it_is_smaller() -> None:
    # BOS dog red blue red, row 4: kin blue at 3, a copy at 2. Row 3: kin red at 2.
    pattern = np.zeros((5, 5))
    pattern[:3, 0] = 1.0
    pattern[3], pattern[4] = [0.1, 0.1, 0.6, 0.2, 0], [0.1, 0.1, 0.5, 0.25, 0.05]
    s = survey_of(pattern[None, None], "dog red blue red")
    assert self_suppression(s, TARGET).value == pytest.approx(math.log(0.25 / 0.5), rel=1e-6)
    assert math.log(0.85 / 0.25) > 0  # what the own position alone would give


def test_rows_without_an_unrelated_word_are_left_out() -> None:
    # BOS red blue dog red: row 2 has kin, and no word of another category before it; row 4 has both.
    pattern = np.zeros((5, 5))
    pattern[:4, 0] = 1.0
    pattern[2], pattern[4] = [0.1, 0.1, 0.8, 0, 0], [0, 0.1, 0.4, 0.2, 0.3]
    s = survey_of(pattern[None, None], "red blue dog red")
    assert self_above_unrelated(s, TARGET).value == pytest.approx(math.log(0.3 / 0.2), rel=1e-6)
    # Own: 0.4/0.3; the copy at 1: 0.4/0.1.
    assert self_suppression(s, TARGET).value == pytest.approx(math.log(0.4 / 0.3), rel=1e-6)


def test_uniform_attention_prefers_nothing() -> None:
    prompts = category_prompts(WORDS, lambda text: len(text), 0, n_prompts=6, length=16, seed=1)
    uniform = np.tril(np.ones((16, 16))) / np.arange(1, 17)[:, None]
    patterns = torch.from_numpy(np.broadcast_to(uniform, (6, 1, 16, 16)).copy())
    s = survey(prompts, (TARGET,), [(slice(0, 6), patterns)])
    assert kin_preference(s, TARGET).value == pytest.approx(1.0, rel=1e-6)
    assert self_suppression(s, TARGET).value == pytest.approx(0.0, abs=1e-6)
    assert self_above_unrelated(s, TARGET).value == pytest.approx(0.0, abs=1e-6)


def preference_of(rows: list[Row]) -> float:
    """Mean kin mass over mean uniform share, over rows with kin."""
    with_kin = [row for row in rows if row.kin]
    return float(np.mean([row.kin_mass for row in with_kin]) / np.mean([row.uniform_share for row in with_kin]))


def log_ratios_of(rows: list[Row]) -> tuple[float, float, float]:
    """ln(a_kin/a_own), ln(a_kin/a_copy), ln(a_own/a_other), of rows with kin and an unrelated word."""
    usable = [row for row in rows if row.kin and row.others]
    with_copies = [row for row in usable if row.copies]
    kin, own, other = (np.mean([getattr(row, name) for row in usable]) for name in ("per_kin", "own", "per_other"))
    kin_there, copy = (np.mean([getattr(row, name) for row in with_copies]) for name in ("per_kin", "per_copy"))
    return math.log(kin / own), math.log(kin_there / copy), math.log(own / other)


def test_they_are_their_definitions_for_every_head() -> None:
    prompts = category_prompts(WORDS, lambda text: len(text), 0, n_prompts=5, length=18, seed=4)
    patterns = random_patterns(5, 6, 18, seed=6)
    s = survey(prompts, tuple(Head(0, head) for head in range(6)), [(slice(0, 5), torch.from_numpy(patterns))])
    for head in range(6):
        rows = [
            row
            for indices, pattern in zip(prompts.word_at, patterns[:, head], strict=True)
            for row in rows_of([None if at < 0 else WORDS.words[at] for at in indices], categories_of(WORDS), pattern)
        ]
        assert kin_preference(s, Head(0, head)).value == pytest.approx(preference_of(rows), rel=1e-5)
        *suppression, above = log_ratios_of(rows)
        assert self_suppression(s, Head(0, head)).value == pytest.approx(min(suppression), abs=1e-5)
        assert self_above_unrelated(s, Head(0, head)).value == pytest.approx(above, abs=1e-5)


def test_without_kin_or_copies_nothing_is_measured() -> None:
    no_kin = survey_of(np.eye(4)[None, None], "red dog red")
    with pytest.raises(NotAssessable, match="no row of the prompts has kin"):
        kin_preference(no_kin, TARGET)
    nothing_unrelated = survey_of(np.eye(4)[None, None], "red blue red")
    for statistic in (self_suppression, self_above_unrelated):
        for survey_without in (no_kin, nothing_unrelated):
            with pytest.raises(NotAssessable, match="kin and an earlier word of another category"):
                statistic(survey_without, TARGET)
    # Row 3, red, has a copy and no kin; row 4, blue, kin and no copy.
    apart = survey_of(np.eye(5)[None, None], "red dog red blue")
    with pytest.raises(NotAssessable, match="an earlier copy"):
        self_suppression(apart, TARGET)


def test_a_head_that_was_not_surveyed_is_not_assessable() -> None:
    s = survey_of(np.eye(4)[None, None], "red blue red")
    for statistic in (kin_preference, self_suppression, self_above_unrelated):
        with pytest.raises(NotAssessable, match="needs attention of L3H1"):
            statistic(s, Head(3, 1))


def test_rows_that_few_prompts_have_give_no_interval_of_nan() -> None:
    # One of twelve prompts has rows with kin, an unrelated word and a copy: without it there is nothing to measure.
    # That can be said, or the interval left out; a NaN is neither.
    prompts = ["dog red blue red"] + ["red dog red cat"] * 11
    s = survey_of(random_patterns(12, 1, 5, seed=8), *prompts)
    for statistic in (kin_preference, self_suppression, self_above_unrelated):
        interval: Interval | None = None
        with suppress(NotAssessable):
            interval = statistic(s, TARGET).interval()
        assert interval is None or np.isfinite([interval.low, interval.high]).all()


@real_gpt2.needs_both
@pytest.mark.parametrize(
    ("path", "over_own", "over_copies", "above_unrelated"),
    [(real_gpt2.ATTENTION, 0.835, 1.009, 2.455), (real_gpt2.ATTENTION_128, 0.220, 0.732, 2.473)],
)
def test_l1h5_of_real_gpt2_small(path: Path, over_own: float, over_copies: float, above_unrelated: float) -> None:
    rows, s = real_gpt2.recorded_rows(path, 5), real_gpt2.recorded_survey(path)
    assert log_ratios_of(rows) == pytest.approx((over_own, over_copies, above_unrelated), abs=5.1e-4)
    preference = kin_preference(s, real_gpt2.TARGET)
    assert preference.value == pytest.approx(preference_of(rows), rel=1e-5)
    assert preference.value >= 2  # CLAIMS.md's threshold: supported
    suppression, above = self_suppression(s, real_gpt2.TARGET), self_above_unrelated(s, real_gpt2.TARGET)
    assert suppression.components(suppression.rows.means(np.ones((1, 1))))[0] == pytest.approx(
        [over_own, over_copies], abs=5.1e-4
    )
    assert above.value == pytest.approx(above_unrelated, abs=5.1e-4)
    assert [statistic.interval() for statistic in (preference, suppression, above)] == [None] * 3


@real_gpt2.needs_both
def test_self_suppression_of_the_other_heads_of_layer_1() -> None:
    for path, expected in ((real_gpt2.ATTENTION, {7: 0.22, 9: 0.16}), (real_gpt2.ATTENTION_128, {7: 0.31, 9: 0.02})):
        s = real_gpt2.recorded_survey(path)
        values = {head: self_suppression(s, Head(1, head)).value for head in range(12) if head != 5}
        by_loops = {head: min(log_ratios_of(real_gpt2.recorded_rows(path, head))[:2]) for head in values}
        assert values == pytest.approx(by_loops, abs=1e-5)
        positive = {head: value for head, value in values.items() if value > 0}
        assert positive == pytest.approx(expected, abs=5.1e-3)
