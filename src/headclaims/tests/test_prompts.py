"""Category prompts: how they are drawn, how recorded ones are read, and which keys are a row's target."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from headclaims.errors import BadInput, NotAssessable
from headclaims.prompts.category import CategoryPrompts, category_prompts, kin, recorded_prompts, target_mask
from headclaims.prompts.words import WordList
from headclaims.tests.plain_loops import categories_of, rows_of
from headclaims.tests.word_lists import load_words

# Categories of unequal size: drawing words uniformly, rather than categories, shows.
UNEQUAL = WordList(
    "unequal",
    {"few": ("a", "b", "c"), "more": ("d", "e", "f", "g", "h", "i"), "many": tuple("jklmnopqrstU")},
)
SMALL = WordList("small", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse")})
BOS = 777


def token_of(text: str) -> int:
    """An id for each one-letter or longer word with its leading space: no two alike, none its index."""
    assert text.startswith(" ")
    return 1000 + sum(ord(letter) * 7**i for i, letter in enumerate(text[1:]))


def drawn(words: WordList = UNEQUAL, **options: Any) -> CategoryPrompts:
    """Prompts for a tokenizer that knows every word."""
    return category_prompts(words, token_of, BOS, **options)


def test_the_default_is_32_prompts_of_64_tokens() -> None:
    prompts = drawn()
    assert len(prompts) == 32
    assert prompts.length == 64
    assert prompts.word_at.shape == (32, 64)
    assert prompts.numbers.tolist() == list(range(32))


def test_bos_is_put_first_and_nowhere_else() -> None:
    prompts = drawn(n_prompts=50, length=5)
    assert prompts.tokens is not None
    assert (prompts.tokens[:, 0] == BOS).all()
    assert (prompts.tokens[:, 1:] != BOS).all()
    assert (prompts.word_at[:, 0] == -1).all()
    assert (prompts.word_at[:, 1:] >= 0).all()
    assert (prompts.category_at[:, 0] == -1).all()


def test_tokens_are_those_of_the_words_with_a_leading_space() -> None:
    prompts = drawn(n_prompts=4, length=30)
    assert prompts.tokens is not None
    for words, tokens, categories in zip(prompts.word_at, prompts.tokens, prompts.category_at, strict=True):
        for word, token, category in list(zip(words, tokens, categories, strict=True))[1:]:
            assert token == token_of(" " + UNEQUAL.words[word])
            assert UNEQUAL.words[word] in list(UNEQUAL.categories.values())[category]


def test_categories_are_uniform_then_words_within_them() -> None:
    prompts = drawn(n_prompts=300, length=101, seed=3)
    counts = np.bincount(prompts.word_at[:, 1:].ravel(), minlength=21)
    assert counts.sum() == 30_000
    sizes = [3, 6, 12]
    expected = np.concatenate([np.full(size, 10_000 / size) for size in sizes])
    assert stats.chisquare(counts, expected).pvalue > 0.01
    # Power: words drawn uniformly would be told apart at once.
    assert stats.chisquare(counts, np.full(21, 30_000 / 21)).pvalue < 1e-100


def test_draws_are_independent_of_each_other_and_of_position() -> None:
    prompts = drawn(n_prompts=400, length=51, seed=4)
    category, word = prompts.category_at[:, 1:], prompts.word_at[:, 1:]
    neighbours = np.bincount((3 * category[:, :-1] + category[:, 1:]).ravel(), minlength=9)
    assert stats.chisquare(neighbours).pvalue > 0.01
    of_many = word[:, :-1][(category[:, :-1] == 2) & (category[:, 1:] == 2)] - 9
    next_of_many = word[:, 1:][(category[:, :-1] == 2) & (category[:, 1:] == 2)] - 9
    pairs = np.bincount(12 * of_many + next_of_many, minlength=144)  # with replacement: copies as often as others
    assert stats.chisquare(pairs).pvalue > 0.01
    first, last = (np.bincount(category[:, at], minlength=3) for at in (0, -1))
    assert stats.chisquare(first).pvalue > 0.01
    assert stats.chisquare(last).pvalue > 0.01


def test_a_seed_gives_its_prompts_again_and_another_seed_others() -> None:
    first, again, other = drawn(seed=5), drawn(seed=5), drawn(seed=6)
    assert (first.word_at == again.word_at).all()
    assert (first.word_at != other.word_at).any()


def test_drawing_takes_no_notice_of_the_global_generator() -> None:
    before = repr(np.random.get_state(legacy=False))
    drawn(seed=5)
    assert repr(np.random.get_state(legacy=False)) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_prompts": 0}, "0 prompts; wanted 1"),
        ({"n_prompts": -1}, "-1 prompts"),
        ({"length": 2}, "2 tokens; wanted 3"),
    ],
)
def test_no_prompts_or_too_short_ones_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        drawn(**options)


def test_one_prompt_of_three_tokens_is_drawn() -> None:
    assert drawn(n_prompts=1, length=3).word_at.shape == (1, 3)


def test_a_word_that_is_several_tokens_is_refused() -> None:
    def all_but_e(text: str) -> int | None:
        return None if text == " e" else token_of(text)

    with pytest.raises(ValueError, match="'e' is several tokens"):
        category_prompts(UNEQUAL, all_but_e, BOS)


def test_id_0_is_a_token() -> None:
    prompts = category_prompts(SMALL, lambda text: 0 if text == " red" else 1, BOS, n_prompts=20)
    assert prompts.tokens is not None
    assert ((prompts.tokens == 0) == (prompts.word_at == 0)).all()


@pytest.mark.parametrize(("n", "first", "second"), [(2, [0], [1]), (5, [0, 1], [2, 3, 4]), (6, [0, 1, 2], [3, 4, 5])])
def test_halves_share_no_prompt_and_leave_none_out(n: int, first: list[int], second: list[int]) -> None:
    whole = drawn(n_prompts=n, length=7)
    assert whole.tokens is not None
    for half, numbers in zip(whole.halves(), (first, second), strict=True):
        assert half.tokens is not None
        assert half.numbers.tolist() == numbers
        assert (half.word_at == whole.word_at[numbers]).all()
        assert (half.tokens == whole.tokens[numbers]).all()


def test_one_prompt_has_no_halves() -> None:
    with pytest.raises(BadInput, match="1 prompt; wanted two or more"):
        drawn(n_prompts=1).halves()


def test_recorded_prompts_are_read_by_the_list() -> None:
    recorded = [["<|endoftext|>", " red", " cat", " red"], ["<|endoftext|>", " horse", " blue", " green"]]
    prompts = recorded_prompts(SMALL, recorded)
    assert prompts.word_at.tolist() == [[-1, 0, 4, 0], [-1, 5, 1, 2]]
    assert prompts.category_at.tolist() == [[-1, 0, 1, 0], [-1, 1, 0, 0]]
    assert prompts.tokens is None
    assert prompts.numbers.tolist() == [0, 1]
    assert [half.tokens for half in prompts.halves()] == [None, None]


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ([["<s>", " violet", " mauve"]], "none of their tokens is a word of the list 'small'"),
        ([["<s>", "red", "blue"]], "none of their tokens.*; no token begins with a space"),
        ([["The", " violet"]], "none of their tokens"),
        ([], "none of their tokens"),
    ],
)
def test_recorded_prompts_of_another_list_are_not_assessable(recorded: list[list[str]], said: str) -> None:
    with pytest.raises(NotAssessable, match=said):
        recorded_prompts(SMALL, recorded)


def test_recorded_tokens_that_are_no_words_have_no_category() -> None:
    prompts = recorded_prompts(SMALL, [["A", " violet", " red", "blue", "<s>", " dog"], ["The", *[" cat"] * 5]])
    assert prompts.word_at.tolist() == [[-1, -1, 0, -1, -1, 3], [-1, 4, 4, 4, 4, 4]]
    assert prompts.category_at.tolist() == [[-1, -1, 0, -1, -1, 1], [-1, 1, 1, 1, 1, 1]]
    assert not target_mask(prompts)[0, 2, [1, 3, 4]].any()


def test_recorded_prompts_may_differ_in_length() -> None:
    prompts = recorded_prompts(SMALL, [["<s>", " red", " blue", ",", " dog"], ["<s>", " cat"], ["<s>", ",", " red"]])
    assert prompts.length == 5
    assert prompts.word_at.tolist() == [[-1, 0, 1, -1, 3], [-1, 4, -1, -1, -1], [-1, -1, 0, -1, -1]]
    assert [at.tolist() for at in prompts.rows] == [[0, 0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 4, 0, 1, 0, 2]]
    assert [at.tolist() for at in prompts.subset(slice(1, 3)).rows] == [[0, 0, 1, 1], [0, 1, 0, 2]]


def test_recorded_tokens_are_the_list_s_words_however_accents_are_written() -> None:
    """The list has é as one letter (NFC); the file as a letter and an accent."""
    accented = WordList("accents", {"drinks": ("caf\u00e9", "tea"), "food": ("p\u00e2t\u00e9", "bread")})
    prompts = recorded_prompts(accented, [["<s>", " cafe\u0301", " tea", " pa\u0302te\u0301"]])
    assert prompts.word_at.tolist() == [[-1, 0, 1, 2]]


@pytest.mark.parametrize(
    ("first", "bos", "alike"),
    [
        (("<|endoftext|>", "<|endoftext|>"), True, True),
        (("<s>", "[CLS]"), True, False),
        (("The", "The"), False, True),
        (("<s>", "The"), False, False),
        (("<", "<"), False, True),
    ],
)
def test_recorded_prompts_begin_with_bos_or_with_any_text(first: tuple[str, str], bos: bool, alike: bool) -> None:
    prompts = recorded_prompts(SMALL, [[token, " red", " blue"] for token in first])
    assert (prompts.begin_with_bos, prompts.begin_alike) == (bos, alike)
    assert prompts.halves()[1].begin_with_bos == (first[1] not in ("The", "<"))
    assert drawn().begin_with_bos


def test_recorded_prompts_that_begin_with_a_word_of_the_list_are_left_out() -> None:
    prompts = recorded_prompts(SMALL, [[" red", " blue"], ["The", " red"], ["dog", " cat"], ["<s>", " dog", " cat"]])
    assert prompts.numbers.tolist() == [1, 3]
    assert [list(map(prompts.words.words.index, (word,))) for word in ("red", "dog")] == [
        [prompts.word_at[0, 1]],
        [prompts.word_at[1, 1]],
    ]
    assert not prompts.begin_with_bos
    with pytest.raises(NotAssessable, match="all begin with a word of the list, as ' red', where BOS should be"):
        recorded_prompts(SMALL, [[" red", " blue"], ["dog", " cat"]])


def test_kin_share_a_category_and_are_not_the_same_word() -> None:
    expected = [
        [0, 1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 1, 0, 1],
        [0, 0, 0, 1, 1, 0],
    ]
    assert kin(SMALL).astype(int).tolist() == expected


def test_target_mask_of_four_tokens_by_hand() -> None:
    # BOS red blue red. Row 1, red: nothing before it but BOS, so BOS. Row 2, blue: red at 1 is kin. Row 3, red: blue at
    # 2 is kin; red at 1 is a copy, red at 3 is itself, and neither is kin.
    one_category = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    # BOS red dog cat. Row 2, dog: red is no kin, so BOS. Row 3, cat: dog at 2 alone.
    two_categories = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    prompts = recorded_prompts(SMALL, [["<s>", " red", " blue", " red"], ["<s>", " red", " dog", " cat"]])
    assert target_mask(prompts).astype(int).tolist() == [one_category, two_categories]


def test_target_mask_is_its_definition() -> None:
    words = load_words("write-up")
    prompts = category_prompts(words, token_of, BOS, n_prompts=3, length=40, seed=1)
    mask = target_mask(prompts)
    for number, indices in enumerate(prompts.word_at):
        prompt = [None if index < 0 else words.words[index] for index in indices]
        for row in rows_of(prompt, categories_of(words), np.zeros((40, 40))):
            assert np.flatnonzero(mask[number, row.position]).tolist() == list(row.kin or (0,))
