"""The strings of all refusals in one table, `refusals.txt`: read from the code, so that none is overlooked.

`python -m headclaims.tests.test_refusal_table` writes the table anew; what changed is then read once more before it
goes into a commit.
"""

import ast
import random
import string
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headclaims.errors import BadCheckpoint, BadInput, OfAnotherSet
from headclaims.plugin import begin
from headclaims.refusal import LONGEST

SOURCE = Path(__file__).parents[1]
ROOT = SOURCE.parents[1]
TABLE = Path(__file__).with_name("refusals.txt")
ERRORS = {"BadInput": BadInput, "BadCheckpoint": BadCheckpoint, "OfAnotherSet": OfAnotherSet}
GIVEN = "{…}"
"""What the code puts in."""
LONGEST_TEMPLATE = 300
"""Characters of a refusal before anything is put in: beyond, what is put in would have no room."""


def refusals() -> list[tuple[str, str, str]]:
    """Module, error and template of every refusal in the code, each once, in order."""
    paths = [path for path in sorted(SOURCE.rglob("*.py")) if "tests" not in path.relative_to(SOURCE).parts]
    paths += [*sorted((ROOT / "claims").rglob("*.py")), *sorted((ROOT / "fixtures").rglob("*.py"))]
    found: dict[tuple[str, str, str], None] = {}
    for path in paths:
        module = str(path.relative_to(SOURCE if SOURCE in path.parents else ROOT).with_suffix(""))
        for error, message in _in(ast.parse(path.read_text(encoding="utf-8"))):
            found[module, error, " ".join(template(message).split())] = None
    return list(found)


def _in(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Errors that are made somewhere, and what functions called `_refusal` return."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
            yield node.func.id, node.args[0]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_refused_as":
            yield "BadCheckpoint", ast.BinOp(node.args[0], ast.Add(), ast.Constant(f": {GIVEN}"))
        if isinstance(node, ast.FunctionDef) and node.name == "_refusal":
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield "BadCheckpoint", inner.value


def template(message: ast.expr) -> str:
    """The text of a message, with a mark for all that is put in."""
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return message.value
    if isinstance(message, ast.JoinedStr):
        return "".join(template(part) for part in message.values)
    if isinstance(message, ast.BinOp) and isinstance(message.op, ast.Add):
        return template(message.left) + template(message.right)
    return GIVEN


def table() -> str:
    """The table as it should be."""
    return "".join(f"{module} {error}: {text}\n" for module, error, text in refusals())


def test_the_table_is_that_of_the_code() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(), "python -m headclaims.tests.test_refusal_table writes it anew"


@pytest.mark.parametrize("line", TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else [])
def test_a_refusal_says_something_and_leaves_room(line: str) -> None:
    _, _, text = line.partition(": ")
    assert len(text.replace(GIVEN, "")) <= LONGEST_TEMPLATE
    assert not text.endswith(".")


def filled(text: str, generator: random.Random) -> str:
    """A refusal with things put in: short ones, long ones, several lines, what no terminal shows."""
    kinds = ("4", "/a/path/to/a/model", "two\nlines", "é" * 30, "x" * 3000, "\x1b[0m\udcff", string.punctuation)
    while GIVEN in text:
        text = text.replace(GIVEN, generator.choice(kinds), 1)
    return text


def test_every_refusal_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path))
    generator = random.Random(0)
    raised: list[Exception] = []

    def refuse(config: Any) -> Any:
        raise raised[-1]

    monkeypatch.setattr(begin, "read_settings", refuse)
    for _, error, text in refusals():
        for _ in range(3):
            raised.append(ERRORS[error](filled(text, generator)))
            assert begin.begin(SimpleNamespace(), []) == 2  # type: ignore[arg-type]
            printed = capsys.readouterr()
            assert printed.out == ""
            assert printed.err.count("\n") == 1
            line = printed.err.rstrip("\n")
            assert line.isprintable()
            assert line.startswith("headclaims: ")
            assert len(line) <= LONGEST


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
