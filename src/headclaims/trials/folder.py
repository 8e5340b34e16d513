"""Where trials leave what they found: in the checkout that they are run in."""

from pathlib import Path

from headclaims.claim.shipped import shipped_sets

TRIALS = Path("reports/trials")
README = TRIALS / "README.md"


def is_first(name: str) -> bool:
    """Return whether a claim set is the first that ships: what was found of it has no name of its own."""
    return name == next(iter(shipped_sets()), None)


def reports_of(name: str) -> Path:
    """Return the folder for what was found of a claim set: of all but the first that ships one of its name."""
    return TRIALS if is_first(name) else TRIALS / name


def readme_marks(what: str, name: str | None) -> tuple[str, str]:
    """Return what stands before and after a set's table in the README; the first set that ships needs no name."""
    of = "" if name is None else f" of {name}"
    return f"<!-- {what}{of} -->", f"<!-- end of {what}{of} -->"


def has_place(marks: tuple[str, str]) -> bool:
    """Return whether the README has a place for a table."""
    return README.is_file() and marks[0] in README.read_text(encoding="utf-8")
