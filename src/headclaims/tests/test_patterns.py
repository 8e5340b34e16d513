"""Patterns on prompts: those of transformers, from one run of the model for all that reads them, within a limit."""

import numpy as np
import pytest
import torch
import transformers

from headclaims.audit import attention
from headclaims.audit.attention import Patterns
from headclaims.audit.audit import Audit
from headclaims.audit.settings import Settings
from headclaims.audit.workspace import Workspace
from headclaims.cache import Cache
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.tests.word_lists import word_lists

PROMPTS, LENGTH = 20, 12


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load(str(random_folder(0)))


@pytest.fixture
def runs(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts each run of the model had."""
    run, prompts = type(checkpoint).run, []

    def counted(self: Checkpoint, tokens: torch.Tensor, *arguments: object, **options: object) -> object:
        prompts.append(len(tokens))
        return run(self, tokens, *arguments, **options)

    monkeypatch.setattr(type(checkpoint), "run", counted)
    return prompts


def drawn(seed: int) -> torch.Tensor:
    return torch.randint(2, 900, (PROMPTS, LENGTH), generator=torch.Generator().manual_seed(seed))


def patterns_of(checkpoint: Checkpoint) -> Patterns:
    return Patterns(checkpoint, checkpoint.model_heads)


def by_transformers(tokens: torch.Tensor) -> np.ndarray:
    """Patterns [head, prompt, query, key] of all heads."""
    model = transformers.AutoModelForCausalLM.from_pretrained(random_folder(0), attn_implementation="eager")
    with torch.no_grad():
        layers = model(tokens, output_attentions=True).attentions
    return torch.cat([layer.transpose(0, 1) for layer in layers]).numpy()


def test_patterns_are_those_of_transformers(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, patterns = drawn(0), patterns_of(checkpoint)
    expected = by_transformers(tokens)
    assert len(patterns.heads) == len(expected) > 3
    some = [patterns.heads[-1], patterns.heads[1]]
    assert patterns.of(tokens, some) == pytest.approx(expected[[-1, 1]], abs=1e-5)  # before all are held
    assert patterns.of_all(tokens) == pytest.approx(expected, abs=1e-5)
    assert patterns.of(tokens, some) == pytest.approx(expected[[-1, 1]], abs=1e-5)
    for most in (attention.MOST_AT_ONCE, 1):
        monkeypatch.setattr(attention, "MOST_AT_ONCE", most)
        batches = list(patterns_of(checkpoint).batches(tokens))
        assert np.concatenate([np.arange(PROMPTS)[place] for place, _ in batches]).tolist() == list(range(PROMPTS))
        found = torch.cat([batch for _, batch in batches])
        assert found.transpose(0, 1).numpy() == pytest.approx(expected, abs=1e-5)


def test_the_model_runs_once_on_the_same_prompts(checkpoint: Checkpoint, runs: list[int]) -> None:
    patterns = patterns_of(checkpoint)
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
    patterns = patterns_of(checkpoint)
    for again in (1, 2):
        patterns.of(drawn(0), [Head(0, 1)])
        assert sum(runs) == again * PROMPTS


def test_of_the_prompts_met_last_so_many_are_held_as_fit(
    checkpoint: Checkpoint, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "MOST_AT_ONCE", 2 * len(checkpoint.model_heads) * PROMPTS * LENGTH**2)
    patterns = patterns_of(checkpoint)
    for seed in (0, 1, 2, 2, 1):
        patterns.of_all(drawn(seed))
    assert sum(runs) == 3 * PROMPTS
    patterns.of_all(drawn(0))
    assert sum(runs) == 4 * PROMPTS
    assert sum(one.size for one in patterns._held.values()) == attention.MOST_AT_ONCE
    assert patterns.fit(drawn(0).repeat(2, 1))
    assert not patterns.fit(drawn(0).repeat(3, 1))


def test_beside_a_vocabulary_stay_few_patterns_of_the_run_s_own_prompts(
    checkpoint: Checkpoint, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = len(checkpoint.model_heads) * PROMPTS * LENGTH**2
    monkeypatch.setattr(attention, "FEW", few)
    patterns = patterns_of(checkpoint)
    for seed in (0, 1):
        patterns.of_all(drawn(seed))
    patterns.hold_few(all_but=drawn(0))
    patterns.of_all(drawn(0))
    assert sum(runs) == 2 * PROMPTS
    patterns.of_all(drawn(1))
    assert sum(runs) == 3 * PROMPTS
    assert sum(one.size for one in patterns._held.values()) == few
    assert patterns.fit(drawn(0))
    assert not patterns.fit(drawn(0).repeat(2, 1))
    patterns.hold_few(all_but=None)
    assert not patterns._held


def test_beside_a_vocabulary_that_came_first_few_patterns_are_held(checkpoint: Checkpoint) -> None:
    too_many = torch.zeros(attention.FEW // LENGTH**2 // len(checkpoint.model_heads) + 1, LENGTH, dtype=torch.long)
    workspace = Workspace(Settings(), checkpoint, word_lists(), Cache(None))
    assert Audit(workspace, Head(1, 0), "name").E is not None
    assert not workspace.patterns.fit(too_many)
    assert workspace.patterns.fit(too_many[1:])
    assert Workspace(Settings(), checkpoint, word_lists(), Cache(None)).patterns.fit(too_many)
