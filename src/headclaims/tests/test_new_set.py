"""A new claim set: what is written can be read, and runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headclaims.claim.claim_set import ClaimSet
from headclaims.claim.new_set import write_new_set
from headclaims.cli import main
from headclaims.errors import BadInput

FILES = ["findings.toml", "test_behaviour.py", "thresholds.toml"]


def test_a_new_set_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert write_new_set(folder) == [folder / name for name in FILES]
    assert sorted(path.name for path in folder.iterdir()) == FILES
    made = ClaimSet.read(folder)
    assert list(made.claims) == ["attends-to-its-category"]
    assert list(made.limits["attends-to-its-category"]) == ["share"]
    stated = made.claims["attends-to-its-category"]
    assert (stated.needs, stated.nulls) == ("attention", ["other heads"])


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    assert len(write_new_set(tmp_path)) == 3


@pytest.mark.parametrize("there", ["folder", "file"])
def test_what_is_there_is_left_as_it_is(tmp_path: Path, there: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "mine"
    held = place / "thesis.txt" if there == "folder" else place
    held.parent.mkdir(exist_ok=True)
    held.write_text("years of work", encoding="utf-8")
    line = f"{place}: not an empty folder; wanted the name of a new one"
    with pytest.raises(BadInput) as refused:
        write_new_set(place)
    assert str(refused.value) == line
    assert main(["new", str(place)]) == 2
    assert capsys.readouterr().err == f"headclaims: {line}\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [held]
    assert held.read_text(encoding="utf-8") == "years of work"


@pytest.mark.slow
@pytest.mark.long
def test_a_new_set_runs_where_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As its author would run it, elsewhere than in a checkout: the planted head attends to its category."""
    folder = tmp_path / "my_claims"
    assert main(["new", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [*(str(folder / name) for name in FILES), f"next: pytest {folder} --checkpoint planted"]
    line = [sys.executable, "-m", *said[-1].removeprefix("next: ").split(), "--page"]
    done = subprocess.run(line, cwd=tmp_path, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("reports/planted-*/my_claims/L1H5/claims.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    (claim,) = record["claims"]
    assert (claim["id"], claim["verdict"]) == ("attends-to-its-category", "supported")
    assert [null["population"] for null in claim["nulls"]] == ["other heads"]
    assert record["complete"] is True
    (figures,) = json.loads((path.parent / "figures.json").read_text(encoding="utf-8"))["claims"].values()
    assert list(figures["drawn"]) == ["by_distance"]
    assert figures["undrawn"] == {}
