"""Drawing the figures of a record: what can't be drawn costs its own figure, and is listed with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeVar

from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.record.entries import ClaimEntry
from headclaims.report.claim_figures import ClaimFigures
from headclaims.report.figure import AnyFigure, Placed, require_drawable
from headclaims.report.figures.form import DrawnTogether, Form, UnknownForm, read_form
from headclaims.report.null_figures import null_distributions
from headclaims.report.suite_figures import suite_figure, suite_files

Made = TypeVar("Made")
RESERVED = re.compile(r"(contents|content|data|map|report|scorecard|suite|verdicts|(claim|group|more|tab)-.*)")
"""Ids of other elements of a page."""


class Drawing:
    """Draws the figures of a record from what its claims keep, by id, each figure under an id of its own.

    `left_out` lists, a line each, what could not be drawn and why.
    """

    def __init__(self, claims: Mapping[str, ClaimFigures], target: Head) -> None:
        self.claims, self.target = claims, target
        self.left_out = [
            f"{claim}: no figure of {name.replace('_', ' ')}: {why}."
            for claim, figures in claims.items()
            for name, why in figures.undrawn.items()
        ]
        self._ids: set[str] = set()
        self._forms = {claim: self._read(claim, figures) for claim, figures in claims.items()}
        self._drawing_as = Counter(name for forms in self._forms.values() for name in forms)

    def _read(self, claim: str, figures: ClaimFigures) -> dict[str, Form]:
        read = {name: self._try(claim, partial(read_form, one.form, one.data)) for name, one in figures.drawn.items()}
        return {name: form for name, form in read.items() if form is not None}

    def claim_figures(self, claims: Sequence[ClaimEntry]) -> dict[str, list[Placed]]:
        """Return the figures of each claim alone, by the claim's id; a claim without some is left out."""
        placed: dict[str, list[Placed]] = {}
        for claim in claims:
            for name, form in self._forms.get(claim.id, {}).items():
                if not isinstance(form, DrawnTogether):
                    figure_id = name if self._drawing_as[name] == 1 else f"{claim.id}-{name}"
                    drawn = self._place(claim.id, figure_id, partial(form.figures, self.target))
                    if drawn:
                        placed.setdefault(claim.id, []).extend(drawn)
        return placed

    def group_figures(self, claims: Sequence[ClaimEntry]) -> list[Placed]:
        """Return the figures that several claims of a group share."""
        placed = []
        shared: dict[tuple[str, type[Any]], dict[str, Any]] = {}
        for claim in claims:
            for name, form in self._forms.get(claim.id, {}).items():
                if isinstance(form, DrawnTogether):
                    shared.setdefault((name, type(form)), {})[claim.id] = form
        for (name, kind), forms in shared.items():
            thresholds = {claim: self.claims[claim].parts[0].wanted for claim in forms if self.claims[claim].parts}
            placed += self._place(claims[0].group, name, partial(kind.figures_together, forms, thresholds, self.target))
        return placed

    def null_figures(self, claims: Sequence[ClaimEntry]) -> dict[str, Placed]:
        """Return the null distributions of each claim that has some, by the claim's id."""
        placed: dict[str, Placed] = {}
        for claim in claims:
            if claim.id in self.claims:
                draw = partial(self._nulls, self.claims[claim.id])
                for one in self._place(claim.id, f"nulls-{claim.id}", draw):
                    placed[claim.id] = one
        return placed

    def _nulls(self, figures: ClaimFigures) -> list[AnyFigure]:
        figure = null_distributions(figures, self.target.label)
        return [] if figure is None else [figure]

    def suite_figures(self, folder: Path) -> list[Placed]:
        """Return the figures of the suite itself, from what lies above a page's folder."""
        placed = []
        for name, path in suite_files(folder).items():
            placed += self._place("the suite itself", name, lambda name=name, path=path: [suite_figure(name, path)])  # type: ignore[misc]
        return placed

    def _place(self, owner: str, figure_id: str, draw: Callable[[], Iterable[AnyFigure]]) -> list[Placed]:
        figures = self._try(owner, lambda: _checked(draw())) or []
        return [Placed(self._free_id(figure_id), figure) for figure in figures]

    def _free_id(self, name: str) -> str:
        """An id after a name that no other element of the page has."""
        base = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "figure"
        base = f"figure-{base}" if RESERVED.fullmatch(base) else base
        chosen = next(one for one in chain([base], (f"{base}-{n}" for n in count(2))) if one not in self._ids)
        self._ids.add(chosen)
        return chosen

    def _try(self, owner: str, make: Callable[[], Made]) -> Made | None:
        """What `make` returns; where it fails, None, with the reason in `left_out`: a form may be anybody's code."""
        try:
            return make()
        except NotAssessable as error:
            self.left_out.append(f"{error}.")
        except UnknownForm as error:
            self.left_out.append(f"{owner}: a figure is left out: {error}.")
        except Exception as error:
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self.left_out.append(f"{owner}: a figure is left out, its numbers don't fit: {' '.join(reason.split())}.")
        return None


def _checked(figures: Iterable[AnyFigure]) -> list[AnyFigure]:
    """The figures of a form, each of which a page can hold; raises TypeError or ValueError for others."""
    checked = list(figures)
    for figure in checked:
        if not isinstance(figure, AnyFigure):
            raise TypeError(f"{type(figure).__name__} came; wanted a Figure")
        require_drawable(figure)
    return checked
