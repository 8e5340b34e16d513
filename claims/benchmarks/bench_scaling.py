"""How the sweep's cost grows: with the vocabulary, with the head's width, with the number of heads."""

import pytest
import torch

from claims.benchmarks.conftest import D_HEAD
from headclaims.benchmarks.yardsticks import bare_products, fastest, random_factors
from headclaims.vocabulary.scores import sweep_heads
from headclaims.vocabulary.token_scores import TokenScores

TOKENS = 16_384


def measure(bench, n, d_head, heads):
    """A sweep of some heads beside the bare product of each."""
    factors = [random_factors(n, d_head, seed=head) for head in range(heads)]
    own = torch.arange(n)
    rounds = 3 if n <= TOKENS else 1
    bench(
        lambda: sweep_heads([TokenScores(*pair) for pair in factors], own, 10),
        lambda: fastest(lambda: bare_products(factors), 1),
        rounds=rounds,
        flops=2 * heads * n**2 * d_head,
        n_bytes=8 * heads * n * d_head,
    )
    bench.benchmark.extra_info |= {"tokens": n, "d_head": d_head, "heads": heads}


@pytest.mark.benchmark(group="scaling")
@pytest.mark.parametrize("n", [2**power for power in range(12, 19)])
def test_tokens(bench, n):
    """Quadratic in time, linear in memory."""
    measure(bench, n, D_HEAD, 1)


@pytest.mark.benchmark(group="scaling")
@pytest.mark.parametrize("d_head", [16, 32, 128, 256])
def test_width(bench, d_head):
    """The products grow with the width, the rest does not."""
    measure(bench, TOKENS, d_head, 1)


@pytest.mark.benchmark(group="scaling")
@pytest.mark.parametrize("heads", [2, 4, 8])
def test_heads(bench, heads):
    """Linear."""
    measure(bench, TOKENS, D_HEAD, heads)
