"""Booting a complete model: transformers reads it, TransformerLens wraps and folds it, once."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gguf as gguf_files
import torch
import transformers
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers.activations import NewGELUActivation

from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.hub import TOKENIZERS, has_tokenizer
from headclaims.checkpoint.quiet import quiet
from headclaims.checkpoint.weights import RawQK, finite
from headclaims.errors import BadCheckpoint

PROBE_LENGTH = 6
PATTERN_TOLERANCE = 1e-3
MOST_LAYERS = 4096
POSITIONS = {"standard": "learned", "rotary": "rotary"}


def load_full(
    kind: str, spec: str, name: str, folder: Path, device: str, dtype: torch.dtype, gguf: str | None = None
) -> FullCheckpoint:
    """Load a model and its tokenizer from a folder (`gguf` names a file of it), fold its weights and cast them.

    Folding is done in float32, whatever `dtype` the model then runs in. Raises BadCheckpoint, with a message of one
    line, for a model that cannot be read, is not complete or not finite, or is not a decoder with learned or rotary
    positions.
    """
    try:
        with quiet(), _gguf_read_once():
            model, tokenizer = _open(folder, gguf)
    except Exception as error:
        raise BadCheckpoint(f"{spec}: no readable model: {_line(error)}") from error
    _check_finite(spec, model)
    reference = _attention(spec, model.to(device))
    try:
        with quiet(), tempfile.TemporaryDirectory() as config_only:
            # A folder, since TransformerLens would ask the hub for a name; a copy, since it changes the tokenizer.
            model.config.save_pretrained(config_only)
            bridge = TransformerBridge.boot_transformers(
                config_only,
                hf_model=model,
                tokenizer=copy.deepcopy(tokenizer),
                device=device,
                dtype=torch.float32,
            )
    except Exception as error:
        raise BadCheckpoint(f"{spec}: TransformerLens can't boot it: {_line(error)}") from error
    positions = bridge.cfg.positional_embedding_type
    if positions not in POSITIONS:
        raise BadCheckpoint(
            f"{spec}: positions of type {positions!r}; wanted {' or '.join(POSITIONS.values())} positions"
        )
    with torch.no_grad(), quiet():
        fingerprints = {layer: _raw_qk(bridge, layer).fingerprint() for layer in range(bridge.cfg.n_layers)}
        try:
            bridge.enable_compatibility_mode(disable_warnings=True)
        except Exception as error:
            raise BadCheckpoint(f"{spec}: TransformerLens can't fold it: {_line(error)}") from error
        bridge.eval()
        checkpoint = FullCheckpoint(kind, spec, name, bridge, tokenizer, fingerprints)
        _check_attention(checkpoint, reference)
        if dtype != torch.float32:
            bridge.to(dtype, print_details=False)
    return checkpoint


def _open(folder: Path, gguf: str | None) -> tuple[Any, Any]:
    source = {"gguf_file": gguf} if gguf else {}
    # transformers builds all layers before it reads weights, which takes hours where the config states too many.
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **source)
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise ValueError(f"config of {layers} layers; wanted {MOST_LAYERS} or fewer")
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        attn_implementation="eager",
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **source,
    )
    if info["missing_keys"]:
        raise ValueError(f"weights without {len(info['missing_keys'])} tensors, one is {min(info['missing_keys'])}")
    for name, shape, expected in info["mismatched_keys"]:
        raise ValueError(f"tensor {name} of shape {list(shape)}; wanted {list(expected)}")
    if not gguf and not has_tokenizer({file.name for file in folder.iterdir() if file.is_file()}):
        raise ValueError(f"no tokenizer; wanted one of {', '.join(TOKENIZERS)}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, **source
    )
    if gguf and hasattr(model.config, "quantization_config"):
        # The weights were dequantised on loading; with this entry left the config could not be saved.
        del model.config.quantization_config
    _fuse_gelu(model)
    return model.eval(), tokenizer


def _fuse_gelu(model: Any) -> None:
    """Replace transformers' GELU of seven passes, in GPT-2, by torch's of one, which is the same up to rounding."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """Cache reads in the `with` block: transformers parses a GGUF file three times, and its name table per module."""
    with (
        patch.object(gguf_files, "GGUFReader", cache(gguf_files.GGUFReader)),
        patch.object(gguf_files, "get_tensor_name_map", cache(gguf_files.get_tensor_name_map)),
    ):
        yield


def _check_finite(spec: str, model: Any) -> None:
    for name, parameter in model.named_parameters():
        finite(name, parameter.detach(), spec)


def _probe(length: int, n_vocab: int) -> Tensor:
    return torch.arange(1, length + 1)[None] % n_vocab


def _attention(spec: str, model: Any) -> Tensor:
    """Return transformers' own attention patterns on a few tokens, [layer, prompt, head, query, key].

    Raises BadCheckpoint where the model cannot be run or has a layer without patterns.
    """
    config = model.config.get_text_config()
    length = min(PROBE_LENGTH, getattr(config, "max_position_embeddings", None) or PROBE_LENGTH)
    try:
        with torch.no_grad(), quiet():
            output = model(_probe(length, config.vocab_size).to(model.device), output_attentions=True)
    except Exception as error:
        raise BadCheckpoint(f"{spec}: transformers can't run it: {_line(error)}") from error
    patterns = getattr(output, "attentions", None)
    if not patterns or patterns[0] is None:
        raise BadCheckpoint(f"{spec}: a model without attention patterns; wanted softmax attention in every layer")
    return torch.stack(list(patterns)).cpu()


def _check_attention(checkpoint: FullCheckpoint, reference: Tensor) -> None:
    """Raise BadCheckpoint where attention patterns in TransformerLens differ from those in transformers."""
    spec = checkpoint.spec
    try:
        patterns = checkpoint.attention_patterns(_probe(reference.shape[-1], checkpoint.sizes.d_vocab or 2)).cpu()
    except Exception as error:
        raise BadCheckpoint(f"{spec}: TransformerLens can't run it: {_line(error)}") from error
    off = float((patterns - reference).abs().max()) if patterns.shape == reference.shape else float("inf")
    if not off <= PATTERN_TOLERANCE:
        raise BadCheckpoint(f"{spec}: TransformerLens attends otherwise than transformers, by up to {off:.2g}")


def _raw_qk(bridge: Any, layer: int) -> RawQK:
    attention = bridge.blocks[layer].attn

    def heads(b: Tensor | None, W: Tensor) -> Tensor | None:
        return None if b is None else b.reshape(W.shape[0], -1)

    return RawQK(attention.W_Q, attention.W_K, heads(attention.b_Q, attention.W_Q), heads(attention.b_K, attention.W_K))


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
