"""Parallel work on many pieces, one thread a piece, for pieces too small to gain from several threads each."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
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


LARGE = 2**31
"""Bytes of resident memory from which what was freed is handed back."""


@cache
def _trim() -> Callable[[int], int] | None:
    """Return glibc's `malloc_trim`; None where the C library is another."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return trim


def hand_back() -> None:
    """Hand memory that was freed back to the system, in a large process on Linux; elsewhere do nothing.

    glibc keeps the freed memory of each thread apart, which added up to a third of the peak of a large model's audit.
    """
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        large = pages * os.sysconf("SC_PAGE_SIZE") >= LARGE
    except (OSError, ValueError, AttributeError):
        return
    trim = _trim() if large else None
    if trim is not None:
        trim(0)


def each_in_one_thread(work: Callable[[Piece], Made], pieces: Sequence[Piece], what: str) -> list[Made]:
    """Apply `work` to each piece and return the results in order, one thread a piece, in as many threads as torch has.

    `what` labels the progress bar.
    """
    n = torch.get_num_threads()
    if n == 1:  # no pool: handing pieces to another thread and back takes as long as a small piece
        with one_thread():
            return [work(piece) for piece in track(pieces, what, len(pieces))]
    with one_thread(), ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        made = list(track(pool.map(work, pieces), what, len(pieces)))
    hand_back()
    return made
