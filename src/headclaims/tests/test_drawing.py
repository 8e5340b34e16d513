"""Drawing a record: every figure under an id of its own, and what can't be drawn costs itself alone."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headclaims.checkpoint.interface import Head
from headclaims.record.entries import ClaimEntry
from headclaims.report.claim_figures import ClaimFigures, DrawnForm
from headclaims.report.drawing import Drawing
from headclaims.report.figure import Figure, Placed, ScriptedFigure
from headclaims.report.figures.form import figure_form, form_data
from headclaims.report.figures.line import Line
from headclaims.tests.report_folders import HOSTILE, claim, claims, figures, forms, suite_records

TARGET = Head(1, 2)


def placed_of(drawing: Drawing, entries: list[ClaimEntry]) -> list[Placed]:
    """The figures of each claim, then those that several share."""
    own = drawing.claim_figures(entries)
    return [*(one for some in own.values() for one in some), *drawing.group_figures(entries)]


def test_a_group_has_its_claims_figures() -> None:
    behaviour: list[ClaimEntry] = [c for c in claims() if c.group == "Behaviour"]
    drawing = Drawing(figures(), TARGET)
    placed = placed_of(drawing, behaviour)
    assert sorted(one.id for one in placed) == sorted(name.replace("_", "-") for name in forms())
    assert HOSTILE not in "".join(str(one.figure.content["plots"]) for one in placed)
    assert drawing.left_out == []


SPOILT: dict[str, tuple[str, dict[str, Any]]] = {
    "no heads": ("head_scores", {"heads": []}),
    "too few scores": ("head_scores", {"scores": [1.0]}),
    "a target beyond": ("pattern", {"targets": [[0], [0], [99]]}),
    "ragged blocks": ("blocks", {"scores": [[1.0], [1.0, 2.0]]}),
    "a head that is none of the spectrum": ("spectrum", {"heads": ["L9H9"] * 6}),
    "a count below zero": ("spectrum", {"negative": [-1, 2, 2, 3, 0, 2]}),
    "no head in the plane": ("scatter", {"heads": []}),
    "no bin": ("similarity", {"cosine": [], "mean": [], "low": [], "high": [], "pairs": [], "vocabulary": []}),
    "too few α": ("steered_blocks", {"alphas": [1.0]}),
    "too few shares": ("steered_attention", {"kin": []}),
    "a field too many": ("blocks", {"surprise": 1}),
    "text for a number": ("spectrum", {"d_head": "many"}),
    "no finite number": ("head_scores", {"uniform": float("inf")}),
    "effects of another shape": ("effects", {"effects": [{"kind": "mean", "effect": 0.1, "interval": [0.0]}]}),
}


@pytest.mark.parametrize("what", SPOILT)
def test_numbers_that_do_not_fit_cost_their_figure_alone(what: str) -> None:
    kept, (name, spoilt) = figures(), SPOILT[what]
    kept["category-score-lowest"].drawn[name].data |= spoilt
    drawing = Drawing(kept, TARGET)
    placed = placed_of(drawing, [c for c in claims() if c.group == "Behaviour"])
    assert len(placed) == len(forms()) - 1
    (line,) = drawing.left_out
    assert line.startswith("category-score-lowest: a figure is left out, its numbers don't fit: ")


def test_a_map_whose_edges_lead_nowhere_is_left_out() -> None:
    kept = figures()
    kept["communities-are-semantic"].drawn["token_map"].data["edges"][0] = [0, 99]
    drawing = Drawing(kept, TARGET)
    assert placed_of(drawing, [c for c in claims() if c.group == "Vocabulary map"]) == []
    assert drawing.left_out


def test_what_could_not_be_drawn_is_said() -> None:
    kept = figures()
    kept["category-score-lowest"].undrawn["steered_blocks"] = "ValueError: out of luck"
    assert Drawing(kept, TARGET).left_out == [
        "category-score-lowest: no figure of steered blocks: ValueError: out of luck."
    ]


def test_a_form_that_is_not_known_costs_its_figure_and_is_said() -> None:
    kept = {"a": ClaimFigures(drawn={"trend_line": DrawnForm("a-guest-s-own", {"x": [1]}), "same": line("Same")})}
    drawing = Drawing(kept, TARGET)
    assert [one.id for one in placed_of(drawing, [claim("a")])] == ["same"]
    assert drawing.left_out == [
        "a: a figure is left out: the form 'a-guest-s-own' is not known here: the module that registers it was not "
        "loaded."
    ]


def line(title: str) -> DrawnForm:
    """A line of two points."""
    return DrawnForm("line", form_data(Line(title, "Rising.", [1, 2], {"a": [0.0, 1.0]})))


def test_two_figures_of_one_form_have_ids_of_their_own() -> None:
    """One claim draws two, another one under a name that the first has, too; names that differ by signs alone clash."""
    kept = {
        "a": ClaimFigures(drawn={"trend": line("A"), "other trend": line("B"), "other_trend": line("C")}),
        "b": ClaimFigures(drawn={"trend": line("D"), "data": line("E"), "claim-a": line("F"), "…": line("G")}),
    }
    drawing = Drawing(kept, TARGET)
    placed = placed_of(drawing, [claim("a"), claim("b")])
    assert {one.figure.title: one.id for one in placed} == {
        "A": "a-trend",
        "B": "other-trend",
        "C": "other-trend-2",
        "D": "b-trend",
        "E": "figure-data",
        "F": "figure-claim-a",
        "G": "figure",
    }
    assert drawing.left_out == []


def test_claims_that_share_a_figure_have_one_a_group() -> None:
    shared = DrawnForm("effects", form_data(forms()["effects"]))
    kept = {name: ClaimFigures(drawn={"effects": shared}) for name in "abc"}
    drawing = Drawing(kept, TARGET)
    (first,) = placed_of(drawing, [claim("a"), claim("b")])
    (second,) = placed_of(drawing, [claim("c")])
    assert (first.id, second.id) == ("effects", "effects-2")
    assert {row[0] for row in first.figure.content["rows"]} == {"a", "b"}
    assert {row[0] for row in second.figure.content["rows"]} == {"c"}


@figure_form("breaks-when-drawn")
@dataclass
class Breaks:
    """A guest's form that goes wrong in some way."""

    way: str

    def figures(self, target: Head) -> Any:  # noqa: ARG002
        figure = Figure("", "", "", [], [], [])
        return {
            "raises": lambda: [][0],
            "no figure": lambda: [1],
            "no list": lambda: None,
            "no number": lambda: [replace(figure, rows=[[float("nan")]])],
            "an array": lambda: [replace(figure, plots=[{"data": np.arange(2), "layout": {"height": 1}}])],
            "no height": lambda: [replace(figure, plots=[{"data": [], "layout": {}}])],
            "no script": lambda: [ScriptedFigure("", "", "", "page", {})],
        }[self.way]()


@pytest.mark.parametrize("way", ["raises", "no figure", "no list", "no number", "an array", "no height", "no script"])
def test_a_form_that_goes_wrong_costs_its_own_figure(way: str) -> None:
    kept = {"a": ClaimFigures(drawn={"bad": DrawnForm("breaks-when-drawn", {"way": way}), "trend": line("A")})}
    drawing = Drawing(kept, TARGET)
    assert [one.id for one in placed_of(drawing, [claim("a")])] == ["trend"]
    (said,) = drawing.left_out
    assert said.startswith("a: a figure is left out, its numbers don't fit: ")


def test_a_damaged_record_of_the_suite_costs_its_own_figure(tmp_path: Path) -> None:
    suite_records(tmp_path)
    (tmp_path / "trials" / "power.json").write_text("{", encoding="utf-8")
    drawing = Drawing({}, TARGET)
    assert [one.id for one in drawing.suite_figures(tmp_path / "a" / "report")] == ["counterfeits", "benchmarks"]
    (said,) = drawing.left_out
    assert said.startswith("the suite itself: a figure is left out")
