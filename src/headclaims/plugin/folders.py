"""Which claim sets a run of pytest covers, from its arguments alone: never from pytest's rootdir."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from headclaims.claim.shipped import FINDINGS_FILE
from headclaims.files import is_passed_over

DEEPEST = 4


def set_folders(arguments: Iterable[str], invoked_in: Path) -> list[Path]:
    """Return the folders of claim sets that paths among these arguments lie in or above, in order, each once."""
    folders: dict[Path, None] = {}
    for argument in arguments:
        path = invoked_in / str(argument).split("::")[0]
        if os.path.exists(path):
            around = set_around(path.resolve())
            folders |= dict.fromkeys([around] if around else _below(path.resolve()))
    return list(folders)


def set_around(path: Path) -> Path | None:
    """Return the folder of the claim set that a path lies in, or None."""
    return next((folder for folder in (path, *path.parents) if (folder / FINDINGS_FILE).is_file()), None)


def _below(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Yield the folders of claim sets below a folder, by name, as deep as pytest's own collection usually goes."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if any(entry.name == FINDINGS_FILE for entry in entries):
        yield folder
        return
    for entry in entries if depth < DEEPEST else ():
        if not is_passed_over(entry.name) and entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), depth + 1)
