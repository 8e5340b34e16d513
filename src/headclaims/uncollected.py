"""Imports without garbage collections, and what they made left out of later ones."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import in the `with` block without collections.

    Libraries make a million objects that stay: looking through these again and again took a sixth of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def keep_uncollected() -> None:
    """Take all that is there out of collections until the process ends, which would look through it again and again.

    Triton has to be freed at the end: it prints thirty lines about what is left.
    """
    gc.freeze()
    atexit.register(_free_triton)


def _free_triton() -> None:
    if "triton" in sys.modules:
        gc.unfreeze()
