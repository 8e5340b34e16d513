"""Booting a complete model: transformers reads it, TransformerLens wraps and folds it, once."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.weight_processing import ProcessWeights

from headclaims.cache import digest
from headclaims.checkpoint.attending import Layers, check_patterns, reference_patterns, shown_patterns
from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.interface import Capability
from headclaims.checkpoint.opening import SPREAD, check_finite, open_model, stored_type
from headclaims.checkpoint.quiet import quiet
from headclaims.checkpoint.weights import RawQK
from headclaims.errors import BadCheckpoint

PROBE_LENGTH = 24
MOST_FOLDED = 500_000_000
"""Weights that are folded in place: 2 GB in float32, 4 while that is done."""
OF_MATRICES = ("scores", "qk")  # capabilities that need a query and a key matrix a head
RENAMED = {"PhimoeForCausalLM": "PhiMoEForCausalLM"}  # classes that TransformerLens calls otherwise
POSITIONS = ("standard", "rotary", "none")


def load_full(
    kind: str, spec: str, name: str, folder: Path, device: str, dtype: torch.dtype | None, gguf: str | None = None
) -> FullCheckpoint:
    """Load a model and its tokenizer from a folder (`gguf` names a file of it) and run it in `dtype`.

    Without a `dtype` that is the type that the weights are stored in. Weights of up to two billion bytes in float32 are
    folded in place; others stay as they are stored, as a second copy would take too much memory, and those that claims
    read are folded layer by layer. Raises BadCheckpoint, with a message of one line, for a model that cannot be read,
    is not complete or not finite, or is not a causal decoder with learned, rotary or no positions.
    """
    # Weights are widened on loading and narrowed last, so that the fingerprint is that of the stored ones.
    with _refused_as(f"{spec}: no readable model"), quiet():
        stored = stored_type(folder, gguf)
        model, tokenizer = open_model(folder, gguf, torch.float32 if dtype == torch.float32 else stored, device)
    check_finite(spec, model)
    tokens = _probe(model)
    with _refused_as(f"{spec}: transformers can't run it"), torch.no_grad(), quiet():
        # What Metal computes is held against the processor, which would otherwise have the same faults.
        first = None if device == SPREAD else "cpu" if device.startswith("mps") else device
        model = model if first is None else model.to(first)
        output = model(tokens.to(model.device), output_attentions=True)
        reference = reference_patterns(spec, output, tokens.shape[-1])
        del output
        model = model if first == device or first is None else model.to(device)
    folds = _folds_in_place(model)
    with _refused_as(f"{spec}: TransformerLens can't boot it"), torch.no_grad(), quiet(), _looked_at():
        bridge = _bridge(spec, name, model, str(model.device))
        fingerprints = {layer: _fingerprint(bridge.blocks[layer]) for layer in range(bridge.cfg.n_layers)}
    with _refused_as(f"{spec}: TransformerLens can't fold it"), torch.no_grad(), quiet(), _looked_at(), _uncopied():
        bridge.enable_compatibility_mode(disable_warnings=True, no_processing=not folds)
        bridge.eval()
    with _refused_as(f"{spec}: TransformerLens can't run it"), quiet():
        shown = shown_patterns(bridge, tokens)
    check_patterns(spec, shown, reference, model.dtype)
    layers = Layers.of(spec, shown, bridge.cfg.n_layers, model.config.get_text_config())
    checkpoint = FullCheckpoint(kind, spec, name, bridge, tokenizer, fingerprints, layers, folds)
    other = next((layer for layer in layers.attending if _raw_qk(bridge.blocks[layer]) is None), None)
    if other is not None:
        why = f"layer {other} makes queries and keys otherwise than by one matrix each a head"
        checkpoint.lacks.update({capability: why for capability in Capability if capability in OF_MATRICES})
    if dtype not in (None, bridge.cfg.dtype):
        with quiet():
            bridge.to(dtype, print_details=False)
    return checkpoint


def _folds_in_place(model: Any) -> bool:
    """Whether a model's weights are folded in place, which takes a second copy of them, in float32."""
    numbers = sum(parameter.numel() for parameter in model.parameters())
    return model.dtype == torch.float32 and numbers <= MOST_FOLDED and not hasattr(model, "hf_device_map")


@contextmanager
def _refused_as(what: str) -> Iterator[None]:
    """Turn whatever goes wrong in the `with` block into a BadCheckpoint that begins with these words."""
    try:
        yield
    except BadCheckpoint:
        raise
    except Exception as error:
        raise BadCheckpoint(f"{what}: {_line(error)}") from error


@contextmanager
def _looked_at() -> Iterator[None]:
    """Spare a copy of the embedding in the `with` block: TransformerLens looks for hooks in all attributes, thrice."""
    with patch.object(TransformerBridge, "W_E_pos", None):
        yield


@contextmanager
def _uncopied() -> Iterator[None]:
    """Spare copies of all matrices in the `with` block: TransformerLens makes three while it folds, and changes none.

    What it folds it puts beside what it has, so that a matrix is a new one or as it was. The vectors are copied.
    """
    process, clone = ProcessWeights.process_weights, Tensor.clone

    def without_copies(*of: Any, **options: Any) -> Any:
        with patch.object(Tensor, "clone", lambda x, *how, **as_what: x if x.ndim > 1 else clone(x, *how, **as_what)):
            return process(*of, **options)

    with patch.object(ProcessWeights, "process_weights", staticmethod(without_copies)):
        yield


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
        return digest("layer", 1, parameters, hashlib.sha256)
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
