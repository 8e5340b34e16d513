"""How far token identity foretells scores: by hand, by refitting in plain loops, and on real GPT-2 small."""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from headclaims.errors import NotAssessable
from headclaims.measures.token_identity import TokenPairs, identity_share
from headclaims.prompts.category import CategoryPrompts, category_prompts, recorded_prompts
from headclaims.prompts.words import WordList
from headclaims.tests import real_gpt2
from headclaims.tests.plain_loops import categories_of, random_patterns

WORDS = WordList("small", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse")})


def by_loops(prompts: Sequence[Sequence[str | None]], patterns: np.ndarray, without: object = None) -> float:
    """R² of L by the mean of the other members of each cell; queries of one category may be left out."""
    cells: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
    for prompt, pattern in zip(prompts, patterns, strict=True):
        for i, word in enumerate(prompt):
            if word is None or categories_of(WORDS).get(word) == without is not None:
                continue
            for j in range(1, i + 1):
                if (key := prompt[j]) is not None:
                    log = math.log(max(float(pattern[i][j]), 1e-12)) - math.log(max(float(pattern[i][0]), 1e-12))
                    cells[word, key, i == j].append(log)
    true, foretold = [], []
    for values in cells.values():
        for at, value in enumerate(values):
            others = values[:at] + values[at + 1 :]
            if others:
                true.append(value)
                foretold.append(sum(others) / len(others))
    mean = sum(true) / len(true)
    unexplained = sum((a - b) ** 2 for a, b in zip(true, foretold, strict=True))
    return 1 - unexplained / sum((a - mean) ** 2 for a in true)


def texts(prompts: CategoryPrompts) -> list[list[str | None]]:
    """The words of prompts, None where there is none."""
    return [[None if at < 0 else prompts.words.words[at] for at in indices] for indices in prompts.word_at]


def pattern_from(scores: np.ndarray) -> np.ndarray:
    """Causal softmax of scores [prompt, query, key]."""
    weights = np.tril(np.exp(scores))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def test_three_cells_by_hand() -> None:
    # BOS red red red, all attention relative to BOS. Own: L = 1, 2, 3; red to an earlier red: 0, 2, 1.
    scores = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 2, 1, 3.0]])
    prompts = recorded_prompts(WORDS, [["<s>", " red", " red", " red"]])
    measured = identity_share(TokenPairs.of(prompts, fewest=2), pattern_from(scores[None]))
    # Foretold by the other two: own 1 by 2.5, 2 by 2, 3 by 1.5; copies 0 by 1.5, 2 by 0.5, 1 by 1.
    unexplained = 1.5**2 + 0 + 1.5**2 + 1.5**2 + 1.5**2 + 0
    variation = (1 + 4 + 9 + 0 + 4 + 1) - 9**2 / 6
    assert measured.value == pytest.approx(1 - unexplained / variation)
    assert measured.interval() is None


def test_scores_between_words_are_foretold_wholly_and_scores_between_positions_are_not() -> None:
    prompts = category_prompts(WORDS, len, 0, n_prompts=12, length=24, seed=4)
    generator = np.random.default_rng(0)
    table, at = generator.normal(size=(7, 7)), prompts.word_at
    of_words = table[at[:, :, None], at[:, None, :]]
    of_words[:, :, 0] = 0.0
    pairs = TokenPairs.of(prompts)
    assert identity_share(pairs, pattern_from(of_words)).value == pytest.approx(1.0)
    # Added per query or by what position 0 gets, a number changes nothing of L between words, or all of it alike.
    shifted = of_words + generator.normal(size=(12, 24, 1))
    assert identity_share(pairs, pattern_from(shifted)).value == pytest.approx(1.0)
    of_positions = np.broadcast_to(generator.normal(size=(24, 24)), (12, 24, 24))
    assert identity_share(pairs, pattern_from(of_positions)).value < 0.2


def test_own_positions_and_copies_are_cells_apart() -> None:
    # A head that scores its own position 3 and all else 0 is foretold wholly, copies or not.
    prompts = category_prompts(WORDS, len, 0, n_prompts=10, length=20, seed=1)
    scores = np.broadcast_to(3 * np.eye(20), (10, 20, 20)).copy()
    scores[:, 0] = 0
    assert identity_share(TokenPairs.of(prompts), pattern_from(scores)).value == pytest.approx(1.0)


def test_it_is_its_definition_and_so_are_its_replicates() -> None:
    prompts = category_prompts(WORDS, len, 0, n_prompts=10, length=9, seed=4)
    patterns, words = random_patterns(10, 1, 9, seed=6)[:, 0], texts(prompts)
    measured = identity_share(TokenPairs.of(prompts), patterns)
    assert measured.value == pytest.approx(by_loops(words, patterns), abs=1e-9)
    left_out = measured.jackknifed.left_out
    without_prompt = [by_loops(words[:p] + words[p + 1 :], np.delete(patterns, p, 0)) for p in range(10)]
    assert 1 - np.exp(-left_out["prompts"][:, 0]) == pytest.approx(without_prompt, abs=1e-9)
    without_category = [by_loops(words, patterns, without=category) for category in WORDS.categories]
    assert 1 - np.exp(-left_out["categories"][:, 0]) == pytest.approx(without_category, abs=1e-9)
    # The interval lies evenly about the value on the scale of ln(1 − R²).
    interval = measured.interval()
    assert interval is not None
    assert interval.low < measured.value < interval.high
    unexplained = [1 - end for end in (interval.low, measured.value, interval.high)]
    assert unexplained[0] * unexplained[2] == pytest.approx(unexplained[1] ** 2)


def test_a_share_of_all_has_an_interval_of_one_point() -> None:
    prompts = category_prompts(WORDS, len, 0, n_prompts=10, length=20, seed=1)
    scores = np.broadcast_to(3 * np.eye(20), (10, 20, 20)).copy()
    scores[:, 0] = 0
    interval = identity_share(TokenPairs.of(prompts), pattern_from(scores)).interval()
    assert interval is not None
    assert interval.low <= 1.0 <= interval.high
    assert interval.low > 1 - 1e-9


def test_tokens_that_are_no_words_are_in_no_cell() -> None:
    prompts = recorded_prompts(WORDS, [["<s>", " red", ",", " red", " the", " red"]] * 2)
    patterns = random_patterns(2, 1, 6, seed=6)[:, 0]
    expected = by_loops([[None, "red", None, "red", None, "red"]] * 2, patterns)
    assert identity_share(TokenPairs.of(prompts, fewest=2), patterns).value == pytest.approx(expected, abs=1e-9)


def test_what_cannot_be_measured() -> None:
    # Own red and own dog, red before dog: three pairs, each seen twice.
    with pytest.raises(NotAssessable, match="seen twice in the prompts: 3; wanted 10"):
        TokenPairs.of(recorded_prompts(WORDS, [["<s>", " red", " dog"]] * 2))
    assert len(TokenPairs.of(recorded_prompts(WORDS, [["<s>", " red", " dog"]] * 2), fewest=3).category) == 3
    with pytest.raises(NotAssessable, match="begin with different tokens"):
        TokenPairs.of(recorded_prompts(WORDS, [["The", " red", " red"], ["A", " red", " red"]]))
    alike = TokenPairs.of(recorded_prompts(WORDS, [["The", " red", " red"]] * 2), fewest=2)
    uniform = np.tril(np.ones((2, 3, 3))) / np.arange(1, 4)[:, None]
    with pytest.raises(NotAssessable, match="do not vary"):
        _ = identity_share(alike, uniform).value


@real_gpt2.needs_both
@pytest.mark.parametrize(
    ("path", "stated"),
    [
        (real_gpt2.ATTENTION, {5: 0.927, 6: 0.875, 11: 0.844}),
        (real_gpt2.ATTENTION_128, {5: 0.888, 6: 0.894, 11: 0.704}),
    ],
)
def test_layer_1_of_real_gpt2_small(path: Path, stated: dict[int, float]) -> None:
    tokens, pattern = real_gpt2.recorded(path)
    text = [None, *(token.strip() for token in tokens[1:])]
    pairs = TokenPairs.of(real_gpt2.recorded_survey(path).prompts)
    shares = {head: identity_share(pairs, pattern[head][None]).value for head in range(12)}
    for head, share in stated.items():
        assert by_loops([text], pattern[head][None]) == pytest.approx(share, abs=5.1e-4)
        assert shares[head] == pytest.approx(share, abs=5.1e-4)
    assert max(share for head, share in shares.items() if head not in stated) < 0.72
