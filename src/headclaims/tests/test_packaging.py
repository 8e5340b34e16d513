"""What the wheel holds: every wing, the claim sets that ship and their fixtures, and no tests."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
PASSED_OVER = {"tests", "benchmarks", "__pycache__"}


def packages_in(folder: Path, name: str) -> set[str]:
    """The packages of a folder of Python files, by their dotted names."""
    folders = {path.parent for path in folder.rglob("*.py")}
    return {".".join((name, *path.relative_to(folder).parts)) for path in folders}


def test_every_package_is_listed() -> None:
    ours = packages_in(ROOT / "src" / "headclaims", "headclaims")
    sets = packages_in(ROOT / "claims", "headclaims.claims")
    every = ours | sets | packages_in(ROOT / "fixtures", "headclaims.fixtures")
    assert set(SETUPTOOLS["packages"]) == every - {"headclaims.tests", "headclaims.claims.benchmarks"}


def test_every_file_that_is_no_code_is_listed() -> None:
    """Templates, word lists, findings: each by a pattern of the package that it lies in."""
    for package, folder in {"headclaims": ROOT / "src" / "headclaims", "headclaims.claims": ROOT / "claims"}.items():
        listed = {path for pattern in SETUPTOOLS["package-data"][package] for path in folder.glob(pattern)}
        others = {
            path
            for path in folder.rglob("*.*")
            if path.is_file() and path.suffix not in (".py", ".md") and not PASSED_OVER & set(path.parts)
        }
        assert {path.relative_to(folder) for path in others - listed} == set()
