"""Patterns on prompts: those of transformers, from one run of the model for all that reads them, within a limit."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import transformers

from headclaims.audit import attention
from headclaims.audit.attention import Patterns
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.checkpoint.planted.random_weights import random_folder

PROMPTS, LENGTH = 20, 12


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load(str(random_folder(0)))


@pytest.fixture
def runs(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many prompts each run of the model had."""
    run, prompts = type(checkpoint).run, []

    def counted(self: Checkpoint, tokens: torch.Tensor, *arguments: object, **options: object) -> object:
        prompts.append(len(tokens))
        return run(self, tokens, *arguments, **options)

    monkeypatch.setattr(type(checkpoint), "run", counted)
    return prompts


def drawn(seed: int) -> torch.Tensor:
    return torch.randint(2, 900, (PROMPTS, LENGTH), generator=torch.Generator().manual_seed(seed))


def by_transformers(tokens: torch.Tensor) -> np.ndarray:
    """Patterns [head, prompt, query, key] of all heads."""
    model = transformers.AutoModelForCausalLM.from_pretrained(random_folder(0), attn_implementation="eager")
    with torch.no_grad():
        layers = model(tokens, output_attentions=True).attentions
    return torch.cat([layer.transpose(0, 1) for layer in layers]).numpy()


def test_patterns_are_those_of_transformers(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, patterns = drawn(0), Patterns(checkpoint)
    expected = by_transformers(tokens)
    assert len(patterns.heads) == len(expected) > 3
    some = [patterns.heads[-1], patterns.heads[1]]
    assert patterns.of(tokens, some) == pytest.approx(expected[[-1, 1]], abs=1e-5)  # before all are held
    assert patterns.of_all(tokens) == pytest.approx(expected, abs=1e-5)
    assert patterns.of(tokens, some) == pytest.approx(expected[[-1, 1]], abs=1e-5)
    for most in (attention.MOST_AT_ONCE, 1):
        monkeypatch.setattr(attention, "MOST_AT_ONCE", most)
        batches = list(patterns.batches(tokens))
        assert np.concatenate([np.arange(PROMPTS)[place] for place, _ in batches]).tolist() == list(range(PROMPTS))
        found = torch.cat([batch for _, batch in batches])
        assert found.transpose(0, 1).numpy() == pytest.approx(expected, abs=1e-5)


def test_the_model_runs_once_on_the_same_prompts(checkpoint: Checkpoint, runs: list[int]) -> None:
    patterns = Patterns(checkpoint)
    list(patterns.batches(drawn(0)))
    assert sum(runs) == PROMPTS
    patterns.of_all(drawn(0))
    patterns.of(drawn(0), [Head(0, 1)])
    list(patterns.batches(drawn(0)))
    assert sum(runs) == PROMPTS
    patterns.of_all(drawn(1))
    assert sum(runs) == 2 * PROMPTS
    patterns.of_all(drawn(0)[:, :-1])  # the same begins another prompt
    assert sum(runs) == 3 * PROMPTS


def test_of_some_heads_the_model_runs_up_to_the_last_one_and_nothing_is_held(
    checkpoint: Checkpoint, runs: list[int]
) -> None:
    patterns = Patterns(checkpoint)
    for again in (1, 2):
        patterns.of(drawn(0), [Head(0, 1)])
        assert sum(runs) == again * PROMPTS


def test_of_the_prompts_met_last_so_many_are_held_as_fit(
    checkpoint: Checkpoint, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns = Patterns(checkpoint)
    monkeypatch.setattr(attention, "MOST_AT_ONCE", 2 * len(patterns.heads) * PROMPTS * LENGTH**2)
    for seed in (0, 1, 2, 2, 1):
        patterns.of_all(drawn(seed))
    assert sum(runs) == 3 * PROMPTS
    patterns.of_all(drawn(0))
    assert sum(runs) == 4 * PROMPTS
    assert sum(one.size for one in patterns._held.values()) == attention.MOST_AT_ONCE
    monkeypatch.setattr(attention, "MOST_AT_ONCE", attention.MOST_AT_ONCE // 2 - 1)
    assert not patterns.fit(drawn(0))


def test_beside_a_vocabulary_stay_few_patterns_of_the_run_s_own_prompts(
    checkpoint: Checkpoint, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns = Patterns(checkpoint)
    patterns.of_all(drawn(0))
    patterns.of_all(drawn(1))
    patterns.let_go(all_but=drawn(0))
    patterns.of_all(drawn(0))
    assert sum(runs) == 2 * PROMPTS
    patterns.of_all(drawn(1))
    assert sum(runs) == 3 * PROMPTS
    monkeypatch.setattr(attention, "FEW", len(patterns.heads) * PROMPTS * LENGTH**2 - 1)
    assert patterns.fit(drawn(0)[:, :-1])
    assert not patterns.fit(drawn(0))
    patterns.let_go(all_but=drawn(0))
    assert not patterns._held
