"""Where claim sets lie: those that ship with the package, by name, and any other, by its folder."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from headclaims.errors import BadInput

FINDINGS_FILE = "findings.toml"
"""What makes a folder a claim set."""


def shipped_sets() -> dict[str, Path]:
    """Return the folders of the sets that ship, by name: in the package's own `ORDER`, then by name."""
    if find_spec("headclaims.claims") is None:
        return {}
    package = import_module("headclaims.claims")
    found = {
        path.parent.name: path.parent for place in package.__path__ for path in Path(place).glob(f"*/{FINDINGS_FILE}")
    }
    first = [name for name in getattr(package, "ORDER", ()) if name in found]
    return {name: found[name] for name in [*first, *sorted(set(found) - set(first))]}


def find_sets(names: Sequence[str] = ()) -> list[Path]:
    """Return the folders of sets, each a name of one that ships or the path of a folder; without names all that ship.

    Raises BadInput, in one line, for one that there isn't.
    """
    shipped = shipped_sets()
    if not names:
        return list(shipped.values())
    return [shipped[name] if name in shipped else _folder(name, list(shipped)) for name in names]


def declared_heads(folders: Sequence[Path]) -> dict[str, str]:
    """Return the names of heads that an auditor may give, and what each is, as the sets' `findings.toml` have them.

    A set that can't be read has none: it is refused, in one line, when it is read.
    """
    names: dict[str, str] = {}
    for folder in folders:
        try:
            named = tomllib.loads((folder / FINDINGS_FILE).read_text(encoding="utf-8-sig"))["write_up"]["named_heads"]
            names = {name: str(what) for name, what in named.items()} | names
        except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
            continue
    return names


def _folder(name: str, shipped: Sequence[str]) -> Path:
    folder = Path(os.path.expanduser(name))
    if not os.path.isfile(folder / FINDINGS_FILE):
        raise BadInput(f"{name}: no claim set; wanted {', '.join(shipped)} or a folder with {FINDINGS_FILE}")
    return folder.resolve()
