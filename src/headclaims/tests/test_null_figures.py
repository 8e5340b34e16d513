"""Null distributions: every member that has a value, and the target marked."""

import plotly.graph_objects as go

from headclaims.report.claim_figures import ClaimFigures, NullValues
from headclaims.report.null_figures import null_distributions
from headclaims.tests.report_folders import figures


def test_null_distributions_mark_the_target() -> None:
    """The member without a number is not drawn, and counted as p counts it."""
    figure = null_distributions(figures()["category-score-lowest"], "L1H2")
    assert figure is not None
    (drawn,) = map(go.Figure, figure.plots)
    assert sum(drawn.data[0].y) == 4
    assert drawn.layout.shapes[0].x0 == drawn.layout.shapes[0].x1 == 1.25
    assert "higher is more favourable: of 5 other heads 3 are at least as favourable" in figure.caption
    assert "(p is for the extreme of 4 draws, one a head)" in figure.caption


def test_a_null_of_one_value_is_drawn_and_one_of_none_is_not() -> None:
    flat = ClaimFigures("", compared="x", compared_value=1.0, nulls=[NullValues("heads", [1.0] * 5, 5, 1)])
    figure = null_distributions(flat, "L1H2")
    assert figure is not None
    assert sum(figure.plots[0]["data"][0]["y"]) == 5
    empty = ClaimFigures("", compared="x", compared_value=1.0, nulls=[NullValues("heads", [None], 1, 1)])
    assert null_distributions(empty, "L1H2") is None
    assert null_distributions(ClaimFigures(""), "L1H2") is None
