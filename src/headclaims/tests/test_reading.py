"""A record read back: what was written, or one clear line."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from headclaims.cli import main
from headclaims.errors import BadInput
from headclaims.record.entries import NullEntry
from headclaims.record.reading import read_record
from headclaims.statistics.verdict import Flag
from headclaims.tests.report_folders import HOSTILE, claims, edited, write_folder


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    record = read_record(folder)
    assert record.claims == claims()
    assert record.complete
    assert record.claim_set is not None
    assert (record.claim_set.name, record.evidence_of) == ("my_claims", "replication")
    assert record.checkpoint.identity == "0123456789abcdef"


EARLIER_CLAIM = (
    *("id", "group", "statement", "source", "verdict", "flags", "measured", "interval", "reported", "nulls"),
    *("variants", "reason", "seconds"),
)
"""The fields of a claim in a record of schema 1."""


def under_earlier_rules(record: dict[str, Any]) -> None:
    """Turn a record into one of schema 2 as it was first written: an adjusted p a null, three counts."""
    record["counts"] = {"assessed": 4, "supported": 2, "found": 1}
    for claim in record["claims"]:
        for name in set(claim) - {*EARLIER_CLAIM, "p_adjusted"}:
            del claim[name]
        claim["nulls"] = [
            {"population": null["population"], "n": null["n"], "p": null["p"], "p_adjusted": null["p"]}
            for null in claim["nulls"]
        ]


def as_schema_1(record: dict[str, Any]) -> None:
    """Turn a record of schema 2 into one as the first edition wrote it."""
    under_earlier_rules(record)
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
    assert record.earlier_rules
    assert [(c.id, c.verdict, c.measured, c.variants) for c in record.claims] == [
        (c.id, c.verdict, c.measured, c.variants) for c in claims()
    ]
    assert record.counts.supported == 2
    assert record.checkpoint.name == HOSTILE
    assert (record.claim_set, record.evidence_of, record.checkpoint.identity) == (None, None, None)
    assert record.settings["page"] is True
    assert "html" not in record.settings


@pytest.mark.parametrize("change", [under_earlier_rules, as_schema_1])
def test_under_earlier_rules_what_is_distinctive_is_derived_anew(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """0.03 was distinctive by itself; with 0.9 beside it, adjusted to 0.06, it is not; 0.001 is, to 0.003."""

    def nulls(*p_values: float | None) -> list[dict[str, Any]]:
        return [asdict(NullEntry(f"null {i}", None if p is None else 99, p)) for i, p in enumerate(p_values)]

    def with_nulls(record: dict[str, Any]) -> None:
        first, fails, undecided, _, last = record["claims"]
        record["settings"] |= {"page": True}
        first |= {"nulls": nulls(0.02, 0.04), "flags": ["distinctive"]}
        fails |= {"nulls": nulls(0.9), "flags": ["not distinctive"]}
        undecided |= {"nulls": nulls(0.001, None), "flags": ["null missing"]}
        last |= {"nulls": nulls(0.001), "flags": ["distinctive", "no interval"]}
        change(record)

    folder = write_folder(tmp_path)
    edited(folder, with_nulls)
    record = read_record(folder)
    # 0.04, 0.9, 0.001 and 0.001, each · 4/rank: 0.0533, 0.9, 0.002, 0.002.
    assert [c.flags for c in record.claims] == [
        [Flag.NOT_DISTINCTIVE],
        [Flag.NOT_DISTINCTIVE],
        [Flag.NULL_MISSING],
        [],
        [Flag.DISTINCTIVE, Flag.NO_INTERVAL],
    ]
    assert [c.p_adjusted for c in record.claims] == pytest.approx([0.16 / 3, 0.9, 0.002, None, 0.002])
    assert vars(record.counts) == {
        "empirical": 5,
        "assessed": 4,
        "supported": 2,
        "found": 0,
        "identities": 0,
        "identities_hold": 0,
    }
    assert main(["report", str(tmp_path)]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert "Recorded under earlier rules" in page


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
