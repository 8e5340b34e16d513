"""Forms for any claim: lines, bars and heat maps of lists or arrays, escaped, and refused where they don't fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from headclaims.checkpoint.interface import Head
from headclaims.report.figure import Figure, require_drawable
from headclaims.report.figures.bars import Bars
from headclaims.report.figures.form import Form, form_data, form_name, read_form
from headclaims.report.figures.heat_map import HeatMap
from headclaims.report.figures.line import Line
from headclaims.tests.report_folders import HOSTILE

TARGET = Head(1, 2)
WORDS = {"title": HOSTILE, "caption": HOSTILE}
FORMS: dict[str, Form] = {
    "line": Line(
        **WORDS,
        x=np.array([1, 2, 4]),
        series={"target": [0.5, 1 / 3, 0.25], HOSTILE: np.array([1.0, 2.0, 3.0])},
        bands={"target": ([0.4, 0.3, 0.2], np.array([0.6, 0.4, 0.3]))},
        x_title=HOSTILE,
        y_title=HOSTILE,
    ),
    "bars": Bars(
        **WORDS,
        labels=["noun", HOSTILE],
        values=np.array([0.5, -1.0]),
        intervals=np.array([[0.4, 0.6], [-2.0, 0.0]]),
        value_title=HOSTILE,
    ),
    "heat-map": HeatMap(
        **WORDS,
        matrix=np.array([[1.0, -2.0, 0.5]]),
        rows=[HOSTILE],
        columns=["a", "a", "b"],
        row_title=HOSTILE,
        column_title=HOSTILE,
    ),
}


def figure_of(form: Form) -> Figure:
    """The one figure of a form."""
    (figure,) = form.figures(TARGET)  # type: ignore[union-attr]
    assert isinstance(figure, Figure)
    return figure


@pytest.mark.parametrize("name", FORMS)
def test_each_is_kept_read_back_and_drawn_with_its_numbers(name: str) -> None:
    form = FORMS[name]
    assert form_name(form) == name
    again = read_form(name, form_data(form))
    assert form_data(again) == form_data(form)
    figure = figure_of(again)
    assert figure == figure_of(form)
    require_drawable(figure)
    assert all(go.Figure(plot).data for plot in figure.plots)
    assert figure.rows
    assert all(len(row) == len(figure.columns) for row in figure.rows)


@pytest.mark.parametrize("name", FORMS)
def test_text_is_no_tag_in_a_plot(name: str) -> None:
    figure = figure_of(FORMS[name])
    assert "<script" not in str(figure.plots)
    assert "<img" not in str(figure.plots)
    assert figure.title == figure.caption == HOSTILE
    assert figure.alt.startswith(HOSTILE)


def test_lines_with_their_bands() -> None:
    figure = figure_of(FORMS["line"])
    band, target, other = figure.plots[0]["data"]
    assert (band["x"], band["y"]) == ([1, 2, 4, 4, 2, 1], [0.6, 0.4, 0.3, 0.2, 0.3, 0.4])
    assert (target["x"], target["y"], target["name"]) == ([1, 2, 4], [0.5, 0.33333, 0.25], "target")
    assert band["fillcolor"] == target["line"]["color"] != other["line"]["color"]
    assert other["y"] == [1.0, 2.0, 3.0]
    assert figure.columns == [HOSTILE, "target", HOSTILE, "target, low", "target, high"]
    assert figure.rows[1] == [2, 0.33333, 2.0, 0.3, 0.4]
    assert "From x = 1 to 4: target 0.5 to 0.25; " in figure.alt


def test_bars_with_their_intervals() -> None:
    figure = figure_of(FORMS["bars"])
    bars, intervals = figure.plots[0]["data"]
    assert (bars["x"], bars["y"]) == ([0.5, -1.0], [0, 1])
    assert (intervals["x"], intervals["y"]) == ([0.4, 0.6, None, -2.0, 0.0, None], [0, 0, None, 1, 1, None])
    assert figure.rows == [["noun", 0.5, 0.4, 0.6], [HOSTILE, -1.0, -2.0, 0.0]]
    assert "Highest is noun, 0.5; lowest " in figure.alt
    bare = figure_of(Bars(title="", caption="", labels=["a"], values=[1]))
    assert len(bare.plots[0]["data"]) == 1
    assert bare.rows == [["a", 1]]


def test_many_bars_lose_their_names_and_not_the_page_its_bounds() -> None:
    many = figure_of(Bars(title="", caption="", labels=[str(i) for i in range(500)], values=np.arange(500)))
    assert many.plots[0]["layout"]["height"] <= 1000
    assert many.plots[0]["layout"]["yaxis"]["showticklabels"] is False


def test_cells_by_their_names() -> None:
    figure = figure_of(FORMS["heat-map"])
    (cells,) = figure.plots[0]["data"]
    assert cells["z"] == [[1.0, -2.0, 0.5]]
    # Names that occur twice are two columns all the same.
    assert len(set(cells["x"])) == 3
    # On both sides of 0 colours go equally far.
    assert (cells["zmin"], cells["zmax"]) == (-2.0, 2.0)
    assert figure.rows == [[HOSTILE, 1.0, -2.0, 0.5]]
    positive = figure_of(HeatMap(title="", caption="", matrix=[[1, 2], [3, 4]], rows=["a", "b"], columns=["c", "d"]))
    assert "zmin" not in positive.plots[0]["data"][0]
    assert positive.alt == " Cells run from 1 to 4."


def line(**parts: Any) -> Line:
    """A line of two points, but for what is given."""
    return Line(**({"title": "", "caption": "", "x": [1, 2], "series": {"a": [3.0, 4.0]}} | parts))


def bars(**parts: Any) -> Bars:
    """Two bars, but for what is given."""
    return Bars(**({"title": "", "caption": "", "labels": ["a", "b"], "values": [1.0, 2.0]} | parts))


def heat_map(**parts: Any) -> HeatMap:
    """Two cells, but for what is given."""
    return HeatMap(
        **({"title": "", "caption": "", "matrix": [[1.0, 2.0]], "rows": ["r"], "columns": ["a", "b"]} | parts)
    )


BAD: list[tuple[Callable[..., Form], dict[str, Any], str]] = [
    (line, {"x": []}, "Line x: shape [0]; wanted numbers in one row"),
    (line, {"x": [1.0, np.nan]}, "Line x: nan at place 1; wanted finite numbers"),
    (line, {"series": {}}, "Line series: none; wanted one or more"),
    (line, {"series": {"a": [1.0]}}, "Line series 'a': 1 numbers; wanted 2, one for each x"),
    (line, {"series": {"a": [1.0, np.inf]}}, "Line series 'a': inf at place 1; wanted finite numbers"),
    (line, {"series": {"a": np.array(["x", "y"])}}, "Line series 'a': 'x'; wanted numbers"),
    (line, {"bands": {"b": ([0, 0], [1, 1])}}, "Line band 'b': no such series; wanted one of 'a'"),
    (line, {"bands": {"a": ([0], [1, 1])}}, "Line band 'a', low: 1 numbers; wanted 2, one for each x"),
    (line, {"bands": {"a": ([0, 3], [1, 1])}}, "Line band 'a': low 3 above high 1 at x = 2; wanted low ≤ high"),
    (line, {"bands": {"a": ([0, 0], [1, -np.inf])}}, "Line band 'a', high: -inf at place 1; wanted finite numbers"),
    (bars, {"values": [1.0]}, "Bars values: 1; wanted 2, one for each label"),
    (bars, {"values": [1.0, np.nan]}, "Bars values: nan at place 1; wanted finite numbers"),
    (bars, {"labels": []}, "Bars values: 2; wanted 0, one for each label"),
    (bars, {"intervals": [[0.0, 1.0]]}, "Bars intervals: shape [1, 2]; wanted [2, 2], low and high a label"),
    (bars, {"intervals": [[0.0], [1.0]]}, "Bars intervals: shape [2, 1]; wanted [2, 2], low and high a label"),
    (bars, {"intervals": [[0, 1], [2, 1]]}, "Bars intervals: low 2 above high 1 for 'b'; wanted low ≤ high"),
    (bars, {"intervals": np.array([0.0, 1.0])}, "Bars intervals: shape [2]; wanted rows of numbers, all of one length"),
    (heat_map, {"matrix": [[1.0]]}, "HeatMap matrix: shape [1, 1]; wanted [1, 2] for its names of rows and columns"),
    (
        heat_map,
        {"matrix": np.array([1.0, 2.0])},
        "HeatMap matrix: shape [2]; wanted rows of numbers, all of one length",
    ),
    (heat_map, {"matrix": [[1.0, np.nan]]}, "HeatMap matrix: nan at place 0, 1; wanted finite numbers"),
]


@pytest.mark.parametrize(("make", "parts", "says"), BAD, ids=[says for _, _, says in BAD])
def test_what_does_not_fit_is_one_line(make: Callable[..., Form], parts: dict[str, Any], says: str) -> None:
    make()
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the whole message is compared
        make(**parts)
    assert str(raised.value) == says
