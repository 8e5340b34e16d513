"""A record read back: what was written, or one clear line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headclaims.cli import main
from headclaims.errors import BadInput
from headclaims.record.reading import read_figures, read_record
from headclaims.tests.report_folders import claims, figures, write_folder


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    record = read_record(folder)
    assert record.claims == claims()
    assert record.complete
    kept, why = read_figures(folder, record)
    assert why is None
    assert kept == figures()


def edited(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "claims.json") -> None:
    """Change a file of a folder."""
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "schema": lambda record: record.update(schema=2),
    "complete": lambda record: record.pop("complete"),
    "verdict": lambda record: record["claims"][0].update(verdict="certainly"),
    "flags": lambda record: record["claims"][0].update(flags=["splendid"]),
    "measured": lambda record: record["claims"][0].update(measured={"gap": "wide"}),
    "not a finite": lambda record: record["claims"][0].update(measured={"gap": float("nan")}),
    "counts": lambda record: record["counts"].update(found=7),
    "twice": lambda record: record["claims"].append(record["claims"][0]),
    "surprise": lambda record: record.update(surprise=1),
    "claims": lambda record: record.update(claims={}),
}


@pytest.mark.parametrize("names", BAD)
def test_a_record_that_is_none_is_one_line(tmp_path: Path, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    edited(write_folder(tmp_path), BAD[names])
    assert main(["report", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"headclaims: {tmp_path / 'claims.json'}: ")
    assert "wanted" in line
    assert names.split()[-1] in line
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]", b"{", b'"a"', b"[" * 100_000, b'{"schema": 1}'])
def test_a_file_that_is_no_record_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "claims.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"claims\.json: .*wanted a record of schema 1$") as raised:
        read_record(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_record(tmp_path / "nowhere")
    (tmp_path / "claims.json").mkdir()
    with pytest.raises(BadInput, match="Is a directory"):
        read_record(tmp_path)


def test_figures_of_another_run_are_left_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    edited(folder, lambda record: record.update(started="2026-01-02T00:00:00+00:00"))
    kept, why = read_figures(folder, read_record(folder))
    assert kept == {}
    assert why is not None
    assert "another run" in why


def test_no_figures_are_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, with_figures=False)
    kept, why = read_figures(folder, read_record(folder))
    assert kept == {}
    assert why is not None
    assert "--html" in why


def test_bad_figures_are_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    edited(folder, lambda kept: kept["claims"]["category-score-lowest"].update(compared_value=[]), "figures.json")
    with pytest.raises(BadInput, match=r"figures\.json: claims\.category-score-lowest\.compared_value.*wanted"):
        read_figures(folder, read_record(folder))
