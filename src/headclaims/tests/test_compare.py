"""Records side by side: every cell by hand, differences beyond both intervals, and what is not the same thing."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from headclaims.cli import main
from headclaims.errors import BadInput
from headclaims.fleet.compare import LEGEND, as_data, as_html, as_text, load
from headclaims.record.entries import ClaimEntry
from headclaims.statistics.verdict import Flag, Verdict
from headclaims.tests.report_folders import HOSTILE, claim, record


def folder(
    path: Path,
    entries: list[ClaimEntry],
    settings: dict[str, Any] | None = None,
    claim_set: dict[str, Any] | None = None,
    **checkpoint: Any,
) -> Path:
    """A report folder; settings, claim set and checkpoint but for what is given are the same in all."""
    same = {"words": "write-up", "prompts": 32, "seq_len": 64, "seed": 0, "dtype": "float32", "verdicts_only": False}
    content = record(entries, **({"name": path.name, "spec": path.name, "identity": "ef" * 32} | checkpoint))
    content |= {"schema": 2, "evidence_of": "replication", "settings": same | {"mutate": None} | (settings or {})}
    content["claim_set"] = {"name": "one_set", "version": 1, "sha256": "0" * 64} | (claim_set or {})
    path.mkdir(parents=True)
    (path / "claims.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def in_schema_1(path: Path, thresholds: str) -> None:
    """Make the record in a folder one of schema 1: its settings name the hash of thresholds, and no set is named."""
    content = json.loads((path / "claims.json").read_text(encoding="utf-8"))
    del content["claim_set"], content["evidence_of"], content["checkpoint"]["identity"]
    content |= {"schema": 1, "settings": content["settings"] | {"thresholds_sha256": thresholds}}
    (path / "claims.json").write_text(json.dumps(content), encoding="utf-8")


def measured(value: float, low: float, high: float, **parts: Any) -> ClaimEntry:
    """A claim with an interval."""
    return claim("a", measured={"x": value}, interval=[low, high], **parts)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Claim a: 1 [0, 2]; 2.5 [1.5, 3], which overlaps; −1 [−2, −0.5], which doesn't. Claim b has no interval."""
    return [
        folder(tmp_path / "one", [measured(1.0, 0.0, 2.0, flags=[Flag.DISTINCTIVE]), claim("b", measured={"n": 33.0})]),
        folder(tmp_path / "two", [measured(2.5, 1.5, 3.0), claim("b", Verdict.NOT_ASSESSABLE, reason="no weights")]),
        folder(
            tmp_path / "three",
            [
                measured(-1.0, -2.0, -0.5, verdict=Verdict.NOT_SUPPORTED),
                claim("b", measured={"n": 20.0}, verdict=Verdict.NOT_SUPPORTED),
                claim("c", None, reason="error: out of luck"),
            ],
        ),
    ]


def test_every_cell(three: list[Path]) -> None:
    found = load(three)
    assert found.names == ["one L1H2", "two L1H2", "three L1H2"]
    assert found.rows() == [
        ["a", "✓* 1 [0, 2]", "✓ 2.5 [1.5, 3]", "✗ -1 [-2, -0.5] ≠"],
        ["b", "✓ 33", "–", "✗ 20"],
        ["c", "", "", "!"],
    ]
    assert found.notices == []


def test_intervals_that_touch_are_not_apart(tmp_path: Path) -> None:
    found = load(
        [
            folder(tmp_path / "one", [measured(1.0, 0.0, 2.0)]),
            folder(tmp_path / "two", [measured(3.0, 2.0, 4.0)]),
            folder(tmp_path / "three", [measured(3.0, 2.0001, 4.0)]),
        ]
    )
    assert [row.endswith("≠") for row in found.rows()[0][1:]] == [False, False, True]


def test_in_every_format(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = load(three)
    for form, made in (("text", as_text(found)), ("markdown", as_text(found, "github")), ("html", as_html(found))):
        assert main(["compare", *map(str, three), "--format", form]) == 0
        assert capsys.readouterr().out == f"{made}\n"
        assert all(cell in made for row in found.rows() for cell in row)
        assert LEGEND.split(";")[0] in made
    assert as_html(found).startswith("\n<!DOCTYPE html>") or as_html(found).startswith("<!DOCTYPE html>")
    assert "<script" not in as_html(found)
    data = json.loads(as_data(found))
    assert data["records"] == found.names
    assert data["claims"][0]["records"][2] == {
        "verdict": "not supported",
        "found": False,
        "statistic": "x",
        "value": -1.0,
        "interval": [-2.0, -0.5],
        "apart": True,
    }
    assert data["claims"][2] == {
        "id": "c",
        "records": [
            None,
            None,
            {"verdict": None, "found": False, "statistic": None, "value": None, "interval": None, "apart": False},
        ],
    }


def test_files_and_folders_of_records_are_taken(three: list[Path]) -> None:
    assert load([three[0] / "claims.json", three[2]]).names == ["one L1H2", "three L1H2"]
    assert load([three[0].parent]).names == ["one L1H2", "three L1H2", "two L1H2"]


def test_names_tell_records_apart(tmp_path: Path) -> None:
    of = {"name": "m"}
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (of | {"revision": "step0"}, of | {"revision": "step1"}),
        (of, of),
    ]
    (first, second), same = pairs
    one, two = (
        folder(tmp_path / "r0", [claim("a", measured={"x": 1.0})], **first),
        folder(tmp_path / "r1", [claim("a", measured={"x": 1.0})], **second),
    )
    assert load([one, two]).names == ["m L1H2 revision step0", "m L1H2 revision step1"]
    seeds = [folder(tmp_path / f"s{n}", [claim("a", measured={"x": 1.0})], {"seed": n}, **of) for n in range(2)]
    assert load(seeds, mixed=True).names == ["m L1H2 words write-up seed 0", "m L1H2 words write-up seed 1"]
    twins = [folder(tmp_path / f"t{n}", [claim("a", measured={"x": 1.0})], **same[n]) for n in range(2)]
    assert [str(twin) in name for twin, name in zip(twins, load(twins).names, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prompts": 16}, "prompts 32, 16"),
        ({"words": "held-out"}, "words write-up, held-out"),
        ({"verdicts_only": True, "seed": 3}, "seed 0, 3; verdicts_only False, True"),
    ],
)
def test_other_settings_are_refused_or_said(
    tmp_path: Path, settings: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [
        folder(tmp_path / "one", [claim("a", measured={"x": 1.0})]),
        folder(tmp_path / "two", [claim("a", measured={"x": 1.0})], settings),
    ]
    assert main(["compare", *map(str, paths)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"headclaims: settings differ: {says}; wanted the same (--set NAME leaves those of one claim set), or --mixed "
        "to compare all the same"
    )
    assert main(["compare", *map(str, paths), "--mixed"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"Settings differ, so that numbers are not of the same thing: {says}."


@pytest.mark.parametrize(
    ("claim_set", "says"),
    [
        ({"sha256": "1" * 64}, "claim set one_set 000000000000, one_set 111111111111"),
        ({"name": "another"}, "claim set one_set 000000000000, another 000000000000"),
    ],
)
def test_another_claim_set_is_another_thing(tmp_path: Path, claim_set: dict[str, Any], says: str) -> None:
    """The hash is over findings and thresholds: a statistic may be defined anew, or have to be something else."""
    paths = [
        folder(tmp_path / "one", [claim("a", measured={"x": 1.0})]),
        folder(tmp_path / "two", [claim("a", measured={"x": 1.0})], claim_set=claim_set),
    ]
    with pytest.raises(BadInput, match=f"^settings differ: {says}; wanted the same"):
        load(paths)
    assert load(paths, mixed=True).notices == [f"Settings differ, so that numbers are not of the same thing: {says}."]


def test_records_of_one_set_among_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `pytest claims/` leaves them of two checkpoints; a record of schema 1 names no set."""
    for checkpoint in ("m", "n"):
        for name in ("one_set", "another"):
            about = {"claim_set": {"name": name}, "name": checkpoint}
            folder(tmp_path / checkpoint / name, [claim(f"a-{name}", measured={"x": 1.0})], **about)
    in_schema_1(folder(tmp_path / "old", [claim("b", measured={"x": 1.0})]), "a" * 64)
    found = load([tmp_path], claim_set="another")
    assert (found.names, found.claims, found.notices) == (["m L1H2", "n L1H2"], ["a-another"], [])
    assert main(["compare", str(tmp_path), "--set", "third"]) == 2
    assert "--set third: no record of it; there are of another, one_set" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "m"), "--set", "another"]) == 2
    assert "1 record; wanted two or more to compare" in capsys.readouterr().err


def test_records_of_schema_1_are_compared_by_their_thresholds(tmp_path: Path) -> None:
    one, two, three, four = (
        folder(tmp_path / name, [claim("a", measured={"x": 1.0})]) for name in ("one", "two", "three", "four")
    )
    for path, digit in ((one, "a"), (two, "a"), (three, "b")):
        in_schema_1(path, digit * 64)
    assert load([one, two]).notices == []
    with pytest.raises(BadInput, match="claim set thresholds aaaaaaaaaaaa, thresholds bbbbbbbbbbbb;"):
        load([one, three])
    with pytest.raises(BadInput, match="claim set thresholds aaaaaaaaaaaa, one_set 000000000000;"):
        load([one, four])


def test_a_head_that_was_looked_for_is_another_thing(tmp_path: Path) -> None:
    paths = [
        folder(tmp_path / name, [claim("a", measured={"x": 1.0})], {"head": head})
        for name, head in (("one", "L1H5"), ("two", "L2H0"), ("three", "auto"), ("four", "auto"))
    ]
    assert load(paths[:2]).notices == []
    with pytest.raises(BadInput, match="settings differ: head named, auto;"):
        load(paths[:3])
    chosen = json.loads((paths[3] / "claims.json").read_text(encoding="utf-8"))
    chosen["target"]["chosen_on"] = "the words held-out"
    (paths[3] / "claims.json").write_text(json.dumps(chosen), encoding="utf-8")
    with pytest.raises(BadInput, match="settings differ: head auto, auto on the words held-out;"):
        load(paths[2:])


def test_a_record_that_is_named_twice_is_compared_once(three: list[Path]) -> None:
    assert len(load([three[0], three[1], three[0] / "claims.json"]).records) == 2
    with pytest.raises(BadInput, match="1 record"):
        load([three[0], three[0]])


def test_names_are_text_in_every_format(tmp_path: Path) -> None:
    name = "x|y <img src=x>@octocat\n\x1b[31mred"
    paths = [folder(tmp_path / str(n), [claim("a", measured={"x": 1.0})], name=name) for n in range(2)]
    found = load(paths)
    for text in (as_text(found), as_text(found, "github")):
        assert "\x1b" not in text
        assert len([line for line in text.splitlines() if "octocat" in line]) == 1
    assert "<img" not in as_text(found, "github")
    assert "@" not in as_text(found, "github")


def test_another_schema_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [folder(tmp_path / name, [claim("a", measured={"x": 1.0})]) for name in ("one", "two")]
    content = json.loads((paths[1] / "claims.json").read_text(encoding="utf-8"))
    (paths[1] / "claims.json").write_text(json.dumps(content | {"schema": 3}), encoding="utf-8")
    assert main(["compare", *map(str, paths), "--mixed"]) == 2
    assert "schema" in capsys.readouterr().err


def test_what_a_reader_has_to_know_is_said(tmp_path: Path) -> None:
    paths = [folder(tmp_path / name, [claim("a", measured={"x": 1.0})]) for name in ("one", "two")]
    content = json.loads((paths[1] / "claims.json").read_text(encoding="utf-8"))
    content["complete"], content["suite"]["commit"] = False, "f" * 40
    (paths[1] / "claims.json").write_text(json.dumps(content), encoding="utf-8")
    assert load(paths).notices == [
        "Incomplete: two L1H2.",
        "Recorded by different versions of the suite: 0.1.0 at ffffffffff, 0.1.0 at unknown.",
    ]


def test_one_record_or_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^1 record; wanted two or more"):
        load([folder(tmp_path / "one", [claim("a", measured={"x": 1.0})])])
    with pytest.raises(BadInput, match=r"no claims\.json; wanted a record"):
        load([tmp_path / "nothing"])


def test_text_of_a_checkpoint_is_escaped_in_the_page(tmp_path: Path) -> None:
    paths = [folder(tmp_path / name, [claim("a", measured={"x": 1.0})], name=HOSTILE + name) for name in ("one", "two")]
    page = as_html(load(paths))
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_claims_are_as_recorded(three: list[Path]) -> None:
    first = load(three).entries("a")[0]
    assert first is not None
    assert asdict(first)["measured"] == {"x": 1.0}
