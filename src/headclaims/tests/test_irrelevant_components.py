"""What an ablation moves among kin leaves the category score where it is, and is no longer called irrelevant."""

import importlib.util
import inspect
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from headclaims.audit.ablations import Ablated
from headclaims.checkpoint.interface import Head
from headclaims.claim.claim import Claim
from headclaims.claim.claim_set import ClaimSet
from headclaims.errors import NotSupported
from headclaims.measures.ablation import Component
from headclaims.measures.ablation_effects import mean_variation, row_variation, total_variation
from headclaims.measures.category_score import Survey, survey
from headclaims.prompts.category import CategoryPrompts, category_prompts
from headclaims.statistics.nulls import Null
from headclaims.statistics.verdict import Verdict
from headclaims.tests.claims_run import SET
from headclaims.tests.test_claim import MadeUp
from headclaims.tests.word_lists import load_words

TARGET = Head(1, 5)
IRRELEVANT = (
    "position-embedding-irrelevant",
    "first-attention-irrelevant",
    "position-and-attention-jointly-irrelevant",
    "effective-embedding-sufficient",
)


@pytest.fixture(scope="module")
def prompts() -> CategoryPrompts:
    """Twelve prompts of 64 tokens."""
    return category_prompts(load_words("write-up"), len, 0, n_prompts=12, length=64, seed=4)


def kin_patterns(prompts: CategoryPrompts, to_first: float) -> np.ndarray:
    """0.9 on kin: a share on the first of a row's kin, the rest evenly on all; what kin don't get is BOS's."""
    pattern = np.zeros((len(prompts), prompts.length, prompts.length))
    for number, (words, categories) in enumerate(zip(prompts.word_at, prompts.category_at, strict=True)):
        for i in range(prompts.length):
            kin = [j for j in range(1, i) if categories[j] == categories[i] and words[j] != words[i]]
            if kin:
                pattern[number, i, kin] = 0.9 * (1 - to_first) / len(kin)
                pattern[number, i, kin[0]] += 0.9 * to_first
            pattern[number, i, 0] = 1 - pattern[number, i].sum()
    return pattern


def survey_of(prompts: CategoryPrompts, pattern: np.ndarray) -> Survey:
    """A survey of the target alone."""
    return survey(prompts, (TARGET,), [(slice(None), torch.from_numpy(pattern)[:, None])])


def claims_module() -> ModuleType:
    """The set's claims about ablations."""
    spec = importlib.util.spec_from_file_location("component_ablation", SET / "test_component_ablation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class MadeUpVerdicts(MadeUp):
    """An audit of verdicts only."""

    @property
    def settings(self) -> Any:
        return SimpleNamespace(seed=0, verdicts_only=True)


class MadeUpAblations:
    """Ablations of any component, under which the target's pattern becomes a given one."""

    def __init__(self, prompts: CategoryPrompts, clean: np.ndarray, changed: Sequence[np.ndarray]) -> None:
        """`changed` are the patterns by the layer of the ablated component."""
        self.prompts, self.pattern, self.changed = prompts, clean, changed
        self.clean = survey_of(prompts, clean)
        self.patterns_from_E = changed[0][None]

    def of_pattern(self, pattern: np.ndarray) -> Ablated:
        return Ablated(survey_of(self.prompts, pattern), self.clean, TARGET, row_variation(self.pattern, pattern))

    def target_under(self, components: Sequence[Component], kind: object = None) -> Ablated:  # noqa: ARG002
        return self.of_pattern(self.changed[components[0].layer])

    def relative_of(self, patterns: np.ndarray) -> np.ndarray:
        return np.zeros(len(patterns))

    def null(self, relative: np.ndarray) -> Null:  # noqa: ARG002
        return Null("other heads", None, missing="made up")


def judged(claim_id: str, ablations: MadeUpAblations, target: Head = TARGET) -> Claim:
    """A claim of the set, judged under made-up ablations."""
    claim = Claim(claim_id, ClaimSet.read(SET), MadeUpVerdicts(target.label, "elsewhere", 0))
    given = {
        "claim": claim,
        "ablations": ablations,
        "category_head": lambda: None,
        "checkpoint": SimpleNamespace(learned_positions=True),
        "target": target,
    }
    test = getattr(claims_module(), "test_" + claim_id.replace("-", "_"))
    with suppress(NotSupported):
        test(**{name: given[name] for name in inspect.signature(test).parameters})
    return claim


def test_row_variation_by_hand() -> None:
    clean = np.array([[[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]])
    changed = np.array([[[1.0, 0, 0], [0.2, 0.8, 0], [0.7, 0.3, 0.0]]])
    assert row_variation(clean, changed) == pytest.approx(np.array([[0, 0.3, 0.5]]))
    assert total_variation(clean, changed) == pytest.approx(0.8 / 3)


def test_the_mean_variation_has_an_interval_over_prompts_and_categories(prompts: CategoryPrompts) -> None:
    rows = np.random.default_rng(0).uniform(size=(12, 64))
    statistic = mean_variation(survey_of(prompts, kin_patterns(prompts, 0.0)), rows)
    assert statistic.value == pytest.approx(rows.mean())
    interval = statistic.interval()
    assert interval is not None
    assert interval.low < rows.mean() < interval.high
    left_out = statistic.jackknifed.left_out
    assert left_out["prompts"][3, 0] == pytest.approx(np.delete(rows, 3, axis=0).mean())
    of_days = prompts.category_at == list(prompts.words.categories).index("days")
    assert left_out["categories"][5, 0] == pytest.approx(rows[~of_days].mean())


@pytest.mark.parametrize("claim_id", IRRELEVANT)
def test_attention_that_moves_among_kin_is_not_irrelevant(prompts: CategoryPrompts, claim_id: str) -> None:
    clean, moved = kin_patterns(prompts, 0.0), kin_patterns(prompts, 0.7)
    variation = total_variation(clean, moved)
    assert 0.3 < variation < 0.4  # a third of all attention
    claim = judged(claim_id, MadeUpAblations(prompts, clean, [moved]))
    assert claim.entry.measured["effect"] == pytest.approx(0, abs=1e-6)
    assert claim.entry.measured["total_variation"] == pytest.approx(variation)
    assert claim.entry.verdict == Verdict.NOT_SUPPORTED
    assert "total_variation" in (claim.entry.reason or "")
    # A tenth of the attention may move.
    claim = judged(claim_id, MadeUpAblations(prompts, clean, [kin_patterns(prompts, 0.2)]))
    assert claim.entry.verdict == Verdict.SUPPORTED


def test_of_several_attentions_the_one_that_moves_rows_most_decides_of_rows(prompts: CategoryPrompts) -> None:
    """Before a target in layer 2: attention 0 moves the score a little, attention 1 rows by a third."""
    clean, moved = kin_patterns(prompts, 0.0), kin_patterns(prompts, 0.7)
    weaker = clean.copy()
    weaker[:, :, 1:] *= 0.97
    weaker[:, :, 0] = 1 - weaker[:, :, 1:].sum(axis=-1)
    ablations = MadeUpAblations(prompts, clean, [weaker, moved])
    claim = judged("first-attention-irrelevant", ablations, Head(2, 5))
    assert claim.entry.measured["effect"] > 0
    assert claim.entry.measured["total_variation"] == pytest.approx(total_variation(clean, moved))
    assert (claim.entry.measured["attention"], claim.entry.measured["moving_attention"]) == (0, 1)
    assert claim.entry.verdict == Verdict.NOT_SUPPORTED
