"""Tables of the README that a command writes anew."""

from __future__ import annotations

from headclaims.files import write_atomically
from headclaims.fleet.audits import ROOT


def into_readme(marks: tuple[str, str], content: str) -> None:
    """Put a table between two marks of the README."""
    path = ROOT / "README.md"
    write_atomically(path, put_between(path.read_text(encoding="utf-8"), marks, content))


def put_between(text: str, marks: tuple[str, str], content: str) -> str:
    """A text with what stands between two marks replaced."""
    before, rest = text.split(marks[0])
    _, after = rest.split(marks[1])
    return f"{before}{marks[0]}\n{content}{marks[1]}{after}"
