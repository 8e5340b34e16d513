"""What a page shows of a claim: its parts, its null values, its figures, or why it has none."""

import json
from dataclasses import asdict, dataclass

import numpy as np

from headclaims.errors import NotAssessable
from headclaims.report.claim_figures import ClaimFigures, DrawnForm
from headclaims.report.figures.line import Line
from headclaims.statistics.nulls import Null
from headclaims.statistics.resampling import Interval
from headclaims.statistics.verdict import Condition, Measurement, NullStatistic, Threshold


def test_a_measurement_with_its_parts_and_nulls() -> None:
    measurement = Measurement(
        "gap",
        1.5,
        Threshold(">", 0.0),
        interval=Interval(1.0, 2.0, "prompts"),
        conditions=[Condition("share", 0.25, Threshold("≤", 0.5))],
        compared=NullStatistic("smaller gap", 1.25, "low"),
        nulls=[
            Null("other heads", np.array([1.25, 1.25 + 1e-9, np.nan, 3.0]), chosen_among=4),
            Null("Gaussian heads", None, missing="no weights"),
        ],
    )
    found = ClaimFigures("as defined")
    found.measured(measurement)
    assert [(p.statistic, p.value, p.wanted, p.interval) for p in found.parts] == [
        ("gap", 1.5, "> 0", (1.0, 2.0)),
        ("share", 0.25, "≤ 0.5", None),
    ]
    assert (found.compared, found.compared_value, found.favourable) == ("smaller gap", 1.25, "low")
    # 1.25 ties and the one that is no number counts against the claim; 1.25 and a billionth does not.
    (null,) = found.nulls
    assert (null.population, null.values, null.at_least, null.chosen_among) == (
        "other heads",
        [1.25, 1.25, None, 3.0],
        2,
        4,
    )


def test_a_figure_is_kept_by_the_name_of_its_form() -> None:
    claim = ClaimFigures()
    claim.draw("trend", lambda: Line("Trend", "Rising.", np.array([1, 2]), {"a": np.array([0.5, 1 / 3])}))
    assert claim.drawn == {
        "trend": DrawnForm(
            "line",
            {
                "title": "Trend",
                "caption": "Rising.",
                "x": [1, 2],
                "series": {"a": [0.5, 0.33333]},
                "bands": {},
                "x_title": "x",
                "y_title": "",
            },
        )
    }
    assert claim.undrawn == {}
    json.dumps(asdict(claim), allow_nan=False)


@dataclass
class NoForm:
    """Plain data that nobody registered."""

    x: int = 1


def test_what_cannot_be_drawn_says_why_and_costs_nothing_else() -> None:
    def lacking() -> Line:
        raise NotAssessable("no weights\nat all")

    claim = ClaimFigures()
    claim.draw("lacking", lacking)
    claim.draw("broken", lambda: Line("", "", [1.0], {"a": [float("nan")]}))
    claim.draw("no form", NoForm)  # type: ignore[arg-type]
    claim.draw("numbers", lambda: 5)  # type: ignore[arg-type, return-value]
    assert claim.drawn == {}
    assert claim.undrawn == {
        "lacking": "no weights at all",
        "broken": "ValueError: Line series 'a': nan at place 0; wanted finite numbers",
        "no form": "TypeError: NoForm came; wanted a dataclass that @figure_form registers",
        "numbers": "TypeError: int came; wanted a dataclass that @figure_form registers",
    }
