"""A record read back: what was written, or one clear line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headclaims.cli import main
from headclaims.errors import BadInput
from headclaims.record.reading import read_record
from headclaims.tests.report_folders import HOSTILE, claims, edited, write_folder


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    record = read_record(folder)
    assert record.claims == claims()
    assert record.complete
    assert record.claim_set is not None
    assert (record.claim_set.name, record.evidence_of) == ("my_claims", "replication")
    assert record.checkpoint.identity == "0123456789abcdef"


def as_schema_1(record: dict[str, Any]) -> None:
    """Turn a record of schema 2 into one as the first edition wrote it."""
    record["schema"] = 1
    del record["claim_set"], record["evidence_of"], record["checkpoint"]["identity"]
    record["settings"] |= {"html": record["settings"].pop("page"), "thresholds_sha256": "0" * 64}
    for claim in record["claims"]:
        del claim["p_adjusted"]


def test_a_record_of_the_first_schema_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    edited(folder, lambda record: record["settings"].update(page=True))
    edited(folder, as_schema_1)
    record = read_record(folder)
    assert record.claims == claims()
    assert record.counts.supported == 2
    assert record.checkpoint.name == HOSTILE
    assert (record.claim_set, record.evidence_of, record.checkpoint.identity) == (None, None, None)
    assert record.settings["page"] is True
    assert "html" not in record.settings


@pytest.mark.parametrize("content", ['{"schema": 1, "checkpoint": 5}', '{"schema": 1, "settings": []}'])
def test_a_record_of_the_first_schema_is_checked_as_well(tmp_path: Path, content: str) -> None:
    (tmp_path / "claims.json").write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=r"wanted a record of schema 1 or 2$"):
        read_record(tmp_path)


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "schema": lambda record: record.update(schema=3),
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
    with pytest.raises(BadInput, match=r"claims\.json: .*wanted a record of schema 1 or 2$") as raised:
        read_record(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_record(tmp_path / "nowhere")
    (tmp_path / "claims.json").mkdir()
    with pytest.raises(BadInput, match="Is a directory"):
        read_record(tmp_path)
