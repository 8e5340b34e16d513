"""Claim sets by name and by folder."""

import os
from pathlib import Path

import pytest

from headclaims.claim.shipped import find_sets, shipped_sets
from headclaims.errors import BadInput
from headclaims.tests.small_sets import write_set


def test_the_sets_that_ship() -> None:
    shipped = shipped_sets()
    # The first is what a command takes that is about one set.
    assert list(shipped) == ["self_hating_head", "induction_heads"]
    assert "benchmarks" not in shipped
    for name, folder in shipped.items():
        assert folder.name == name
        assert (folder / "findings.toml").is_file()


def test_without_names_every_set_that_ships() -> None:
    assert find_sets() == find_sets([]) == list(shipped_sets().values())


def test_sets_are_found_by_name_and_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = write_set(tmp_path / "mine").resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_sets([str(mine), "mine", "./mine/", "~/mine", "mine/../mine"]) == [mine] * 5
    assert find_sets(["mine", "self_hating_head"]) == [mine, shipped_sets()["self_hating_head"]]


def test_a_name_of_a_set_that_ships_is_that_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = write_set(tmp_path / "self_hating_head").resolve()
    monkeypatch.chdir(tmp_path)
    assert find_sets(["self_hating_head"]) == [shipped_sets()["self_hating_head"]]
    assert find_sets([f".{os.sep}self_hating_head"]) == [mine]


@pytest.mark.parametrize("name", ["nowhere", "", "~no-such-user-here/set", "x" * 5000, "a\0b", "empty", "file"])
def test_what_is_no_set_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as refused:
        find_sets(["self_hating_head", name])
    shipped = ", ".join(shipped_sets())
    assert str(refused.value) == f"{name}: no claim set; wanted {shipped} or a folder with findings.toml"
