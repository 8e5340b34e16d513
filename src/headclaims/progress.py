"""Progress on a terminal, of what takes longer than two seconds; nothing where the output is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

DELAY = 2.0
Thing = TypeVar("Thing")
_terminal: list[TextIO] = []


def onto_terminal() -> None:
    """Keep hold of the terminal that standard error is now: pytest puts another in its place while tests run."""
    if sys.stderr.isatty() and not _terminal:
        _terminal.append(os.fdopen(os.dup(sys.stderr.fileno()), "w"))


def track(things: Iterable[Thing], what: str, total: int | None = None) -> Iterator[Thing]:
    """The things, with a bar of how many are done from the third second on."""
    stream = _terminal[0] if _terminal else sys.stderr
    return iter(
        tqdm(things, desc=what, total=total, delay=DELAY, leave=False, file=stream, disable=not stream.isatty())
    )
