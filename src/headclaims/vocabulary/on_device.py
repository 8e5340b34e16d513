"""The sweep with torch operators alone, on whatever device the factors are: products, folds and rescoring stay there.

A strip of rows walks over tiles of keys in float32 and keeps, besides counts and sums, some more candidates than were
asked for; candidates are then compared by their products in float64. Nothing is read back before all strips are done.
Only then the rows are looked for where that didn't decide: where keys outside the candidates are closer to the k-th
best than float32 tells apart, or others as close to the own key. These are swept once more, every key that float32
leaves in doubt being computed in float64. So keys and ranks are those of the processor's path.

Axes as in `vocabulary.scores`; `candidate` the keys of a row that are computed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headclaims.circuit.head_score import capped
from headclaims.vocabulary.pairs import Pairs
from headclaims.vocabulary.token_scores import Swept, TokenScores

TILE, SIDE = (8192, 8192), 4096
"""Queries by keys of a sweep's tiles, 256 MiB of float32; the side of the curve's, of which there are several."""
SPARE = 16
"""Candidates beyond the k that were asked for."""
PAIRS_AT_ONCE = 2**15
"""Pairs of tokens whose cosines are computed in float64 together."""


@contextmanager
def whole_float32() -> Iterator[None]:
    """Multiply float32 as such in the `with` block: a shorter format would leave `rounding` no bound."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass
class DeviceSweep:
    """A sweep of one head on the factors' device; float64 is the processor's where the device has none."""

    scores: TokenScores
    own_key: Int[Tensor, " query"]
    k: int
    causal: bool
    tile: tuple[int, int]

    def __post_init__(self) -> None:
        queries, keys = self.scores.queries.detach(), self.scores.keys.detach()
        self.device = queries.device
        exact_on = torch.device("cpu") if self.device.type == "mps" else self.device
        self.queries, self.keys = queries.float(), keys.float()
        self.exact_queries, self.exact_keys = (part.to(exact_on).double().contiguous() for part in (queries, keys))
        self.places = self.own_key.to(self.device)
        own = self.scores.own
        every = torch.arange(len(queries), device=exact_on)
        own = self.products(every, self.own_key.to(exact_on)) if own is None else own.to(exact_on).double()
        self.own = own.contiguous()
        self.rounding = self.scores.rounding().to(exact_on)

    @cached_property
    def bounds(self) -> tuple[Float[Tensor, "query 1"], Float[Tensor, "query 1"]]:
        """Bounds in float32, rounded outwards, between which a product may be above or below the own one."""
        low, high = (self.own - self.rounding).float(), (self.own + self.rounding).float()
        infinity = torch.full_like(low, torch.inf)
        low, high = torch.nextafter(low, -infinity), torch.nextafter(high, infinity)
        return low.to(self.device)[:, None], high.to(self.device)[:, None]

    def products(self, row: Int[Tensor, "*any"], key: Int[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return products of queries and keys in float64, each summed by itself."""
        return (self.exact_queries[row] * self.exact_keys[key]).sum(dim=-1)

    def blocks(self, rows: Int[Tensor, " row"]) -> Iterator[tuple[Int[Tensor, " key"], Float[Tensor, "row key"]]]:
        """Yield tiles of products of some rows in float32, own ones in their place, −∞ for what a row doesn't see."""
        places, own = self.places[rows], self.own[rows.to(self.own.device)].float().to(self.device)[:, None]
        for number in torch.arange(len(self.keys), device=self.device).split(self.tile[1]):
            block = self.queries[rows] @ self.keys[number].T
            here = (places - number[0])[:, None]
            inside = (here >= 0) & (here < len(number))
            here = here.clamp(0, len(number) - 1)
            block.scatter_(1, here, torch.where(inside, own, block.gather(1, here)))
            yield number, block.masked_fill_(number > places[:, None], -torch.inf) if self.causal else block

    def exact(self, row: Int[Tensor, "*any"], key: Int[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return `products`, the own key's being the own score."""
        row, key = row.to(self.own.device), key.to(self.own.device)
        return torch.where(key == self.places.to(key)[row], self.own[row], self.products(row, key))

    def log_sum_exp(self, block: Float[Tensor, "row key"]) -> Float[Tensor, " row"]:
        """Return ln Σ exp of a tile in float64, of sums in float32 of terms up to 1."""
        values = capped_seen(block, self.scores.cap)
        peak = values.amax(dim=1).clamp_min(torch.finfo(values.dtype).min)
        total = (values - peak[:, None]).exp().sum(dim=1)
        return peak.to(self.own) + total.to(self.own).log()

    def strip(self, first: int, last: int) -> tuple[Swept, Bool[Tensor, " row"]]:
        """Sweep rows from the first to before the last by candidates; return also of which rows that decides.

        Scores are those before the cap.
        """
        rows = torch.arange(first, last, device=self.device)
        n, most = len(rows), self.k + SPARE
        low, high = (bound[rows] for bound in self.bounds)
        best = torch.full((n, self.k), -torch.inf, device=self.device)
        which = torch.full((n, self.k), -1, device=self.device)
        above, near = (torch.zeros(n, dtype=torch.int64, device=self.device) for _ in range(2))
        log_sum_exp = torch.full_like(self.own[:n], -torch.inf)
        for number, block in self.blocks(rows):
            above += (block > high).sum(dim=1)
            near += ((block >= low) & (block <= high)).sum(dim=1)
            log_sum_exp = torch.logaddexp(log_sum_exp, self.log_sum_exp(block))
            found = block.topk(min(most, len(number)), dim=1)
            every = torch.cat([best, found.values], dim=1)
            best, place = every.topk(min(most, every.shape[1]), dim=1)
            which = torch.cat([which, number[found.indices]], dim=1).gather(1, place)
        which = which.masked_fill(best == -torch.inf, -1).to(self.own.device)
        exact = self.exact(rows[:, None].expand_as(which), which.clamp_min(0)).masked_fill(which < 0, -torch.inf)
        exact, which = (part[:, : self.k] for part in in_order(exact, which))
        # A key that is no candidate has at most the last one's product, give or take rounding.
        least = best[:, -1].to(self.own) if best.shape[1] == most else torch.full_like(log_sum_exp, -torch.inf)
        decided = (least == -torch.inf) | (exact[:, -1] > least + self.rounding[rows.to(self.own.device)])
        # Of the keys that are near the own one it is one itself.
        return Swept(which, exact, above, log_sum_exp), decided.to(self.device) & (near <= 1)

    def ranges(self) -> list[tuple[int, int]]:
        """Return the first row of each strip, and the one after its last; of no rows there is one strip, empty."""
        n, height = len(self.queries), self.tile[0]
        return [(first, min(first + height, n)) for first in range(0, max(n, 1), height)]

    def strips(self) -> list[tuple[Swept, Bool[Tensor, " row"]]]:
        """Sweep all rows, strip by strip."""
        return [self.strip(first, last) for first, last in self.ranges()]

    def again(self, rows: Int[Tensor, " row"]) -> Swept:
        """Sweep some rows, scores before the cap, and compute every key in float64 that float32 leaves in doubt."""
        n, there = len(rows), rows.to(self.own.device)
        own, rounding, places = self.own[there], self.rounding[there], self.places[rows].to(self.own.device)
        best = torch.full((n, self.k), -torch.inf, dtype=own.dtype, device=own.device)
        which = torch.full((n, self.k), -1, device=own.device)
        above = torch.zeros(n, dtype=torch.int64, device=own.device)
        log_sum_exp = torch.full_like(own, -torch.inf)
        for numbers, products in self.blocks(rows):
            number, block = numbers.to(own.device), products.to(own)
            log_sum_exp = torch.logaddexp(log_sum_exp, self.log_sum_exp(products))
            above += (block > (own + rounding)[:, None]).sum(dim=1)
            near = (block >= (own - rounding)[:, None]) & (block <= (own + rounding)[:, None])
            row, place = near.nonzero(as_tuple=True)
            key, score = number[place], self.exact(there[row], number[place])
            higher = (score > own[row]) | ((score == own[row]) & (key < places[row]))
            above.index_add_(0, row[higher], torch.ones_like(row[higher]))
            kth = block.topk(self.k, dim=1).values[:, -1] if len(number) >= self.k else torch.full_like(own, -torch.inf)
            entry = torch.maximum(kth - rounding, best[:, -1]) - rounding
            row, place = ((block >= entry[:, None]) & block.isfinite()).nonzero(as_tuple=True)
            row, key, score = (
                torch.cat([torch.arange(n, device=own.device).repeat_interleave(self.k), row]),
                torch.cat([which.flatten(), number[place]]),
                torch.cat([best.flatten(), self.exact(there[row], number[place])]),
            )
            order = key.argsort(stable=True)  # by row, then by score, then by key
            order = order[score[order].argsort(stable=True, descending=True)]
            order = order[row[order].argsort(stable=True)]
            row, key, score = row[order], key[order], score[order]
            starts = torch.searchsorted(row, torch.arange(n, device=own.device))
            chosen = starts[:, None] + torch.arange(self.k, device=own.device)
            best, which = score[chosen], key[chosen]
        return Swept(which, best, above.to(self.device), log_sum_exp)

    def run(self) -> Swept:
        """Sweep all rows; returns results on the processor."""
        with whole_float32():
            swept, decided = zip(*self.strips(), strict=True)
            whole = Swept(*(torch.cat(parts) for parts in zip(*swept, strict=True)))
            undecided = (~torch.cat(decided)).nonzero()[:, 0]
            for some in undecided.split(self.tile[0]) if len(undecided) else ():
                for part, found in zip(whole, self.again(some), strict=True):
                    part[some.to(part.device)] = found
        every = Swept(*_here(whole))
        return every._replace(scores=capped_seen(every.scores, self.scores.cap))


@dataclass
class DeviceBins:
    """Sums of a head's scores by bins of the tokens' cosines (`vocabulary.cosine`), on the vectors' device.

    A cosine within `margin` of the edge of a bin, in widths of one, is computed again in float64.
    Each row adds into bins of its own, so that rows don't wait for one another.
    """

    scores: TokenScores
    vectors: Float[Tensor, "token d_model"]
    unit: Float[Tensor, "token d_model"]
    norms: Float[Tensor, " token"]
    width: float
    n_bins: int
    margin: float

    def __post_init__(self) -> None:
        self.device = self.vectors.device
        self.itself = self.scores.itself
        self.both = Pairs.of(self.scores)

    def run(self, tile: int) -> tuple[Float[Tensor, " bin"], Int[Tensor, " bin"], float]:
        """Add up all pairs i < j, both scores of each; return sums and numbers by bin, and Σ s², on the processor."""
        n, steps = len(self.vectors), torch.arange(len(self.vectors), device=self.device)
        # The bin after the last takes what is no pair, or in doubt.
        sums = torch.zeros(min(tile, n), self.n_bins + 1, dtype=torch.float64, device=self.device)
        pairs, squares = torch.zeros_like(sums, dtype=torch.int64), torch.zeros_like(sums[0, 0])
        with whole_float32():
            for first in range(0, n, tile):
                some, doubtful = slice(first, min(first + tile, n)), []
                rows = steps[some]
                for start in range(first, n, tile):
                    others = slice(start, min(start + tile, n))
                    columns = steps[others]
                    place = (self.unit[some] @ self.unit[others].T + 1) / self.width
                    scores, of_both = self.both.scores(some, others)
                    number = place.floor()
                    beyond, is_pair = place - number, columns > rows[:, None]
                    sure = is_pair & (beyond >= self.margin) & (beyond <= 1 - self.margin)
                    number = torch.where(sure, number, self.n_bins).long()
                    both = (scores.double() - self.itself[rows, None]) - self.itself[columns]
                    sums[: len(rows)].scatter_add_(1, number, both)
                    pairs[: len(rows)].scatter_add_(1, number, torch.full_like(number, 2))
                    squares += of_both
                    doubtful.append(is_pair & ~sure)
                row, column = torch.cat(doubtful, dim=1).nonzero(as_tuple=True)
                for part in torch.arange(len(row), device=self.device).split(PAIRS_AT_ONCE):
                    self._again(rows[row[part]], first + column[part], sums[0], pairs[0])
        return sums[:, :-1].sum(dim=0).cpu(), pairs[:, :-1].sum(dim=0).cpu(), self.both.squares + float(squares)

    def _again(
        self, i: Int[Tensor, " pair"], j: Int[Tensor, " pair"], sums: Float[Tensor, " bin"], pairs: Int[Tensor, " bin"]
    ) -> None:
        """Add pairs to bins, in place, all of it in float64."""
        cosines = (self.vectors[i].double() * self.vectors[j].double()).sum(dim=1) / self.norms[i] / self.norms[j]
        # Equal vectors have cosine 1 up to rounding.
        place = ((cosines.clamp(-1, 1) + 1) / self.width + 1e-9).long()
        number = torch.where(cosines > 1 - 1e-9, self.n_bins - 1, place)
        for one, other in ((i, j), (j, i)):
            products = (self.scores.queries[one].double() * self.scores.keys[other].double()).sum(dim=1)
            sums.index_add_(0, number, capped(products, self.scores.cap) - self.itself[one])
        pairs.index_add_(0, number, torch.full_like(number, 2))


def _here(parts: Swept) -> list[Tensor]:
    """Return tensors on the processor; from CUDA into memory that stays in place, which takes a tenth of the time."""
    if parts.keys.device.type != "cuda":
        return [part.cpu() for part in parts]
    here = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in parts]
    for place, part in zip(here, parts, strict=True):
        place.copy_(part, non_blocking=True)
    torch.cuda.synchronize(parts.keys.device)
    return here


def in_order(
    exact: Float[Tensor, "row candidate"], which: Int[Tensor, "row candidate"]
) -> tuple[Float[Tensor, "row candidate"], Int[Tensor, "row candidate"]]:
    """Sort candidates by score, highest first and ties by key."""
    which, order = which.sort(dim=1)
    exact = exact.gather(1, order)
    exact, order = exact.sort(dim=1, descending=True, stable=True)
    return exact, which.gather(1, order)


def capped_seen(scores: Float[Tensor, "*shape"], cap: float | None) -> Float[Tensor, "*shape"]:
    """Cap scores but those of −∞, which stand for keys that are left out."""
    return scores if cap is None else torch.where(scores.isinf(), scores, capped(scores, cap))
