"""Figures of all heads: values by layer and head, composition, and attention beside what was marked."""

import numpy as np
import plotly.graph_objects as go
import pytest

from headclaims.checkpoint.interface import Head
from headclaims.circuit.composition import Compositions
from headclaims.report.figure import Figure, require_drawable
from headclaims.report.figures.attention_pattern import Pattern
from headclaims.report.figures.composition_matrix import CompositionMatrix
from headclaims.report.figures.form import Form, form_data, form_name, read_form
from headclaims.report.figures.head_values import HeadValues

TARGET, PREVIOUS = Head(2, 1), Head(0, 1)
HEADS = tuple(Head(layer, index) for layer in range(3) for index in range(2))
MATRIX = np.full((6, 6), np.nan)
MATRIX[2:4, :2] = [[0.1, 0.2], [0.4, 0.3]]
MATRIX[4:, :4] = [[0.1, 0.2, 0.5, 0.4], [0.3, 0.6, 0.2, 0.25]]


def drawn(form: Form) -> Figure:
    """A form's one figure, read back from its data."""
    again = read_form(form_name(form), form_data(form))
    assert form_data(again) == form_data(form)
    (figure,) = again.figures(TARGET)  # type: ignore[union-attr]
    assert isinstance(figure, Figure)
    require_drawable(figure)
    assert "What to see: " in figure.caption
    return figure


def framed(figure: Figure) -> list[tuple[float, ...]]:
    """The outlines of a plot: first and last column, first and last row."""
    shapes = go.Figure(figure.plots[0]).layout.shapes
    return [(shape.x0 + 0.5, shape.x1 - 0.5, shape.y0 + 0.5, shape.y1 - 0.5) for shape in shapes]


def test_values_stand_at_their_heads_with_the_marked_ones_outlined() -> None:
    form = HeadValues(
        title="t",
        caption="What to see: x.",
        heads=HEADS[:1] + HEADS[2:],
        values=np.array([0.5, 0.1, 0.2, 0.25, 0.9]),
        value_title="attention",
        marked={"previous-token head": Head(1, 0), "other": Head(0, 1)},
    )
    figure = drawn(form)
    (grid,) = go.Figure(figure.plots[0]).data
    assert [list(row) for row in grid.z] == [[0.5, None], [0.1, 0.2], [0.25, 0.9]]
    assert framed(figure) == [(1, 1, 2, 2), (0, 0, 1, 1)]
    assert "highest are L2H1 0.9, L0H0 0.5, L2H0 0.25" in figure.caption
    assert "the outlined target L2H1 has 0.9, number 1 of 5" in figure.caption
    assert "the outlined previous-token head L1H0 has 0.1, number 5 of 5" in figure.caption
    assert "there is no value of the other L0H1" in figure.caption
    assert ["L1H1", 1, 1, 0.2] in figure.rows
    with pytest.raises(ValueError, match="HeadValues values: 1; wanted 2"):
        HeadValues("t", "c", [(0, 0), (0, 1)], [1.0])


def test_composition_with_the_row_of_the_target_and_the_column_of_the_head_before() -> None:
    figure = drawn(CompositionMatrix.of(Compositions(HEADS, MATRIX), PREVIOUS, TARGET))
    (grid,) = go.Figure(figure.plots[0]).data
    assert [list(row) for row in grid.z] == [
        [0.1, 0.2, None, None],
        [0.4, 0.3, None, None],
        [0.1, 0.2, 0.5, 0.4],
        [0.3, 0.6, 0.2, 0.25],
    ]
    assert framed(figure) == [(0, 3, 3, 3), (1, 1, 0, 3), (1, 1, 3, 3)]
    assert "whose composition with it is 0.6, and of any other head before it at most 0.3 (L0H0)" in figure.caption
    assert len(figure.rows) == 12
    assert ["L0H1", "L2H1", 0.6] in figure.rows


def test_of_very_many_heads_the_target_s_layer_is_drawn() -> None:
    heads = tuple(Head(layer, index) for layer in range(3) for index in range(70))
    matrix = np.where(np.arange(210)[:, None] // 70 > np.arange(210)[None] // 70, 0.5, np.nan)
    form = CompositionMatrix.of(Compositions(heads, matrix), Head(0, 3), Head(1, 2))
    assert {layer for layer, _ in form.readers} == {1}
    assert (len(form.readers), len(form.writers)) == (70, 70)


def test_attention_beside_marked_keys() -> None:
    pattern = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.5, 0.25]])
    mark = np.zeros((3, 3), dtype=bool)
    mark[2, 1] = True
    figure = drawn(Pattern.marked(["BOS", " a", " b"], pattern, mark, wanted="what followed", see="a line"))
    attention, wanted = (go.Figure(plot).data[0] for plot in figure.plots)
    assert [list(row) for row in attention.z] == [[1.0, None, None], [0.5, 0.5, None], [0.25, 0.5, 0.25]]
    assert [list(row) for row in wanted.z] == [[0, None, None], [0, 0, None], [0, 1, 0]]
    assert "beside its target: what followed. " in figure.caption
    assert "A row's target has 50% of its attention" in figure.caption
    assert figure.caption.endswith("What to see: a line.")
