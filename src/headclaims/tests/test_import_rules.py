"""Imports run down the house and never up: read from the code, with no exception."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1]
ROOT = SOURCE.parents[1]
# From the ground up: a wing imports from its own storey and those below, of its own storey only itself.
STOREYS = (
    {"errors", "cache", "files", "progress", "refusal", "threads", "uncollected", "version"},
    {"prompts", "statistics"},
    {"checkpoint", "record"},
    {"circuit"},
    {"vocabulary"},
    {"measures"},
    {"audit", "report"},
    {"claim"},
    {"plugin"},
    {"fleet"},
    {"trials", "benchmarks"},
    {"cli"},
)
STOREY = {wing: number for number, wings in enumerate(STOREYS) for wing in wings}
PYTEST = {"headclaims.plugin", "headclaims.fleet.workers"}
MODELS = {"transformers", "transformer_lens"}
# `from headclaims import X` in the library itself: what the package's own face gives.
FACE = {"__version__": "version"}


def modules() -> dict[str, Path]:
    """The library's modules by name, its tests apart."""
    paths = [path for path in SOURCE.rglob("*.py") if "tests" not in path.relative_to(SOURCE).parts]
    names = {path: ".".join(("headclaims", *path.relative_to(SOURCE).with_suffix("").parts)) for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imports(path: Path) -> Iterator[str]:
    """What a file imports, at its top or inside functions, as dotted names; each name of a `from` import by itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or path.parent.name == "fixtures", f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wing(name: str) -> str | None:
    """The wing that an import of the library is of."""
    parts = name.split(".")
    if parts[0] != "headclaims" or len(parts) == 1:
        return None
    return FACE.get(parts[1], parts[1])


def upward(name: str, path: Path) -> list[str]:
    """The imports of a module that go up, or across to another wing of its storey."""
    own = wing(name)
    if own is None:
        return []
    assert own in STOREY, f"{name} is in no storey"
    return [
        f"{name} imports {imported}"
        for imported in imports(path)
        if (other := wing(imported)) is not None
        and other != own
        and (other not in STOREY or STOREY[other] >= STOREY[own])
        and not (STOREY[own] == 0 and other in STOREYS[0])
    ]


def test_imports_run_down() -> None:
    assert [line for name, path in modules().items() for line in upward(name, path)] == []


def test_there_is_no_cycle_of_modules() -> None:
    known = modules()

    def nearest(imported: str) -> str | None:
        return next((n for n in (imported, imported.rpartition(".")[0]) if n in known and n != "headclaims"), None)

    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # What is imported for types alone, or inside a function, closes no cycle.
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        named = [
            f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            for node in top
            for alias in node.names
        ]
        graph[name] = {target for one in named if (target := nearest(one)) is not None and target != name}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize(
    ("packages", "allowed"),
    [({"pytest", "_pytest"}, PYTEST), (MODELS, {"headclaims.checkpoint"}), ({"claims", "fixtures"}, set())],
    ids=["pytest", "models", "claims"],
)
def test_who_may_import_what(packages: set[str], allowed: set[str]) -> None:
    strangers = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        for imported in imports(path)
        if imported.split(".")[0] in packages and not any(name == one or name.startswith(f"{one}.") for one in allowed)
    ]
    assert strangers == []


def test_claims_and_fixtures_use_public_names_alone() -> None:
    """What `headclaims` itself gives, and the shared fixtures."""
    stub = ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8"))
    public = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    files = [
        path
        for folder in (ROOT / "claims", ROOT / "fixtures")
        for path in folder.rglob("*.py")
        if "benchmarks" not in path.parts
    ]
    assert files
    for path in files:
        for imported in imports(path):
            if imported.startswith("headclaims.") and not imported.startswith("headclaims.fixtures."):
                assert imported.removeprefix("headclaims.") in public, f"{path.name} imports {imported}"


def test_the_test_sees_an_import_that_goes_up(tmp_path: Path) -> None:
    path = tmp_path / "verdict.py"
    path.write_text("def judge():\n    from headclaims.plugin import begin\n", encoding="utf-8")
    assert upward("headclaims.statistics.verdict", path) == [
        "headclaims.statistics.verdict imports headclaims.plugin.begin"
    ]
    path.write_text("import headclaims.record.record\n", encoding="utf-8")
    assert upward("headclaims.checkpoint.full", path) == ["headclaims.checkpoint.full imports headclaims.record.record"]
    assert upward("headclaims.report.page", path) == []


def test_every_public_name_is_there() -> None:
    import headclaims

    for name in headclaims.__all__:
        assert getattr(headclaims, name) is not None
    assert sys.modules["headclaims"].__doc__
