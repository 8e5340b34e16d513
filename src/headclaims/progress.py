"""Progress bars for work that takes longer than two seconds, shown on a terminal only."""

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
    """Keep a handle of the terminal behind standard error, which pytest replaces while tests run."""
    if sys.stderr.isatty() and not _terminal:
        _terminal.append(os.fdopen(os.dup(sys.stderr.fileno()), "w"))


def track(things: Iterable[Thing], what: str, total: int | None = None) -> Iterator[Thing]:
    """Iterate over the things; after two seconds a bar, labelled `what`, shows how many are done."""
    stream = _terminal[0] if _terminal else sys.stderr
    return iter(
        tqdm(things, desc=what, total=total, delay=DELAY, leave=False, file=stream, disable=not stream.isatty())
    )
