"""Work that gains from one thread a piece, not from several threads within one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

from headclaims.progress import track

Piece = TypeVar("Piece")
Made = TypeVar("Made")


@cache
def _numpy_threads() -> ThreadpoolController:
    """Of the libraries loaded by now; looking for them takes some milliseconds."""
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices of a hundred rows gain nothing from threads; on a busy machine waiting for them costs a hundredfold.

    Neither torch's threads nor those that numpy's products have of their own.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _numpy_threads().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def each_in_one_thread(work: Callable[[Piece], Made], pieces: Sequence[Piece], what: str) -> list[Made]:
    """What `work` makes of each piece, in order: as many pieces at once as torch has threads, one thread each.

    `what` they are of is said beside the progress.
    """
    n = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(track(pool.map(work, pieces), what, len(pieces)))
