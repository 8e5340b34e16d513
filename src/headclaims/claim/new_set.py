"""A small claim set to begin with: one claim that runs on any model."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from headclaims.errors import BadInput
from headclaims.files import write_atomically

SUFFIX = ".template"
"""Without it the templates would be a claim set themselves."""


def write_new_set(folder: Path) -> list[Path]:
    """Write a claim set into a new folder and return its files; raises BadInput for one that has files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: not an empty folder; wanted the name of a new one")
    written = []
    for template in sorted(files("headclaims.claim").joinpath("templates").iterdir(), key=lambda entry: entry.name):
        path = folder / template.name.removesuffix(SUFFIX)
        write_atomically(path, template.read_text(encoding="utf-8"))
        written.append(path)
    return written
