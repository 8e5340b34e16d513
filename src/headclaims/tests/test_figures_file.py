"""The numbers of a page's figures: written, read back, and read in their first schema."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from headclaims.errors import BadInput
from headclaims.record.reading import read_record
from headclaims.report.figures.form import read_form
from headclaims.report.figures_file import figures_json, read_figures
from headclaims.report.page import write_page
from headclaims.tests.report_folders import ROOT, edited, figures, forms, write_folder


def test_figures_are_written_with_what_they_belong_to() -> None:
    record = {"started": "now", "seconds": 1.5, "checkpoint": {"spec": "a"}, "target": {"label": "L1H5"}}
    content = json.loads(figures_json(record, {"a-claim": {"definition": "as defined"}}))
    assert content == {
        "schema": 2,
        "record": ["now", 1.5, "a", "L1H5"],
        "claims": {"a-claim": {"definition": "as defined"}},
    }
    with pytest.raises(ValueError, match="JSON"):
        figures_json(record, {"a-claim": {"compared_value": float("nan")}})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    kept, why = read_figures(folder, read_record(folder))
    assert why is None
    assert kept == figures()
    drawn = kept["category-score-lowest"].drawn
    assert {name: read_form(one.form, one.data) for name, one in drawn.items()} == forms()


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
    assert "--page" in why


def test_bad_figures_are_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    edited(folder, lambda kept: kept["claims"]["category-score-lowest"].update(compared_value=[]), "figures.json")
    with pytest.raises(BadInput, match=r"figures\.json: claims\.category-score-lowest\.compared_value.*wanted"):
        read_figures(folder, read_record(folder))


def first_schema(content: dict[str, Any]) -> None:
    """Turn figures into what the first edition wrote: a field a figure, null where a claim has none."""
    content["schema"] = 1
    for claim in content["claims"].values():
        data = {name: one["data"] for name, one in claim["drawn"].items()}
        if "effects" in data:
            data["effects"] = data["effects"]["effects"]
        if "token_map" in data:
            data["token_graph"] = data.pop("token_map")
        fields = (*forms(), "token_graph")
        claim["drawn"] = {field: data.get(field) for field in fields}


def test_figures_of_the_first_schema_are_read_as_forms(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    now = write_page(folder).read_text(encoding="utf-8")
    edited(folder, first_schema, "figures.json")
    kept, why = read_figures(folder, read_record(folder))
    assert why is None
    assert kept == figures()
    assert write_page(folder).read_text(encoding="utf-8") == now


def test_a_claim_without_figures_has_none_in_either_schema(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    for schema in (1, 2):
        edited(folder, lambda content, schema=schema: content.update(schema=schema, claims={"a": {}}), "figures.json")  # type: ignore[misc]
        kept, _ = read_figures(folder, read_record(folder))
        assert kept["a"].drawn == {}


@pytest.mark.parametrize("spoilt", [{"claims": []}, {"claims": {"a": 3}}, {"claims": {"a": {"drawn": []}}}, {}])
def test_a_first_schema_that_is_none_is_one_line(tmp_path: Path, spoilt: dict[str, Any]) -> None:
    folder = write_folder(tmp_path)
    (folder / "figures.json").write_text(json.dumps({"schema": 1, "record": ["a", 1.0, "b", "c"]} | spoilt))
    with pytest.raises(BadInput, match=r"figures\.json: .*wanted the figures of a record$") as raised:
        read_figures(folder, read_record(folder))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["planted", "gpt2-small"])
def test_the_examples_are_drawn_whole(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for file in ("claims.json", "figures.json"):
        shutil.copy(ROOT / "reports" / "examples" / name / file, folder / file)
    record = read_record(folder)
    kept, why = read_figures(folder, record)
    assert why is None
    assert list(kept) == [claim.id for claim in record.claims]
    page = write_page(folder).read_text(encoding="utf-8")
    drawn = [one for claim in kept.values() for one in claim.drawn]
    assert len(drawn) == (16 if name == "planted" else 4)
    assert all(f'<figure id="{one.replace("_", "-")}">' in page for one in drawn)
    assert "a figure is left out" not in page
