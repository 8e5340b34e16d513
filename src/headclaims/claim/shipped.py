"""Where claim sets lie: those that ship with the package, by name, and any other, by its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from headclaims.errors import BadInput

FINDINGS_FILE = "findings.toml"
"""What makes a folder a claim set."""


def shipped_sets() -> dict[str, Path]:
    """Return the folders of the sets that ship, by name."""
    spec = find_spec("headclaims.claims")
    folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    found = sorted(path.parent for folder in folders for path in folder.glob(f"*/{FINDINGS_FILE}"))
    return {folder.name: folder for folder in found}


def find_sets(names: Sequence[str] = ()) -> list[Path]:
    """Return the folders of sets, each a name of one that ships or the path of a folder; without names all that ship.

    Raises BadInput, in one line, for one that there isn't.
    """
    shipped = shipped_sets()
    if not names:
        return list(shipped.values())
    return [shipped[name] if name in shipped else _folder(name, list(shipped)) for name in names]


def _folder(name: str, shipped: Sequence[str]) -> Path:
    folder = Path(os.path.expanduser(name))
    if not os.path.isfile(folder / FINDINGS_FILE):
        raise BadInput(f"{name}: no claim set; wanted {', '.join(shipped)} or a folder with {FINDINGS_FILE}")
    return folder.resolve()
