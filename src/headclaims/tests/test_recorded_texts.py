"""An audit of recorded texts: prompts of any lengths, most of their tokens in no list, held against plain loops."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headclaims.fleet.workers import audit
from headclaims.tests.claims_run import SET
from headclaims.tests.evidence_files import HEADS, EvidenceParts, header
from headclaims.tests.plain_loops import Row, categories_of, random_patterns, rows_of
from headclaims.tests.word_lists import load_words

TARGET = 5
CLAIMS = (
    "category-score-lowest",
    "attends-within-category",
    "suppresses-self",
    "self-above-unrelated",
    "kin-above-nearest-category",
    "identity-explains-scores",
)
FILLERS = ("the", "of", "and", "ran", ",")


def recording(first: str, spelled: bool) -> tuple[EvidenceParts, list[list[str]], list[np.ndarray]]:
    """Fourteen texts of 12 to 40 tokens, half of them words of four categories, with patterns of layer 1's heads."""
    generator = np.random.default_rng(6)
    words = [word for members in list(load_words("write-up").categories.values())[:4] for word in members[:3]]
    prompts, patterns, tensors = [], [], {}
    for n in range(14):
        length = int(generator.integers(12, 41))
        drawn = [str(generator.choice(words if generator.random() < 0.6 else FILLERS)) for _ in range(length - 1)]
        prompts.append([first, *(f" {word}" for word in drawn)])
        patterns.append(random_patterns(1, HEADS, length, seed=n)[0])
        tensors[f"{n}/blocks.1.attn.hook_pattern"] = torch.from_numpy(patterns[-1])
    tokens = [[token.replace(" ", "Ġ") for token in prompt] for prompt in prompts] if spelled else prompts
    return EvidenceParts(tensors, header("recorded-attention", tokens=tokens)), prompts, patterns


def loops(prompts: list[list[str]], patterns: list[np.ndarray], head: int) -> list[Row]:
    """A head's rows on all prompts, those that count."""
    category_of = categories_of(load_words("write-up"))
    rows = []
    for prompt, pattern in zip(prompts, patterns, strict=True):
        text = [None, *(token.strip() if token.strip() in category_of else None for token in prompt[1:])]
        rows += [row for row in rows_of(text, category_of, pattern[head]) if row.counted]
    return rows


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def nearest(prompts: list[list[str]], patterns: list[np.ndarray]) -> float:
    """The mean over categories of ln(a_kin/a_nearest), by loops."""
    category_of = categories_of(load_words("write-up"))
    kin: dict[object, list[float]] = defaultdict(list)
    rivals: dict[object, dict[object, list[float]]] = defaultdict(lambda: defaultdict(list))
    for prompt, pattern in zip(prompts, patterns, strict=True):
        words = [token.strip() for token in prompt]
        for i in range(1, len(words)):
            own = category_of.get(words[i])
            earlier: dict[object, list[float]] = defaultdict(list)
            for j in range(1, i):
                if words[j] in category_of and words[j] != words[i]:
                    earlier[category_of[words[j]]].append(float(pattern[TARGET][i, j]))
            if own is not None and own in earlier:
                kin[own].append(mean(earlier[own]))
                for other, attention in earlier.items():
                    if other != own:
                        rivals[own][other].append(mean(attention))
    return mean(math.log(mean(kin[own]) / max(mean(of) for of in rivals[own].values())) for own in kin)


def identity(prompts: list[list[str]], patterns: list[np.ndarray]) -> float:
    """The share of the variance of ln(A[i,j]/A[i,0]) that the other members of its cell foretell, by loops."""
    category_of = categories_of(load_words("write-up"))
    cells: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
    for prompt, pattern in zip(prompts, patterns, strict=True):
        words, A = [token.strip() for token in prompt], pattern[TARGET]
        for i in range(1, len(words)):
            for j in range(1, i + 1):
                if words[i] in category_of and words[j] in category_of:
                    cells[words[i], words[j], i == j].append(math.log(A[i, j] / A[i, 0]))
    again = [values for values in cells.values() if len(values) > 1]
    everything = [value for values in again for value in values]
    missed = sum((v - (sum(values) - v) / (len(values) - 1)) ** 2 for values in again for v in values)
    return 1 - missed / sum((v - mean(everything)) ** 2 for v in everything)


@pytest.mark.parametrize(("first", "spelled"), [("<s>", False), ("The", True)], ids=["with BOS", "without, as Ġ"])
def test_claims_of_recorded_texts_are_those_of_plain_loops(tmp_path: Path, first: str, spelled: bool) -> None:
    parts, prompts, patterns = recording(first, spelled)
    path = parts.write(tmp_path / "texts.safetensors")
    record = audit(SET, ["--checkpoint", str(path), "--no-cache", "--verdicts-only"], CLAIMS)
    measured = {claim["id"]: claim["measured"] for claim in record["claims"]}
    rows = loops(prompts, patterns, TARGET)
    scored = [[r for r in loops(prompts, patterns, h) if r.kin or first == "<s>"] for h in range(HEADS)]
    scores = [mean(row.score for row in of_head) for of_head in scored]
    others = scores[:TARGET] + scores[TARGET + 1 :]
    assert measured["category-score-lowest"]["score"] == pytest.approx(scores[TARGET], rel=1e-5)
    assert measured["category-score-lowest"]["gap"] == pytest.approx(min(others) - scores[TARGET], abs=1e-5)
    with_kin = [row for row in rows if row.kin]
    ratio = mean(row.kin_mass for row in with_kin) / mean(row.uniform_share for row in with_kin)
    assert measured["attends-within-category"]["ratio"] == pytest.approx(ratio, rel=1e-5)
    compared = [row for row in with_kin if row.others]
    copied = [row for row in compared if row.copies]
    suppressed = min(
        math.log(mean(r.per_kin for r in compared) / mean(r.own for r in compared)),
        math.log(mean(r.per_kin for r in copied) / mean(r.per_copy for r in copied)),
    )
    assert measured["suppresses-self"]["log_ratio"] == pytest.approx(suppressed, abs=1e-5)
    above = math.log(mean(r.own for r in compared) / mean(r.per_other for r in compared))
    assert measured["self-above-unrelated"]["log_ratio"] == pytest.approx(above, abs=1e-5)
    assert measured["kin-above-nearest-category"]["log_ratio"] == pytest.approx(nearest(prompts, patterns), abs=1e-5)
    assert measured["identity-explains-scores"]["r_squared"] == pytest.approx(identity(prompts, patterns), abs=1e-5)
