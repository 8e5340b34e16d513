"""The vocabulary matrix on an accelerator: the sweep and the curve of similarity, beside products of the same tiles.

Only where there is one: `make bench-accelerator`, whose records are apart from the processor's.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from claims.benchmarks.conftest import D_HEAD, D_MODEL, VOCABULARY
from headclaims.benchmarks.yardsticks import dense_way, fastest, random_factors, random_head
from headclaims.vocabulary import on_device
from headclaims.vocabulary.cosine import similarity_curve
from headclaims.vocabulary.scores import sweep
from headclaims.vocabulary.token_scores import TokenScores

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
TOP, ROUNDS = 10, 5
SIDE = 8192
"""Of the square product that operations are timed by: large enough to fill an accelerator."""


def finished(work: Callable[[], Any]) -> Callable[[], None]:
    """Run `work` to its end: an accelerator works on after the call."""

    def done() -> None:
        work()
        torch.cuda.synchronize()

    return done


def bare_tiles(queries: Tensor, keys: Tensor) -> None:
    """Multiply the tiles that a sweep has, in float32, and drop them."""
    height, width = on_device.TILE
    tile = torch.empty(height, width, device=queries.device)
    for rows in queries.split(height):
        for some in keys.split(width):
            torch.mm(rows, some.T, out=tile[: len(rows), : len(some)])


def measure(benchmark: Any, work: Callable[[], Any], **yardsticks: float) -> None:
    """Time one thing, in ratios to yardsticks, and say by how much memory grew there."""
    finished(work)()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    benchmark.pedantic(finished(work), rounds=ROUNDS, iterations=1)
    seconds = float(benchmark.stats.stats.min)
    benchmark.extra_info.update(
        {
            "peak_growth": torch.cuda.max_memory_allocated() - before,
            **{f"ratio_to_{name}": seconds / other for name, other in yardsticks.items()},
        }
    )


def sweep_beside_products(benchmark: Any, n: int, d_head: int) -> None:
    """A sweep of one head beside its tiles' bare products."""
    queries, keys = (part.cuda() for part in random_factors(n, d_head, seed=0))
    own = torch.arange(n)
    bound = fastest(finished(lambda: bare_tiles(queries, keys)), ROUNDS)
    measure(benchmark, lambda: sweep(TokenScores(queries, keys), own, TOP), bound=bound)
    benchmark.extra_info.update({"tokens": n, "d_head": d_head, "heads": 1})


@pytest.mark.benchmark(group="vocabulary")
def test_sweep(benchmark: Any) -> None:
    """Ten best keys, own rank and log-sum-exp over a whole vocabulary."""
    sweep_beside_products(benchmark, VOCABULARY, D_HEAD)


@pytest.mark.benchmark(group="scaling")
@pytest.mark.parametrize("n", [2**power for power in range(12, 19)])
def test_tokens(benchmark: Any, n: int) -> None:
    """Quadratic in time, linear in memory."""
    sweep_beside_products(benchmark, n, D_HEAD)


@pytest.mark.benchmark(group="dense")
@pytest.mark.parametrize("n", [8192, 16_384, 32_768])
def test_sweep_and_the_dense_way(benchmark: Any, n: int) -> None:
    """From E and the head's weights, as the dense way has it; both on the accelerator."""
    E, circuit = random_head(n, D_MODEL, D_HEAD, seed=0)
    E, own = E.cuda(), torch.arange(n)
    there = replace(circuit, **{name: getattr(circuit, name).cuda() for name in ("W_Q", "W_K", "b_Q", "b_K")})
    dense = fastest(finished(lambda: dense_way(E, there)), 2)
    measure(benchmark, lambda: sweep(TokenScores.of(there, E, E, None), own, TOP), dense=dense)


@pytest.mark.benchmark(group="vocabulary")
def test_similarity(benchmark: Any) -> None:
    """Scores against cosine similarity for all pairs; the bound is half a product of E, and one of the head."""
    E, circuit = random_head(VOCABULARY, D_MODEL, D_HEAD, seed=0)
    scores, E = TokenScores.of(circuit, E, E, None).to(torch.device("cuda")), E.cuda()
    a, b = torch.randn(2, SIDE, SIDE, device="cuda")
    product = fastest(finished(lambda: a @ b), ROUNDS) * VOCABULARY**2 * (D_MODEL + 2 * D_HEAD) / (2 * SIDE**3)
    measure(benchmark, lambda: similarity_curve(scores, E), bound=product)
