"""The `.safetensors` kinds: a header read by what it says it is, tensors read when they are asked for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headclaims.checkpoint.weights import finite
from headclaims.errors import BadCheckpoint

KINDS = ("partial-weights", "recorded-attention", "recorded-graph")


@dataclass(frozen=True)
class EvidenceFile:
    """A safetensors file whose header's metadata say `kind`, `name` and `config` (JSON)."""

    spec: str
    path: Path
    metadata: dict[str, str]
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def open(cls, spec: str) -> EvidenceFile:
        """Read the header; raises BadCheckpoint for a file that is not there, damaged or doesn't say what it is."""
        path = Path(os.path.expanduser(spec))
        if not os.path.isfile(path):
            raise BadCheckpoint(f"{spec}: no such file")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise BadCheckpoint(f"{spec}: no readable safetensors file: {_line(error)}") from error
        for key in ("kind", "name", "config"):
            if key not in metadata:
                raise BadCheckpoint(
                    f"{spec}: no {key!r} in the header's metadata; wanted kind ({', '.join(KINDS)}), name and config"
                )
        if metadata["kind"] not in KINDS:
            raise BadCheckpoint(f"{spec}: kind {metadata['kind']!r}; wanted one of {', '.join(KINDS)}")
        config = json_value(spec, metadata, "config")
        if not isinstance(config, dict):
            raise BadCheckpoint(f"{spec}: config in the header is no JSON object; wanted the model's config")
        return cls(spec, path, metadata, config, shapes)

    @property
    def name(self) -> str:
        """The model's name, as the header gives it."""
        return self.metadata["name"]

    def tensor(self, name: str, *shape: int | None, whole: bool = False) -> Tensor:
        """A tensor of this shape (None: any size), finite and in float32, or, if `whole`, of whole numbers.

        Raises BadCheckpoint for any other.
        """
        if name not in self.shapes:
            raise BadCheckpoint(f"{self.spec}: no tensor {name}")
        found = self.shapes[name]
        if len(found) != len(shape) or any(w not in (None, f) for f, w in zip(found, shape, strict=True)):
            wanted = [("any" if size is None else size) for size in shape]
            raise BadCheckpoint(
                f"{self.spec}: tensor {name} of shape {list(found)}; wanted [{', '.join(map(str, wanted))}]"
            )
        try:
            with safe_open(self.path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise BadCheckpoint(f"{self.spec}: tensor {name} cannot be read: {_line(error)}") from error
        if tensor.is_floating_point() == whole or tensor.is_complex() or tensor.dtype == torch.bool:
            wanted_type = "whole numbers, as int32" if whole else "float32"
            raise BadCheckpoint(f"{self.spec}: tensor {name} of type {str(tensor.dtype)[6:]}; wanted {wanted_type}")
        return tensor if whole else finite(name, tensor.float(), self.spec)

    def size(self, *keys: str) -> int:
        """The first of these config entries that is there, a positive whole number; raises BadCheckpoint."""
        for key in keys:
            value = self.optional_size(key)
            if value is not None:
                return value
        raise BadCheckpoint(f"{self.spec}: config without {' or '.join(keys)}")

    def optional_size(self, key: str) -> int | None:
        """A config entry that is a positive whole number where it is there; raises BadCheckpoint."""
        value = self.config.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadCheckpoint(f"{self.spec}: config {key} is {value!r}; wanted a positive whole number")
        return value

    def number(self, config: dict[str, Any], key: str, default: float) -> float:
        """A positive number of the config, or of a part of it; raises BadCheckpoint."""
        value = config.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise BadCheckpoint(f"{self.spec}: config {key} is {value!r}; wanted a positive number")
        return float(value)


def json_value(spec: str, metadata: dict[str, str], key: str) -> Any:
    """A JSON entry of the header's metadata; raises BadCheckpoint where it is missing or no JSON."""
    if key not in metadata:
        raise BadCheckpoint(f"{spec}: no {key!r} in the header's metadata")
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{spec}: {key!r} in the header's metadata is no JSON: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
