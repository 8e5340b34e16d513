"""Scores between tokens of the vocabulary, in factors: E W_QK Eᵀ is never formed.

Axes: `query` and `key` tokens, `factor` the columns of both factors (d_head; for parts of W_QK and under steering up to
2·d_head + 2), `rank` the best keys of a query. Scores are before the softmax and after the scale. With rotary positions
a token's score with itself is that at offset 0, and with others the mean over offsets 1…S − 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit, Rotation, RotationAt
from headclaims.circuit.scatter import Eigenspace
from headclaims.vocabulary import kernels, tiles

ROUNDING = 2.0**-24
"""Largest relative rounding error of one float32 operation."""
SMALLEST = 2.0**-126
"""Smallest normal float32; smaller numbers may be rounded to 0."""


def mean_rotation(rotation: RotationAt, length: int) -> Rotation | None:
    """Return the mean of R over offsets 1…length − 1, with which (q R̄) kᵀ is the mean score; None without R."""
    at_offsets = [rotation(offset) for offset in range(1, length)]
    rotations = [R for R in at_offsets if R is not None]
    return torch.stack(rotations).mean(dim=0) if rotations else None


@dataclass(frozen=True)
class TokenScores:
    """Scores of query tokens with key tokens: `queries` @ `keys`ᵀ.

    `own` is each query's score with itself, where it differs from that product, as with rotary positions.
    """

    queries: Float[Tensor, "query factor"]
    keys: Float[Tensor, "key factor"]
    own: Float[Tensor, " query"] | None = None

    @classmethod
    def of(
        cls,
        circuit: QKCircuit,
        queries: Float[Tensor, "query d_model"],
        keys: Float[Tensor, "key d_model"],
        turn: Rotation | None,
        biased: bool = True,
    ) -> TokenScores:
        """Compute factors of x W_QK yᵀ for rows of E, with or without both biases; `turn` is `mean_rotation`."""
        b_Q, b_K = (circuit.b_Q, circuit.b_K) if biased else (0.0, 0.0)
        q, k = (queries @ circuit.W_Q + b_Q) * circuit.scale, keys @ circuit.W_K + b_K
        if turn is None:
            return cls(q, k)
        own = (q.double() * (queries @ circuit.W_K + b_K).double()).sum(dim=-1)
        return cls(q @ turn.to(q), k, own)

    @classmethod
    def of_part(
        cls,
        circuit: QKCircuit,
        queries: Float[Tensor, "query d_model"],
        keys: Float[Tensor, "key d_model"],
        sign: int,
        biased: bool = True,
    ) -> TokenScores:
        """Compute factors of x W_sym yᵀ (`sign` 1) or x W_skew yᵀ (−1), (q_x·k_y ± k_x·q_y)/2, and of bias terms."""
        q_x, k_x = queries @ circuit.W_Q, queries @ circuit.W_K
        q_y, k_y = keys @ circuit.W_Q, keys @ circuit.W_K
        return cls._with_biases(
            circuit, q_x, k_y, torch.cat([q_x, k_x], dim=1) / 2, torch.cat([k_y, sign * q_y], dim=1), biased
        )

    @classmethod
    def steered(
        cls,
        circuit: QKCircuit,
        queries: Float[Tensor, "query d_model"],
        keys: Float[Tensor, "key d_model"],
        alpha: float,
        biased: bool = True,
    ) -> TokenScores:
        """Compute factors of x W(α) yᵀ, W(α) being W_sym with its negative eigenvalues times α, and of bias terms."""
        space = Eigenspace.of(circuit)
        scaled = torch.where(space.values < 0, alpha * space.values, space.values) / circuit.scale
        x, y = (torch.from_numpy(space.coordinates(rows)) for rows in (queries, keys))
        return cls._with_biases(
            circuit,
            queries @ circuit.W_Q,
            keys @ circuit.W_K,
            (x * scaled).to(queries),
            y.to(keys),
            biased,
        )

    @classmethod
    def _with_biases(
        cls, circuit: QKCircuit, q_x: Tensor, k_y: Tensor, left: Tensor, right: Tensor, biased: bool
    ) -> TokenScores:
        """Add to left rightᵀ, where `biased`, the terms q_x·b_K + b_Q·k_y + b_Q·b_K as two more factors."""
        if biased:
            of_query = q_x @ circuit.b_K + circuit.b_Q @ circuit.b_K
            left = torch.cat([left, of_query[:, None], torch.ones_like(of_query)[:, None]], dim=1)
            of_key = k_y @ circuit.b_Q
            right = torch.cat([right, torch.ones_like(of_key)[:, None], of_key[:, None]], dim=1)
        return cls(left * circuit.scale, right)

    @property
    def itself(self) -> Float[Tensor, " token"]:
        """Scores of tokens with themselves, in float64; raises ValueError unless queries and keys are as many."""
        self._require_square()
        if self.own is not None:
            return self.own.double()
        return (self.queries.double() * self.keys.double()).sum(dim=-1)

    def matrix(self) -> Float[Tensor, "token token"]:
        """Compute all scores of tokens among themselves; raises ValueError unless queries and keys are as many."""
        self._require_square()
        scores = self.queries @ self.keys.T
        if self.own is not None:
            scores.diagonal().copy_(self.own)
        return scores

    def _require_square(self) -> None:
        if len(self.queries) != len(self.keys):
            raise ValueError(f"{len(self.queries)} queries and {len(self.keys)} keys; wanted the same tokens")

    def rounding(self) -> Float[Tensor, " query"]:
        """Return a bound, in float64, on the error of each query's products in float32, summed in any order.

        It is 0 where the query or all keys are zero, and its own score is. Raises ValueError where a number is not
        finite, or float32 cannot hold the factors or their products.
        """
        for name in ("queries", "keys", "own"):
            tensor = getattr(self, name)
            if tensor is not None and not bool(tensor.float().isfinite().all()):
                raise ValueError(f"{name} hold a number that is not finite; wanted finite ones that float32 holds")
        queries, keys = (_norms(part) for part in (self.queries, self.keys))
        largest = float(keys.max()) if len(keys) else 0.0
        size = queries * largest
        if self.own is not None:
            size = size + self.own.double().abs()
        if len(size) and float(size.max()) > torch.finfo(torch.float32).max:
            raise ValueError(f"scores of up to {float(size.max()):.1g}; wanted scores that float32 holds")
        # Five more than there are terms, for the rounding of the factors and of the numbers compared with.
        terms = self.queries.shape[1] + 5
        underflow = terms * SMALLEST * (1 + queries + largest)
        return torch.where(size > 0, terms * ROUNDING * 1.01 * size + underflow, 0.0)


@dataclass(frozen=True)
class Swept:
    """Results of one pass over the keys, for each query.

    `keys` are its best keys with their `scores`, highest first and ties by key, then −1 and −∞ where it has fewer than
    k. `own_rank` is the own key's place among all its keys, from 0, and `log_sum_exp` = ln Σ_j exp s_j.
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


def _norms(rows: Float[Tensor, "row factor"]) -> Float[Tensor, " row"]:
    return torch.linalg.vector_norm(rows.detach(), dim=1, dtype=torch.float64)


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
        kernels.fold(products.numpy(), first_row, first_key, *factors, places, own, rounding, causal, *arrays)

    tiles.walk([(scores.queries, scores.keys) for scores in heads], fold, tile, own_key if causal else None)
    return [Swept(r["which"], r["best"], r["above"], r["peak"] + r["total"].log()) for *_, r in folds]


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
            log_sum_exp[rows] = torch.logaddexp(log_sum_exp[rows], block.double().logsumexp(dim=1))
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
    return Swept(which, best, above, log_sum_exp)


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
