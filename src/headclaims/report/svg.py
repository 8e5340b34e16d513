"""Figures that a README can show: SVG, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headclaims.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = {"svg.hashsalt": "headclaims", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9}


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches to draw into, written at the end in one step."""
    # Loading it takes longer than most of what a command does that draws nothing.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # every name of a setting, or none
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    write_atomically(path, text.getvalue())
