"""Repeated, gapped, shuffled and recorded prompts, and the attention to what is marked in them."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors import safe_open

from headclaims.checkpoint.interface import Head
from headclaims.errors import BadInput, NotAssessable
from headclaims.measures.marked_attention import attention_ratio, marked_attention
from headclaims.prompts.repeated import (
    COPY,
    MOST_GAP,
    PLACE,
    PREVIOUS,
    TARGET,
    MarkedPrompts,
    plain_tokens,
    recorded_marks,
    repeated_prompts,
)
from headclaims.tests.real_gpt2 import FOLDER

SENTENCE = FOLDER / "recorded-sentence-dog-on-the-ship.safetensors"
PLAIN = list(range(100, 160))


def drawn(n: int = 12, r: int = 6):
    return repeated_prompts(PLAIN, 7, n, r, seed=3)


def marked(prompts: MarkedPrompts, mark: str, prompt: int) -> dict[int, list[int]]:
    """Keys that are marked, by row."""
    rows = prompts.marks[mark][prompt]
    return {i: np.flatnonzero(row).tolist() for i, row in enumerate(rows) if row.any()}


def by_loops(tokens: list[int], r: int, gap: int) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Earlier copies and their successors of the second half's rows, found by token."""
    copies = {}
    for i in range(1 + r + gap, 1 + 2 * r + gap):
        copies[i] = [c for c in range(1, r + 1) if tokens[c] == tokens[i]]
    return copies, {i: [c + 1 for c in found] for i, found in copies.items()}


def test_marks_are_the_earlier_copy_and_its_successor() -> None:
    draw = drawn()
    for prompts, gaps in ((draw.repeated, [0] * 12), (draw.shuffled, [0] * 12), (draw.gapped, draw.gap_length)):
        for prompt, gap in enumerate(gaps):
            tokens = np.asarray(prompts.tokens)[prompt].tolist()
            copies, targets = by_loops(tokens, 6, int(gap))
            assert all(len(found) == 1 for found in copies.values())
            assert marked(prompts, COPY, prompt) == copies
            assert marked(prompts, TARGET, prompt) == targets
            assert marked(prompts, PREVIOUS, prompt) == {i: [i - 1] for i in range(2, 7)}
            assert np.flatnonzero(np.asarray(prompts.second)[prompt]).tolist() == list(copies)
            assert prompts.target_tokens[prompt, list(targets)].tolist() == [tokens[t] for (t,) in targets.values()]


def test_a_repeated_prompt_is_bos_and_the_same_different_tokens_twice() -> None:
    tokens = np.asarray(drawn().repeated.tokens)
    assert tokens.shape == (12, 13)
    assert (tokens[:, 0] == 7).all()
    assert (tokens[:, 1:7] == tokens[:, 7:]).all()
    assert all(len(set(row)) == 6 for row in tokens[:, 1:7].tolist())
    assert len({tuple(row) for row in tokens.tolist()}) == 12


def test_gaps_are_of_further_tokens_and_of_many_lengths() -> None:
    draw = drawn(40)
    tokens = np.asarray(draw.gapped.tokens)
    assert set(draw.gap_length.tolist()) <= set(range(MOST_GAP + 1))
    assert len(set(draw.gap_length.tolist())) > 8
    for row, gap in zip(tokens.tolist(), draw.gap_length.tolist(), strict=True):
        between = row[7 : 7 + gap]
        assert len({*row[1:7], *between}) == 6 + gap
        assert row[7 + gap : 13 + gap] == row[1:7]
        assert set(row[13 + gap :]) <= {7}
    assert (np.asarray(draw.repeated.tokens)[:, 1:7] == tokens[:, 1:7]).all()


def test_a_shuffled_half_leaves_no_token_in_its_place() -> None:
    draw = drawn(40)
    tokens = np.asarray(draw.shuffled.tokens)
    assert (tokens[:, 1:7] != tokens[:, 7:]).all()
    assert (np.sort(tokens[:, 1:7]) == np.sort(tokens[:, 7:])).all()
    assert marked(draw.shuffled, PLACE, 0) == {7 + place: [2 + place] for place in range(6)}


def test_halves_and_seeds() -> None:
    first, second = drawn().halves()
    assert (len(first), len(second)) == (6, 6)
    assert (np.concatenate([first.words, second.words]) == drawn().words).all()
    assert (repeated_prompts(PLAIN, 7, 12, 6, seed=4).words != drawn().words).any()
    with pytest.raises(BadInput, match="wanted two or more"):
        drawn(1).halves()


def test_a_short_context_shortens_the_halves_or_refuses() -> None:
    assert repeated_prompts(PLAIN, 7, 2, 32, 0, n_ctx=40).r == 11
    with pytest.raises(NotAssessable, match="2 tokens twice"):
        repeated_prompts(PLAIN, 7, 2, 32, 0, n_ctx=22)
    with pytest.raises(NotAssessable, match="of 20 plain tokens"):
        repeated_prompts(PLAIN[:20], 7, 2, 6, 0)


def test_two_words_of_one_token_count_once() -> None:
    """Under a tokenizer that folds case or spelling, two words may be one token."""
    import wordfreq

    words = [word for word in wordfreq.top_n_list("en", 500) if word.isalpha()]
    ids = {f" {word}": number // 2 for number, word in enumerate(words)}
    found = plain_tokens(ids.get, words, "made/up")
    assert found.tolist() == list(range(len(words) // 2 + len(words) % 2))
    with pytest.raises(NotAssessable, match="wanted at least 200"):
        plain_tokens(ids.get, words[:150], "made/up")


def test_recorded_rows_have_all_their_copies_and_successors() -> None:
    prompts = recorded_marks([["a", "b", "a", "a", "c", "b"]])
    assert marked(prompts, COPY, 0) == {2: [0], 3: [0, 2], 5: [1]}
    assert marked(prompts, TARGET, 0) == {2: [1], 3: [1, 3], 5: [2]}
    assert marked(prompts, PREVIOUS, 0) == {2: [1], 3: [2], 4: [3], 5: [4]}
    with pytest.raises(NotAssessable, match="no token occurs twice within a prompt"):
        recorded_marks([["a", "b", "c"]])


def test_recorded_prompts_of_other_lengths_have_the_marks_that_each_has_alone() -> None:
    texts = [["a", "b", "a"], ["c", "a", "c", "a", "b", "c"], ["a", "b"]]
    together = recorded_marks(texts)
    assert together.rows_with(COPY) == 1 + 3
    for mark in (TARGET, COPY, PREVIOUS):
        assert together.marks[mark].shape == (3, 6, 6)
        for number, text in enumerate(texts[:2]):
            assert marked(together, mark, number) == marked(recorded_marks([text]), mark, 0)
        assert marked(together, mark, 2) == {}
    assert recorded_marks(texts, slice(1, 3)).numbers is not None
    assert recorded_marks(texts, slice(1, 3)).marks[COPY].shape == (2, 6, 6)


def test_attention_of_a_shorter_prompt_counts_as_it_does_alone() -> None:
    """Sums by prompt over all rows of two prompts of 6 and 4 tokens, by plain loops."""
    prompts = recorded_marks([["a", "b", "a", "a", "c", "b"], ["a", "a", "b", "a"]])
    generator = np.random.default_rng(1)
    patterns = [np.tril(generator.random((1, 2, n, n))) for n in (6, 4)]
    heads = [Head(0, 0), Head(0, 1)]
    batches = [(slice(p, p + 1), torch.from_numpy(pattern)) for p, pattern in enumerate(patterns)]
    found = marked_attention(heads, prompts.marks, batches)
    for p, pattern in enumerate(patterns):
        for index in range(2):
            on = [pattern[0, index, i, j] for i, keys in marked(prompts, TARGET, p).items() for j in keys]
            assert found.sums[TARGET][index, p] == pytest.approx(sum(on), abs=1e-6)
    assert found.rows[TARGET].tolist() == [3, 2]


def test_attention_to_marks_is_the_mean_over_rows() -> None:
    """By plain loops over two prompts of random patterns, one of which has more rows than the other."""
    prompts = recorded_marks([["a", "b", "a", "a", "c", "b"], ["a", "b", "c", "d", "e", "a"]])
    generator = np.random.default_rng(0)
    pattern = np.tril(generator.random((2, 3, 6, 6)))
    pattern /= pattern.sum(axis=-1, keepdims=True)
    heads = [Head(0, index) for index in range(3)]
    batches = [(slice(p, p + 1), torch.from_numpy(pattern[p : p + 1])) for p in range(2)]
    found = marked_attention(heads, prompts.marks, batches)
    for index, head in enumerate(heads):
        on = {
            mark: [
                sum(pattern[p, index, i, j] for j in keys)
                for p in range(2)
                for i, keys in marked(prompts, mark, p).items()
            ]
            for mark in (TARGET, COPY, PREVIOUS)
        }
        assert len(on[TARGET]) == 4
        assert found.mean(head, TARGET).value == pytest.approx(np.mean(on[TARGET]), abs=1e-6)
        assert found.means(PREVIOUS)[index] == pytest.approx(np.mean(on[PREVIOUS]), abs=1e-6)
        assert found.ratio(head, TARGET, COPY).value == pytest.approx(np.mean(on[TARGET]) / np.mean(on[COPY]), rel=1e-5)
    with pytest.raises(NotAssessable, match="needs attention of L1H0"):
        found.mean(Head(1, 0), TARGET)
    with pytest.raises(NotAssessable, match="no row has a place"):
        found.mean(heads[0], PLACE)


def test_a_ratio_of_two_runs_takes_prompts_together() -> None:
    """Prompts whose scores differ much but whose ratio is everywhere 2 leave no doubt about it."""
    marks = {TARGET: np.zeros((10, 2, 2), dtype=bool)}
    marks[TARGET][:, 1, 0] = True
    size = torch.linspace(0.05, 0.5, 10)

    def attention(scale: float):
        pattern = torch.zeros(10, 1, 2, 2)
        pattern[:, 0, 1, 0] = scale * size
        return marked_attention([Head(0, 0)], marks, [(slice(None), pattern)])

    twice = attention_ratio(attention(2).grouped(Head(0, 0), TARGET), attention(1).grouped(Head(0, 0), TARGET))
    interval = twice.interval()
    assert interval is not None
    assert_allclose([twice.value, interval.low, interval.high], 2, rtol=1e-5)


@pytest.mark.skipif(not SENTENCE.is_file(), reason=f"{SENTENCE} is not there")
def test_the_real_sentence_has_the_known_previous_token_and_induction_heads() -> None:
    """Of 144 heads of GPT-2 small on 17 tokens: rows 9, 10 and 14 have a token that occurred before."""
    with safe_open(SENTENCE, framework="pt") as file:
        tokens = json.loads(file.metadata()["tokens"])
        pattern = torch.cat([file.get_tensor(f"blocks.{layer}.attn.hook_pattern") for layer in range(12)], dim=1)
    heads = [Head(layer, index) for layer in range(12) for index in range(12)]
    prompts = recorded_marks(tokens)
    assert marked(prompts, TARGET, 0) == {9: [4], 10: [2], 14: [4, 10]}
    found = marked_attention(heads, prompts.marks, [(slice(None), pattern)])

    def best(values: np.ndarray, n: int) -> list[tuple[str, float]]:
        return [(heads[i].label, float(values[i])) for i in np.argsort(-values)[:n]]

    previous = best(found.means(PREVIOUS), 3)
    assert [label for label, _ in previous] == ["L4H11", "L2H2", "L3H2"]
    assert_allclose([score for _, score in previous], [0.9998, 0.578, 0.385], atol=6e-4)
    target = best(found.means(TARGET), 3)
    assert [label for label, _ in target] == ["L9H8", "L5H5", "L5H8"]
    assert_allclose([score for _, score in target], [0.398, 0.331, 0.264], atol=6e-4)
    of_row = {TARGET: prompts.marks[TARGET] & (np.arange(17) == 10)[None, :, None]}
    row = best(marked_attention(heads, of_row, [(slice(None), pattern)]).means(TARGET), 4)
    assert [label for label, _ in row] == ["L5H5", "L5H8", "L5H0", "L5H1"]
    assert_allclose([score for _, score in row], [0.845, 0.64, 0.584, 0.519], atol=6e-4)
    assert found.mean(Head(5, 5), TARGET).interval() is None  # one prompt
