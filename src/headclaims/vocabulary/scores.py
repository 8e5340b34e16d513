"""Best keys, own ranks and log-sum-exps of token scores, in one pass over tiles: E W_QK Eᵀ is never formed.

Axes: `query` and `key` tokens, `factor` the columns of both factors, `rank` the best keys of a query.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from headclaims.cache import Cache, kept
from headclaims.vocabulary import on_device, tiles, where
from headclaims.vocabulary.on_device import DeviceSweep, capped_seen
from headclaims.vocabulary.token_scores import Swept, TokenScores


def sweep(
    scores: TokenScores,
    own_key: Int[Tensor, " query"],
    k: int,
    causal: bool = False,
    tile: tuple[int, int] | None = None,
    cache: Cache | None = None,
) -> Swept:
    """Find each query's k best keys, its own key's rank and its log-sum-exp, in one pass over tiles of scores.

    `own_key[i]` is the key of the same token as query i; with `causal`, keys after it are left out. Keys, ranks and
    `scores` are exactly those of float64 products, summed in the order of the factors; `log_sum_exp` is off by at most
    1e-6 plus the rounding of float32 products (`TokenScores.rounding`), within which it may depend on tiles and
    threads. Memory is that of the factors, 8·(2k + 5) bytes a query, and a tile a thread. What a `cache` has kept is
    read from there: loading the compiled kernels alone takes half a second.

    Raises ValueError for k below 1, no keys, an own key out of range, or factors that are not finite or whose products
    may exceed float32.
    """
    if cache is None:
        return sweep_heads([scores], own_key, k, causal, tile)[0]
    arrays = cache.call(swept_arrays, scores, own_key, k, causal)
    return Swept(**{name: torch.from_numpy(array) for name, array in arrays.items()})


@kept("sweep", version=1)
def swept_arrays(scores: TokenScores, own_key: Int[Tensor, " query"], k: int, causal: bool) -> dict[str, Tensor]:
    """Return the fields of a `sweep`."""
    return sweep(scores, own_key, k, causal)._asdict()


def sweep_heads(
    heads: Sequence[TokenScores],
    own_key: Int[Tensor, " query"],
    k: int,
    causal: bool = False,
    tile: tuple[int, int] | None = None,
) -> list[Swept]:
    """Run `sweep` for several heads over the same tokens, with their work shared among the threads.

    It runs where the factors are, or, if that is the processor, where `vocabulary.where` says.
    """
    place = where.place(heads[0].queries.device) if heads else where.PROCESSOR
    heads = [scores.to(place.device) for scores in heads]
    for scores in heads:
        _check(scores, own_key, k)
    if place.compiled:
        return _compiled(heads, own_key, k, causal, tile or tiles.TILE)
    return [_on_device(scores, own_key, k, causal, tile) for scores in heads]


def _check(scores: TokenScores, own_key: Int[Tensor, " query"], k: int) -> None:
    n_keys = len(scores.keys)
    if k < 1 or n_keys < 1:
        raise ValueError(f"the {k} highest of {n_keys} keys; wanted one at least of either")
    if len(own_key) != len(scores.queries):
        raise ValueError(f"{len(own_key)} own keys of {len(scores.queries)} queries; wanted one each")
    if len(own_key) and not 0 <= int(own_key.min()) <= int(own_key.max()) < n_keys:
        raise ValueError(f"own keys from {int(own_key.min())} to {int(own_key.max())}; wanted some of {n_keys} keys")


def _compiled(
    heads: Sequence[TokenScores], own_key: Int[Tensor, " query"], k: int, causal: bool, tile: tuple[int, int]
) -> list[Swept]:
    """Sweep on the processor: torch computes each tile, and a compiled kernel folds it while it is in the cache."""
    from headclaims.vocabulary import kernels  # numba, where a sweep is not read from the cache

    n, places = len(own_key), own_key.contiguous().numpy()
    folds = []
    for scores in heads:
        factors = [part.detach().contiguous().numpy() for part in (scores.queries, scores.keys)]
        own = kernels.own_products(*factors, places) if scores.own is None else scores.own.double().numpy()
        results = {
            "best": torch.full((n, k), -torch.inf, dtype=torch.float64),
            "which": torch.full((n, k), -1),
            "above": torch.zeros(n, dtype=torch.int64),
            "peak": torch.full((n,), -torch.inf, dtype=torch.float64),
            "total": torch.zeros(n, dtype=torch.float64),
        }
        arrays = [results[name].numpy() for name in ("best", "which", "above", "peak", "total")]
        folds.append((results, (*factors, places, own, scores.rounding().numpy(), causal, scores.cap or 0.0, *arrays)))

    def fold(head: int, first_row: int, first_key: int, products: Tensor) -> None:
        kernels.fold(products.numpy(), first_row, first_key, *folds[head][1])

    tiles.walk([(scores.queries, scores.keys) for scores in heads], fold, tile, own_key if causal else None)
    swept = []
    for (r, _), scores in zip(folds, heads, strict=True):
        best, peak = capped_seen(r["best"], scores.cap), capped_seen(r["peak"], scores.cap)
        swept.append(Swept(r["which"], best, r["above"], peak + r["total"].log()))
    return swept


def _on_device(
    scores: TokenScores, own_key: Int[Tensor, " query"], k: int, causal: bool, tile: tuple[int, int] | None
) -> Swept:
    """Sweep on the factors' device, whichever that is: by fused kernels where there are some, or by torch operators."""
    fused = where.fused_kernels(scores.queries.device)
    kind = fused.FusedSweep if fused else DeviceSweep
    with where.current(scores.queries.device):
        return kind(scores, own_key, k, causal, tile or on_device.TILE).run()
