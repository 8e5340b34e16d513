"""Runs that begin at a layer: the blocks before it, which TransformerLens runs all the same, are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def left_out(blocks: Iterable[Any]) -> Iterator[None]:
    """Let blocks hand on the stream that they are given in the `with` block; their hooks don't fire.

    A model whose blocks return more than the stream doesn't take that: `FullCheckpoint` tries it once.
    """
    for block in blocks:  # setting an attribute would set the wrapped block's as well
        vars(block)["forward"] = _handed_on
    try:
        yield
    finally:
        for block in blocks:
            del vars(block)["forward"]


def _handed_on(*args: Any, **kwargs: Any) -> Any:
    return args[0] if args else kwargs["hidden_states"]
