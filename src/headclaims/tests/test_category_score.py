"""The survey of all heads and the category score: by hand on short prompts, by plain loops, and on real GPT-2 small."""

import math

import numpy as np
import pytest
import torch

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import (
    Survey,
    gap_to_runner_up,
    outlier_ratio,
    score_gap,
    score_outlier,
    survey,
)
from headclaims.prompts.category import CategoryPrompts, category_prompts, recorded_prompts
from headclaims.prompts.words import WordList
from headclaims.tests import real_gpt2
from headclaims.tests.plain_loops import Row, categories_of, random_patterns, rows_of

WORDS = WordList("small", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse", "sheep")})


def prompts_of(*prompts: str) -> CategoryPrompts:
    """Prompts of these words, BOS before them."""
    return recorded_prompts(WORDS, [["<s>", *(" " + word for word in prompt.split())] for prompt in prompts])


def survey_of(prompts: CategoryPrompts, patterns: np.ndarray) -> Survey:
    """A survey of layer 0's heads from patterns [prompt, head, query, key]."""
    heads = tuple(Head(0, head) for head in range(patterns.shape[1]))
    return survey(prompts, heads, [(slice(0, len(prompts)), torch.from_numpy(patterns))])


def loops_over(prompts: CategoryPrompts, patterns: np.ndarray) -> list[list[Row]]:
    """For each head its rows, prompt after prompt, by plain loops."""
    words = prompts.words.words
    texts = [[None if index < 0 else words[index] for index in indices] for indices in prompts.word_at]
    return [
        [
            row
            for text, pattern in zip(texts, patterns[:, head], strict=True)
            for row in rows_of(text, categories_of(prompts.words), pattern)
        ]
        for head in range(patterns.shape[1])
    ]


@pytest.fixture
def drawn() -> tuple[CategoryPrompts, np.ndarray]:
    """Three prompts of 14 tokens, and four heads' random patterns on them."""
    prompts = category_prompts(WORDS, lambda text: len(text), 0, n_prompts=3, length=14, seed=2)
    return prompts, random_patterns(3, 4, 14, seed=3)


def test_four_tokens_of_one_category_by_hand() -> None:
    # BOS red blue red, and what each row attends to:
    pattern = np.array([[1.0, 0, 0, 0], [0.9, 0.1, 0, 0], [0.2, 0.5, 0.3, 0], [0.1, 0.2, 0.6, 0.1]])
    s = survey_of(prompts_of("red blue red"), pattern[None, None])
    # Row 0 and row 1 have no kin: their target is BOS. Row 2, blue: red at 1, 0.5. Row 3, red: blue at 2, 0.6; red at 1
    # is a copy, 0.2; red at 3 the own position, 0.1.
    assert s.has_kin.tolist() == [False, False, True, True]
    assert s.n_kin.tolist() == [0, 0, 1, 1]
    assert s.n_copies.tolist() == [0, 0, 0, 1]
    assert s.kin_mass[0] == pytest.approx([0, 0, 0.5, 0.6], rel=1e-6)
    assert s.copy_mass[0] == pytest.approx([0, 0, 0, 0.2], rel=1e-6)
    assert s.own[0] == pytest.approx([1, 0.1, 0.3, 0.1], rel=1e-6)
    assert s.bos[0] == pytest.approx([1, 0.9, 0.2, 0.1], rel=1e-6)
    by_row = [-math.log(target) for target in (1, 0.9, 0.5, 0.6)]
    assert s.row_scores[0] == pytest.approx(by_row, rel=1e-6)
    assert s.scores == pytest.approx([-math.log(0.9 * 0.5 * 0.6) / 4], rel=1e-6)  # 0.327333
    assert s.uniform_share.tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    assert s.uniform_score == pytest.approx(math.log(24) / 4)  # (ln 1 + ln 2 + ln 3 + ln 4)/4


def test_seven_tokens_of_two_categories_by_hand() -> None:
    # BOS red dog blue red green blue. Kin: row 3, blue: 1. Row 4, red: 3 (1 is a copy). Row 5, green: 1, 3, 4. Row 6,
    # blue: 1, 4, 5 (3 is a copy). Row 2, dog: none, whatever red is. Each row attends to position j with weight j + 1
    # over 1 + … + (i + 1) = (i + 1)(i + 2)/2.
    pattern = np.array([[(j + 1) / ((i + 1) * (i + 2) / 2) if j <= i else 0.0 for j in range(7)] for i in range(7)])
    s = survey_of(prompts_of("red dog blue red green blue"), pattern[None, None])
    assert s.n_kin.tolist() == [0, 0, 0, 1, 1, 3, 3]
    assert s.n_copies.tolist() == [0, 0, 0, 0, 1, 0, 1]
    targets = [1, 1 / 3, 1 / 6, 2 / 10, 4 / 15, (2 + 4 + 5) / 21, (2 + 5 + 6) / 28]
    assert np.exp(-s.row_scores[0]) == pytest.approx(targets, rel=1e-6)
    assert s.scores[0] == pytest.approx(-math.log(math.prod(targets)) / 7, rel=1e-6)
    assert s.copy_mass[0] == pytest.approx([0, 0, 0, 0, 2 / 15, 0, 4 / 28], rel=1e-6)
    uniform = [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 3 / 6, 3 / 7]
    assert s.uniform_share == pytest.approx(uniform)
    assert s.uniform_score == pytest.approx(-math.log(math.prod(uniform)) / 7)


def test_uniform_attention_scores_u() -> None:
    prompts = category_prompts(WORDS, lambda text: len(text), 0, n_prompts=4, length=20, seed=1)
    uniform = np.tril(np.ones((20, 20))) / np.arange(1, 21)[:, None]
    s = survey_of(prompts, np.broadcast_to(uniform, (4, 1, 20, 20)).copy())
    assert s.scores == pytest.approx([s.uniform_score], rel=1e-6)


def test_a_row_that_misses_its_target_is_floored() -> None:
    # BOS red blue: blue attends to itself alone, red to itself alone. −ln 1e-12 twice, 0 for row 0.
    s = survey_of(prompts_of("red blue"), np.eye(3)[None, None])
    assert s.row_scores[0] == pytest.approx([0, 12 * math.log(10), 12 * math.log(10)])


def test_the_survey_is_its_definition(drawn: tuple[CategoryPrompts, np.ndarray]) -> None:
    s = survey_of(*drawn)
    expected = loops_over(*drawn)
    for name, measured in {"kin_mass": s.kin_mass, "copy_mass": s.copy_mass, "own": s.own, "bos": s.bos}.items():
        by_loops = np.array([[getattr(row, name) for row in rows] for rows in expected])
        assert measured == pytest.approx(by_loops, abs=1e-6)
    assert s.row_scores == pytest.approx(np.array([[row.score for row in rows] for rows in expected]), abs=1e-5)
    assert s.scores == pytest.approx([np.mean([row.score for row in rows]) for rows in expected], abs=1e-5)
    assert s.n_kin.tolist() == [len(row.kin) for row in expected[0]]
    assert s.n_copies.tolist() == [len(row.copies) for row in expected[0]]
    assert s.uniform_score == pytest.approx(np.mean([-math.log(row.uniform_share) for row in expected[0]]))


def test_each_word_s_mass_and_count_is_that_of_earlier_positions(drawn: tuple[CategoryPrompts, np.ndarray]) -> None:
    prompts, patterns = drawn
    s = survey_of(prompts, patterns)
    for number in range(3):
        for i in range(14):
            for word in range(len(WORDS.words)):
                at = [j for j in range(1, i) if prompts.word_at[number, j] == word]
                row = 14 * number + i
                assert s.word_counts[row, word] == len(at)
                expected = patterns[number, :, i, at].sum(axis=0) if at else np.zeros(4)
                assert s.word_mass[:, row, word] == pytest.approx(expected, abs=1e-6)


def test_batches_of_prompts_give_the_same_survey(drawn: tuple[CategoryPrompts, np.ndarray]) -> None:
    prompts, patterns = drawn
    whole = survey_of(prompts, patterns)
    batches = [(some, torch.from_numpy(patterns[some])) for some in (slice(2, 3), slice(0, 2))]
    apart = survey(prompts, whole.heads, iter(batches))
    assert (apart.word_mass == whole.word_mass).all()
    assert (apart.own == whole.own).all()
    assert (apart.bos == whole.bos).all()


def test_heads_are_found_by_label(drawn: tuple[CategoryPrompts, np.ndarray]) -> None:
    s = survey_of(*drawn)
    assert s.position(Head(0, 2)) == 2
    with pytest.raises(NotAssessable, match=r"needs attention of L1H2: the evidence has that of layers \[0\]"):
        s.position(Head(1, 2))


def test_rows_are_grouped_by_prompt_and_the_query_s_category() -> None:
    # BOS red dog, BOS cat blue: rows 0 … 5 with values 1, 2, 4, 8, 16, 32.
    s = survey_of(prompts_of("red dog", "cat blue"), np.tile(np.eye(3), (2, 1, 1, 1)))
    values = 2.0 ** np.arange(6)
    grouped = s.grouped(np.stack([values, values]), np.array([[True] * 6, [False, True, True, True, False, True]]))
    # Categories: colours, animals, and row 0's, which has none.
    assert grouped.sums.tolist() == [[[2, 4, 1], [32, 16, 8]], [[2, 4, 0], [32, 0, 8]]]
    assert grouped.counts.tolist() == [[[1, 1, 1], [1, 1, 1]], [[1, 1, 0], [1, 0, 1]]]
    assert grouped.n_prompts == 2
    assert grouped.n_categories == 2


def test_gap_to_the_runner_up() -> None:
    scores = np.array([3.0, 0.5, 1.25, 9.0])
    assert gap_to_runner_up(scores, 1) == 0.75
    assert gap_to_runner_up(scores, 2) == -0.75
    assert gap_to_runner_up(scores, 3) == -8.5
    batch = np.array([scores, [1.0, 1.0, 2.0, 2.5]])
    assert gap_to_runner_up(batch, 1).tolist() == [0.75, 0.0]


def test_outlier_ratio_is_over_the_median_of_nine_gaps() -> None:
    # Gaps from the lowest score upwards: 3, then eight more between the ten lowest, then two that are beyond them.
    # Sorted, the nine are .1 .2 .3 .4 1 2 2.5 2.7 3: median 1. Of eight (without the first) it would be .7, of ten
    # (with the next) 1.5.
    gaps = [3, 0.1, 2, 0.3, 2.5, 0.4, 1, 0.2, 2.7, 25, 40]
    scores = np.concatenate([[0.5], 0.5 + np.cumsum(gaps)])
    shuffled = np.random.default_rng(0).permutation(12)
    target = int(np.flatnonzero(shuffled == 0)[0])
    assert outlier_ratio(scores[shuffled], target) == pytest.approx(3.0)
    # The runner-up's gap is negative, over the same median; batches go row by row.
    second = int(np.flatnonzero(shuffled == 1)[0])
    assert outlier_ratio(scores[shuffled], second) == pytest.approx(-3.0)
    other = scores[shuffled][::-1]
    assert other[target] > 0.5
    batch = np.stack([scores[shuffled], 2 * scores[shuffled], other])
    assert outlier_ratio(batch, target) == pytest.approx([3.0, 3.0, 0.5 - other[target]])


def test_outlier_ratio_of_ten_heads_and_of_nine() -> None:
    assert outlier_ratio(np.array([0.0, 4, 6, 8, 10, 12, 14, 16, 18, 20]), 0) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="9 heads; wanted 10"):
        outlier_ratio(np.arange(9.0), 0)


@pytest.mark.parametrize("others", [1.5, 27.6])
def test_a_gap_above_heads_that_tie_is_beyond_any_multiple_and_finite(others: float) -> None:
    # A record takes no infinity, and no score is above −ln 1e-12 = 27.6.
    ratio = outlier_ratio(np.array([0.0] + [others] * 11), 0)
    assert ratio > 1e12
    assert np.isfinite(ratio)


def test_the_statistics_are_those_of_the_scores(drawn: tuple[CategoryPrompts, np.ndarray]) -> None:
    prompts, _ = drawn
    patterns = random_patterns(3, 12, 14, seed=5)
    s = survey_of(prompts, patterns)
    scores = np.array([np.mean([row.score for row in rows]) for rows in loops_over(prompts, patterns)])
    lowest = np.sort(scores)[:10]
    for head in (0, 7):
        gap = min(score for at, score in enumerate(scores) if at != head) - scores[head]
        assert score_gap(s, Head(0, head)).value == pytest.approx(gap, abs=1e-5)
        median = sorted(lowest[1:] - lowest[:-1])[4]
        assert score_outlier(s, Head(0, head)).value == pytest.approx(gap / median, rel=1e-3)


def test_fewer_than_ten_heads_have_no_outlier(drawn: tuple[CategoryPrompts, np.ndarray]) -> None:
    with pytest.raises(NotAssessable, match="4 heads; wanted 10"):
        score_outlier(survey_of(*drawn), Head(0, 0))


def test_the_runner_up_is_chosen_anew_in_each_resample() -> None:
    # Twelve prompts BOS red dog, three heads. The target scores 0; of the others, one scores 1.5 on rows 1 and 2 of
    # even prompts and 0 on odd ones, the other the reverse. Row 0 scores 0 for all. Whatever is drawn, the lower mean
    # of the two is at most 1/2; that of either one alone would exceed it in half the resamples.
    pattern = np.zeros((12, 3, 3, 3))
    pattern[:, :, :, 0] = 1.0
    pattern[::2, 1, 1:, 0] = pattern[1::2, 2, 1:, 0] = math.exp(-1.5)
    pattern[:, :, [1, 2], [1, 2]] = 1 - pattern[:, :, 1:, 0]
    s = survey_of(prompts_of(*["red dog"] * 12), pattern)
    statistic = score_gap(s, Head(0, 0))
    assert statistic.value == pytest.approx(0.5, abs=1e-6)
    weights = np.random.default_rng(0).multinomial(12, [1 / 12] * 12, size=500).astype(float)
    even = weights[:, ::2].sum(axis=1) / 12
    assert statistic.statistic(statistic.rows.means(weights)) == pytest.approx(np.minimum(even, 1 - even), abs=1e-6)
    interval = statistic.interval(seed=0)
    assert interval is not None
    assert interval.draws.max() <= 0.5 + 1e-6
    assert interval.draws.min() < 0.2


@real_gpt2.needs_attention
def test_scores_of_real_gpt2_small() -> None:
    s = real_gpt2.recorded_survey()
    stated = [2.522, 2.939, 2.267, 2.957, 2.263, 0.575, 1.877, 2.479, 2.341, 2.114, 2.604, 2.802]
    assert s.scores == pytest.approx(stated, abs=5.1e-4)  # as printed
    gap, ratio = (statistic(s, real_gpt2.TARGET) for statistic in (score_gap, score_outlier))
    assert gap.value == pytest.approx(1.302, abs=5.1e-4)
    assert ratio.value == pytest.approx(9.43, abs=5.1e-3)
    assert gap.interval(seed=0) is None
    assert ratio.interval(seed=0) is None


@real_gpt2.needs_attention
def test_rows_of_real_gpt2_small_by_plain_loops() -> None:
    tokens, pattern = real_gpt2.recorded()
    s = real_gpt2.recorded_survey()
    categories = categories_of(s.prompts.words)
    text = [None, *(token.strip() for token in tokens[1:])]
    for head in range(real_gpt2.HEADS):
        rows = rows_of(text, categories, pattern[head])
        assert s.row_scores[head] == pytest.approx([row.score for row in rows], abs=1e-5)
        assert s.kin_mass[head] == pytest.approx([row.kin_mass for row in rows], abs=1e-6)
        assert s.copy_mass[head] == pytest.approx([row.copy_mass for row in rows], abs=1e-6)
    assert s.uniform_score == pytest.approx(np.mean([-math.log(row.uniform_share) for row in rows]))


@real_gpt2.needs_attention
def test_what_l1h5_of_real_gpt2_small_attends_to() -> None:
    s = real_gpt2.recorded_survey()
    kin, bos, own = s.kin_mass[5], s.bos[5], s.own[5]
    with_kin = s.has_kin
    without = ~with_kin
    without[0] = False
    assert (with_kin.sum(), without.sum()) == (57, 6)
    assert kin[with_kin].mean() == pytest.approx(0.603, abs=5e-4)
    assert bos[with_kin].mean() == pytest.approx(0.115, abs=5e-4)
    assert bos[without].mean() == pytest.approx(0.715, abs=5e-4)
    assert own[1:].mean() == pytest.approx(0.094, abs=5e-4)  # row 0 attends to itself, being BOS
    assert (own[with_kin] < kin[with_kin] / s.n_kin[with_kin]).sum() == 44
