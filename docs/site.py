"""The files of the site: what GitHub shows, at the same places, so that links between them hold in both."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "docs/*.md", "claims/*/README.md", "claims/*/test_*.py", "reports/**/*")
SUFFIXES = {".md", ".png", ".svg", ".html", ".json", ".py"}
OURS = {"", "examples", "trials", "benchmarks"}  # of reports/: an audit's own folder is not the site's


def on_files(files: Files, config: Any) -> Files:
    """Return the theme's files, and the repository's in place of those of docs/ alone."""
    kept = [file for file in files if not Path(file.abs_src_path or "").is_relative_to(ROOT / "docs")]
    paths = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern) if _belongs(path.relative_to(ROOT))})
    return Files([*kept, *(_file(config, path) for path in paths)])


def _belongs(path: Path) -> bool:
    part = path.parts[1] if path.parts[0] == "reports" and len(path.parts) > 2 else ""
    return path.suffix in SUFFIXES and part in OURS


def _file(config: Any, path: Path) -> File:
    return File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
