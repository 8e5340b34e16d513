"""Forms of figure: what a claim hands to `claim.draw`, kept as JSON beside the record and drawn on the page.

A form is a dataclass of plain data, registered under a name, with a method that draws it:

    @figure_form("attention-by-distance")
    @dataclass
    class AttentionByDistance:
        distance: list[int]
        attention: list[float]

        def figures(self, target: Head) -> list[AnyFigure]:
            line = scatter(self.distance, self.attention, mode="lines")
            caption = f"Attention of {target.label} by distance. What to see: a peak at 1."
            rows = [list(row) for row in zip(self.distance, self.attention, strict=True)]
            return [Figure("Attention by distance", caption, caption, [plot([line])], ["distance", "attention"], rows)]

A form whose figure all claims of a group share has `figures_together` instead. A form's file imports no plotly: claims
import it wherever they run.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import ConfigDict, TypeAdapter, ValidationError

from headclaims.checkpoint.interface import Head
from headclaims.record.reading import STRICT, first_error
from headclaims.report.figure import AnyFigure

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PACKAGE = __name__.rpartition(".")[0]


@runtime_checkable
class DrawsItself(Protocol):
    """A form that draws itself."""

    def figures(self, target: Head) -> list[AnyFigure]:
        """Return the form's figures; raises ValueError, IndexError or the like where its data doesn't fit together."""
        ...


@runtime_checkable
class DrawnTogether(Protocol):
    """A form whose figures show what several claims of a group have to draw."""

    @classmethod
    def figures_together(cls, forms: Mapping[str, Any], thresholds: Mapping[str, str], target: Head) -> list[AnyFigure]:
        """Return the figures of all forms of the kind in a group, by claim, with the claims' thresholds as text."""
        ...


Form = DrawsItself | DrawnTogether
Class = TypeVar("Class", bound=type)
_REGISTERED: dict[str, type[Any]] = {}


class UnknownForm(LookupError):  # noqa: N818  # says what is unknown
    """No form is registered under a name."""


def figure_form(name: str) -> Callable[[Class], Class]:
    """Register a dataclass as a form of figure, to be read and drawn by its name.

    Raises ValueError for a name that isn't in lower case with hyphens or that another class has, TypeError for a class
    that is no dataclass or has neither `figures` nor `figures_together`.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"figure form {name!r}; wanted lower-case words joined by hyphens")

    def register(form: Class) -> Class:
        if not dataclasses.is_dataclass(form):
            raise TypeError(f"figure form {name!r}: {form.__qualname__} is no dataclass; put @dataclass below")
        if not (hasattr(form, "figures") or hasattr(form, "figures_together")):
            raise TypeError(f"figure form {name!r}: {form.__qualname__} has neither figures nor figures_together")
        other = _REGISTERED.get(name)
        # A module that is loaded anew defines the same class once more.
        if other is not None and (other.__module__, other.__qualname__) != (form.__module__, form.__qualname__):
            raise ValueError(f"figure form {name!r}: {other.__module__}.{other.__qualname__} has that name")
        form.__pydantic_config__ = ConfigDict(**STRICT, arbitrary_types_allowed=True)  # type: ignore[attr-defined]
        _REGISTERED[name] = form
        return form

    return register


def form_class(name: str) -> type[Any]:
    """Return the class of a form; raises UnknownForm for a name that no loaded module and none of this package has."""
    if name not in _REGISTERED:
        module = name.replace("-", "_")
        if module in _modules():
            importlib.import_module(f"{PACKAGE}.{module}")
    if name not in _REGISTERED:
        raise UnknownForm(f"the form {name!r} is not known here: the module that registers it was not loaded")
    return _REGISTERED[name]


@cache
def _modules() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__))


def form_name(form: object) -> str:
    """Return the name of a form's class; raises TypeError for what is no form."""
    for name, registered in _REGISTERED.items():
        if type(form) is registered:
            return name
    raise TypeError(f"{type(form).__name__} came; wanted a dataclass that @figure_form registers")


def form_data(form: Form) -> dict[str, Any]:
    """Return a form's data in JSON's own types; raises TypeError or ValueError for data that JSON can't hold."""
    data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(form), allow_nan=False))  # type: ignore[call-overload]
    return data


def read_form(name: str, data: Any) -> Form:
    """Return the form that gave this data; raises UnknownForm, or ValueError in one line for data of another shape."""
    adapter = TypeAdapter(form_class(name))
    try:
        form: Form = adapter.validate_python(data)
    except ValidationError as error:
        raise ValueError(first_error(error)) from error
    return form
