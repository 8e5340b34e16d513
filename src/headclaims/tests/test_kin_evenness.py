"""Evenness of attention among kin: by hand, by plain loops, and on real GPT-2 small."""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey, survey
from headclaims.measures.kin_evenness import kin_evenness
from headclaims.prompts.category import CategoryPrompts, category_prompts, recorded_prompts
from headclaims.prompts.words import WordList
from headclaims.tests import real_gpt2
from headclaims.tests.plain_loops import Row, categories_of, random_patterns, rows_of

WORDS = WordList("small", {"colours": ("red", "blue", "green", "pink"), "animals": ("dog", "cat", "horse", "cow")})
TARGET = Head(0, 0)


def survey_of(prompts: CategoryPrompts, patterns: np.ndarray) -> Survey:
    """A survey of one head from its patterns [prompt, query, key]."""
    return survey(prompts, (TARGET,), [(slice(0, len(prompts)), torch.from_numpy(patterns[:, None]))])


def evenness_of(rows: list[tuple[Row, list[str | None], np.ndarray]]) -> float:
    """The mean evenness weighted by kin mass, of rows with their prompt and their pattern's row."""
    above = below = 0.0
    for row, prompt, attention in rows:
        by_word: dict[str | None, list[float]] = defaultdict(list)
        for j in row.kin:
            by_word[prompt[j]].append(float(attention[j]))
        if len(by_word) < 3:
            continue
        per_position = [sum(values) / len(values) for values in by_word.values()]
        shares = [value / sum(per_position) for value in per_position]
        above += row.kin_mass * math.exp(-sum(p * math.log(p) for p in shares if p)) / len(shares)
        below += row.kin_mass
    return above / below


# BOS red blue green pink, whose last row has three kin.
PROMPT = ["<s>", " red", " blue", " green", " pink"]


@pytest.mark.parametrize(
    ("kin", "expected"),
    [
        ((0.2, 0.2, 0.2), 1.0),
        ((0.6, 0.0, 0.0), 1 / 3),
        # Shares 1/2, 1/4, 1/4: entropy 1.5 ln 2.
        ((0.4, 0.2, 0.2), 2**1.5 / 3),
        ((0.0, 0.0, 0.0), 0.0),
    ],
)
def test_one_row_by_hand(kin: tuple[float, float, float], expected: float) -> None:
    pattern = np.zeros((5, 5))
    pattern[:, 0] = 1.0
    pattern[4] = [1 - sum(kin), *kin, 0]
    assert kin_evenness(survey_of(recorded_prompts(WORDS, [PROMPT]), pattern[None]), TARGET).value == pytest.approx(
        expected, rel=1e-6
    )


def test_rows_weigh_by_their_kin_mass() -> None:
    # One prompt whose last row is even with a mass of 0.6, one where it keeps to one partner with a mass of 0.2.
    patterns = np.zeros((2, 5, 5))
    patterns[:, :, 0] = 1.0
    patterns[0, 4], patterns[1, 4] = [0.4, 0.2, 0.2, 0.2, 0], [0.8, 0.2, 0, 0, 0]
    measured = kin_evenness(survey_of(recorded_prompts(WORDS, [PROMPT] * 2), patterns), TARGET)
    assert measured.value == pytest.approx((0.6 + 0.2 / 3) / 0.8, rel=1e-6)


def test_copies_of_a_word_of_kin_are_one_word() -> None:
    # BOS red red blue pink green: kin of green are red twice, blue, pink; per position 0.1 and 0.3, 0.2, 0.2: even.
    pattern = np.zeros((6, 6))
    pattern[:, 0] = 1.0
    pattern[5] = [0.2, 0.1, 0.3, 0.2, 0.2, 0]
    recorded = recorded_prompts(WORDS, [["<s>", " red", " red", " blue", " pink", " green"]])
    assert kin_evenness(survey_of(recorded, pattern[None]), TARGET).value == pytest.approx(1.0, rel=1e-6)


def test_it_is_its_definition() -> None:
    prompts = category_prompts(WORDS, len, 0, n_prompts=12, length=24, seed=4)
    patterns = random_patterns(12, 1, 24, seed=6)[:, 0]
    texts = [[None if at < 0 else WORDS.words[at] for at in indices] for indices in prompts.word_at]
    rows = [
        (row, text, pattern[row.position])
        for text, pattern in zip(texts, patterns, strict=True)
        for row in rows_of(text, categories_of(WORDS), pattern)
    ]
    measured = kin_evenness(survey_of(prompts, patterns), TARGET)
    assert measured.value == pytest.approx(evenness_of(rows), rel=1e-5)
    assert measured.interval() is not None


def test_two_kin_are_too_few() -> None:
    recorded = recorded_prompts(WORDS, [["<s>", " red", " red", " blue", " pink"]])
    with pytest.raises(NotAssessable, match="no row of the prompts has 3 distinct kin"):
        kin_evenness(survey_of(recorded, random_patterns(1, 1, 5, seed=1)[:, 0]), TARGET)


@real_gpt2.needs_both
@pytest.mark.parametrize(("path", "stated"), [(real_gpt2.ATTENTION, 0.838), (real_gpt2.ATTENTION_128, 0.827)])
def test_l1h5_of_real_gpt2_small(path: Path, stated: float) -> None:
    tokens, pattern = real_gpt2.recorded(path)
    text = [None, *(token.strip() for token in tokens[1:])]
    rows = [(row, text, pattern[5][row.position]) for row in real_gpt2.recorded_rows(path, 5)]
    assert evenness_of(rows) == pytest.approx(stated, abs=5.1e-4)
    measured = kin_evenness(real_gpt2.recorded_survey(path), real_gpt2.TARGET)
    assert measured.value == pytest.approx(stated, abs=5.1e-4)
