"""Figures: what is drawn is what was kept, said in words, and text of a checkpoint is text."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from headclaims.checkpoint.interface import Head
from headclaims.report.figure import Figure, require_drawable
from headclaims.report.figures.attention_pattern import Pattern
from headclaims.report.figures.effects import Effect, Effects
from headclaims.report.figures.form import DrawnTogether
from headclaims.report.figures.head_scores import HeadScores
from headclaims.tests.report_folders import forms

TARGET = Head(1, 2)


def figure_of(name: str) -> Figure:
    """The one figure of a form; effects are those of two claims, one without a threshold."""
    form = forms()[name]
    if isinstance(form, DrawnTogether):
        (figure,) = form.figures_together({"a-claim": form, "another": form}, {"a-claim": "≤ 0.1"}, TARGET)
    else:
        (figure,) = form.figures(TARGET)
    assert isinstance(figure, Figure)
    return figure


ALL = {name.replace("_", "-"): figure_of(name) for name in forms()}


def traces(name: str, plot: int = 0) -> Any:
    """The traces of a plot of a figure."""
    return go.Figure(ALL[name].plots[plot]).data


@pytest.mark.parametrize("name", ALL)
def test_every_figure_says_what_to_see_and_has_its_numbers(name: str) -> None:
    figure = ALL[name]
    assert "What to see: " in figure.caption
    assert figure.alt
    assert figure.rows
    assert all(len(row) == len(figure.columns) for row in figure.rows)


@pytest.mark.parametrize("name", ALL)
def test_no_text_of_a_checkpoint_is_a_tag_in_a_plot(name: str) -> None:
    for plot in ALL[name].plots:
        assert "<img" not in str(plot)
        assert "<b>" not in str(plot)


@pytest.mark.parametrize("name", ALL)
def test_plots_are_what_plotly_takes(name: str) -> None:
    """Every trace and every setting has a name that the library knows; a title is no bare text, which it ignores."""
    require_drawable(ALL[name])
    for plot in ALL[name].plots:
        assert go.Figure(plot).to_plotly_json()["data"]
        axes = [look for key, look in plot["layout"].items() if key in ("xaxis", "yaxis")]
        assert all(isinstance(look["title"], dict) for look in axes if "title" in look)


def test_scores_by_layer_and_head() -> None:
    (grid,) = traces("head-scores")
    assert [list(row) for row in grid.z] == [[3.0, 2.0, 1.5], [2.5, 2.2, 0.5]]
    assert "L1H2 is number 1 of 6. Lowest are L1H2 0.5, L0H2 1.5, L0H1 2 nats" in ALL["head-scores"].caption
    assert "uniform attention scores 2.75" in ALL["head-scores"].caption
    (shape,) = go.Figure(ALL["head-scores"].plots[0]).layout.shapes
    assert (shape.x0, shape.x1, shape.y0, shape.y1) == (1.5, 2.5, 0.5, 1.5)


def test_a_target_that_the_evidence_lacks_is_not_outlined() -> None:
    (figure,) = HeadScores([(3, 0), (3, 1)], [2.0, 1.0], 2.75).figures(TARGET)
    assert isinstance(figure, Figure)
    assert not figure.plots[0]["layout"]["shapes"]
    assert "The evidence lacks L1H2." in figure.caption


def test_a_pattern_beside_its_target() -> None:
    (attention,), (wanted,) = traces("pattern", 0), traces("pattern", 1)
    assert [list(row) for row in attention.z] == [[1.0, None, None], [0.5, 0.5, None], [0.25, 0.5, 0.25]]
    assert [list(row) for row in wanted.z] == [[1, None, None], [1, 0, None], [0, 1, 0]]
    # BOS gives itself all: colours end at 0.5, the most that a later word gets.
    assert (attention.zmin, attention.zmax) == (0, 0.5)
    # 1, 0.5 and 0.5 of the rows' attention.
    assert "67%" in ALL["pattern"].caption


def test_effects_with_their_intervals() -> None:
    """The claim that wants a small one has a plot of its own, with its threshold; the other has none."""
    for plot, edges in ((0, [0.1]), (1, [])):
        mean, zero = traces("effects", plot)
        assert (list(mean.x), list(mean.y)) == ([0.05], [0])
        assert (list(zero.x), list(zero.y)) == ([0.5], [1])
        assert list(mean.error_x.array) == pytest.approx([0.05])
        assert list(mean.error_x.arrayminus) == pytest.approx([0.05])
        assert list(zero.error_x.array) == [0]
        assert list(mean.customdata) == [" [0, 0.1]"]
        assert [shape["x0"] for shape in ALL["effects"].plots[plot]["layout"]["shapes"]] == edges
    assert ["a-claim", "≤ 0.1", "zero", 0.5, None, None] in ALL["effects"].rows


def test_no_two_effects_lie_on_one_row() -> None:
    """Claims with other kinds than each other, as those about E: each its rows, a gap between."""
    few, more = Effects([Effect("E", 0.5, None)]), Effects([Effect("mean", 0.1, None), Effect("zero", 0.2, None)])
    wanted = dict.fromkeys("abc", "|·| ≤ 0.25")
    (figure,) = Effects.figures_together({"a": more, "b": few, "c": more}, wanted, TARGET)
    assert isinstance(figure, Figure)
    (drawn,) = figure.plots
    rows = {trace["name"]: trace["y"] for trace in drawn["data"]}
    assert rows == {"mean": [0, 5], "zero": [1, 6], "E": [3]}
    assert drawn["layout"]["yaxis"]["tickvals"] == [0.5, 3, 5.5]
    assert [shape["x0"] for shape in drawn["layout"]["shapes"]] == [-0.25, 0.25] * 3


def test_tokens_stand_beside_a_pattern_every_few_where_there_are_many() -> None:
    n = 65
    words = ["BOS", *(f"w{i}" for i in range(1, n))]
    (figure,) = Pattern(words, [[1 / (i + 1)] * (i + 1) for i in range(n)], [[0]] * n).figures(TARGET)
    assert isinstance(figure, Figure)
    for axis in ("xaxis", "yaxis"):
        shown = figure.plots[0]["layout"][axis]
        assert shown["ticktext"] == [words[i] for i in range(0, n, 3)]
        assert shown["tickvals"] == [f"{i} {words[i]}" for i in range(0, n, 3)]
    assert figure.plots[0]["data"][0]["x"][64] == "64 w64"


def test_a_group_without_effects_has_no_figure() -> None:
    assert Effects.figures_together({"a-claim": Effects([])}, {}, TARGET) == []


def test_blocks_split_into_symmetric_and_skew() -> None:
    full, symmetric, skew = (np.array(traces("blocks", i)[0].z) for i in range(3))
    assert full.tolist() == np.arange(16.0).reshape(4, 4).tolist()
    assert symmetric[0, 1] == symmetric[1, 0] == (1 + 4) / 2
    assert skew[0, 1] == -skew[1, 0] == (1 - 4) / 2
    assert not np.diag(skew).any()
    # In the group (0, 1), (1, 0), (2, 3), (3, 2): 1, 4, 11, 14; on the diagonal 0, 5, 10, 15.
    assert "in the group 7.5, on the diagonal 7.5" in ALL["blocks"].alt


def test_the_spectrum_by_sign_and_size() -> None:
    positive, negative, rest = traces("spectrum")
    # The four largest in magnitude are 3, −2, 1.5 and −1.
    assert list(positive.y) == [3.0, 1.5]
    assert list(negative.y) == [-1.0, -2.0]
    assert sorted(rest.y) == [-0.5, -0.1, 0.2, 0.4]
    (counted,) = traces("spectrum", 1)
    assert list(counted.y) == [1, 1, 3, 1, 0]
    assert "2 are negative in L1H2; over 6 heads the count runs from 0 to 3, median 2" in ALL["spectrum"].caption


def test_the_target_stands_in_the_plane_of_all_heads() -> None:
    others, target = traces("scatter")
    assert len(others.x) == 5
    assert (target.x[0], target.y[0]) == (-0.8, 0.9)
    # L0H2 is at −0.9, 0.95.
    assert "of 5 other heads 1 are at least as far out on both" in ALL["scatter"].caption


def test_similarity_with_its_band() -> None:
    band, curve, vocabulary = traces("similarity")
    assert list(band.x) == [0.1, 0.3, 0.5, 0.5, 0.3, 0.1]
    assert list(band.y) == [-0.9, 2.1, 0.6, 0.4, 1.9, -1.1]
    assert list(curve.y) == [-1.0, 2.0, 0.5]
    assert list(vocabulary.y) == [None, 1.0, 2.0]
    assert list(traces("similarity", 1)[0].y) == [99, 60, 50]
    assert "highest is 2 nats at 0.30" in ALL["similarity"].caption


def test_steering_strip_by_strip() -> None:
    figure = ALL["steered-blocks"]
    assert len(figure.plots) == 3
    (strip,) = traces("steered-blocks")
    # Colours span what is in groups: rows and columns 0, 1 and 2, 3.
    assert (strip.zmin, strip.zmax) == (0, 15)
    own, rest = traces("steered-blocks", 2)
    assert (list(own.y), list(rest.y)) == ([1, 3], [2, 2])
    assert "brighter than its group at α = -1." in figure.caption
    assert [list(line.y) for line in traces("steered-attention")] == [[0.1, 0.6], [0.2, 0.1], [0.7, 0.4]]
