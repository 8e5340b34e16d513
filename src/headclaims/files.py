"""Text files that are written whole or not at all, JSON as records have it, and folders that hold no claims."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSED_OVER = {"build", "dist", "node_modules", "venv", "__pycache__", "site-packages"}


def is_passed_over(folder: str) -> bool:
    """Return whether a folder of this name is no place for claims: hidden, or of what tools build or install."""
    return folder.startswith(".") or folder in PASSED_OVER


def as_json(content: dict[str, Any]) -> str:
    """Return a record as JSON text; raises ValueError for NaN or infinity, which no JSON reader takes."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def in_one_step(path: Path) -> Iterator[Path]:
    """Yield a scratch file beside `path`, whose folder is made, and put it in its place once the block has ended well.

    A reader sees the old file or the new one, whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(0o644)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file in one step, making its folder: a reader sees the old file or the new one, whole."""
    with in_one_step(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
