"""What the vocabulary matrix costs otherwise: the bare product, and the dense way of the write-up's code."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.vocabulary import tiles

Made = TypeVar("Made")
SPREAD = 1.5
"""Nats; the standard deviation of L1H5's scores over isotropic rows, from the norm of its W_QK."""


def random_factors(
    n_tokens: int, d_head: int, seed: int
) -> tuple[Float[Tensor, "token d_head"], Float[Tensor, "token d_head"]]:
    """Draw queries and keys whose scores spread as a real head's."""
    generator = torch.Generator().manual_seed(seed)
    size = (SPREAD / d_head**0.5) ** 0.5
    queries, keys = size * torch.randn(2, n_tokens, d_head, generator=generator)
    return queries, keys


def random_head(
    n_tokens: int, d_model: int, d_head: int, seed: int
) -> tuple[Float[Tensor, "token d_model"], QKCircuit]:
    """Draw rows of E, of mean square 1, and a head whose scores on them spread as a real head's."""
    generator = torch.Generator().manual_seed(seed)
    E = torch.nn.functional.normalize(torch.randn(n_tokens, d_model, generator=generator), dim=1) * d_model**0.5
    size = (SPREAD / d_model) ** 0.5
    W_Q, W_K = size * torch.randn(2, d_model, d_head, generator=generator)
    return E, QKCircuit(W_Q, W_K, torch.zeros(d_head), torch.zeros(d_head), d_head**-0.5)


def bare_products(heads: Sequence[tuple[Float[Tensor, "_ _"], Float[Tensor, "_ _"]]]) -> None:
    """Compute every tile of queries @ keysᵀ of each head and drop it: 2 · query · key · factor operations."""
    tiles.walk(heads, lambda *_: None)


@dataclass(frozen=True)
class Dense:
    """The ten best keys of each token, its own rank and the log-sum-exp of its scores."""

    keys: Tensor
    own_rank: Tensor
    log_sum_exp: Tensor


def dense_way(E: Float[Tensor, "token d_model"], circuit: QKCircuit) -> Dense:
    """Form E W_QK Eᵀ whole and sort every row for the ranks, as the write-up's code does."""
    scores = E @ (circuit.W_Q @ circuit.W_K.T) @ E.T * circuit.scale
    order = scores.argsort(dim=1, descending=True)
    own_rank = (order == torch.arange(len(E), device=E.device)[:, None]).int().argmax(dim=1)
    return Dense(order[:, :10].clone(), own_rank, scores.logsumexp(dim=1))


def give_back() -> None:
    """Return to the system what the process holds but doesn't use, where its C library can (glibc).

    Else what is measured next could live on it, and seem to need nothing. Takes some tenths of a second.
    """
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def peak_growth(work: Callable[[], Made]) -> tuple[Made, int]:
    """Return the result of `work`, and by how many bytes the process with its children grew meanwhile."""
    process, stop = psutil.Process(), threading.Event()

    def held() -> int:
        total = int(process.memory_info().rss)
        for child in process.children(recursive=True):
            with suppress(psutil.Error):
                total += int(child.memory_info().rss)
        return total

    before = highest = held()

    def watch() -> None:
        nonlocal highest
        while not stop.is_set():
            highest = max(highest, held())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        made = work()
    finally:
        stop.set()
        watcher.join()
    return made, max(highest, held()) - before


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Return the seconds of the fastest of some rounds, after one that doesn't count where there are several."""
    seconds = []
    for _ in range(rounds + (rounds > 1)):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds[rounds > 1 :])
