"""The suite's own figures: found above a page's folder, and of what the committed records hold."""

from pathlib import Path

import plotly.graph_objects as go
import pytest

from headclaims.report.suite_figures import FIGURES, suite_figure, suite_files
from headclaims.tests.report_folders import suite_records


def test_the_nearest_folder_above_that_has_some_is_taken(tmp_path: Path) -> None:
    suite_records(tmp_path)
    report = tmp_path / "set" / "head"
    report.mkdir(parents=True)
    assert suite_files(report) == {name: tmp_path / path for name, (path, _) in FIGURES.items()}
    (tmp_path / "set" / "trials").mkdir()
    assert len(suite_files(report)) == 3
    (tmp_path / "set" / "trials" / "power.json").write_text("{}", encoding="utf-8")
    assert suite_files(report) == {"power": tmp_path / "set" / "trials" / "power.json"}


def test_where_there_is_nothing_above_there_are_none(tmp_path: Path) -> None:
    assert suite_files(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("name", FIGURES)
def test_each_has_its_numbers_and_says_what_to_see(name: str, tmp_path: Path) -> None:
    suite_records(tmp_path)
    figure = suite_figure(name, suite_files(tmp_path / "report")[name])
    assert "What to see: " in figure.caption
    assert figure.rows
    assert all(len(row) == len(figure.columns) for row in figure.rows)
    assert all(go.Figure(plot).data for plot in figure.plots)


def test_a_ratio_that_a_run_lacks_is_a_gap() -> None:
    history = {
        "runs": [
            {"commit": "a", "when": "2026", "ratios": {"sweep / bound": 2.0}},
            {"commit": "b", "when": "2027", "ratios": {"sweep / bound": 3.0, "load / bound": 4.0}},
        ]
    }
    figure = FIGURES["benchmarks"][1](history)
    assert [trace["y"] for trace in figure.plots[0]["data"]] == [[2.0, 3.0], [None, 4.0]]
    assert figure.rows == [
        ["a", "2026", "sweep / bound", 2.0],
        ["b", "2027", "sweep / bound", 3.0],
        ["b", "2027", "load / bound", 4.0],
    ]
