"""Attention of all 144 heads of GPT-2 small on a sentence whose words return, and all its evidence in one folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Head
from headclaims.measures.marked_attention import MarkedAttention, marked_attention
from headclaims.prompts.repeated import COPY, PREVIOUS, TARGET, MarkedPrompts, recorded_marks
from headclaims.tests.claims_run import run_claims
from headclaims.tests.real_gpt2 import FOLDER, needs_weights

SENTENCE = FOLDER / "recorded-sentence-dog-on-the-ship.safetensors"
ALL_HEADS = tuple(Head(layer, index) for layer in range(12) for index in range(12))

needs_sentence = pytest.mark.skipif(not SENTENCE.is_file(), reason=f"{SENTENCE} is not there")


def on_the_sentence(only: int | None = None) -> tuple[MarkedPrompts, MarkedAttention]:
    """The marks, of one row alone if it is named, and every head's attention to them."""
    checkpoint = load(str(SENTENCE))
    recorded = checkpoint.recorded_tokens
    assert recorded is not None
    marked = recorded_marks(recorded)
    marks = dict(marked.marks)
    if only is not None:
        marks = {name: mark & (np.arange(mark.shape[1]) == only)[None, :, None] for name, mark in marks.items()}
    patterns = torch.as_tensor(checkpoint.recorded_patterns(0)).flatten(0, 1)[None]
    return marked, marked_attention(ALL_HEADS, marks, [(slice(0, 1), patterns)])


def highest(attention: MarkedAttention, mark: str, n: int) -> dict[str, float]:
    """The n heads that attend most to a mark."""
    scores = attention.means(mark)
    order = np.argsort(-scores)[:n]
    return {attention.heads[number].label: float(scores[number]) for number in order}


@needs_sentence
def test_three_rows_of_the_sentence_have_earlier_copies() -> None:
    """` the` of rows 9 and 14 stood at 3 (and 9), ` dog` of row 10 at 1; their successors are at 4, 2, 4 and 10."""
    marked, _ = on_the_sentence()
    assert np.argwhere(marked.marks[COPY][0]).tolist() == [[9, 3], [10, 1], [14, 3], [14, 9]]
    assert np.argwhere(marked.marks[TARGET][0]).tolist() == [[9, 4], [10, 2], [14, 4], [14, 10]]


@needs_sentence
def test_which_heads_of_gpt2_small_attend_to_what_followed_and_which_to_the_token_before() -> None:
    _, attention = on_the_sentence()
    assert highest(attention, PREVIOUS, 3) == {
        "L4H11": pytest.approx(0.9998, abs=6e-5),
        "L2H2": pytest.approx(0.578, abs=6e-4),
        "L3H2": pytest.approx(0.385, abs=6e-4),
    }
    assert highest(attention, TARGET, 3) == {
        "L9H8": pytest.approx(0.398, abs=6e-4),
        "L5H5": pytest.approx(0.331, abs=6e-4),
        "L5H8": pytest.approx(0.264, abs=6e-4),
    }
    _, of_dog = on_the_sentence(only=10)
    assert highest(of_dog, TARGET, 4) == {
        "L5H5": pytest.approx(0.845, abs=6e-4),
        "L5H8": pytest.approx(0.64, abs=6e-3),
        "L5H0": pytest.approx(0.584, abs=6e-4),
        "L5H1": pytest.approx(0.519, abs=6e-4),
    }


@pytest.mark.slow
@needs_weights
@needs_sentence
def test_all_evidence_in_one_folder_finds_the_previous_token_head_by_itself(tmp_path: Path) -> None:
    """Attention of the sentences names L4H11; the weights say that it composes with L5H5 most: no option is given."""
    made = run_claims("--checkpoint", FOLDER, reports=tmp_path, of="claims/induction_heads")
    measured = {name: claim["measured"] for name, claim in made.claims.items()}
    for name in ("previous-token-head-exists", "k-composition"):
        assert (measured[name]["layer"], measured[name]["head"]) == (4, 11)
    assert made.verdicts["k-composition"] == ("supported", ["distinctive"])
    assert measured["k-composition"]["ratio"] == pytest.approx(1.078, abs=6e-4)
    assert made.record["settings"].get("previous_token_head") is None
