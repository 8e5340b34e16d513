"""Kin against the nearest other category: by hand, by plain loops, with what is left out, and on real GPT-2 small."""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey, survey
from headclaims.measures.nearest_category import kin_above_nearest
from headclaims.prompts.category import CategoryPrompts, category_prompts, recorded_prompts
from headclaims.prompts.words import WordList
from headclaims.tests import real_gpt2
from headclaims.tests.plain_loops import categories_of, random_patterns
from headclaims.tests.word_lists import load_words

WORDS = WordList(
    "small",
    {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse"), "tools": ("saw", "axe", "file")},
)
TARGET = Head(0, 0)
Rivals = dict[str, str]


def survey_of(prompts: CategoryPrompts, patterns: np.ndarray) -> Survey:
    """A survey of one head from its patterns [prompt, query, key]."""
    return survey(prompts, (TARGET,), [(slice(0, len(prompts)), torch.from_numpy(patterns[:, None]))])


def by_loops(
    prompts: Sequence[Sequence[str | None]],
    patterns: np.ndarray,
    words: WordList,
    rivals: Rivals | None = None,
) -> tuple[dict[str, float], Rivals]:
    """ln(a_kin/a_nearest) of each category, and the nearest ones, chosen here or given."""
    category_of = categories_of(words)
    per_kin: dict[object, list[float]] = defaultdict(list)
    per_rival: dict[tuple[object, object], list[float]] = defaultdict(list)
    for prompt, pattern in zip(prompts, patterns, strict=True):
        for i, word in enumerate(prompt):
            if word is None:
                continue
            own = category_of[word]
            groups: dict[object, list[float]] = defaultdict(list)
            for j in range(1, i):
                if (other := prompt[j]) is not None and other != word:
                    groups[category_of[other]].append(float(pattern[i][j]))
            if not groups[own]:
                continue
            per_kin[own].append(sum(groups[own]) / len(groups[own]))
            for category, attention in groups.items():
                if category != own:
                    per_rival[own, category].append(sum(attention) / len(attention))
    means = {pair: sum(values) / len(values) for pair, values in per_rival.items()}
    if rivals is None:
        rivals = {
            str(own): str(max((d for c, d in means if c == own), key=lambda d: means[own, d]))
            for own in per_kin
            if any(c == own for c, _ in means)
        }
    ratios = {
        own: math.log(sum(per_kin[own]) / len(per_kin[own]) / means[own, rival])
        for own, rival in rivals.items()
        if per_kin[own] and (own, rival) in means
    }
    return ratios, rivals


def texts(prompts: CategoryPrompts) -> list[list[str | None]]:
    """The words of prompts, None where there is none."""
    return [[None if at < 0 else prompts.words.words[at] for at in indices] for indices in prompts.word_at]


def test_six_tokens_by_hand() -> None:
    # BOS dog red saw blue red: rows with kin are blue at 4 (kin red at 2) and red at 5 (kin blue at 4, a copy at 2).
    # Per kin (0.4 + 0.5)/2; dog (0.1 + 0.02)/2, saw (0.2 + 0.08)/2: the nearest is tools.
    pattern = np.zeros((6, 6))
    pattern[:4, 0] = 1.0
    pattern[4], pattern[5] = [0.2, 0.1, 0.4, 0.2, 0.1, 0], [0, 0.02, 0.3, 0.08, 0.5, 0.1]
    prompts = recorded_prompts(WORDS, [["<s>", " dog", " red", " saw", " blue", " red"]])
    measured = kin_above_nearest(survey_of(prompts, pattern[None]), TARGET)
    assert measured.names == ("colours",)
    assert measured.rivals == ("tools",)
    assert measured.value == pytest.approx(math.log(0.45 / 0.14), rel=1e-6)
    assert measured.least == (measured.value, "colours", "tools")
    assert measured.interval() is None


def test_a_head_that_merges_two_categories_has_no_kin_above_the_nearest() -> None:
    # Attention to animals and tools alike, whichever the query is; colours keep to themselves.
    prompts = category_prompts(WORDS, len, 0, n_prompts=12, length=40, seed=2)
    merged = np.append(np.array([0, 1, 1])[np.asarray(WORDS.category_of_word)], -1)[prompts.word_at]
    weights = np.tril(np.where(merged[:, :, None] == merged[:, None, :], 1.0, 0.01))
    measured = kin_above_nearest(survey_of(prompts, weights / weights.sum(axis=-1, keepdims=True)), TARGET)
    ratios = dict(zip(measured.names, measured.by_category, strict=True))
    # Rows differ between a category's kin and its rival, so that their means are alike, not equal.
    assert ratios["animals"] == pytest.approx(0, abs=0.2)
    assert ratios["tools"] == pytest.approx(0, abs=0.2)
    assert ratios["colours"] == pytest.approx(math.log(100), abs=0.4)
    assert measured.least[1:] in (("animals", "tools"), ("tools", "animals"))


def test_it_is_its_definition_and_so_are_its_replicates() -> None:
    prompts = category_prompts(WORDS, len, 0, n_prompts=11, length=22, seed=4)
    patterns = random_patterns(11, 1, 22, seed=6)[:, 0]
    measured, words = kin_above_nearest(survey_of(prompts, patterns), TARGET), texts(prompts)
    ratios, rivals = by_loops(words, patterns, WORDS)
    assert dict(zip(measured.names, measured.rivals, strict=True)) == rivals
    assert dict(zip(measured.names, measured.by_category, strict=True)) == pytest.approx(ratios, rel=1e-4)
    assert measured.value == pytest.approx(np.mean(list(ratios.values())), rel=1e-4)
    # Without a prompt the rivals stay, and everything else is measured anew; without a category its rows leave.
    without_prompt = [
        np.mean(list(by_loops(words[:p] + words[p + 1 :], np.delete(patterns, p, 0), WORDS, rivals)[0].values()))
        for p in range(11)
    ]
    without_category = [np.mean([ratio for own, ratio in ratios.items() if own != c]) for c in WORDS.categories]
    left_out = measured.jackknifed.left_out
    assert left_out["prompts"][:, 0] == pytest.approx(without_prompt, abs=1e-5)
    assert left_out["categories"][:, 0] == pytest.approx(without_category, abs=1e-5)
    interval = measured.interval()
    assert interval is not None
    assert interval.low < measured.value < interval.high


def test_a_category_of_one_prompt_alone_is_no_part_of_the_mean_without_it() -> None:
    prompts = [["<s>", " dog", " cat", " red", " blue", " red"]] * 11 + [
        ["<s>", " dog", " cat", " saw", " axe", " axe"]
    ]
    recorded = recorded_prompts(WORDS, prompts)
    measured = kin_above_nearest(survey_of(recorded, random_patterns(12, 1, 6, seed=3)[:, 0]), TARGET)
    assert measured.names == ("colours", "tools")
    assert np.isfinite(measured.jackknifed.left_out["prompts"]).all()
    only_colours = by_loops(texts(recorded)[:11], random_patterns(12, 1, 6, seed=3)[:11, 0], WORDS)[0]
    assert measured.jackknifed.left_out["prompts"][11, 0] == pytest.approx(only_colours["colours"], rel=1e-4)


def test_without_an_unrelated_word_there_is_no_nearest_category() -> None:
    for prompt in (["<s>", " red", " blue", " red"], ["<s>", " red", " dog", " saw"]):
        recorded = recorded_prompts(WORDS, [prompt])
        with pytest.raises(NotAssessable, match="kin and an earlier word of another category"):
            kin_above_nearest(survey_of(recorded, random_patterns(1, 1, 4, seed=3)[:, 0]), TARGET)


@real_gpt2.needs_both
@pytest.mark.parametrize(
    ("path", "mean", "least"), [(real_gpt2.ATTENTION, 2.973, 1.244), (real_gpt2.ATTENTION_128, 2.329, 1.683)]
)
def test_l1h5_of_real_gpt2_small(path: Path, mean: float, least: float) -> None:
    tokens, pattern = real_gpt2.recorded(path)
    ratios, rivals = by_loops([[None, *(t.strip() for t in tokens[1:])]], pattern[5][None], load_words("write-up"))
    assert sum(ratios.values()) / len(ratios) == pytest.approx(mean, abs=5.1e-4)
    measured = kin_above_nearest(real_gpt2.recorded_survey(path), real_gpt2.TARGET)
    assert measured.value == pytest.approx(mean, abs=5.1e-4)
    assert measured.least[0] == pytest.approx(least, abs=5.1e-4)
    assert measured.least[1:] == ("emotions", "animals")
    assert dict(zip(measured.names, measured.rivals, strict=True)) == rivals
