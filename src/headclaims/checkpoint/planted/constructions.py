"""The constructions of planted checkpoints by name: what `planted` and `planted:<counterfeit>` are for a claim set.

A claim set names one in `findings.toml`. Each has its planted checkpoint, which all of a set's claims should hold of,
its counterfeits, and a random checkpoint, in which no head means anything.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headclaims.checkpoint.planted.counterfeits.registry import COUNTERFEITS, counterfeit_folder
from headclaims.checkpoint.planted.folder import planted_folder
from headclaims.checkpoint.planted.induction import counterfeits as induction
from headclaims.checkpoint.planted.random_weights import random_folder

RANDOM = "random"


@dataclass(frozen=True)
class Construction:
    """A planted checkpoint, its counterfeits by name, and how their folders are built where they are missing."""

    planted: Callable[[], Path]
    counterfeits: Mapping[str, type[Any]]
    counterfeit: Callable[[str], Path]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that can follow `planted:`."""
        return (*self.counterfeits, RANDOM)

    @property
    def descriptions(self) -> dict[str, str]:
        """The first line of what each changes."""
        docs = {name: inspect.getdoc(made) or "" for name, made in self.counterfeits.items()}
        return {name: doc.splitlines()[0] for name, doc in docs.items()} | {RANDOM: "Every weight is Gaussian."}

    def folder(self, name: str) -> Path:
        """Return the folder of a counterfeit, or, for no name, of the planted checkpoint."""
        if not name:
            return self.planted()
        return random_folder(0) if name == RANDOM else self.counterfeit(name)


def constructions() -> dict[str, Construction]:
    """Return the constructions by name."""
    return {
        "categories": Construction(planted_folder, COUNTERFEITS, counterfeit_folder),
        "induction": Construction(lambda: induction.folder("planted"), induction.COUNTERFEITS, induction.folder),
    }
