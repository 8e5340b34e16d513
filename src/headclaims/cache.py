"""The disk cache: tensors that cost time, keyed by everything they are computed from.

An entry is a safetensors file named by a sha256 over its definition, the definition's version and its inputs (tensors
by their bytes). It carries a checksum of its own; a damaged or foreign entry is computed anew. A lock lets parallel
workers share the work.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Input = Tensor | str | int | float | None | Callable[[], str]


def cache_folder() -> Path:
    """$HEADCLAIMS_CACHE, or the platform's folder for caches."""
    chosen = os.environ.get("HEADCLAIMS_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("headclaims")


class Cache:
    """A folder of entries; with `folder` None nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._said = False

    def tensors(
        self,
        definition: str,
        version: int,
        inputs: Mapping[str, Input],
        compute: Callable[[], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """What `compute` gives, from the cache where it holds it.

        `definition` and `version` name what is computed: a changed computation needs a new version.
        """
        if self.folder is None:
            return compute()
        path = self.folder / definition / f"{digest(definition, version, inputs)}.safetensors"
        with self._locked(path) as usable:
            entry = _read(path) if usable else None
            if entry is None:
                # Cloned, as one file can't hold two tensors that share memory.
                entry = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in compute().items()}
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


def digest(definition: str, version: int, inputs: Mapping[str, Input]) -> str:
    """A sha256 over a definition, its version and its inputs; an input that takes time may be a function."""
    hashed = hashlib.sha256(f"{definition} {version}".encode())
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


def _update(digest: hashlib._Hash, tensor: Tensor) -> None:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(raw.numpy().data)


def _checksum(entry: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
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
