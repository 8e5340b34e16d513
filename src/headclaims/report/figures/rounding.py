"""Numbers of figures as `figures.json` has them: finite, five significant digits, in lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DIGITS = 5

Numbers = Sequence[float | int] | np.ndarray
Rows = Sequence[Numbers] | np.ndarray
"""Rows of the same length."""


def rounded(values: Any) -> Any:
    """Return an array's numbers in nested lists, to five digits; raises ValueError for one that is not finite."""
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError("a number of a figure is not finite; wanted finite ones")
    if array.ndim == 0:
        return float(f"{float(array):.{DIGITS}g}")
    if array.ndim > 1:
        return [rounded(row) for row in array]
    return [float(f"{value:.{DIGITS}g}") for value in array.tolist()]


def number_list(values: Any, what: str) -> list[Any]:
    """Return the numbers of a sequence or a vector in a list: whole ones exactly, all others to five digits.

    Raises ValueError, beginning with `what` the numbers are, for what is no sequence of numbers, holds none, or holds
    one that is not finite.
    """
    return _exact(_array(values, what, "numbers in one row", 1))


def number_rows(values: Any, what: str) -> list[list[Any]]:
    """Return the numbers of a matrix in a list of rows, as `number_list` does; raises ValueError as it does."""
    return [_exact(row) for row in _array(values, what, "rows of numbers, all of one length", 2)]


def _array(values: Any, what: str, wanted: str, axes: int) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{what}: rows of several lengths; wanted {wanted}") from error
    if array.ndim != axes or not array.size:
        raise ValueError(f"{what}: shape {list(array.shape)}; wanted {wanted}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what}: {array.ravel().tolist()[0]!r}; wanted numbers")
    finite = np.isfinite(array)
    if not finite.all():
        place = ", ".join(str(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{what}: {array[~finite][0]} at place {place}; wanted finite numbers")
    return array


def _exact(array: np.ndarray) -> list[Any]:
    if array.dtype.kind != "f":
        return [int(value) for value in array]
    return [value if value.is_integer() else rounded(value) for value in array.astype(float).tolist()]
