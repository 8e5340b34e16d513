"""The registry of forms of figure: who may register, what is kept, and what is read back."""

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from headclaims.checkpoint.interface import Head
from headclaims.report.figure import AnyFigure, Figure
from headclaims.report.figures import form as registry
from headclaims.report.figures.form import UnknownForm, figure_form, form_class, form_data, form_name, read_form
from headclaims.tests.report_folders import forms, token_graph


@figure_form("points")
@dataclass
class Points:
    """A guest's form, with one dataclass in another."""

    @dataclass
    class At:
        """A point."""

        x: float
        label: str = ""

    points: list[At]
    by_number: dict[int, tuple[float, float]] = field(default_factory=dict)

    def figures(self, target: Head) -> list[AnyFigure]:
        rows = [[point.label, point.x] for point in self.points]
        return [Figure("Points", target.label, target.label, [], ["label", "x"], rows)]


def test_what_is_kept_is_read_back() -> None:
    points = Points([Points.At(1.5, "a"), Points.At(2.0)], {3: (0.0, 1.0)})
    assert form_name(points) == "points"
    data = form_data(points)
    assert data == {"points": [{"x": 1.5, "label": "a"}, {"x": 2.0, "label": ""}], "by_number": {"3": [0.0, 1.0]}}
    assert read_form("points", data) == points
    (figure,) = read_form("points", data).figures(Head(1, 5))  # type: ignore[union-attr]
    assert figure.caption == "L1H5"


@pytest.mark.parametrize("form", [*forms().values(), token_graph()], ids=lambda form: type(form).__name__)
def test_the_forms_that_ship_are_read_back(form: object) -> None:
    assert read_form(form_name(form), form_data(form)) == form  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "points: Field required"),
        ({"points": [{"x": "wide"}]}, r"points\.0\.x: Input should be a valid number"),
        ({"points": [{"x": float("nan")}]}, r"points\.0\.x: Input should be a finite number"),
        ({"points": [{"x": 1.0, "y": 2.0}]}, r"points\.0\.y: Unexpected keyword argument"),
        ({"points": [], "surprise": 1}, "surprise: Unexpected keyword argument"),
        ([], "Input should be a dictionary or an instance of Points"),
    ],
)
def test_data_of_another_shape_is_one_line(data: object, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        read_form("points", data)


@pytest.mark.parametrize("name", ["nobody-s", "form", "rounding", "__init__", "../line", "head_scores", ""])
def test_a_name_that_nobody_registered_is_unknown(name: str) -> None:
    with pytest.raises(UnknownForm, match="is not known here"):
        form_class(name)


def test_a_form_may_be_defined_anew_by_its_own_module_alone() -> None:
    """A process that stays loads a set's modules once an audit."""
    assert figure_form("points")(Points) is Points

    @dataclass
    class Others(Points):
        """Another class."""

    with pytest.raises(ValueError, match=r"figure form 'points': .*\.Points has that name"):
        figure_form("points")(Others)
    with pytest.raises(ValueError, match="has that name"):
        figure_form("head-scores")(Others)


@pytest.mark.parametrize("name", ["Two Words", "under_score", "-a", "a-", "", "é"])
def test_names_are_words_and_hyphens(name: str) -> None:
    with pytest.raises(ValueError, match="wanted lower-case words joined by hyphens"):
        figure_form(name)


def test_what_cannot_be_a_form_is_refused() -> None:
    class Plain:
        """No dataclass."""

        def figures(self, target: Head) -> list[AnyFigure]:  # noqa: ARG002
            return []

    @dataclass
    class Undrawn:
        """A dataclass that doesn't draw itself."""

    with pytest.raises(TypeError, match="Plain is no dataclass"):
        figure_form("plain")(Plain)
    with pytest.raises(TypeError, match="Undrawn has neither figures nor figures_together"):
        figure_form("undrawn")(Undrawn)
    with pytest.raises(TypeError, match=r"Undrawn came; wanted a dataclass that @figure_form registers"):
        form_name(Undrawn())


def test_forms_are_loaded_without_the_plotting_library() -> None:
    modules = sorted(f"{registry.PACKAGE}.{name}" for name in registry._modules())
    assert len(modules) >= 13
    script = f"import sys, {', '.join(modules)}; print(sorted({{'plotly', 'matplotlib', 'jinja2'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
