"""Tables of the README that a command writes anew."""

from __future__ import annotations

from pathlib import Path

from headclaims.files import write_atomically


def into_readme(readme: Path, marks: tuple[str, str], content: str) -> None:
    """Put a table between two marks of a README, where there is one: trials of a guest's set have none.

    Raises ValueError where a mark is missing or stands there twice.
    """
    if readme.is_file():
        write_atomically(readme, put_between(readme.read_text(encoding="utf-8"), marks, content))


def put_between(text: str, marks: tuple[str, str], content: str) -> str:
    """Return a text with what stands between two marks replaced."""
    before, rest = text.split(marks[0])
    _, after = rest.split(marks[1])
    return f"{before}{marks[0]}\n{content}{marks[1]}{after}"
