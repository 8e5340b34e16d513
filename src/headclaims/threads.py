"""Parallel work on many pieces, one thread a piece, for pieces too small to gain from several threads each."""

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
    """Return the controller of the libraries loaded so far, found once: the search takes some milliseconds."""
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch and the BLAS of numpy to one thread in the `with` block.

    Matrices of a hundred rows gain nothing from threads; on a busy machine waiting for them costs a hundredfold.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _numpy_threads().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def each_in_one_thread(work: Callable[[Piece], Made], pieces: Sequence[Piece], what: str) -> list[Made]:
    """Apply `work` to each piece and return the results in order, one thread a piece, in as many threads as torch has.

    `what` labels the progress bar.
    """
    n = torch.get_num_threads()
    if n == 1:  # no pool: handing pieces to another thread and back takes as long as a small piece
        with one_thread():
            return [work(piece) for piece in track(pieces, what, len(pieces))]
    with one_thread(), ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(track(pool.map(work, pieces), what, len(pieces)))
