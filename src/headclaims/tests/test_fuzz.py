"""Spoilt files of every kind are read or refused in one line; hostile ones write nothing and take no time."""

import json
import re
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from headclaims.checkpoint import load
from headclaims.errors import BadInput
from headclaims.files import as_json
from headclaims.fleet.plan import Plan
from headclaims.fleet.workers import audit, audit_files
from headclaims.record.entries import ClaimEntry, counts
from headclaims.record.reading import read_record
from headclaims.statistics.verdict import Flag, Verdict
from headclaims.tests.claims_run import SET, snapshot
from headclaims.tests.evidence_files import (
    CATEGORY_OF,
    EvidenceParts,
    header,
    partial_weights,
    recorded_attention,
    tiny_gpt2,
)
from headclaims.tests.fuzzing import KINDS, fuzz
from headclaims.tests.report_folders import record
from headclaims.tests.word_lists import load_words

MODELS = ("folder", "gguf")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(MODELS)))
def test_spoilt_files_are_read_or_refused_in_one_line(kind: str) -> None:
    assert fuzz(kind, 60, seed=7) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_spoilt_models_are_read_or_refused_in_one_line(kind: str) -> None:
    assert fuzz(kind, 60, seed=7) == []


def refused(path: Path) -> str:
    """The line with which a file is refused, at once and without a trace on disk."""
    before, start = snapshot(path.parent), time.monotonic()
    with pytest.raises(BadInput) as raised:
        audit_files([SET], ["--checkpoint", str(path), "--no-cache"])
    assert time.monotonic() - start < 10
    assert snapshot(path.parent) == before
    line = str(raised.value)
    assert "\n" not in line
    return line


def with_header(path: Path, content: dict[str, object], body: bytes = b"", size: int | None = None) -> Path:
    """A safetensors file by hand."""
    text = json.dumps(content).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + body)
    return path


def test_a_header_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    for size in (2**63, 2**40, 10**9, 0, 1):
        assert "no readable safetensors file" in refused(with_header(tmp_path / "a.safetensors", {}, b"x" * 64, size))


def test_a_tensor_beyond_the_file_is_refused(tmp_path: Path) -> None:
    beyond = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    assert "no readable safetensors file" in refused(with_header(tmp_path / "a.safetensors", {"W": beyond}, b"x" * 64))


def test_metadata_of_a_hundred_megabytes_are_refused(tmp_path: Path) -> None:
    metadata = {"__metadata__": header("partial-weights") | {"config": "[" * 100_000_000}}
    refused(with_header(tmp_path / "a.safetensors", metadata))


def test_names_that_lead_elsewhere_lead_nowhere(tmp_path: Path) -> None:
    """A tensor's name is no path, and neither is a checkpoint's; what is audited writes into its own folder."""
    inside = tmp_path / "inside"
    inside.mkdir()
    parts = partial_weights()
    parts.tensors["../../outside"] = torch.zeros(2)
    parts.metadata["name"] = "../../outside"
    path = parts.write(inside / "weights.safetensors")
    files = audit_files([SET], ["--checkpoint", str(path), "--no-cache", "--report-dir", str(inside / "reports")])
    folder = r"weights-[0-9a-f]{8}/self_hating_head/L1H5"
    assert [re.sub(folder, "FOLDER", name) for name in files] == ["FOLDER/claims.json", "FOLDER/claims.md"]
    assert sorted(snapshot(tmp_path)) == ["inside/weights.safetensors"]


def test_a_config_of_more_layers_than_there_are_is_refused_at_once(tmp_path: Path) -> None:
    folder = tiny_gpt2(tmp_path / "model", list(CATEGORY_OF))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 2**41}), encoding="utf-8")
    assert "config of 2199023255552 layers" in refused(folder)


@pytest.mark.parametrize("make", [partial_weights, recorded_attention], ids=["partial", "recorded"])
def test_evidence_of_more_layers_than_there_are_is_audited_at_once(
    make: Callable[[], EvidenceParts], tmp_path: Path
) -> None:
    """What a file doesn't hold takes no time, whatever its config says of it."""
    parts = make()
    parts.config["n_layer"] = 10**8
    path, start = parts.write(tmp_path / "a.safetensors"), time.monotonic()
    assert audit(SET, ["--checkpoint", str(path), "--no-cache"])["checkpoint"]["n_layers"] == 10**8
    assert time.monotonic() - start < 10


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    """A model whose config asks for code of its own is refused, and the code not run."""
    ran = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    config = {
        "model_type": "hostile",
        "auto_map": dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "hostile.Hostile"),
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "hostile.py").write_text(f"open({str(ran)!r}, 'w')\nclass Hostile: pass\n", encoding="utf-8")
    save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    refused(folder)
    assert not ran.exists()


def test_a_pickle_in_place_of_weights_is_not_run(tmp_path: Path) -> None:
    ran, folder = tmp_path / "ran", tmp_path / "model"
    folder.mkdir()

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(ran), "w")

    config = {
        "model_type": "gpt2",
        "n_layer": 2,
        "n_head": 6,
        "n_embd": 48,
        "vocab_size": 40,
        "architectures": ["GPT2LMHeadModel"],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save({"transformer.wte.weight": Hostile()}, folder / "pytorch_model.bin")
    refused(folder)
    assert not ran.exists()


REAL = st.floats(-1e300, 1e300)
NUMBERS = REAL | st.integers(-(2**53), 2**53)
TEXT = st.text(max_size=30)
NULLS = {
    "population": TEXT,
    "n": st.none() | st.integers(0, 999),
    "p": st.none() | st.floats(0, 1),
    "p_least": st.none() | st.floats(0, 1),
    "n_layer": st.none() | st.integers(1, 99),
    "p_layer": st.none() | st.floats(0, 1),
}
# Plain values: what is made of them is checked, and draws at random while it is.
ENTRIES = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=20),
        "group": TEXT,
        "statement": TEXT,
        "source": TEXT,
        "verdict": st.none() | st.sampled_from([verdict.value for verdict in Verdict]),
        "flags": st.lists(st.sampled_from([flag.value for flag in Flag]), unique=True),
        "measured": st.dictionaries(TEXT, NUMBERS, max_size=3),
        "interval": st.none() | st.lists(REAL, min_size=2, max_size=2),
        "reported": st.none() | st.dictionaries(TEXT, NUMBERS, max_size=2),
        "nulls": st.lists(st.fixed_dictionaries(NULLS), max_size=2),
        "variants": st.lists(
            st.fixed_dictionaries({"name": TEXT, "measured": REAL, "holds": st.booleans()}), max_size=2
        ),
        "reason": st.none() | TEXT,
        "seconds": st.floats(0, 1e6),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, max_size=4, unique_by=lambda entry: entry["id"]), st.booleans())
def test_any_record_is_read_as_it_was_written(plain: list[dict[str, Any]], complete: bool) -> None:
    entries = [ClaimEntry.from_json(entry) for entry in plain]
    content = record(entries, complete)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "claims.json").write_text(as_json(content), encoding="utf-8")
        found = read_record(Path(folder))
    assert found.claims == entries
    assert (found.complete, vars(found.counts)) == (complete, counts(entries))


LOADERS: dict[str, Callable[[Path], object]] = {
    "weights.safetensors": lambda path: load(str(path)),
    "words.toml": lambda path: load_words(str(path)),
    "plan.toml": Plan.read,
}
# Anything at all, and what begins as such a file does.
BYTES = st.binary(max_size=300) | st.builds(
    lambda start, rest: start + rest,
    st.sampled_from([b"\x10\x00\x00\x00\x00\x00\x00\x00{", b"[categories]\n", b"[[audit]]\n"]),
    st.binary(max_size=100),
)


@pytest.mark.parametrize("name", LOADERS)
@settings(max_examples=40, deadline=None)
@given(content=BYTES)
def test_any_bytes_are_refused_in_one_line(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with pytest.raises(BadInput) as raised:
            LOADERS[name](path)
        assert list(Path(folder).iterdir()) == [path]
    assert str(raised.value).strip()
    assert "\n" not in str(raised.value)
