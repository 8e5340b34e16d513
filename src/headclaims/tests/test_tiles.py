"""Walks over tiles: every product once, in order, to the last key that is wanted."""

import pytest
import torch

from headclaims.vocabulary import tiles


@pytest.mark.parametrize("tile", [(1, 1), (4, 3), (100, 100)])
def test_every_product_comes_once(tile: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [
        (torch.randn(n, 3, generator=generator), torch.randn(m, 3, generator=generator)) for n, m in ((7, 11), (2, 5))
    ]
    found = [torch.full((len(q), len(k)), torch.nan) for q, k in pairs]
    starts: dict[tuple[int, int], list[int]] = {}

    def fold(number: int, row: int, column: int, products: torch.Tensor) -> None:
        place = found[number][row : row + len(products), column : column + products.shape[1]]
        assert place.isnan().all()
        place.copy_(products)
        starts.setdefault((number, row), []).append(column)

    tiles.walk(pairs, fold, tile)
    for (queries, keys), products in zip(pairs, found, strict=True):
        assert products.numpy() == pytest.approx((queries @ keys.T).numpy(), abs=1e-5)
    assert all(columns == sorted(columns) for columns in starts.values())


def test_a_strip_ends_at_its_last_key() -> None:
    seen = []
    queries, keys = torch.ones(4, 1), torch.ones(9, 1)
    walked = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tiles.walk(
            [(queries, keys)],
            lambda _, row, column, p: seen.append((row, column, p.shape[1])),
            (2, 4),
            torch.tensor([0, 2, 8, 1]),
        )
    finally:
        torch.set_num_threads(walked)
    assert seen == [(0, 0, 3), (2, 0, 4), (2, 4, 4), (2, 8, 1)]
