"""Booting a complete model: transformers reads it, TransformerLens wraps and folds it, once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gguf as gguf_files
import numpy as np
import torch
import transformers
from torch import Tensor
from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import modeling_gguf_pytorch_utils as gguf_metadata
from transformers.activations import NewGELUActivation

from headclaims.cache import digest
from headclaims.checkpoint.attending import Layers, check_patterns, reference_patterns, shown_patterns
from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.hub import TOKENIZERS, has_tokenizer
from headclaims.checkpoint.interface import Capability
from headclaims.checkpoint.quiet import quiet
from headclaims.checkpoint.weights import RawQK, finite
from headclaims.errors import BadCheckpoint

PROBE_LENGTH = 24
MOST_LAYERS = 4096
OF_MATRICES = ("scores", "qk")  # capabilities that need a query and a key matrix a head
RENAMED = {"PhimoeForCausalLM": "PhiMoEForCausalLM"}  # classes that TransformerLens calls otherwise
POSITIONS = ("standard", "rotary", "none")


def load_full(
    kind: str, spec: str, name: str, folder: Path, device: str, dtype: torch.dtype, gguf: str | None = None
) -> FullCheckpoint:
    """Load a model and its tokenizer from a folder (`gguf` names a file of it), fold its weights and cast them.

    Folding is done in float32, whatever `dtype` the model then runs in. Raises BadCheckpoint, with a message of one
    line, for a model that cannot be read, is not complete or not finite, or is not a causal decoder with learned,
    rotary or no positions.
    """
    with _refused_as(f"{spec}: no readable model"), quiet(), _gguf_read_once():
        model, tokenizer = _open(folder, gguf)
    _check_finite(spec, model)
    tokens = _probe(model)
    with _refused_as(f"{spec}: transformers can't run it"), torch.no_grad(), quiet():
        output = model.to(device)(tokens.to(device), output_attentions=True)
    reference = reference_patterns(spec, output, tokens.shape[-1])
    with _refused_as(f"{spec}: TransformerLens can't boot it"), torch.no_grad(), quiet():
        bridge = _bridge(spec, name, model, device)
        fingerprints = {layer: _fingerprint(bridge.blocks[layer]) for layer in range(bridge.cfg.n_layers)}
    with _refused_as(f"{spec}: TransformerLens can't fold it"), torch.no_grad(), quiet():
        bridge.enable_compatibility_mode(disable_warnings=True)
        bridge.eval()
    with _refused_as(f"{spec}: TransformerLens can't run it"), quiet():
        shown = shown_patterns(bridge, tokens)
    check_patterns(spec, shown, reference)
    layers = Layers.of(spec, shown, bridge.cfg.n_layers, model.config.get_text_config())
    checkpoint = FullCheckpoint(kind, spec, name, bridge, tokenizer, fingerprints, layers)
    other = next((layer for layer in layers.attending if _raw_qk(bridge.blocks[layer]) is None), None)
    if other is not None:
        why = f"layer {other} makes queries and keys otherwise than by one matrix each a head"
        checkpoint.lacks.update({capability: why for capability in Capability if capability in OF_MATRICES})
    if dtype != torch.float32:
        with quiet():
            bridge.to(dtype, print_details=False)
    return checkpoint


@contextmanager
def _refused_as(what: str) -> Iterator[None]:
    """Turn whatever goes wrong in the `with` block into a BadCheckpoint that begins with these words."""
    try:
        yield
    except BadCheckpoint:
        raise
    except Exception as error:
        raise BadCheckpoint(f"{what}: {_line(error)}") from error


def _bridge(spec: str, name: str, model: Any, device: str) -> Any:
    """Wrap a model in TransformerLens; raises BadCheckpoint for positions of a form that is not audited."""
    architecture, config = _architecture(model), copy.deepcopy(model.config)
    config.architectures = [architecture]  # GPT-J's parallel blocks are told by it
    # Around the model alone: `boot_transformers` would look for tokenizers and processors, too, and install what they
    # need.
    bridge = build_bridge_from_module(model, architecture, hf_config=config, model_name=name, device=device)
    positions = bridge.cfg.positional_embedding_type
    if positions not in POSITIONS:
        raise BadCheckpoint(f"{spec}: positions of type {positions!r}; wanted learned or rotary ones, or none")
    return bridge


def _architecture(model: Any) -> str:
    """Return the name under which TransformerLens knows a model: its class, or what its config says.

    The class is the one that transformers' own mapping gives for the config's `model_type`; a config need not name it,
    and that of a GGUF file never does. Raises ValueError for a model that TransformerLens doesn't know.
    """
    own = type(model).__name__
    for name in (RENAMED.get(own, own), *(model.config.architectures or ())):
        if name in SUPPORTED_ARCHITECTURES:
            return str(name)
    raise ValueError(f"it has no adapter for {own}")


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
    """Cache reads in the `with` block: transformers parses a GGUF file four times, and its name table per module.

    Its vocabulary is read item by item, which takes four times as long from a mapped array as from a plain view of it.
    """
    load, map_file = gguf_metadata.load_gguf_checkpoint, np.memmap
    metadata = cache(lambda path: load(path, return_tensors=False))

    def load_once(path: str, return_tensors: bool = False, **options: Any) -> Any:
        if return_tensors:
            return load(path, return_tensors=True, **options)
        return {name: dict(of) if isinstance(of, dict) else of for name, of in metadata(path).items()}

    with (
        patch.object(gguf_files, "GGUFReader", cache(gguf_files.GGUFReader)),
        patch.object(gguf_files, "get_tensor_name_map", cache(gguf_files.get_tensor_name_map)),
        patch.object(gguf_metadata, "load_gguf_checkpoint", load_once),
        patch.object(np, "memmap", lambda *of, **options: np.asarray(map_file(*of, **options))),
    ):
        yield


def _check_finite(spec: str, model: Any) -> None:
    for name, parameter in model.named_parameters():
        finite(name, parameter.detach(), spec)


def _probe(model: Any) -> Tensor:
    """Return a few tokens to try a model on, [1, position]."""
    config = model.config.get_text_config()
    length = min(PROBE_LENGTH, getattr(config, "max_position_embeddings", None) or PROBE_LENGTH)
    return torch.arange(1, length + 1)[None] % config.vocab_size


def _fingerprint(block: Any) -> str:
    """Return the `RawQK.fingerprint` of a layer; where it has no query and key weights, a sha256 of all that it has."""
    raw = _raw_qk(block)
    if raw is None:
        parameters = {name: parameter.detach() for name, parameter in block.named_parameters()}
        return digest("layer", 1, parameters)
    return raw.fingerprint()


def _raw_qk(block: Any) -> RawQK | None:
    """Return a layer's query and key weights; None where it has none, or makes queries and keys otherwise."""
    try:
        attention = block.attn
        W_Q, W_K, b_Q, b_K = (getattr(attention, name) for name in ("W_Q", "W_K", "b_Q", "b_K"))
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        return None

    def heads(b: Tensor | None, W: Tensor) -> Tensor | None:
        return None if b is None else b.reshape(W.shape[0], -1)

    return RawQK(W_Q, W_K, heads(b_Q, W_Q), heads(b_K, W_K))


def _line(error: BaseException) -> str:
    """Return the first line of an error, with its type where that says what happened."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    plain = isinstance(error, ValueError | OSError | RuntimeError) and first
    return first if plain else f"{type(error).__name__}: {first}".removesuffix(": ")
