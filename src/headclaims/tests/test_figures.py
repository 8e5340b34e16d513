"""Figures: what is drawn is what was kept, said in words, and text of a checkpoint is text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headclaims.record.entries import ClaimEntry
from headclaims.report.attention_figures import effects, head_scores, pattern, steered_attention
from headclaims.report.drawn import ClaimFigures, Drawn, HeadScores, NullValues
from headclaims.report.figures import Figure, folded, null_distributions, plain, short, visible
from headclaims.report.map_figures import blocks, similarity, steered_blocks
from headclaims.report.page import Drawing
from headclaims.report.spectrum_figures import scatter_plane, spectrum
from headclaims.tests.report_folders import HOSTILE, claims, drawn, figures

DRAWN = drawn()
ALL: dict[str, Figure] = {
    "head-scores": head_scores(DRAWN.head_scores, (1, 2)),  # type: ignore[arg-type]
    "pattern": pattern(DRAWN.pattern),  # type: ignore[arg-type]
    "effects": effects({"a-claim": DRAWN.effects, "another": DRAWN.effects}, {"a-claim": "≤ 0.1"}),  # type: ignore[dict-item]
    "blocks": blocks(DRAWN.blocks),  # type: ignore[arg-type]
    "spectrum": spectrum(DRAWN.spectrum, "L1H2"),  # type: ignore[arg-type]
    "scatter": scatter_plane(DRAWN.scatter, "L1H2"),  # type: ignore[arg-type]
    "similarity": similarity(DRAWN.similarity),  # type: ignore[arg-type]
    "steered-blocks": steered_blocks(DRAWN.steered_blocks),  # type: ignore[arg-type]
    "steered-attention": steered_attention(DRAWN.steered_attention),  # type: ignore[arg-type]
}


def traces(name: str, plot: int = 0) -> Any:
    """The traces of a plot of a figure."""
    return ALL[name].plots[plot].data


@pytest.mark.parametrize("name", ALL)
def test_every_figure_says_what_to_see_and_has_its_numbers(name: str) -> None:
    figure = ALL[name]
    assert figure.name == name
    assert "What to see: " in figure.caption
    assert figure.alt
    assert figure.rows
    assert all(len(row) == len(figure.columns) for row in figure.rows)


@pytest.mark.parametrize("name", ALL)
def test_no_text_of_a_checkpoint_is_a_tag_in_a_plot(name: str) -> None:
    for plot in ALL[name].plots:
        assert "<img" not in str(plot.to_plotly_json())
        assert "<b>" not in str(plot.to_plotly_json())


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" red", "red"), ("red", "red"), ("\n", "\\n"), (" ", "' '"), ("", "''"), ("\x00a", "\\x00a"), ("<b>&", "<b>&")],
)
def test_a_token_is_shown_as_a_reader_can_see_it(token: str, shown: str) -> None:
    assert visible(token) == shown


def test_a_long_token_is_cut_short_beside_an_axis() -> None:
    assert short(" twelve letters") == " twelve lette…"
    assert short(" fourteen is it"[:14]) == " fourteen is i"
    assert len(short(HOSTILE)) == 14


def test_tags_and_entities_are_plain() -> None:
    assert plain("<a href='x'>&lt;") == "&lt;a href='x'&gt;&amp;lt;"


def test_long_ids_are_folded_at_their_hyphens() -> None:
    assert folded("position-and-attention-jointly-irrelevant") == "position-and-<br>attention-jointly-<br>irrelevant"
    assert folded("inertia") == "inertia"


def test_scores_by_layer_and_head() -> None:
    (grid,) = traces("head-scores")
    assert [list(row) for row in grid.z] == [[3.0, 2.0, 1.5], [2.5, 2.2, 0.5]]
    assert "L1H2 is number 1 of 6. Lowest are L1H2 0.5, L0H2 1.5, L0H1 2 nats" in ALL["head-scores"].caption
    assert "uniform attention scores 2.75" in ALL["head-scores"].caption
    (shape,) = ALL["head-scores"].plots[0].layout.shapes
    assert (shape.x0, shape.x1, shape.y0, shape.y1) == (1.5, 2.5, 0.5, 1.5)


def test_a_target_that_the_evidence_lacks_is_not_outlined() -> None:
    figure = head_scores(HeadScores([(3, 0), (3, 1)], [2.0, 1.0], 2.75), (1, 2))
    assert not figure.plots[0].layout.shapes
    assert "The evidence lacks L1H2." in figure.caption


def test_a_pattern_beside_its_target() -> None:
    (attention,), (wanted,) = traces("pattern", 0), traces("pattern", 1)
    assert [list(row) for row in attention.z] == [[1.0, None, None], [0.5, 0.5, None], [0.25, 0.5, 0.25]]
    assert [list(row) for row in wanted.z] == [[1, None, None], [1, 0, None], [0, 1, 0]]
    # 1, 0.5 and 0.5 of the rows' attention.
    assert "67%" in ALL["pattern"].caption


def test_effects_with_their_intervals() -> None:
    mean, zero = traces("effects")
    assert list(mean.x) == [0.05, 0.05]
    assert list(mean.error_x.array) == pytest.approx([0.05, 0.05])
    assert list(mean.error_x.arrayminus) == pytest.approx([0.05, 0.05])
    assert list(zero.error_x.array) == [0, 0]
    assert ["a-claim", "≤ 0.1", "zero", 0.5, None, None] in ALL["effects"].rows


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
    strip = figure.plots[0].data[0]
    # Colours span what is in groups: rows and columns 0, 1 and 2, 3.
    assert (strip.zmin, strip.zmax) == (0, 15)
    own, rest = figure.plots[2].data
    assert (list(own.y), list(rest.y)) == ([1, 3], [2, 2])
    assert "brighter than its group at α = -1." in figure.caption
    assert [list(line.y) for line in traces("steered-attention")] == [[0.1, 0.6], [0.2, 0.1], [0.7, 0.4]]


def test_null_distributions_mark_the_target() -> None:
    """The member without a number is not drawn, and counted as p counts it."""
    of = figures()["category-score-lowest"]
    figure = null_distributions("a-claim", of, "L1H2")
    assert figure is not None
    (drawn,) = figure.plots
    assert sum(drawn.data[0].y) == 4
    assert drawn.layout.shapes[0].x0 == drawn.layout.shapes[0].x1 == 1.25
    assert "higher is more favourable: of 5 other heads 3 are at least as favourable" in figure.caption
    assert "(p is for the extreme of 4 draws, one a head)" in figure.caption


def test_a_null_of_one_value_is_drawn_and_one_of_none_is_not() -> None:
    flat = ClaimFigures("", compared="x", compared_value=1.0, nulls=[NullValues("heads", [1.0] * 5, 5, 1)])
    figure = null_distributions("a-claim", flat, "L1H2")
    assert figure is not None
    assert sum(figure.plots[0].data[0].y) == 5
    empty = ClaimFigures("", compared="x", compared_value=1.0, nulls=[NullValues("heads", [None], 1, 1)])
    assert null_distributions("a-claim", empty, "L1H2") is None
    assert null_distributions("a-claim", ClaimFigures(""), "L1H2") is None


def test_a_group_has_its_claims_figures() -> None:
    behaviour: list[ClaimEntry] = [c for c in claims() if c.group == "Behaviour"]
    drawing = Drawing(figures(), "L1H2", (1, 2))
    found = drawing.of_group(behaviour)
    assert sorted(figure.name for figure in found) == sorted(ALL)
    assert HOSTILE not in "".join(str(drawn.to_plotly_json()) for figure in found for drawn in figure.plots)
    assert drawing.left_out == []


SPOILT: dict[str, Callable[[Drawn], object]] = {
    "no heads": lambda of: setattr(of.head_scores, "heads", []),
    "too few scores": lambda of: setattr(of.head_scores, "scores", [1.0]),
    "a target beyond": lambda of: setattr(of.pattern, "targets", [[0], [0], [99]]),
    "ragged blocks": lambda of: setattr(of.blocks, "scores", [[1.0], [1.0, 2.0]]),
    "a head that is none of the spectrum": lambda of: setattr(of.spectrum, "heads", ["L9H9"] * 6),
    "a count below zero": lambda of: setattr(of.spectrum, "negative", [-1, 2, 2, 3, 0, 2]),
    "no head in the plane": lambda of: setattr(of.scatter, "heads", []),
    "no bin": lambda of: [
        setattr(of.similarity, name, []) for name in ("cosine", "mean", "low", "high", "pairs", "vocabulary")
    ],
    "too few α": lambda of: setattr(of.steered_blocks, "alphas", [1.0]),
    "too few shares": lambda of: setattr(of.steered_attention, "kin", []),
}


@pytest.mark.parametrize("what", SPOILT)
def test_numbers_that_do_not_fit_cost_their_figure_alone(what: str) -> None:
    kept = figures()
    SPOILT[what](kept["category-score-lowest"].drawn)
    drawing = Drawing(kept, "L1H2", (1, 2))
    found = drawing.of_group([c for c in claims() if c.group == "Behaviour"])
    assert len(found) == len(ALL) - 1
    (line,) = drawing.left_out
    assert line.startswith("category-score-lowest: a figure is left out, its numbers don't fit: ")


def test_a_map_whose_edges_lead_nowhere_is_left_out() -> None:
    kept = figures()
    graph = kept["communities-are-semantic"].drawn.token_graph
    assert graph is not None
    graph.edges[0] = (0, 99)
    drawing = Drawing(kept, "L1H2", (1, 2))
    assert drawing.map(claims()) is None
    assert drawing.left_out


def test_what_could_not_be_drawn_is_said() -> None:
    kept = figures()
    kept["category-score-lowest"].undrawn["steered_blocks"] = "ValueError: out of luck"
    assert Drawing(kept, "L1H2", (1, 2)).left_out == [
        "category-score-lowest: no figure of steered blocks: ValueError: out of luck."
    ]


def test_a_damaged_record_of_the_suite_costs_its_own_figures(tmp_path: Path) -> None:
    (tmp_path / "counterfeits").mkdir()
    (tmp_path / "counterfeits" / "power.json").write_text("{", encoding="utf-8")
    drawing = Drawing({}, "L1H2", (1, 2))
    assert drawing.of_suite(tmp_path) == []
    (line,) = drawing.left_out
    assert line.startswith("the suite itself: a figure is left out")
    assert drawing.of_suite(tmp_path / "nothing") == []
