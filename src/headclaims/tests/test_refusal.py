"""The line of a run that cannot begin: one, short, printable, with a log where there is more to tell."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headclaims.errors import BadCheckpoint, BadInput
from headclaims.plugin import begin
from headclaims.refusal import LONGEST, refusal, shortened


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def caused(message: str, cause: BaseException) -> BadCheckpoint:
    try:
        raise BadCheckpoint(message) from cause
    except BadCheckpoint as error:
        return error


def test_a_short_line_is_all_there_is_to_say(cache: Path) -> None:
    assert refusal(BadInput("--head 1.5: wanted L<layer>H<head>")) == "headclaims: --head 1.5: wanted L<layer>H<head>"
    assert refusal(FileNotFoundError(2, "No such file", "a")) == "headclaims: [Errno 2] No such file: 'a'"
    assert not cache.exists()


def test_an_error_of_a_library_is_in_the_log(cache: Path) -> None:
    error = caused("gpt9: no readable model: first", RuntimeError("first\nsecond\nthird " + "x" * 5000))
    line = refusal(error)
    (log,) = (cache / "refused").iterdir()
    assert line == f"headclaims: gpt9: no readable model: first (whole text: {log})"
    text = log.read_text()
    assert "second\nthird " + "x" * 5000 in text
    assert "BadCheckpoint: gpt9" in text
    assert refusal(error) == line  # the same file again
    assert len(list((cache / "refused").iterdir())) == 1


@pytest.mark.parametrize(
    "error",
    [
        BadInput("a" * 5000),
        BadInput("begins " + "a" * 5000 + " wanted this"),
        BadCheckpoint("line\nline\r\nline\u2028line\x0bline" * 100),
        BadCheckpoint("\x1b[31mred\udcff\0" * 200),
        KeyError("missing"),
        RuntimeError("\n\n  one\ntwo" + "z" * 10_000),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"\xff" * 3000, 0, 1, "x" * 900),
        ExceptionGroup("several", [ValueError("a\nb"), TypeError("c" * 700)]),
    ],
)
def test_whatever_it_is_the_line_is_one_and_short(error: Exception, cache: Path) -> None:
    line = refusal(error)
    assert line.startswith("headclaims: ")
    assert line.isprintable()
    assert len(line) <= LONGEST
    assert str(next((cache / "refused").iterdir())) in line


def test_what_is_wrong_and_what_was_wanted_stay(cache: Path) -> None:
    line = refusal(BadInput("x: what is wrong " + "a" * 5000 + " wanted this"))
    assert line.startswith("headclaims: x: what is wrong aaa")
    assert " … " in line
    assert f"wanted this (whole text: {cache}" in line
    assert shortened("0123456789" * 3, 15) == "01234567 … 6789"
    assert shortened("short", 15) == "short"


def test_a_path_that_is_too_long_is_named_by_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path / ("d" * 150) / ("e" * 150)))
    line = refusal(caused("gpt9: " + "m" * 300, RuntimeError("more")))
    assert len(line) <= LONGEST
    assert line.endswith(".log in the cache folder)")


def test_a_cache_that_cannot_be_written_costs_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path / "file" / "cache"))
    assert refusal(KeyError("missing")) == "headclaims: KeyError: 'missing'"


@pytest.mark.parametrize(
    "error", [KeyError("missing"), RuntimeError("one\ntwo"), MemoryError(), RecursionError("deep")]
)
def test_an_error_that_nobody_foresaw_is_status_2(
    error: Exception, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Any) -> Any:
        raise error

    monkeypatch.setattr(begin, "read_settings", fail)
    assert begin.begin(SimpleNamespace(), []) == 2  # type: ignore[arg-type]
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(f"headclaims: {type(error).__name__}")
    (log,) = (cache / "refused").iterdir()
    assert str(log) in line
    assert "Traceback" in log.read_text()
