"""The sweep and the similarity curve on an accelerator, each tile folded by one kernel: needs Triton.

torch multiplies a tile, and the kernel reads it once for all statistics, as on the processor. Of each row only the
highest score of every 32 keys is kept: all keys that may be among the k best are then in the few groups that are as
high as the k-th highest. These are computed in float64, and so are groups with a key that float32 can't tell from the
own one, which the fold writes down. Rows that have more of either than there is room for are swept once more by torch
(`DeviceSweep.again`). Products in float64 are summed in the order of the factors, as on the processor.

Axes as in `vocabulary.scores`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache, cached_property
from itertools import cycle

import torch
import triton
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headclaims.vocabulary import fused_kernels as kernels
from headclaims.vocabulary.on_device import DeviceBins, DeviceSweep, in_order, whole_float32
from headclaims.vocabulary.token_scores import Swept

BLOCK, GROUP, NEAR, ROOM = (of.value for of in (kernels.BLOCK, kernels.GROUP, kernels.NEAR, kernels.ROOM))
SPARE = 16
"""Room in a row for candidates beyond the k that were asked for."""
PAIRS = 128
"""Pairs of a query and a key that a program multiplies."""
PROGRAMS, PAIRS_AGAIN, WIDTH = 1024, 16, 128
"""Programs for pairs in doubt; how many of these, and of the numbers of their vectors, each holds at once."""
WARP, AT_ONCE = 512, 512
"""Groups of a row that one warp looks through; pairs of tokens that one holds while it adds them to bins."""
OPTIONS = {"enable_fp_fusion": False}
"""Products are rounded before they are added, as on the processor."""


def compiles(device: torch.device) -> bool:
    """Return whether Triton can compile for a device and run there; it needs a C compiler, too."""
    ones, pair = torch.ones(2, 2, dtype=torch.float64, device=device), torch.zeros(2, dtype=torch.int64, device=device)
    try:
        kernels.pair_products[(1,)](ones, ones, pair, pair, ones[0].clone(), 2, 2, 2, PAIRS=PAIRS, **OPTIONS)
    except Exception:  # whatever it says, torch operators do the same
        return False
    return True


@cache
def _streams(device: torch.device) -> list[torch.cuda.Stream]:
    """Return two streams of one of CUDA's devices, the same each time: memory that one has used is kept for it."""
    return [torch.cuda.Stream(device) for _ in range(2)] if device.type == "cuda" else []


@dataclass
class FusedSweep(DeviceSweep):
    """`DeviceSweep` with its folds in one kernel."""

    @cached_property
    def _by_factor(self) -> Float[Tensor, "factor key"]:
        """The keys in float64, of one factor after those of another."""
        return self.exact_keys.T.contiguous()

    def products(self, row: Int[Tensor, "*any"], key: Int[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return products of queries and keys in float64, summed in the order of the factors."""
        out = torch.empty(row.shape, dtype=torch.float64, device=self.device)
        n, keys = out.numel(), self._by_factor
        if n:
            pairs = (of.contiguous().view(-1) for of in (row, key))
            kernels.pair_products[(triton.cdiv(n, PAIRS),)](
                self.exact_queries, keys, *pairs, out, n, keys.shape[1], keys.shape[0], PAIRS=PAIRS, **OPTIONS
            )
        return out

    def strips(self) -> list[tuple[Swept, Bool[Tensor, " row"]]]:
        """Sweep all rows at once, as far as what is returned goes: their strips are folded by turns in two streams.

        So one strip is multiplied while the other is folded.
        """
        rows, _ = _Rows.of(self), self._by_factor  # made before the streams begin, as both read them
        streams = _streams(self.device)
        for stream in streams:
            stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            for (first, last), of_strip in zip(self.ranges(), cycle(streams or [None]), strict=False):
                with torch.cuda.stream(of_strip):
                    self._fold(rows.some(slice(first, last)), first, last)
        finally:
            for stream in streams:
                torch.cuda.current_stream(self.device).wait_stream(stream)
        best, which = (part[:, : self.k] for part in in_order(rows.best, rows.which))
        swept = Swept(which, best, rows.above.long(), rows.peak.double() + rows.total.log())
        return [(swept, (rows.near <= NEAR) & (rows.n_chosen <= rows.room) & (rows.found <= rows.room))]

    def _fold(self, rows: _Rows, first: int, last: int) -> None:
        """Sweep some rows, into what is theirs."""
        n, some, n_keys = last - first, slice(first, last), len(self.keys)
        blocks = triton.cdiv(n_keys, BLOCK)
        width, n_groups = min(triton.cdiv(self.tile[1], BLOCK), blocks) * BLOCK, blocks * BLOCK // GROUP
        highest, tile = (torch.empty(n, size, device=self.device) for size in (n_groups, width))
        queries, padded = self.queries[some], triton.next_power_of_2(n_groups)
        for key in range(0, n_keys if n else 0, width):
            columns = min(width, n_keys - key)
            torch.mm(queries, self.keys[key : key + columns].T, out=tile[:, :columns])
            if columns % BLOCK:
                tile[:, columns : triton.cdiv(columns, BLOCK) * BLOCK].fill_(-torch.inf)
            kernels.fold[(n,)](
                tile,
                width,
                columns,
                key,
                n_groups,
                rows.places,
                rows.own,
                rows.low,
                rows.high,
                rows.above,
                rows.near,
                rows.near_groups,
                rows.peak,
                rows.total,
                highest,
                CAP=self.scores.cap or 0.0,
                CAUSAL=self.causal,
                num_warps=1,
                **OPTIONS,
            )
        if not n:
            return
        kernels.choose[(n,)](
            highest,
            n_groups,
            self.rounding[some],
            rows.least,
            rows.groups,
            rows.n_chosen,
            K=self.k,
            GROUPS=padded,
            MOST=rows.room,
            num_warps=max(1, min(8, padded // WARP)),
            **OPTIONS,
        )
        kernels.decide[(n,)](
            self.exact_queries[some],
            self._by_factor,
            n_keys,
            self.exact_queries.shape[1],
            rows.places,
            self.own[some],
            rows.near,
            rows.near_groups,
            rows.above,
            rows.least,
            rows.groups,
            rows.n_chosen,
            rows.which,
            rows.best,
            rows.found,
            CAUSAL=self.causal,
            MOST=rows.room,
            num_warps=1,
            **OPTIONS,
        )


@dataclass(frozen=True)
class _Rows:
    """What a row's folds need and find: see `kernels`."""

    places: Int[Tensor, " query"]
    own: Float[Tensor, " query"]
    low: Float[Tensor, " query"]
    high: Float[Tensor, " query"]
    above: Int[Tensor, " query"]
    near: Int[Tensor, " query"]
    near_groups: Int[Tensor, "query near"]
    peak: Float[Tensor, " query"]
    total: Float[Tensor, " query"]
    least: Float[Tensor, " query"]
    groups: Int[Tensor, "query candidate"]
    n_chosen: Int[Tensor, " query"]
    which: Int[Tensor, "query candidate"]
    best: Float[Tensor, "query candidate"]
    found: Int[Tensor, " query"]

    @property
    def room(self) -> int:
        """How many groups, and how many candidates, a row has room for."""
        return self.which.shape[1]

    @classmethod
    def of(cls, sweep: FusedSweep) -> _Rows:
        """Return all rows of a sweep before it."""
        n, room = len(sweep.queries), triton.next_power_of_2(sweep.k + SPARE)
        low, high = (bound[:, 0].contiguous() for bound in sweep.bounds)

        def full(value: float, dtype: torch.dtype, *more: int) -> Tensor:
            return torch.full((n, *more), value, dtype=dtype, device=sweep.device)

        def empty(dtype: torch.dtype, *more: int) -> Tensor:
            return torch.empty(n, *more, dtype=dtype, device=sweep.device)

        above, near, n_chosen, found = torch.zeros(4, n, dtype=torch.int32, device=sweep.device)
        return cls(
            places=sweep.places.int(),
            own=sweep.own.float(),
            low=low,
            high=high,
            above=above,
            near=near,
            near_groups=empty(torch.int32, NEAR),
            peak=full(torch.finfo(torch.float32).min, torch.float32 if sweep.scores.cap is None else torch.float64),
            total=full(0.0, torch.float64),
            least=empty(torch.float64),
            groups=empty(torch.int32, room),
            n_chosen=n_chosen,
            which=full(-1.0, torch.int64, room),
            best=full(-torch.inf, torch.float64, room),
            found=found,
        )

    def some(self, some: slice) -> _Rows:
        """Return some successive rows, as views."""
        return _Rows(**{field.name: getattr(self, field.name)[some] for field in fields(self)})


@dataclass
class FusedBins(DeviceBins):
    """`DeviceBins` with its folds in one kernel, and the pairs in doubt in another."""

    def run(self, tile: int) -> tuple[Float[Tensor, " bin"], Int[Tensor, " bin"], float]:
        """Add up all pairs i < j, both scores of each; return sums and numbers by bin, and Σ s², on the processor."""
        n = len(self.vectors)
        side = min(tile, n)
        sums = torch.zeros(max(side, PROGRAMS), ROOM, dtype=torch.float64, device=self.device)
        pairs, squares = torch.zeros_like(sums, dtype=torch.int64), torch.zeros_like(sums[0, 0])
        doubtful = torch.empty(side * side, 2, dtype=torch.int32, device=self.device)
        both_of_doubtful = torch.empty(side * side, device=self.device)
        vectors, norms, per_unit = self.vectors.contiguous(), self.norms.contiguous(), 1 / self.width
        with whole_float32():
            for first in range(0, n, tile):
                rows = slice(first, min(first + tile, n))
                for start in range(first, n, tile):
                    columns = slice(start, min(start + tile, n))
                    width = columns.stop - start
                    scores, of_both = self.both.scores(rows, columns)
                    squares += of_both
                    n_doubtful = torch.zeros(1, dtype=torch.int32, device=self.device)
                    kernels.fold_bins[(rows.stop - first,)](
                        self.unit[rows] @ self.unit[columns].T,
                        scores,
                        width,
                        width,
                        first,
                        start,
                        self.itself,
                        per_unit,
                        self.margin,
                        sums,
                        pairs,
                        doubtful,
                        both_of_doubtful,
                        n_doubtful,
                        AT_ONCE=AT_ONCE,
                        num_warps=1,
                        **OPTIONS,
                    )
                    kernels.again_in_bins[(PROGRAMS,)](
                        vectors,
                        norms,
                        doubtful,
                        both_of_doubtful,
                        n_doubtful,
                        vectors.shape[1],
                        per_unit,
                        self.n_bins - 1,
                        sums,
                        pairs,
                        PAIRS=PAIRS_AGAIN,
                        WIDTH=WIDTH,
                        **OPTIONS,
                    )
        sums, pairs = (part[:, : self.n_bins].sum(dim=0).cpu() for part in (sums, pairs))
        return sums, pairs, self.both.squares + float(squares)
