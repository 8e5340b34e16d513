"""Cells of tables: numbers as a reader wants them."""

import pytest

from headclaims.report.cells import number


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (33.0, "33"),
        (0.0, "0"),
        (-2.0, "-2"),
        (144.0, "144"),
        (12345.0, "12345"),
        (999_999.0, "999999"),
        (1_000_000.0, "1e+06"),
        (1.302493, "1.302"),
        (0.57448, "0.5745"),
        (9.4321, "9.432"),
        (0.000123456, "0.0001235"),
        (-0.0978, "-0.0978"),
        (3.2e-17, "3.2e-17"),
        (1234.56, "1235"),
    ],
)
def test_numbers_have_four_digits_or_are_whole(value: float, written: str) -> None:
    assert number(value) == written
