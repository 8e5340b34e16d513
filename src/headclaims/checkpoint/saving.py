"""Evidence written to `.safetensors` files: attention patterns from a cache of TransformerLens, or of a model's run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from headclaims.checkpoint.recorded import PATTERN, RecordedAttention
from headclaims.checkpoint.safetensors_file import EvidenceFile
from headclaims.errors import BadInput
from headclaims.files import in_one_step

SIZES = {"n_layer": "n_layers", "n_head": "n_heads", "n_embd": "d_model", "head_dim": "d_head", "vocab_size": "d_vocab"}
"""Config entries of a header, and what TransformerLens calls them."""


def save_attention(cache: Any, tokens: Sequence[Any], path: str | Path) -> Path:
    """Write the attention patterns of a cache to a `.safetensors` file that can be audited, and return its path.

    `cache` is a TransformerLens ActivationCache, or maps names to tensors or arrays: of `blocks.{L}.attn.hook_pattern`
    [prompt, head, query, key], or without the first axis, every one is written, in its own type. `tokens` are those of
    the prompt as text, BOS among them where the model saw one, or one such list a prompt, as `model.to_str_tokens`
    gives them or as the tokenizer spells them (`Ġred`, `▁red`). Prompts shorter than the patterns were padded behind
    their end.

    A cache that knows its model gives its sizes; from a dict it isn't known how many layers there are beside those
    recorded. Raises BadInput, a ValueError of one line, where patterns are no attention of these prompts.

    Example:
        _, cache = model.run_with_cache(prompt)
        headclaims.save_attention(cache, model.to_str_tokens(prompt), "attention.safetensors")

    """
    cfg = getattr(getattr(cache, "model", None), "cfg", None)
    config = {key: value for key, name in SIZES.items() if isinstance(value := getattr(cfg, name, None), int)}
    name = str(getattr(cfg, "model_name", None) or Path(path).stem)
    prompts = _prompts(tokens)
    names = [name for name in _names(cache) if isinstance(name, str)]
    layers = {int(match[2]): name for name in names if (match := PATTERN.fullmatch(name)) and not match[1]}
    if not layers:
        raise BadInput("save_attention: no activation blocks.{L}.attn.hook_pattern; wanted a cache with some")
    patterns = {layer: _of_prompts(name, _tensor(name, cache[name]), prompts) for layer, name in sorted(layers.items())}
    return write_attention(Path(path), name, config, prompts, patterns)


def write_attention(
    path: Path,
    name: str,
    config: Mapping[str, Any],
    prompts: Sequence[Sequence[str]],
    patterns: Mapping[int, Sequence[Float[Tensor, "head _ _"]]],
    **metadata: str,
) -> Path:
    """Write the patterns of layers, one of each prompt, in one step; raises BadInput where they are no attention."""
    tensors = {
        f"{n}/blocks.{layer}.attn.hook_pattern": pattern.detach().cpu().contiguous().clone()
        for layer, of_layer in patterns.items()
        for n, pattern in enumerate(of_layer)
    }
    header = {
        "kind": RecordedAttention.kind,
        "name": name,
        "config": json.dumps(dict(config)),
        "tokens": json.dumps([list(prompt) for prompt in prompts]),
        **metadata,
    }
    with in_one_step(path) as scratch:
        save_file(tensors, scratch, metadata=header)
        RecordedAttention(EvidenceFile.open(str(scratch), str(path)))
    return path


def _prompts(tokens: Sequence[Any]) -> list[list[str]]:
    """Return tokens as one list of strings a prompt."""
    if not isinstance(tokens, str) and all(isinstance(token, str) for token in tokens):
        return [[str(token) for token in tokens]]
    right = not isinstance(tokens, str) and all(
        not isinstance(prompt, str) and all(isinstance(token, str) for token in prompt) for prompt in tokens
    )
    if not right:
        raise BadInput("save_attention: tokens are no strings; wanted a list of them, or one a prompt")
    return [list(prompt) for prompt in tokens]


def _names(cache: Any) -> list[Any]:
    """Return the names of a cache's activations."""
    if not hasattr(cache, "keys"):
        raise BadInput(
            f"save_attention: a cache of type {type(cache).__name__}; wanted a TransformerLens cache, or a dict of "
            "patterns by name, blocks.{L}.attn.hook_pattern"
        )
    return list(cache.keys())


def _tensor(name: str, pattern: Any) -> Tensor:
    """Return a pattern as a tensor, whatever library its array is of."""
    if isinstance(pattern, Tensor):
        return pattern
    try:
        return torch.tensor(np.ascontiguousarray(pattern))
    except (TypeError, ValueError) as error:
        raise BadInput(f"save_attention: {name} is a {type(pattern).__name__}; wanted a tensor or an array") from error


def _of_prompts(name: str, pattern: Tensor, prompts: Sequence[Sequence[str]]) -> list[Float[Tensor, "head _ _"]]:
    """Return a layer's pattern on each prompt, cut to the prompt's length."""
    batch = pattern[None] if pattern.ndim == 3 else pattern
    longest = max((len(prompt) for prompt in prompts), default=0)
    if batch.ndim != 4 or len(batch) != len(prompts) or batch.shape[-1] != batch.shape[-2] or batch.shape[-1] < longest:
        raise BadInput(
            f"save_attention: {name} of shape {list(pattern.shape)}; wanted [prompt, head, query, key] of "
            f"{len(prompts)} prompts, the longest of {longest} tokens"
        )
    return [of_prompt[:, : len(prompt), : len(prompt)] for of_prompt, prompt in zip(batch, prompts, strict=True)]
