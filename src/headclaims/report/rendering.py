"""Pages from templates: one file each, with style, scripts and data inside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from headclaims.report.cells import SIGNS, ends, measured, number, p_values, reported, resolution
from headclaims.report.figure import Figure, Placed, ScriptedFigure, page_data
from headclaims.report.plots import THEME
from headclaims.report.scorecard import OUTCOME_SIGNS, headword


def render(template: str, placed: Sequence[Placed], **values: Any) -> str:
    """Return a page; `placed` are all figures that the template shows.

    The plotting library is in it only where there is a plot, and a figure's script only where there is such a figure.
    """
    scripts = {one.figure.script: None for one in placed if isinstance(one.figure, ScriptedFigure)}
    plotly = _plotly() if any(isinstance(one.figure, Figure) for one in placed) else ""
    parts = [_text("page.js"), *(_text(f"{name}.js") for name in scripts), "start();\n"]
    return str(
        _environment()
        .get_template(template)
        .render(data=page_data(placed, THEME), plotly=plotly, js="".join(parts), **values)
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _text(name: str) -> str:
    return (files("headclaims.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("headclaims.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (ends, headword, number, measured, reported, p_values, resolution)
    environment.filters |= {written.__name__: written for written in filters}
    environment.globals |= {"signs": SIGNS, "outcome_signs": OUTCOME_SIGNS, "css": _text("page.css")}
    return environment
