"""Walks over products of factors, tile by tile: never more of one than a tile a thread, which stays in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.threads import each_in_one_thread

TILE = (256, 1024)
"""Queries by keys: 1 MiB of float32, in the second- or third-level cache."""
Fold = Callable[[int, int, int, Float[Tensor, "row column"]], None]


def walk(
    factors: Sequence[tuple[Float[Tensor, "_ _"], Float[Tensor, "_ _"]]],
    fold: Fold,
    tile: tuple[int, int] = TILE,
    last: Int[Tensor, " query"] | None = None,
) -> None:
    """Call `fold(number, first_row, first_column, products)` for every tile of queries @ keysᵀ of all pairs of factors.

    A pair is queries [query, factor] and keys [key, factor].

    A row's tiles come in the order of keys, in one thread; rows are shared out among as many threads as torch has.
    With `last` a strip of rows ends where the highest of its last keys does. `products` is the thread's to change, and
    is overwritten after.
    """
    threads = torch.get_num_threads()
    single = [(queries.detach().float(), keys.detach().float().T) for queries, keys in factors]
    rows = sum(len(queries) for queries, _ in single)
    height = max(1, min(tile[0], -(-rows // threads)))

    def strip(piece: tuple[int, int]) -> None:
        number, first_row = piece
        queries, keys = single[number]
        some = queries[first_row : first_row + height]
        end = keys.shape[1] if last is None else int(last[first_row : first_row + height].max()) + 1
        buffer = torch.empty(len(some) * min(tile[1], end))
        for first_column in range(0, end, tile[1]):
            width = min(tile[1], end - first_column)
            products = buffer[: len(some) * width].view(len(some), width)
            torch.mm(some, keys[:, first_column : first_column + width], out=products)
            fold(number, first_row, first_column, products)

    pieces = [(n, start) for n, (queries, _) in enumerate(single) for start in range(0, len(queries), height)]
    each_in_one_thread(strip, pieces, "vocabulary scores")
