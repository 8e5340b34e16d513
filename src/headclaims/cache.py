"""The disk cache: arrays that cost time, keyed by everything they are computed from.

A computation says beside its code that its result may be kept, and a cache calls it:

    @kept("spectra", version=2)
    def spectra_arrays(W_Q: Tensor, W_K: Tensor) -> dict[str, Tensor]: ...

    cache.call(spectra_arrays, W_Q, W_K)

An entry is a safetensors file named by a hash over the definition, its version and the arguments, tensors by their
bytes: 128 bits of XXH3, which takes a tenth of a sha256's time. It carries a checksum of its own; a damaged or foreign
entry is computed anew. A lock lets parallel workers share the work.
"""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import platformdirs
import torch
import xxhash
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Input = Tensor | str | int | float | None | Callable[[], str]


@runtime_checkable
class Hash(Protocol):
    """What a hash of the standard library or of xxhash does."""

    def update(self, data: Any, /) -> None:
        """Go on with more bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all bytes so far."""


Computation = TypeVar("Computation", bound=Callable[..., Mapping[str, Any]])


def kept(definition: str, version: int) -> Callable[[Computation], Computation]:
    """Mark a function whose arrays a cache may keep; a changed computation needs a new version.

    It returns {name: tensor or array} and depends on its arguments alone: tensors, arrays, numbers, text, enums,
    dataclasses and sequences of these, or objects whose method `cache_inputs()` names what they depend on.
    """

    def mark(compute: Computation) -> Computation:
        compute.kept = (definition, version)  # type: ignore[attr-defined]
        return compute

    return mark


def cache_folder() -> Path:
    """Return $HEADCLAIMS_CACHE, or the platform's folder for caches."""
    chosen = os.environ.get("HEADCLAIMS_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("headclaims")


class Cache:
    """A folder of entries; with `folder` None nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._said = False

    def call(self, compute: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, np.ndarray]:
        """Return the arrays of a computation marked by `kept`, from the cache where it holds them.

        Raises TypeError for one that isn't marked, or an argument without content.
        """
        if not hasattr(compute, "kept"):
            raise TypeError(f"{compute!r}: not marked as one whose arrays may be kept; wanted @kept(…) above it")

        def tensors() -> dict[str, Tensor]:
            return {name: _as_tensor(values) for name, values in compute(*arguments).items()}

        if self.folder is None:
            arrays = tensors()
        else:
            bound = inspect.signature(compute).bind(*arguments)
            inputs = dict(pair for name, value in bound.arguments.items() for pair in _inputs(name, value))
            definition, version = compute.kept
            arrays = self.tensors(definition, version, inputs, tensors)
        return {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}

    def tensors(
        self,
        definition: str,
        version: int,
        inputs: Mapping[str, Input],
        compute: Callable[[], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Return the tensors of `compute`, from the cache where it holds them.

        `definition` and `version` name what is computed, `inputs` are all it depends on.
        """
        if self.folder is None:
            return compute()
        path = self.folder / definition / f"{digest(definition, version, inputs)}.safetensors"
        with self._locked(path) as usable:
            entry = _read(path) if usable else None
            if entry is None:
                entry = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in compute().items()})
                if usable:
                    self._keep(path, entry)
        return entry

    @contextmanager
    def _locked(self, path: Path) -> Iterator[bool]:
        """An entry's lock, or False where the folder can't be used: what it would keep is computed then."""
        lock = FileLock(path.with_suffix(".lock"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            self._go_on_without(error)
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _keep(self, path: Path, entry: Mapping[str, Tensor]) -> None:
        """Write an entry; a full disk costs the entry, not the run."""
        try:
            _write(path, dict(entry))
        except (OSError, SafetensorError) as error:
            self._go_on_without(error)

    def _go_on_without(self, error: Exception) -> None:
        """Say once that nothing is kept, and why."""
        if not self._said:
            why = " ".join(str(error).split())
            print(f"headclaims: the cache at {self.folder} can't be used, going on without: {why}", file=sys.stderr)
        self._said = True


def _apart(entry: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of which no two share memory, as one file can't hold such: those that do are copied."""
    apart: dict[str, Tensor] = {}
    held: set[int] = set()
    for name, tensor in entry.items():
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in held
        apart[name] = tensor if whole else tensor.clone()
        held.add(storage.data_ptr())
    return apart


def _as_tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))  # torch takes no others, or warns


def _inputs(name: str, value: Any) -> Iterator[tuple[str, Input]]:
    """Take an argument apart into inputs of a key, each with a name; raises TypeError for what has no content."""
    if isinstance(value, Enum):
        yield from _inputs(name, value.value)
    elif isinstance(value, np.generic):
        yield from _inputs(name, value.item())
    elif isinstance(value, Tensor | str | int | float | None):
        yield name, value
    elif isinstance(value, np.ndarray):
        yield name, _as_tensor(value)
    elif hasattr(value, "cache_inputs"):
        for key, one in value.cache_inputs().items():
            yield from [(f"{name}.{key}", one)] if callable(one) else _inputs(f"{name}.{key}", one)
    elif is_dataclass(value):
        for field in fields(value):
            if field.init:
                yield from _inputs(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, Mapping):
        for number, (key, one) in enumerate(value.items()):
            yield f"{name}[{number}] key", repr(key)
            yield from _inputs(f"{name}[{number}]", one)
    elif isinstance(value, Sequence):
        yield f"{name} length", len(value)
        for number, one in enumerate(value):
            yield from _inputs(f"{name}[{number}]", one)
    else:
        raise TypeError(f"{name}: {type(value).__name__} as an argument of a kept computation; wanted one with content")


def digest(
    definition: str, version: int, inputs: Mapping[str, Input], algorithm: Callable[[bytes], Hash] = xxhash.xxh3_128
) -> str:
    """A hash over a definition, its version and its inputs; an input that takes time may be a function."""
    hashed = algorithm(f"{definition} {version}".encode())
    for name in sorted(inputs):
        value = inputs[name]
        if callable(value) and not isinstance(value, Tensor):
            value = value()
        if isinstance(value, Tensor):
            hashed.update(f"\n{name} {value.dtype} {tuple(value.shape)} ".encode())
            _update(hashed, value)
        else:
            hashed.update(f"\n{name} {value!r}".encode())
    return hashed.hexdigest()


def _update(digest: Hash, tensor: Tensor) -> None:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(raw.numpy().data)


def _checksum(entry: Mapping[str, Tensor]) -> str:
    digest = xxhash.xxh3_128()
    for name in sorted(entry):
        digest.update(f"\n{name} {entry[name].dtype} {tuple(entry[name].shape)} ".encode())
        _update(digest, entry[name])
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Tensor] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            entry = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            stated = (file.metadata() or {}).get("checksum")
    except (SafetensorError, OSError, ValueError, RuntimeError):
        return None
    return entry if stated == _checksum(entry) else None


def _write(path: Path, entry: dict[str, Tensor]) -> None:
    handle, scratch = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    os.close(handle)
    try:
        save_file(entry, scratch, metadata={"checksum": _checksum(entry)})
        Path(scratch).replace(path)
    finally:
        Path(scratch).unlink(missing_ok=True)
