"""Real GPT-2 small: the evidence at ../shared/gpt2-small, read by safetensors and folded by numpy alone."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from headclaims.checkpoint.interface import Head
from headclaims.circuit.eigenspectrum import HeadSpectra, head_spectra
from headclaims.circuit.qk_circuit import span
from headclaims.measures.category_score import Survey, survey
from headclaims.prompts.category import recorded_prompts
from headclaims.tests.plain_loops import Row, categories_of, rows_of
from headclaims.tests.word_lists import load_words

FOLDER = Path(__file__).parents[4] / "shared" / "gpt2-small"
WEIGHTS, ATTENTION = FOLDER / "attention-weights.safetensors", FOLDER / "recorded-attention.safetensors"
ATTENTION_128 = FOLDER / "recorded-attention-128.safetensors"
LAYERS, HEADS, D_MODEL, D_HEAD = 12, 12, 768, 64
TARGET = Head(1, 5)
AT = TARGET.layer * HEADS + TARGET.index

needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"{WEIGHTS} is not there")
needs_attention = pytest.mark.skipif(not ATTENTION.is_file(), reason=f"{ATTENTION} is not there")


needs_both = pytest.mark.skipif(
    not (ATTENTION.is_file() and ATTENTION_128.is_file()), reason=f"{ATTENTION} and {ATTENTION_128.name} are not there"
)


@cache
def recorded(path: Path = ATTENTION) -> tuple[list[str], np.ndarray]:
    """The recorded prompt as token strings, and the patterns [head, query, key] of layer 1 on it."""
    with safe_open(path, framework="np") as file:
        (tokens,) = json.loads(file.metadata()["tokens"])
        return tokens, file.get_tensor("blocks.1.attn.hook_pattern")[0]


def recorded_rows(path: Path, head: int) -> list[Row]:
    """The rows of one of layer 1's heads on the recorded prompt, by plain loops."""
    tokens, pattern = recorded(path)
    return rows_of(
        [None, *(token.strip() for token in tokens[1:])], categories_of(load_words("write-up")), pattern[head]
    )


@cache
def recorded_survey(path: Path = ATTENTION) -> Survey:
    """The survey, by the code under test, of layer 1's heads on the recorded prompt."""
    tokens, pattern = recorded(path)
    prompts = recorded_prompts(load_words("write-up"), [tokens])
    return survey(
        prompts, tuple(Head(1, head) for head in range(HEADS)), [(slice(0, 1), torch.from_numpy(pattern)[None])]
    )


def weights(layer: int, *, folded: bool = True, centred: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """W_Q and W_K [head, d_model, d_head] of a layer in float64, from c_attn's fused columns and ln_1's gain."""
    with safe_open(WEIGHTS, framework="np") as file:
        stem = f"transformer.h.{layer}."
        fused = file.get_tensor(stem + "attn.c_attn.weight").astype(np.float64)
        gain = file.get_tensor(stem + "ln_1.weight").astype(np.float64)
    if folded:
        fused = gain[:, None] * fused
    if centred:
        fused = fused - fused.mean(axis=0)
    per_head = [[fused[:, part * D_MODEL + head * D_HEAD :][:, :D_HEAD] for head in range(HEADS)] for part in range(2)]
    return np.stack(per_head[0]), np.stack(per_head[1])


def target_weights(*, folded: bool = True, centred: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """W_Q and W_K [d_model, d_head] of L1H5."""
    W_Q, W_K = weights(TARGET.layer, folded=folded, centred=centred)
    return W_Q[TARGET.index], W_K[TARGET.index]


@cache
def spectra() -> HeadSpectra:
    """The spectra, by the code under test, of all 144 heads, layer after layer."""
    layers = [weights(layer) for layer in range(LAYERS)]
    W_Q, W_K = (torch.from_numpy(np.concatenate([pair[part] for pair in layers])) for part in range(2))
    return head_spectra(span(W_Q, W_K))
