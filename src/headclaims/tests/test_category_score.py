"""The survey of all heads and the category score: by hand on short prompts, by plain loops, and on real GPT-2 small."""

import math

import numpy as np
import pytest
import torch

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey, survey
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
    assert s.first[0] == pytest.approx([1, 0.9, 0.2, 0.1], rel=1e-6)
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
    for name, measured in {"kin_mass": s.kin_mass, "copy_mass": s.copy_mass, "own": s.own, "bos": s.first}.items():
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
    assert (apart.first == whole.first).all()


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


def test_rows_of_tokens_that_are_no_words_enter_nothing() -> None:
    # BOS red , the blue red: kin of blue at 4 is red at 1, of red at 5 blue at 4; rows 2 and 3 are not there.
    recorded = [["<s>", " red", ",", " the", " blue", " red"], ["<s>", " of", " dog", " cat", " of", " dog"]]
    prompts = recorded_prompts(WORDS, recorded)
    patterns = random_patterns(2, 3, 6, seed=4)
    s = survey_of(prompts, patterns)
    assert s.prompt_of_row.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert s.position_of_row.tolist() == [0, 1, 4, 5, 0, 2, 3, 5]
    assert s.n_kin.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    expected = [[row for row in rows if row.counted] for rows in loops_over(prompts, patterns)]
    assert len(expected[0]) == 8
    assert s.scores == pytest.approx([np.mean([row.score for row in rows]) for rows in expected], abs=1e-6)
    assert s.uniform_score == pytest.approx(np.mean([-math.log(row.uniform_share) for row in expected[0]]))
    counts = s.grouped(s.row_scores[:1]).counts[0]
    assert counts.tolist() == [[3, 0, 1], [0, 3, 1]]  # colours, animals, position 0
    others = np.array([[row.other_mass for row in rows] for rows in expected])
    assert s.other_mass == pytest.approx(others, abs=1e-6)


def test_without_bos_rows_with_kin_alone_have_a_score() -> None:
    """Position 0 holds any text, and what it draws is no target."""
    recorded = [["The", " blue", " dog", " green", " ,", " cat"], ["A", " the", " red", " red", " sheep", " cat"]]
    prompts = recorded_prompts(WORDS, recorded)
    patterns = random_patterns(2, 3, 6, seed=5)
    s = survey_of(prompts, patterns)
    expected = [[row for row in rows if row.kin] for rows in loops_over(prompts, patterns)]
    # green has blue, cat has dog; cat has sheep.
    assert [row.position for row in expected[0]] == [3, 5, 5]
    assert s.scores == pytest.approx([np.mean([row.score for row in rows]) for rows in expected], abs=1e-6)
    assert s.scored_on == "no BOS in front of the prompts: scores are over the 3 rows with kin alone"
    assert s.uniform_score == pytest.approx(np.mean([-math.log(row.uniform_share) for row in expected[0]]))
    assert np.isnan(s.row_scores).sum(axis=1).tolist() == [len(s.word_of_row) - 3] * 3
    assert s.grouped_scores().counts[0].tolist() == [[1, 1, 0], [0, 1, 0]]


def test_without_bos_and_kin_there_is_no_score() -> None:
    s = survey_of(recorded_prompts(WORDS, [["The", " red", " dog", " of"]]), random_patterns(1, 12, 4, seed=1))
    for ask in (lambda: s.scores, lambda: s.uniform_score):
        with pytest.raises(NotAssessable, match="no row of the prompts has kin, and without BOS in front"):
            ask()


def test_prompts_of_different_lengths_are_surveyed_one_by_one() -> None:
    """Each of three prompts alone gives its rows of all three together, to the last bit."""
    recorded = [
        ["<s>", " red", " blue", " the", " dog", " green", " cat"],
        ["<s>", " cat", " dog"],
        ["<s>", " of", " red", " green", " red"],
    ]
    patterns = [random_patterns(1, 3, len(prompt), seed) for seed, prompt in enumerate(recorded)]
    prompts = recorded_prompts(WORDS, recorded)
    heads = tuple(Head(0, head) for head in range(3))
    batches = [(slice(n, n + 1), torch.from_numpy(pattern)) for n, pattern in enumerate(patterns)]
    together = survey(prompts, heads, batches)
    for number, (prompt, pattern) in enumerate(zip(recorded, patterns, strict=True)):
        alone, rows = survey_of(recorded_prompts(WORDS, [prompt]), pattern), together.prompt_of_row == number
        assert (together.position_of_row[rows] == alone.position_of_row).all()
        for name in ("word_mass", "first", "own", "kin_mass", "other_mass", "row_scores"):
            assert (getattr(together, name)[:, rows] == getattr(alone, name)).all(), name
        for name in ("n_kin", "n_others", "uniform_share"):
            assert (getattr(together, name)[rows] == getattr(alone, name)).all(), name
        assert together.grouped(together.row_scores).counts[:, number].sum(axis=1).tolist() == [rows.sum()] * 3


@real_gpt2.needs_attention
def test_scores_of_real_gpt2_small() -> None:
    s = real_gpt2.recorded_survey()
    stated = [2.522, 2.939, 2.267, 2.957, 2.263, 0.575, 1.877, 2.479, 2.341, 2.114, 2.604, 2.802]
    assert s.scores == pytest.approx(stated, abs=5.1e-4)  # as printed


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
    kin, bos, own = s.kin_mass[5], s.first[5], s.own[5]
    with_kin = s.has_kin
    without = ~with_kin
    without[0] = False
    assert (with_kin.sum(), without.sum()) == (57, 6)
    assert kin[with_kin].mean() == pytest.approx(0.603, abs=5e-4)
    assert bos[with_kin].mean() == pytest.approx(0.115, abs=5e-4)
    assert bos[without].mean() == pytest.approx(0.715, abs=5e-4)
    assert own[1:].mean() == pytest.approx(0.094, abs=5e-4)  # row 0 attends to itself, being BOS
    assert (own[with_kin] < kin[with_kin] / s.n_kin[with_kin]).sum() == 44
