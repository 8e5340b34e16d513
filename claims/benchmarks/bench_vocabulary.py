"""The vocabulary matrix: all statistics in one pass, each by itself, and the dense way where it fits."""

import pytest
import torch

from claims.benchmarks.conftest import D_HEAD, D_MODEL, VOCABULARY
from headclaims.benchmarks.yardsticks import random_factors, random_head
from headclaims.vocabulary import tiles
from headclaims.vocabulary.cosine import similarity_curve
from headclaims.vocabulary.scores import sweep
from headclaims.vocabulary.token_scores import TokenScores

TOP = 10


@pytest.mark.benchmark(group="vocabulary")
def test_sweep(bench, bare_tiles):
    """Ten best keys, own rank and log-sum-exp over a whole vocabulary."""
    queries, keys = random_factors(VOCABULARY, D_HEAD, seed=0)
    own = torch.arange(VOCABULARY)
    bench(
        lambda: sweep(TokenScores(queries, keys), own, TOP),
        bare_tiles(VOCABULARY, D_HEAD),
        rounds=3,
        flops=2 * VOCABULARY**2 * D_HEAD,
        n_bytes=8 * VOCABULARY * D_HEAD,
    )


@pytest.mark.benchmark(group="dense")
@pytest.mark.parametrize("n", [4096, 8192, 16384])
def test_sweep_and_the_dense_way(bench, bare_tiles, dense, products, n):
    """From E and the head's weights, as the dense way has it; the bound holds both projections, too."""
    E, circuit = random_head(n, D_MODEL, D_HEAD, seed=0)
    own = torch.arange(n)
    projections = 4 * n * D_MODEL * D_HEAD
    of_tiles, of_projections = bare_tiles(n, D_HEAD), products(projections)
    seconds = bench(
        lambda: sweep(TokenScores.of(circuit, E, E, None), own, TOP),
        lambda: of_tiles() + of_projections(),
        rounds=3,
        flops=2 * n**2 * D_HEAD + projections,
        n_bytes=4 * n * D_MODEL,
    )
    taken, growth = dense(n)
    bench.against("dense", seconds, taken)
    bench.benchmark.extra_info["memory_to_dense"] = bench.benchmark.extra_info["peak_growth"] / growth


def top_by_torch(queries, keys):
    """The best keys of a strip's tiles, merged."""
    best: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def fold(_, row, column, products):
        values, found = products.topk(TOP, dim=1)
        if row in best:
            values, found = torch.cat([best[row][0], values], 1), torch.cat([best[row][1], found + column], 1)
            values, order = values.topk(TOP, dim=1)
            found = found.gather(1, order)
        best[row] = values, found

    tiles.walk([(queries, keys)], fold)


def rank_by_torch(queries, keys):
    """How many keys are above the own one."""
    own, above = (queries * keys).sum(dim=1), torch.zeros(len(queries), dtype=torch.int64)

    def fold(_, row, __, products):
        some = slice(row, row + len(products))
        above[some] += (products > own[some, None]).sum(dim=1)

    tiles.walk([(queries, keys)], fold)


def log_sum_exp_by_torch(queries, keys):
    """The log-sum-exp of tiles, joined."""
    total = torch.full((len(queries),), -torch.inf, dtype=torch.float64)

    def fold(_, row, __, products):
        some = slice(row, row + len(products))
        total[some] = torch.logaddexp(total[some], products.logsumexp(dim=1).double())

    tiles.walk([(queries, keys)], fold)


@pytest.mark.benchmark(group="vocabulary")
@pytest.mark.parametrize("statistic", [top_by_torch, rank_by_torch, log_sum_exp_by_torch], ids=lambda of: of.__name__)
def test_one_statistic(bench, bare_tiles, statistic):
    """Each statistic apart, by torch operators on the same tiles."""
    queries, keys = random_factors(VOCABULARY, D_HEAD, seed=0)
    flops, n_bytes = 2 * VOCABULARY**2 * D_HEAD, 8 * VOCABULARY * D_HEAD
    bench(lambda: statistic(queries, keys), bare_tiles(VOCABULARY, D_HEAD), rounds=1, flops=flops, n_bytes=n_bytes)


@pytest.mark.benchmark(group="vocabulary")
def test_similarity(bench, bare_tiles):
    """Scores against cosine similarity for all pairs; the bound is half a product of E, and one of the head.

    That is the bare product of as many tokens with d_model/2 + d_head factors, which takes as long as what it bounds:
    some short products beside it would find the machine at its fastest.
    """
    E, circuit = random_head(VOCABULARY, D_MODEL, D_HEAD, seed=0)
    scores = TokenScores.of(circuit, E, E, None)
    factors = D_MODEL // 2 + D_HEAD
    bench(
        lambda: similarity_curve(scores, E),
        bare_tiles(VOCABULARY, factors),
        rounds=3,
        flops=2 * VOCABULARY**2 * factors,
        n_bytes=4 * VOCABULARY * D_MODEL,
    )
