"""Products of factors computed tile by tile: each thread holds one tile, which stays in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.threads import each_in_one_thread

TILE = (512, 2048)
"""Queries by keys: 4 MiB of float32, in the second- or third-level cache."""
Fold = Callable[[int, int, int, Float[Tensor, "row column"]], None]


def walk(
    factors: Sequence[tuple[Float[Tensor, "_ _"], Float[Tensor, "_ _"]]],
    fold: Fold,
    tile: tuple[int, int] = TILE,
    last: Int[Tensor, " query"] | None = None,
) -> None:
    """Call `fold(number, first_row, first_column, products)` for every tile of queries @ keysᵀ of all pairs of factors.

    A pair is queries [query, factor] and keys [key, factor]; `number` is its index. A row's tiles come in the order of
    keys, in one thread; rows are shared among as many threads as torch has. `last` gives the last key that each query
    needs: a strip of rows ends at the highest of these. `fold` may change `products`, which is overwritten afterwards.
    """
    threads = torch.get_num_threads()
    single = [(queries.detach().float(), keys.detach().float().T) for queries, keys in factors]
    rows = sum(len(queries) for queries, _ in single)
    height = max(1, min(tile[0], -(-rows // threads)))

    def strip(piece: tuple[int, int]) -> None:
        number, first_row = piece
        queries, keys = single[number]
        rows_of_strip = queries[first_row : first_row + height]
        end = keys.shape[1] if last is None else int(last[first_row : first_row + height].max()) + 1
        buffer = torch.empty(len(rows_of_strip) * min(tile[1], end))
        for first_column in range(0, end, tile[1]):
            width = min(tile[1], end - first_column)
            products = buffer[: len(rows_of_strip) * width].view(len(rows_of_strip), width)
            torch.mm(rows_of_strip, keys[:, first_column : first_column + width], out=products)
            fold(number, first_row, first_column, products)

    pieces = [(n, start) for n, (queries, _) in enumerate(single) for start in range(0, len(queries), height)]
    each_in_one_thread(strip, pieces, "vocabulary scores")
