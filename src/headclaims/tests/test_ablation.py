"""What takes an output's place, how far a pattern moved, and what that does to the score: by hand, by plain loops."""

import math

import numpy as np
import pytest
import torch

from headclaims.checkpoint.interface import Head
from headclaims.measures.ablation import Kind, replacement
from headclaims.measures.ablation_effects import (
    effect,
    margin_below_uniform,
    median_prompt_score,
    relative_variation,
    total_variation,
)
from headclaims.measures.category_score import Survey, survey
from headclaims.prompts.category import CategoryPrompts, category_prompts, recorded_prompts
from headclaims.prompts.words import WordList
from headclaims.tests.plain_loops import Row, categories_of, random_patterns, rows_of

WORDS = WordList("small", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse", "sheep")})
TARGET = Head(0, 0)
# BOS red blue red. Targets of rows: BOS for the first two, then red at 1, then blue at 2.
CLEAN = [[1.0, 0, 0, 0], [0.9, 0.1, 0, 0], [0.2, 0.5, 0.3, 0], [0.1, 0.2, 0.6, 0.1]]
CHANGED = [[1.0, 0, 0, 0], [0.8, 0.2, 0, 0], [0.5, 0.25, 0.25, 0], [0.1, 0.2, 0.3, 0.4]]
# Two prompts of three positions, d_model 2.
OUTPUT = torch.tensor([[[1.0, 2], [3, 4], [5, 6]], [[10, 20], [30, 40], [50, 66]]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # (3 + 5 + 30 + 50)/4 = 22, (4 + 6 + 40 + 66)/4 = 29
        (Kind.MEAN, [[[1, 2], [22, 29], [22, 29]], [[10, 20], [22, 29], [22, 29]]]),
        # (1 + 10 + 88)/6 = 16.5, (2 + 20 + 116)/6 = 23
        (Kind.AUTHOR, [[[16.5, 23]] * 3] * 2),
        (Kind.ZERO, [[[1, 2], [0, 0], [0, 0]], [[10, 20], [0, 0], [0, 0]]]),
        # Position 1: (3 + 30)/2, (4 + 40)/2; position 2: (5 + 50)/2, (6 + 66)/2
        (Kind.POSITION_MEAN, [[[1, 2], [16.5, 22], [27.5, 36]], [[10, 20], [16.5, 22], [27.5, 36]]]),
    ],
)
def test_replacement_by_hand(kind: Kind, expected: list[list[list[float]]]) -> None:
    before = OUTPUT.clone()
    assert replacement(OUTPUT, kind, seed=0).tolist() == expected
    assert torch.equal(OUTPUT, before)  # what was given is not written to


def test_resample_deals_out_whole_cells_by_seed() -> None:
    output = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1))
    dealt = replacement(output, Kind.RESAMPLE, seed=3)
    assert torch.equal(dealt[:, 0], output[:, 0])
    cells, before = (sorted(map(tuple, x[:, 1:].reshape(-1, 3).tolist())) for x in (dealt, output))
    assert cells == before
    moved = (dealt != output).any(dim=-1)[:, 1:]
    assert moved.float().mean() > 0.5
    assert torch.equal(dealt, replacement(output, Kind.RESAMPLE, seed=3))
    assert not torch.equal(dealt, replacement(output, Kind.RESAMPLE, seed=4))
    # Across prompts and across positions: some cell is now in another prompt, some at another position.
    from_cell = (dealt[:, 1:].reshape(-1, 1, 3) == output[:, 1:].reshape(1, -1, 3)).all(-1).int().argmax(dim=1)
    at = torch.arange(20)
    assert (from_cell // 5 != at // 5).any()
    assert (from_cell % 5 != at % 5).any()


def test_a_mean_of_many_cells_is_exact_to_float32() -> None:
    # 2²⁴ and 40,000 ones: a float32 sum that starts at 2²⁴ would not grow by ones.
    output = torch.ones(200, 202, 1)
    output[0, 1] = 2.0**24
    expected = (2**24 + 200 * 201 - 1) / (200 * 201)
    assert replacement(output, Kind.MEAN, seed=0)[7, 9, 0].item() == pytest.approx(expected, rel=1e-6)


def survey_of(prompts: CategoryPrompts, patterns: np.ndarray, first_head: int = 0) -> Survey:
    """A survey of layer 0's heads from patterns [prompt, head, query, key]."""
    heads = tuple(Head(0, first_head + head) for head in range(patterns.shape[1]))
    return survey(prompts, heads, [(slice(0, len(prompts)), torch.from_numpy(patterns))])


def one_prompt(pattern: list[list[float]]) -> Survey:
    """Of BOS red blue red."""
    return survey_of(recorded_prompts(WORDS, [["<s>", " red", " blue", " red"]]), np.array(pattern)[None, None])


def test_total_variation_by_hand() -> None:
    # Rows' L1 distances: 0, 0.2, 0.3 + 0.25 + 0.05 = 0.6, 0.3 + 0.3 = 0.6; half their mean is 0.175.
    clean, changed = np.array(CLEAN), np.array(CHANGED)
    assert total_variation(clean[None], changed[None]) == pytest.approx(0.175)
    # Averaged over prompts, not over heads; unchanged is 0, wholly elsewhere is 1.
    heads = np.stack([np.stack([clean, clean]), np.stack([clean, clean])])
    after = np.stack([np.stack([changed, clean]), np.stack([clean, clean])])
    assert total_variation(heads, after) == pytest.approx([0.0875, 0])
    elsewhere = np.eye(3)[None, None], np.eye(3)[None, None, [1, 2, 0]]
    assert total_variation(*elsewhere) == pytest.approx([1.0])


def test_relative_variation_by_hand() -> None:
    variation, without = np.array([0.1, 0.3, 0.0]), np.array([0.4, 0.2, 0.5])
    assert relative_variation(variation, without) == pytest.approx([0.25, 1.5, 0])
    # A head that attends to the same whatever the tokens are: finite, so that it can be recorded.
    assert np.isfinite(relative_variation(np.array([0.0, 0.1]), np.zeros(2))).all()


def test_effect_and_margin_by_hand() -> None:
    clean, changed = one_prompt(CLEAN), one_prompt(CHANGED)
    before, after = -math.log(0.9 * 0.5 * 0.6) / 4, -math.log(0.8 * 0.25 * 0.3) / 4
    u = math.log(1 * 2 * 3 * 4) / 4
    assert effect(clean, changed, TARGET).value == pytest.approx((after - before) / (u - before), rel=1e-6)
    assert margin_below_uniform(clean, TARGET).value == pytest.approx(u - before, rel=1e-6)
    # The other way round the effect is below 0, and measured by the other's margin.
    assert effect(changed, clean, TARGET).value == pytest.approx((before - after) / (u - after), rel=1e-6)


def test_no_change_is_no_effect_and_uniform_attention_is_one() -> None:
    prompts = category_prompts(WORDS, len, 0, n_prompts=6, length=16, seed=1)
    uniform = np.broadcast_to(np.tril(np.ones((16, 16))) / np.arange(1, 17)[:, None], (6, 1, 16, 16)).copy()
    clean = survey_of(prompts, random_patterns(6, 1, 16, seed=2))
    assert effect(clean, clean, TARGET).value == 0
    assert effect(clean, survey_of(prompts, uniform), TARGET).value == pytest.approx(1.0, rel=1e-5)
    assert margin_below_uniform(survey_of(prompts, uniform), TARGET).value == pytest.approx(0.0, abs=1e-6)


def loops_over(prompts: CategoryPrompts, patterns: np.ndarray) -> list[list[Row]]:
    """A head's rows, prompt by prompt, from its patterns [prompt, query, key]."""
    texts = [[None if at < 0 else prompts.words.words[at] for at in indices] for indices in prompts.word_at]
    by_prompt = zip(texts, patterns, strict=True)
    return [rows_of(text, categories_of(prompts.words), pattern) for text, pattern in by_prompt]


@pytest.fixture
def drawn() -> tuple[CategoryPrompts, np.ndarray, np.ndarray]:
    """Five prompts of 18 tokens, and three heads' random patterns on them, clean and changed."""
    prompts = category_prompts(WORDS, len, 0, n_prompts=5, length=18, seed=4)
    return prompts, random_patterns(5, 3, 18, seed=6), random_patterns(5, 3, 18, seed=7)


def test_each_resample_has_its_own_clean_score_and_uniform_score(
    drawn: tuple[CategoryPrompts, np.ndarray, np.ndarray],
) -> None:
    """By plain loops, with prompts drawn 0 to 2 times; the changed survey may hold fewer heads, in another place."""
    prompts, clean, changed = drawn
    surveys = survey_of(prompts, clean), survey_of(prompts, changed[:, 1:], first_head=1)
    statistic, margin = effect(*surveys, Head(0, 2)), margin_below_uniform(surveys[0], Head(0, 2))
    before, after = loops_over(prompts, clean[:, 2]), loops_over(prompts, changed[:, 2])
    for times in ([1, 1, 1, 1, 1], [2, 0, 1, 1, 1], [0, 0, 1, 2, 2]):
        means = [
            np.mean([score for n, rows in zip(times, by_prompt, strict=True) for _ in range(n) for score in rows])
            for by_prompt in (
                [[row.score for row in rows] for rows in before],
                [[row.score for row in rows] for rows in after],
                [[-math.log(row.uniform_share) for row in rows] for rows in before],
            )
        ]
        weights = np.array([times], dtype=float)
        expected = (means[1] - means[0]) / (means[2] - means[0])
        assert statistic.statistic(statistic.rows.means(weights)) == pytest.approx([expected], rel=1e-4)
        assert margin.statistic(margin.rows.means(weights)) == pytest.approx([means[2] - means[0]], abs=1e-5)
    assert statistic.rows.sums.shape == (3, 5, 3)  # two categories, and row 0's group


def test_the_median_prompt_score_is_over_prompts() -> None:
    # BOS red blue: rows' targets are BOS, BOS, red at 1. Scores of four prompts, halved by two a step but the last:
    # row 2 gives red 1/2, 1/4, 1/8 and 1e-6; rows 0 and 1 score 0. Prompt scores are a third of −ln of these.
    patterns = np.zeros((4, 1, 3, 3))
    patterns[:, :, :2, 0] = 1
    patterns[:, 0, 2, 1] = [1 / 4, 1e-6, 1 / 2, 1 / 8]
    s = survey_of(recorded_prompts(WORDS, [["<s>", " red", " blue"]] * 4), patterns)
    # The middle two are 1/4 and 1/8: (2 + 3) ln 2/2 over three rows.
    assert median_prompt_score(s, TARGET) == pytest.approx(2.5 * math.log(2) / 3, rel=1e-6)


def test_the_median_prompt_score_by_plain_loops(drawn: tuple[CategoryPrompts, np.ndarray, np.ndarray]) -> None:
    prompts, patterns, _ = drawn
    for head in range(3):
        scores = [np.mean([row.score for row in rows]) for rows in loops_over(prompts, patterns[:, head])]
        assert median_prompt_score(survey_of(prompts, patterns), Head(0, head)) == pytest.approx(
            sorted(scores)[2], abs=1e-5
        )
