"""Reading a model and its tokenizer from a folder by transformers, in the type that the weights are stored in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gguf as gguf_files
import numpy as np
import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import modeling_gguf_pytorch_utils as gguf_metadata
from transformers.activations import NewGELUActivation

from headclaims.checkpoint.hub import TOKENIZERS, has_tokenizer
from headclaims.checkpoint.weights import finite

MOST_LAYERS = 4096
SPREAD = "auto"
"""The device of a model that is spread over all accelerators there are."""
STORED = {"BF16": torch.bfloat16, "F16": torch.float16}


def stored_type(folder: Path, gguf: str | None) -> torch.dtype:
    """Return the type that most of a model's numbers are stored in: bfloat16, float16, or float32 for all others.

    A GGUF's weights are dequantised to float32. Files of PyTorch's own are taken to have the type that the config says.
    Of files that can't be read it is float32: transformers then says what is wrong with them.
    """
    if gguf is not None:
        return torch.float32
    try:
        return _stored_type(folder)
    except (OSError, ValueError, SafetensorError):
        return torch.float32


def _stored_type(folder: Path) -> torch.dtype:
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        said = said if isinstance(said, dict) else {}
        name = str(said.get("dtype") or said.get("torch_dtype")).removeprefix("torch.")
        return next((of for of in STORED.values() if str(of) == f"torch.{name}"), torch.float32)
    numbers: dict[str, int] = {}
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                tensor = tensors.get_slice(name)
                kind = tensor.get_dtype()
                numbers[kind] = numbers.get(kind, 0) + prod(tensor.get_shape())
    return STORED.get(max(numbers, key=numbers.__getitem__), torch.float32) if numbers else torch.float32


def open_model(folder: Path, gguf: str | None, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    """Read a model, its weights in `dtype`, and its tokenizer; on the processor unless `device` is `auto`.

    Raises ValueError, or what transformers raises, for one that can't be read or is not complete.
    """
    with _gguf_read_once():
        return _open(folder, gguf, dtype, device)


def _open(folder: Path, gguf: str | None, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    source = {"gguf_file": gguf} if gguf else {}
    spread = {"device_map": SPREAD} if device == SPREAD else {}
    # transformers builds all layers before it reads weights, which takes hours where the config states too many.
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **source)
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise ValueError(f"config of {layers} layers; wanted {MOST_LAYERS} or fewer")
    with _undrawn():
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            attn_implementation="eager",
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **spread,
            **source,
        )
    left_out = sorted({str(place) for place in getattr(model, "hf_device_map", {}).values()} & {"cpu", "disk"})
    if left_out and torch.accelerator.is_available():
        raise ValueError(f"more than the accelerators hold: a part would be on {left_out[0]}")
    if info["missing_keys"]:
        raise ValueError(f"weights without {len(info['missing_keys'])} tensors, one is {min(info['missing_keys'])}")
    for name, shape, expected in info["mismatched_keys"]:
        raise ValueError(f"tensor {name} of shape {list(shape)}; wanted {list(expected)}")
    if not gguf and not has_tokenizer({file.name for file in folder.iterdir() if file.is_file()}):
        raise ValueError(f"no tokenizer; wanted one of {', '.join(TOKENIZERS)}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, **source
    )
    _check_takes_text(tokenizer)
    if gguf and hasattr(model.config, "quantization_config"):
        # The weights were dequantised on loading; with this entry left the config could not be saved.
        del model.config.quantization_config
    _fuse_gelu(model)
    return model.eval(), tokenizer


@contextmanager
def _undrawn() -> Iterator[None]:
    """Draw no numbers in the `with` block for weights that have no memory yet: torch imports sympy for it."""
    draw = torch.Tensor.normal_
    with patch.object(torch.Tensor, "normal_", lambda x, *of, **how: x if x.is_meta else draw(x, *of, **how)):
        yield


def _check_takes_text(tokenizer: Any) -> None:
    """Raise ValueError where a tokenizer, though it could be read, raises on a word that it may not know."""
    try:
        tokenizer("\u2e2e")
    except Exception as error:
        raise ValueError(f"a tokenizer that takes no text ({error})") from error


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


def check_finite(spec: str, model: Any) -> None:
    """Raise BadCheckpoint where a weight is NaN or infinite."""
    for name, parameter in model.named_parameters():
        # The ends are NaN where any number is, and take one pass without a copy.
        if parameter.numel() and not all(end.isfinite() for end in parameter.detach().aminmax()):
            finite(name, parameter.detach(), spec)
