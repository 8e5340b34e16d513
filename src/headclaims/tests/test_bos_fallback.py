"""Attention to BOS of matched pairs: by hand, and read off transformers' own attention."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from headclaims.checkpoint.interface import Head
from headclaims.measures.three_rules import PairSurvey, bos_fallback, survey_pairs
from headclaims.prompts.category import recorded_prompts
from headclaims.prompts.matched import MatchedPairs, matched_pairs
from headclaims.prompts.words import WordList
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import BOS, TOKEN_IDS
from headclaims.tests.small_models import WORDS as SMALL_WORDS

WORDS = WordList(
    "small",
    {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse"), "fruits": ("apple", "pear", "plum")},
)
# Prefix, last word without kin, last word with kin; categories 0 colours, 1 animals, 2 fruits.
PAIRS = [("dog cat dog", "red", "horse"), ("plum pear plum", "blue", "apple"), ("red blue red", "dog", "green")]
PAIRS += [("apple plum pear", "cat", "pear"), ("red blue dog", "apple", "blue")]
WITHOUT, WITH_KIN = [0.9, 0.7, 0.5, 0.8, 0.2], [0.1, 0.3, 0.2, 0.4, 0.6]
TARGET, OTHER = Head(1, 1), Head(2, 0)


def pairs_of(pairs: Sequence[tuple[str, str, str]]) -> MatchedPairs:
    """Pairs of these words after BOS."""
    both = []
    for side in (1, 2):
        texts = [f"{pair[0]} {pair[side]}".split() for pair in pairs]
        both.append(recorded_prompts(WORDS, [["<s>", *(" " + word for word in text)] for text in texts]))
    return MatchedPairs(*both)


def by_hand() -> PairSurvey:
    """Two heads: the second gives to BOS what the first doesn't."""
    target = np.array([WITHOUT, WITH_KIN])
    return PairSurvey(pairs_of(PAIRS), (OTHER, TARGET), np.stack([1 - target, target]))


def test_means_and_paired_difference_by_hand() -> None:
    # Sums: 3.1 without kin, 1.6 with; five pairs.
    alone, difference = bos_fallback(by_hand(), TARGET)
    assert alone.value == pytest.approx(0.62)
    assert difference.value == pytest.approx(0.30)
    alone, difference = bos_fallback(by_hand(), OTHER)
    assert alone.value == pytest.approx(0.38)
    assert difference.value == pytest.approx(-0.30)


def test_a_row_belongs_to_its_last_word_s_category() -> None:
    # Last words without kin: colours colours animals animals fruits; with: animals fruits colours fruits colours.
    alone, difference = bos_fallback(by_hand(), TARGET)
    assert alone.rows.counts.sum(axis=1).tolist() == [[2, 2, 1, 0]]
    assert difference.rows.counts.sum(axis=1).tolist() == [[2, 2, 1, 0], [2, 1, 2, 0]]
    assert alone.rows.sums.sum(axis=1) == pytest.approx(np.array([[0.9 + 0.7, 0.5 + 0.8, 0.2, 0]]))
    sums = [[1.6, 1.3, 0.2, 0], [0.2 + 0.6, 0.1, 0.3 + 0.4, 0]]
    assert difference.rows.sums.sum(axis=1) == pytest.approx(np.array(sums))
    # Each pair is one to draw.
    assert difference.rows.n_prompts == 5
    assert difference.rows.counts.sum(axis=2).tolist() == [[1] * 5] * 2


def test_leaving_a_category_out_removes_its_rows() -> None:
    for statistic, expected in zip(
        bos_fallback(by_hand(), TARGET),
        (
            # Without colours, animals, fruits: means of what is left.
            [(0.5 + 0.8 + 0.2) / 3, (0.9 + 0.7 + 0.2) / 3, (0.9 + 0.7 + 0.5 + 0.8) / 4],
            [
                1.5 / 3 - (0.1 + 0.3 + 0.4) / 3,
                1.8 / 3 - (0.3 + 0.2 + 0.4 + 0.6) / 4,
                2.9 / 4 - (0.1 + 0.2 + 0.6) / 3,
            ],
        ),
        strict=True,
    ):
        assert statistic.statistic(statistic.rows.without_each_category()) == pytest.approx(expected)


def test_pairs_are_drawn_whole() -> None:
    """The third pair twice, the first and the last not at all."""
    alone, difference = bos_fallback(by_hand(), TARGET)
    drawn = np.array([[0.0, 1, 2, 1, 0]])
    assert alone.statistic(alone.rows.means(drawn)) == pytest.approx([(0.7 + 2 * 0.5 + 0.8) / 4])
    expected = [((0.7 - 0.3) + 2 * (0.5 - 0.2) + (0.8 - 0.4)) / 4]
    assert difference.statistic(difference.rows.means(drawn)) == pytest.approx(expected)


def test_a_constant_difference_has_an_interval_of_one_point_over_pairs() -> None:
    """Attention to BOS varies from pair to pair, the difference does not: resampling sides apart would show."""
    base = np.linspace(0.1, 0.6, 15)
    survey = PairSurvey(pairs_of(PAIRS * 3), (TARGET,), np.stack([base + 0.25, base])[None])
    alone, difference = bos_fallback(survey, TARGET)
    assert difference.value == pytest.approx(0.25)
    weights = np.random.default_rng(0).multinomial(15, [1 / 15] * 15, size=200).astype(float)
    assert difference.statistic(difference.rows.means(weights)) == pytest.approx([0.25] * 200)
    assert np.ptp(alone.statistic(alone.rows.means(weights))) > 0.05


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_survey_of_pairs_is_transformers_attention(models: Models, name: str) -> None:
    pairs = matched_pairs(SMALL_WORDS, TOKEN_IDS.get, TOKEN_IDS[BOS], n_pairs=5, length=9, seed=1)
    heads = [Head(2, 0), Head(0, 2), Head(2, 1), Head(1, 1)]
    found = survey_pairs(models.checkpoint(name), pairs, heads, at_once=2)
    assert found.heads == tuple(heads)
    assert found.bos.shape == (4, 2, 5)
    for side, prompts in enumerate((pairs.without, pairs.with_kin)):
        with torch.no_grad():
            patterns = models(name).model(torch.as_tensor(prompts.tokens), output_attentions=True).attentions
        for at, head in enumerate(heads):
            expected = patterns[head.layer][:, head.index, -1, 0].numpy()
            assert found.bos[at, side] == pytest.approx(expected, abs=1e-5)
    # Lest heads, sides or pairs could be taken for one another.
    flat = found.bos.reshape(-1)
    assert np.abs(flat[:, None] - flat[None] + np.eye(40)).min() > 1e-5
    assert bos_fallback(found, heads[2])[0].value == pytest.approx(found.bos[2, 0].mean())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_pairs_without_a_token_in_front(models: Models, name: str) -> None:
    """The first word is in place of BOS: attention of the last word to it, read off transformers."""
    pairs = matched_pairs(SMALL_WORDS, TOKEN_IDS.get, TOKEN_IDS[BOS], n_pairs=5, length=9, seed=1)
    bare = pairs.without_front()
    found = survey_pairs(models.checkpoint(name), bare, [TARGET])
    for side, (prompts, whole) in enumerate(((bare.without, pairs.without), (bare.with_kin, pairs.with_kin))):
        assert (prompts.word_at >= 0).all()
        assert prompts.length == 8
        assert whole.tokens is not None
        tokens = torch.as_tensor(whole.tokens)[:, 1:]
        with torch.no_grad():
            patterns = models(name).model(tokens, output_attentions=True).attentions[TARGET.layer]
        assert found.bos[0, side] == pytest.approx(patterns[:, TARGET.index, -1, 0].numpy(), abs=1e-5)
    both = survey_pairs(models.checkpoint(name), pairs, [TARGET])
    assert np.abs(both.bos - found.bos).max() > 0.01
    assert bos_fallback(found, TARGET)[0].value == pytest.approx(found.bos[0, 0].mean())
