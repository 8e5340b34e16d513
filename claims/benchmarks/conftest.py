"""What benchmarks share: weights for timing, yardsticks timed beside what they measure, what a record says of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch

from headclaims.benchmarks.yardsticks import (
    bare_products,
    dense_way,
    fastest,
    give_back,
    peak_growth,
    random_factors,
    random_head,
)
from headclaims.record.environment import environment

VOCABULARY, D_MODEL, D_HEAD = 50_257, 768, 64
UNIT = 2048
"""Side of the square product that operations are timed by where a benchmark has no product of its own shape."""


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """The processor, the accelerator if there is one, and the versions; not whose machine it is."""
    machine_info.pop("node", None)
    machine_info.update(environment("cuda" if torch.cuda.is_available() else "cpu"))


class Bench:
    """Times one thing beside its yardsticks, and says what it took."""

    def __init__(self, benchmark: Any) -> None:
        self.benchmark = benchmark

    def __call__(self, work: Callable[[], Any], *, rounds: int, flops: float, n_bytes: float) -> float:
        """Seconds of the fastest of some rounds; memory grows in one more, as watching it takes a processor."""
        if rounds > 1:
            work()
        self.benchmark.pedantic(work, setup=give_back, rounds=rounds, iterations=1)
        give_back()
        grown = peak_growth(work)[1]
        seconds = float(self.benchmark.stats.stats.min)
        self.benchmark.extra_info.update(
            {
                "flops": flops,
                "bytes": n_bytes,
                "peak_growth": grown,
                "threads": torch.get_num_threads(),
                "numba": version("numba"),
            }
        )
        return seconds

    def against(self, yardstick: str, seconds: float, other: float) -> None:
        """Enter a ratio of seconds."""
        self.benchmark.extra_info[f"ratio_to_{yardstick}"] = seconds / other


@pytest.fixture
def bench(benchmark: Any) -> Bench:
    """`Bench` of one test."""
    return Bench(benchmark)


def bare_seconds(n: int, factors: int, rounds: int) -> float:
    """The bare tiled product of so many tokens and factors."""
    queries, keys = random_factors(n, factors, seed=0)
    return fastest(lambda: bare_products([(queries, keys)]), rounds)


def dense_seconds(n: int) -> tuple[float, int]:
    """The dense way over so many tokens, and by how much it grew."""
    E, circuit = random_head(n, D_MODEL, D_HEAD, seed=0)
    give_back()
    seconds = fastest(lambda: dense_way(E, circuit), 1)
    give_back()
    return seconds, peak_growth(lambda: dense_way(E, circuit))[1]


@pytest.fixture
def bound() -> Callable[[int, int, int], float]:
    """`bare_seconds`."""
    return bare_seconds


@pytest.fixture
def dense() -> Callable[[int], tuple[float, int]]:
    """`dense_seconds`."""
    return dense_seconds


@pytest.fixture
def products() -> Callable[[float], float]:
    """Seconds that so many operations take as square products, timed next to what they bound."""

    def seconds(flops: float) -> float:
        a, b = torch.randn(2, UNIT, UNIT)
        return fastest(lambda: a @ b, 5) * flops / (2 * UNIT**3)

    return seconds
