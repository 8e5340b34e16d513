"""Numbers of figures: finite, of five digits, in lists; whole ones as they are."""

import numpy as np
import pytest
import torch

from headclaims.report.figures.rounding import number_list, number_rows, rounded


def test_numbers_have_five_digits() -> None:
    assert rounded(np.array([[1.2345678, -0.000123456789], [1e9, 0.0]])) == [[1.2346, -0.00012346], [1e9, 0.0]]
    assert rounded(2 / 3) == 0.66667


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        rounded([0.0, bad])


def test_whole_numbers_are_kept_exactly() -> None:
    assert number_list([143_001, 2, 0], "x") == [143_001, 2, 0]
    assert number_list(np.array([143_001.0, 1.2345678]), "x") == [143_001.0, 1.2346]
    assert number_list(np.array([True, False]), "x") == [1, 0]
    assert number_list(torch.tensor([0.5, 2.0]), "x") == [0.5, 2.0]  # type: ignore[arg-type]
    assert number_rows(np.arange(4).reshape(2, 2), "cells") == [[0, 1], [2, 3]]
    assert number_rows([[0.123456, 1]], "cells") == [[0.12346, 1.0]]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], r"x: shape \[0\]; wanted numbers in one row"),
        (3.0, r"x: shape \[\]; wanted numbers in one row"),
        ([[1.0, 2.0]], r"x: shape \[1, 2\]; wanted numbers in one row"),
        ([[1.0], [1.0, 2.0]], "x: rows of several lengths; wanted numbers in one row"),
        (["1", "2"], "x: '1'; wanted numbers"),
        ([None, 1.0], "x: None; wanted numbers"),
        ([1.0, float("nan")], "x: nan at place 1; wanted finite numbers"),
        (np.array([np.inf]), "x: inf at place 0; wanted finite numbers"),
    ],
)
def test_what_is_no_list_of_numbers_is_refused_in_one_line(values: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        number_list(values, "x")


def test_what_is_no_matrix_is_refused_in_one_line() -> None:
    with pytest.raises(
        ValueError, match=r"^cells: rows of several lengths; wanted rows of numbers, all of one length$"
    ):
        number_rows([[1.0], [1.0, 2.0]], "cells")
    with pytest.raises(ValueError, match=r"^cells: -inf at place 1, 0; wanted finite numbers$"):
        number_rows([[1.0, 2.0], [-np.inf, 0.0]], "cells")
