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


Yardstick = Callable[[], float]
"""The seconds that what is measured can't fall below, measured anew at each call."""


class Bench:
    """Times one thing and its yardstick by turns, as a machine's speed drifts by a third; and says what it took."""

    def __init__(self, benchmark: Any) -> None:
        self.benchmark = benchmark

    def __call__(
        self, work: Callable[[], Any], bound: Yardstick, *, rounds: int, flops: float, n_bytes: float
    ) -> float:
        """Seconds of the fastest of some rounds; memory grows in one more, as watching it takes a processor."""
        bounds: list[float] = []

        def before_each() -> None:
            bounds.append(bound())
            give_back()

        if rounds > 1:
            work()
            bound()
        self.benchmark.pedantic(work, setup=before_each, rounds=rounds, iterations=1)
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
        self.against("bound", seconds, min(bounds))
        return seconds

    def against(self, yardstick: str, seconds: float, other: float) -> None:
        """Enter a ratio of seconds."""
        self.benchmark.extra_info[f"ratio_to_{yardstick}"] = seconds / other


@pytest.fixture
def bench(benchmark: Any) -> Bench:
    """`Bench` of one test."""
    return Bench(benchmark)


def bare(n: int, factors: int) -> Yardstick:
    """The bare tiled product of so many tokens and factors."""
    pair = random_factors(n, factors, seed=0)
    return lambda: fastest(lambda: bare_products([pair]), 1)


def dense_seconds(n: int) -> tuple[float, int]:
    """The dense way over so many tokens, and by how much it grew."""
    E, circuit = random_head(n, D_MODEL, D_HEAD, seed=0)
    give_back()
    seconds = fastest(lambda: dense_way(E, circuit), 1)
    give_back()
    return seconds, peak_growth(lambda: dense_way(E, circuit))[1]


@pytest.fixture
def bare_tiles() -> Callable[[int, int], Yardstick]:
    """`bare`."""
    return bare


@pytest.fixture
def dense() -> Callable[[int], tuple[float, int]]:
    """`dense_seconds`."""
    return dense_seconds


@pytest.fixture
def products() -> Callable[[float], Yardstick]:
    """Seconds that so many operations take as square products, at the speed of five of them."""
    a, b = torch.randn(2, UNIT, UNIT)
    return lambda flops: lambda: fastest(lambda: a @ b, 5) * flops / (2 * UNIT**3)
