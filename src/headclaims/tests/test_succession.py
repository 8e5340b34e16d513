"""Attention to successors and predecessors against other kin: by hand, and by plain loops."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey, survey
from headclaims.measures.succession import succession_ratios
from headclaims.prompts.category import CategoryPrompts, category_prompts, recorded_prompts
from headclaims.prompts.words import WordList
from headclaims.tests.plain_loops import random_patterns

WORDS = WordList(
    "ordered",
    {
        "colours": ("red", "blue", "green"),
        "days": ("mon", "tue", "thu", "fri", "sat"),
        "letters": ("alpha", "beta", "gamma", "delta"),
        "months": ("jan", "feb", "mar", "apr"),
    },
)
# Wednesday does not count: Tuesday and Thursday are no neighbours.
DAYS = {"mon": 0, "tue": 1, "thu": 3, "fri": 4, "sat": 5}
LETTERS = {"alpha": 0, "beta": 1, "gamma": 2, "delta": 3}
MONTHS = {"jan": 0, "feb": 1, "mar": 2, "apr": 3}
TARGET = Head(0, 0)


def places(*orders: dict[str, int]) -> np.ndarray:
    """A word's place in its succession, −1 for words of other categories."""
    return np.array([next((order[word] for order in orders if word in order), -1) for word in WORDS.words])


def survey_of(prompts: CategoryPrompts, patterns: np.ndarray) -> Survey:
    """A survey of layer 0's heads from patterns [prompt, head, query, key]."""
    heads = tuple(Head(0, head) for head in range(patterns.shape[1]))
    return survey(prompts, heads, [(slice(0, len(prompts)), torch.from_numpy(patterns))])


def surveyed(pattern: Sequence[Sequence[float]], *prompts: str) -> Survey:
    """Of prompts of these words, BOS before them, all of one pattern."""
    recorded = recorded_prompts(WORDS, [["<s>", *(" " + word for word in prompt.split())] for prompt in prompts])
    return survey_of(recorded, np.tile(np.array(pattern), (len(prompts), 1, 1, 1)))


# BOS alpha beta delta beta gamma red beta. Rows' attention in fiftieths; what doesn't matter is on BOS.
BY_HAND = np.zeros((8, 8))
BY_HAND[4, [0, 1, 2, 3, 4]] = 20, 5, 10, 5, 10  # beta: predecessor alpha, other kin delta, a copy; no successor
BY_HAND[5, [0, 1, 2, 3, 4, 5]] = 10, 4, 6, 8, 12, 10  # gamma: predecessors beta beta, successor delta, other alpha
BY_HAND[7, [0, 1, 2, 3, 4, 5, 6, 7]] = 10, 6, 3, 2, 3, 16, 5, 5  # beta: alpha before, gamma after, other kin delta
BY_HAND[[0, 1, 2, 3, 6], 0] = 50  # alpha, beta and delta have too little before them, red no place


def test_one_prompt_by_hand() -> None:
    # Row 3, delta: others alpha and beta, no gamma before it. Row 4: predecessor 5, other 5. Row 5: successor 8,
    # predecessors (6 + 12)/2 = 9 a token, other 4. Row 7: successor 16, predecessor 6, other 2.
    s = surveyed((BY_HAND / 50).tolist(), "alpha beta delta beta gamma red beta")
    successor, predecessor = succession_ratios(s, TARGET, places(LETTERS))
    assert successor.value == pytest.approx((8 + 16) / (4 + 2), rel=1e-6)
    assert predecessor.value == pytest.approx((5 + 9 + 6) / (5 + 4 + 2), rel=1e-6)
    assert successor.rows.counts.sum(axis=(1, 2)).tolist() == [2, 2]
    assert predecessor.rows.counts.sum(axis=(1, 2)).tolist() == [3, 3]


def test_a_word_that_does_not_count_parts_its_neighbours() -> None:
    # BOS mon tue thu: Tuesday is two places before Thursday, and so is other kin, as Monday is.
    s = surveyed(np.tile([0.25] * 4, (4, 1)).tolist(), "mon tue thu")
    for statistic in (0, 1):
        with pytest.raises(NotAssessable, match="no row of the prompts has both a neighbour"):
            succession_ratios(s, TARGET, places(DAYS))[statistic]


def ratio_of(prompts: CategoryPrompts, patterns: np.ndarray, place: np.ndarray, step: int) -> tuple[float, list[int]]:
    """The quotient of means by plain loops, and the categories of the rows that enter it."""
    words, category = prompts.words.words, prompts.words.category_of_word
    to_neighbour, to_other, of_category = [], [], []
    for indices, pattern in zip(prompts.word_at.tolist(), patterns, strict=True):
        for i, word in enumerate(indices):
            if word < 0 or place[word] < 0:
                continue
            earlier = [
                j for j in range(1, i) if category[indices[j]] == category[word] and words[indices[j]] != words[word]
            ]
            neighbours = [j for j in earlier if place[indices[j]] == place[word] + step]
            others = [j for j in earlier if place[indices[j]] not in (place[word] + 1, place[word] - 1)]
            if neighbours and others:
                to_neighbour.append(np.mean([pattern[i, j] for j in neighbours]))
                to_other.append(np.mean([pattern[i, j] for j in others]))
                of_category.append(category[word])
    return float(np.mean(to_neighbour) / np.mean(to_other)), of_category


@pytest.fixture(scope="module")
def drawn() -> tuple[CategoryPrompts, np.ndarray]:
    """Twelve prompts of 40 tokens, and three heads' random patterns on them."""
    return category_prompts(WORDS, len, 0, n_prompts=12, length=40, seed=2), random_patterns(12, 3, 40, seed=3)


@pytest.mark.parametrize("orders", [(DAYS,), (DAYS, LETTERS), (DAYS, LETTERS, MONTHS)], ids=len)
def test_both_ratios_are_their_definitions(
    drawn: tuple[CategoryPrompts, np.ndarray], orders: tuple[dict[str, int], ...]
) -> None:
    prompts, patterns = drawn
    s, place = survey_of(prompts, patterns), places(*orders)
    for head in range(3):
        for found, step in zip(succession_ratios(s, Head(0, head), place), (1, -1), strict=True):
            expected, of_category = ratio_of(prompts, patterns[:, head], place, step)
            assert found.value == pytest.approx(expected, rel=1e-5)
            assert found.rows.counts.sum(axis=(1, 2)).tolist() == [len(of_category)] * 2


@pytest.mark.parametrize(("orders", "grouped"), [((DAYS, LETTERS), False), ((DAYS, LETTERS, MONTHS), True)])
def test_categories_are_redrawn_from_three_on(
    drawn: tuple[CategoryPrompts, np.ndarray], orders: tuple[dict[str, int], ...], grouped: bool
) -> None:
    prompts, patterns = drawn
    place = places(*orders)
    for statistic, step in zip(succession_ratios(survey_of(prompts, patterns), TARGET, place), (1, -1), strict=True):
        interval = statistic.interval()
        assert interval is not None
        assert interval.low < statistic.value < interval.high
        if not grouped:
            assert interval.unit == "prompts"
            assert statistic.rows.counts.shape[2] == 1
            continue
        of_category = ratio_of(prompts, patterns[:, 0], place, step)[1]
        expected = [of_category.count(category) for category in range(4)]
        assert expected[0] == 0
        assert statistic.rows.counts[0].sum(axis=0).tolist() == [*expected, 0]
        assert statistic.rows.n_categories == 3


def test_heads_differ_in_attention_not_in_rows() -> None:
    """Twice the attention to the successor, twice the ratio; rows scaled alike, the same ratio."""
    prompt = "alpha beta delta beta gamma red beta"
    once = succession_ratios(surveyed((BY_HAND / 100).tolist(), prompt), TARGET, places(LETTERS))
    more = BY_HAND.copy()
    more[5, 3], more[7, 5] = 16, 32
    twice = succession_ratios(surveyed((more / 100).tolist(), prompt), TARGET, places(LETTERS))
    assert twice[0].value == pytest.approx(2 * once[0].value, rel=1e-6)
    assert twice[1].value == pytest.approx(once[1].value, rel=1e-6)


def test_a_head_that_was_not_surveyed_is_not_assessable() -> None:
    s = surveyed((BY_HAND / 50).tolist(), "alpha beta delta beta gamma red beta")
    with pytest.raises(NotAssessable, match="needs attention of L3H1"):
        succession_ratios(s, Head(3, 1), places(LETTERS))
