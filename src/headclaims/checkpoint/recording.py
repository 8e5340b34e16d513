"""`headclaims record`: a model's attention on the lines of a text, as a file that can be audited without the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Capability, Checkpoint, pattern_name
from headclaims.checkpoint.saving import SIZES, write_attention
from headclaims.errors import BadInput
from headclaims.progress import track


def record(
    spec: str,
    text: Path,
    output: Path | None = None,
    layers: Sequence[int] | None = None,
    with_bos: bool = True,
    dtype: str = "float32",
    revision: str | None = None,
    device: str = "cpu",
) -> Path:
    """Write a model's attention patterns on each line of a text, and return the file's path.

    A line is a prompt, its spaces in front included, with BOS before it unless `with_bos` is false; empty lines are
    passed over. All layers are recorded unless some are named, in `dtype`. Raises BadInput, in one line, for a
    checkpoint that does not run, a text that can't be read, a line beyond the model's context, or a layer that has no
    attention.
    """
    lines = _lines(text)
    checkpoint = load(spec, revision, device)
    if Capability.INTERVENTIONS in checkpoint.lacks:
        raise BadInput(f"record {spec}: {checkpoint.lacks[Capability.INTERVENTIONS]}; wanted a model that runs")
    available = checkpoint.attention_layers()
    chosen = available if layers is None else sorted(set(layers))
    if not chosen or not set(chosen) <= set(available):
        raise BadInput(f"record {spec}: layers {chosen}; wanted some of {available}")
    ids = [_ids(checkpoint, line, number, with_bos) for number, line in lines]
    names = [pattern_name(layer) for layer in chosen]
    patterns: dict[int, list[Tensor]] = {layer: [] for layer in chosen}
    for prompt in track(ids, "recording"):
        run = checkpoint.run(torch.tensor([prompt]), record=names)
        for layer, name in zip(chosen, names, strict=True):
            patterns[layer].append(run[name][0].to("cpu", getattr(torch, dtype)))
    tokens = [checkpoint.tokenizer.convert_ids_to_tokens(prompt) for prompt in ids]
    config = {key: value for key, size in SIZES.items() if (value := getattr(checkpoint.sizes, size))}
    fingerprints = {layer: value for layer in available if (value := checkpoint.fingerprint(layer)) is not None}
    path = output or Path(f"{checkpoint.name}-attention.safetensors")
    return write_attention(path, checkpoint.name, config, tokens, patterns, fingerprints=json.dumps(fingerprints))


def _lines(text: Path) -> list[tuple[int, str]]:
    """Return the lines of a text that hold something, with their numbers from 1."""
    try:
        lines = text.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--text {text}: cannot be read as text: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise BadInput(f"--text {text}: empty; wanted a prompt a line")
    return numbered


def _ids(checkpoint: Checkpoint, line: str, number: int, with_bos: bool) -> list[int]:
    """Return a line's token ids, after BOS where that is wanted."""
    bos = [checkpoint.bos] if with_bos else []
    ids = bos + [int(token) for token in checkpoint.tokenizer.encode(line, add_special_tokens=False)]
    context = checkpoint.sizes.n_ctx
    if context is not None and len(ids) > context:
        raise BadInput(f"--text line {number}: {len(ids)} tokens; the context of {checkpoint.spec} is {context}")
    return ids
