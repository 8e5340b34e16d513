"""Text files that are written whole or not at all, JSON as records have it, and folders that hold no claims."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

PASSED_OVER = {"build", "dist", "node_modules", "venv", "__pycache__", "site-packages"}


def is_passed_over(folder: str) -> bool:
    """Return whether a folder of this name is no place for claims: hidden, or of what tools build or install."""
    return folder.startswith(".") or folder in PASSED_OVER


def as_json(content: dict[str, Any]) -> str:
    """Return a record as JSON text; raises ValueError for NaN or infinity, which no JSON reader takes."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Write a file in one step, making its folder: a reader sees the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    finally:
        Path(scratch).unlink(missing_ok=True)
