"""Text files written whole or not at all, and JSON that a person can read."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headclaims.files import as_json, write_atomically


def test_the_text_is_json_that_a_person_can_read() -> None:
    text = as_json({"statement": "xᵀ W_skew x ≤ 1e-12", "n": 1e-12})
    assert "xᵀ W_skew x ≤ 1e-12" in text
    assert text.endswith("}\n")
    assert len(text.splitlines()) == 4


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "file" / "claims.json"
    for text in ("first ≤\n", "second, longer\n", ""):
        write_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "claims.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new" * 100_000 + "\ud800")  # no UTF-8: it breaks off in the middle
    assert path.read_text() == "old"

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    for step in ("chmod", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, fail)
            with pytest.raises(OSError, match="Input/output error"):
                write_atomically(path, "new")
        assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys
from pathlib import Path
from headclaims import files

def die(path, *arguments, **options):
    path.write_bytes(b"half of the n")
    os._exit(9)

Path.write_text = die
files.write_atomically(Path(sys.argv[1]), "new")
"""


def test_a_process_that_dies_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    write_atomically(path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == 9
    assert path.read_text() == "old"


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    texts = ["a" * 300_000, "b" * 200_000]
    write_atomically(path, texts[0])
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60):
            write_atomically(path, texts[number % 2])
    finally:
        stop.set()
        reader.join()
    assert seen <= set(texts)
    assert seen
