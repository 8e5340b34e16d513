"""Evidence in `.safetensors` files: the header says of what kind it is, and tensors are read on request."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headclaims.checkpoint.weights import finite
from headclaims.errors import BadCheckpoint

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
KINDS = ("partial-weights", "recorded-attention", "recorded-graph")


@dataclass(frozen=True)
class EvidenceFile:
    """A safetensors file whose header's metadata hold `kind`, `name` and `config` (JSON)."""

    spec: str
    path: Path
    metadata: dict[str, str]
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def open(cls, spec: str, named: str | None = None) -> EvidenceFile:
        """Read the header; raises BadCheckpoint for a file that is missing, damaged or without the metadata.

        What is said of the file calls it by `named`, where that isn't its path.
        """
        path = Path(os.path.expanduser(spec))
        spec = named or spec
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
        """Name of the model in the header."""
        return self.metadata["name"]

    @cached_property
    def digest(self) -> str:
        """sha256 over the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _opened(self) -> Any:
        """The file, kept open: its header may name thousands of tensors."""
        return safe_open(self.path, framework="pt")

    def _get(self, name: str, again: bool) -> Tensor:
        if not again:
            return self._opened.get_tensor(name)
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(name)

    def part(self, name: str, *at: int) -> Tensor:
        """Read a part of a tensor that was checked before, at these places of its first axes, in float32.

        Raises BadCheckpoint where it can't be read.
        """
        try:
            part: Tensor = self._opened.get_slice(name)[at] if at else self._opened.get_tensor(name)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise BadCheckpoint(f"{self.spec}: tensor {name} cannot be read: {_line(error)}") from error
        return part.float()

    def tensor(self, name: str, *shape: int | None, whole: bool = False, as_stored: bool = False) -> Tensor:
        """Read a tensor of this shape (None: any size): finite and in float32 or, if `whole`, of whole numbers.

        As it is stored it may be in float16 or finer, and hold NaN. Raises BadCheckpoint where it is
        missing, or of another shape or type.
        """
        if name not in self.shapes:
            raise BadCheckpoint(f"{self.spec}: no tensor {name}")
        actual = self.shapes[name]
        if len(actual) != len(shape) or any(w not in (None, a) for a, w in zip(actual, shape, strict=True)):
            expected = [("any" if size is None else size) for size in shape]
            raise BadCheckpoint(
                f"{self.spec}: tensor {name} of shape {list(actual)}; wanted [{', '.join(map(str, expected))}]"
            )
        try:
            tensor: Tensor = self._get(name, again=not as_stored)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise BadCheckpoint(f"{self.spec}: tensor {name} cannot be read: {_line(error)}") from error
        coarse = as_stored and tensor.dtype not in FLOATS
        if tensor.is_floating_point() == whole or tensor.is_complex() or tensor.dtype == torch.bool or coarse:
            expected_type = "whole numbers, as int32" if whole else "float32"
            raise BadCheckpoint(f"{self.spec}: tensor {name} of type {str(tensor.dtype)[6:]}; wanted {expected_type}")
        return tensor if whole or as_stored else finite(name, tensor.float(), self.spec)

    def size(self, *keys: str) -> int:
        """Return the first of these config entries that exists; raises BadCheckpoint unless a whole number > 0."""
        for key in keys:
            value = self.optional_size(key)
            if value is not None:
                return value
        raise BadCheckpoint(f"{self.spec}: config without {' or '.join(keys)}")

    def optional_size(self, key: str) -> int | None:
        """Return a config entry, None where it is missing; raises BadCheckpoint unless it is a whole number > 0."""
        value = self.config.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadCheckpoint(f"{self.spec}: config {key} is {value!r}; wanted a positive whole number")
        return value

    def number(self, config: dict[str, Any], key: str, default: float) -> float:
        """Return a number of the config or of a part of it; raises BadCheckpoint unless it is positive and finite."""
        value = config.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise BadCheckpoint(f"{self.spec}: config {key} is {value!r}; wanted a positive number")
        return float(value)


def kind_in(path: Path) -> str | None:
    """Return the kind in a file's header, None where it states none; raises BadCheckpoint for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("kind")
    except (SafetensorError, OSError, ValueError) as error:
        raise BadCheckpoint(f"{path}: no readable safetensors file: {_line(error)}") from error


def json_value(spec: str, metadata: dict[str, str], key: str) -> Any:
    """Parse a JSON entry of the header's metadata; raises BadCheckpoint where it is missing or not JSON."""
    if key not in metadata:
        raise BadCheckpoint(f"{spec}: no {key!r} in the header's metadata")
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{spec}: {key!r} in the header's metadata is no JSON: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
