"""The checkpoint that a process loaded last, for processes that audit one model many times over.

Loading a model takes longer than many an audit of it. A process that stays says so once, by `hold_the_last()`; then
evidence that is named again, as it was named before and with its files untouched, is not loaded again.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from headclaims.checkpoint.interface import Checkpoint
from headclaims.uncollected import keep_uncollected

_held: dict[tuple[Any, ...], Checkpoint] | None = None


def hold_the_last() -> None:
    """From now on, hold in this process the checkpoint that was loaded last."""
    global _held
    _held = {} if _held is None else _held


def held_or(load: Callable[..., Checkpoint], spec: str, *arguments: Any) -> Checkpoint:
    """Return `load(spec, *arguments)`, or what it returned the last time where neither these nor the files changed.

    What was held is let go before another is loaded: no two models are in memory.
    """
    if _held is None:
        return load(spec, *arguments)
    key = (spec, *map(str, arguments), *_files(Path(os.path.expanduser(spec))))
    if key not in _held:
        if _held:
            _held.clear()
            _free_the_first()
        _held[key] = load(spec, *arguments)
    return _held[key]


@cache
def _free_the_first() -> None:
    """Collect the first model: it has cycles, and was frozen with what was there after the first audit."""
    gc.unfreeze()
    gc.collect()
    keep_uncollected()


def _files(path: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of the files of a local checkpoint; none where it is no path."""
    try:
        found = sorted(path.iterdir()) if path.is_dir() else [path] * path.exists()
        return [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in found]
    except (OSError, ValueError):
        return []
