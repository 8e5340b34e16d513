"""How many prompts run at once: many on a small model, and never fewer than asked."""

import pytest

from headclaims.checkpoint.interface import Sizes


@pytest.mark.parametrize(
    ("layers", "heads", "length", "wanted"),
    [
        (2, 10, 32, 204),  # 20 x 32 x 32 numbers a prompt, 2^22 in all
        (12, 12, 64, 8),  # GPT-2 small: 7 would be within them
        (1, 1, 2048, 8),
        (1, 1, 1024, 8),
        (1, 1, 512, 16),
    ],
)
def test_prompts_at_once(layers: int, heads: int, length: int, wanted: int) -> None:
    assert Sizes(layers, heads, 64, 16).prompts_at_once(length, fewest=8) == wanted
