"""Best keys, own ranks and log-sum-exps of token scores, in one pass over tiles: E W_QK Eᵀ is never formed.

Axes: `query` and `key` tokens, `factor` the columns of both factors, `rank` the best keys of a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.circuit.head_score import capped
from headclaims.vocabulary import kernels, tiles
from headclaims.vocabulary.token_scores import TokenScores


@dataclass(frozen=True)
class Swept:
    """Results of one pass over the keys, for each query.

    `keys` are its best keys with their `scores`, highest first and ties by key, then −1 and −∞ where it has fewer than
    k. `own_rank` is the own key's place among all its keys, from 0, and `log_sum_exp` = ln Σ_j exp s_j. Scores are
    those under the cap, where there is one.
    """

    keys: Int[Tensor, "query rank"]
    scores: Float[Tensor, "query rank"]
    own_rank: Int[Tensor, " query"]
    log_sum_exp: Float[Tensor, " query"]


def sweep(
    scores: TokenScores,
    own_key: Int[Tensor, " query"],
    k: int,
    causal: bool = False,
    tile: tuple[int, int] = tiles.TILE,
) -> Swept:
    """Find each query's k best keys, its own key's rank and its log-sum-exp, in one pass over tiles of scores.

    `own_key[i]` is the key of the same token as query i; with `causal`, keys after it are left out. Keys, ranks and
    `scores` are exactly those of float64 products, summed in the order of the factors; `log_sum_exp` is off by at most
    1e-6 plus the rounding of float32 products (`TokenScores.rounding`), within which it may depend on tiles and
    threads. Memory is that of the factors, 8·(2k + 5) bytes a query, and a tile a thread.

    Raises ValueError for k below 1, no keys, an own key out of range, or factors that are not finite or whose products
    may exceed float32.
    """
    return sweep_heads([scores], own_key, k, causal, tile)[0]


def sweep_heads(
    heads: Sequence[TokenScores],
    own_key: Int[Tensor, " query"],
    k: int,
    causal: bool = False,
    tile: tuple[int, int] = tiles.TILE,
) -> list[Swept]:
    """Run `sweep` for several heads over the same tokens, with their work shared among the threads."""
    for scores in heads:
        _check(scores, own_key, k)
    if all(scores.queries.device.type == "cpu" for scores in heads):
        return _compiled(heads, own_key, k, causal, tile)
    return [_by_torch(scores, own_key, k, causal, tile) for scores in heads]


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
        folds.append((factors, own, scores.rounding().numpy(), results))

    def fold(head: int, first_row: int, first_key: int, products: Tensor) -> None:
        factors, own, rounding, results = folds[head]
        arrays = [results[name].numpy() for name in ("best", "which", "above", "peak", "total")]
        cap = heads[head].cap or 0.0
        kernels.fold(products.numpy(), first_row, first_key, *factors, places, own, rounding, causal, cap, *arrays)

    tiles.walk([(scores.queries, scores.keys) for scores in heads], fold, tile, own_key if causal else None)
    swept = []
    for (*_, r), scores in zip(folds, heads, strict=True):
        best, peak = _capped_seen(r["best"], scores.cap), _capped_seen(r["peak"], scores.cap)
        swept.append(Swept(r["which"], best, r["above"], peak + r["total"].log()))
    return swept


def _by_torch(
    scores: TokenScores, own_key: Int[Tensor, " query"], k: int, causal: bool, tile: tuple[int, int]
) -> Swept:
    """Sweep with torch operators, on any device; products in float64 are computed on the processor."""
    n, n_keys = len(scores.queries), len(scores.keys)
    queries, keys = (part.detach().cpu().double() for part in (scores.queries, scores.keys))
    places = own_key.cpu()
    own = (queries * keys[places]).sum(dim=1) if scores.own is None else scores.own.cpu().double()
    rounding = scores.rounding().cpu()
    best, which = torch.full((n, k), -torch.inf, dtype=torch.float64), torch.full((n, k), -1)
    above, log_sum_exp = torch.zeros(n, dtype=torch.int64), torch.full((n,), -torch.inf, dtype=torch.float64)

    def exact(row: Tensor, key: Tensor) -> Tensor:
        return torch.where(key == places[row], own[row], (queries[row] * keys[key]).sum(dim=1))

    for rows in torch.arange(n).split(tile[0]):
        for number in torch.arange(n_keys).split(tile[1]):
            block = (scores.queries[rows].float() @ scores.keys[number].float().T).cpu()
            inside = (places[rows, None] == number).nonzero()
            block[inside[:, 0], inside[:, 1]] = own[rows[inside[:, 0]]].float()
            if causal:
                block.masked_fill_(number > places[rows, None], -torch.inf)
            values = _capped_seen(block.double(), scores.cap)
            log_sum_exp[rows] = torch.logaddexp(log_sum_exp[rows], values.logsumexp(dim=1))
            low, high = (own[rows] - rounding[rows])[:, None], (own[rows] + rounding[rows])[:, None]
            above[rows] += (block > high).sum(dim=1)
            row, place = ((block >= low) & (block <= high)).nonzero(as_tuple=True)
            key, row = number[place], rows[row]
            score = exact(row, key)
            higher = (score > own[row]) | ((score == own[row]) & (key < places[row]))
            above.index_add_(0, row[higher], torch.ones_like(row[higher]))
            kth = block.topk(min(k, len(number)), dim=1).values[:, -1].double()
            if len(number) < k:
                kth = torch.full_like(kth, -torch.inf)
            entry_score = torch.maximum(kth - rounding[rows], best[rows, -1]) - rounding[rows]
            row, place = ((block >= entry_score[:, None]) & block.isfinite()).nonzero(as_tuple=True)
            _merge(best, which, rows, (rows[row], number[place], exact(rows[row], number[place])))
    return Swept(which, _capped_seen(best, scores.cap), above, log_sum_exp)


def _capped_seen(scores: Float[Tensor, "*shape"], cap: float | None) -> Float[Tensor, "*shape"]:
    """Cap scores but those of −∞, which stand for keys that are left out."""
    return scores if cap is None else torch.where(scores.isinf(), scores, capped(scores, cap))


def _merge(
    best: Float[Tensor, "query rank"],
    which: Int[Tensor, "query rank"],
    rows: Int[Tensor, " row"],
    candidates: tuple[Int[Tensor, " candidate"], Int[Tensor, " candidate"], Float[Tensor, " candidate"]],
) -> None:
    """Merge candidates (row, key, score) into the running top k of some rows, in place; ties go to the smaller key."""
    k = best.shape[1]
    row = torch.cat([rows.repeat_interleave(k), candidates[0]])
    key, score = torch.cat([which[rows].flatten(), candidates[1]]), torch.cat([best[rows].flatten(), candidates[2]])
    order = key.argsort(stable=True)
    order = order[score[order].argsort(stable=True, descending=True)]
    order = order[row[order].argsort(stable=True)]
    row, key, score = row[order], key[order], score[order]
    starts = torch.searchsorted(row, rows)
    chosen = starts[:, None] + torch.arange(k)
    best[rows], which[rows] = score[chosen], key[chosen]
