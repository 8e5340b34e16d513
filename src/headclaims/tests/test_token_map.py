"""The token map: names, places and words for it."""

import random
import sys

import numpy as np
import pytest

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.report.figure import ScriptedFigure, require_drawable
from headclaims.report.figures.token_map import TokenGraph, central, layout
from headclaims.tests.report_folders import token_graph


def test_communities_are_named_by_whom_their_own_attend_to() -> None:
    """In {a, b, c, d} all attend to d, two to b; e attends to a from without, c to itself: neither counts."""
    edges = [(0, 3), (1, 3), (2, 3), (0, 1), (3, 1), (2, 2), (2, 2), (2, 2), (4, 0), (4, 0), (4, 0), (4, 5)]
    graph = TokenGraph(list("abcdef"), edges, [1.0] * len(edges), [0, 0, 0, 0, 1, 1], {})
    assert central(graph) == [[3, 1, 0], [5, 4]]
    (figure,) = graph.figures(Head(1, 2))
    assert isinstance(figure, ScriptedFigure)
    require_drawable(figure)
    assert figure.script == "token-map"
    assert figure.content["names"] == ["d, b, a", "f, e"]
    assert figure.alt == "Communities by their most central tokens, with their sizes: d, b, a (4); f, e (2)."
    assert "hardly a token that attends to itself (16.67 % do)" in figure.caption


def test_communities_lie_together() -> None:
    graph = token_graph(150, 4, 5)
    at = layout(graph)
    assert np.abs(at).max() == pytest.approx(1)
    assert np.isfinite(at).all()
    centres = np.stack([at[np.array(graph.community) == c].mean(axis=0) for c in range(5)])
    nearest = np.linalg.norm(at[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == graph.community).mean() > 0.9


def test_the_layout_is_the_same_every_time() -> None:
    first = layout(token_graph())
    random.random()
    assert layout(token_graph()).tolist() == first.tolist()


def test_without_edges_there_is_a_layout_all_the_same() -> None:
    assert np.isfinite(layout(TokenGraph(["a", "b"], [(0, 0)], [1.0], [0, 1], {}))).all()


def test_without_igraph_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(NotAssessable, match=r"pip install 'headclaims\[communities\]'"):
        layout(token_graph())
