"""Labels in plots: tokens as a reader can see them, and no text taken for a tag."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence

from headclaims.report.cells import printable

LONGEST_TICK = 14
LINE = 20
"""Letters to a line of a folded name."""


def plain(text: str) -> str:
    """Return text that plotly shows unchanged: it would take tags and entities in a label for its own."""
    return html.escape(visible(text), quote=False)


def visible(text: str) -> str:
    """Return a token as a reader can see it: without one leading space, with what doesn't print spelt out."""
    return printable(text.removeprefix(" ")) or repr(text)


def told_apart(tokens: Sequence[str]) -> list[str]:
    """Return tokens as a reader can see them; of two that look the same, the one without leading space says so."""
    shown = [visible(token) for token in tokens]
    times = Counter(shown)
    return [
        f"{text} (no space)" if times[text] > 1 and not token.startswith(" ") else text
        for text, token in zip(shown, tokens, strict=True)
    ]


def short(token: str, longest: int = LONGEST_TICK) -> str:
    """Return as much of a token as fits beside an axis."""
    return token if len(token) <= longest else token[: longest - 1] + "…"


def folded(name: str) -> str:
    """Break a claim's id at its hyphens into lines of about twenty letters."""
    lines = [""]
    for part in name.split("-"):
        if lines[-1] and len(lines[-1]) + len(part) > LINE:
            lines.append("")
        lines[-1] += part + "-"
    return "<br>".join(lines).removesuffix("-")
