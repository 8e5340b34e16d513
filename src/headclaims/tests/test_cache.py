"""The disk cache: what is an entry's key, what damage is noticed, and that parallel processes share the work."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from headclaims.cache import Cache, Input, cache_folder

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, -2])}
INPUTS: dict[str, Input] = {"W": torch.arange(4.0), "seed": 3, "form": "zero", "eps": 0.5, "nothing": None}


class Counted:
    """A computation that counts its calls."""

    def __init__(self, given: dict[str, Tensor]) -> None:
        self.given, self.calls = given, 0

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        return self.given


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Whether two entries are equal in names, types and every number."""
    return set(found) == set(expected) and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


def entry_of(folder: Path) -> Path:
    """The one entry in a cache."""
    (path,) = folder.rglob("*.safetensors")
    return path


def test_what_is_computed_once_is_read_again(tmp_path: Path) -> None:
    compute = Counted(TENSORS)
    assert same(Cache(tmp_path).tensors("E", 1, INPUTS, compute), TENSORS)
    assert same(Cache(tmp_path).tensors("E", 1, dict(reversed(INPUTS.items())), compute), TENSORS)
    assert compute.calls == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"W": torch.tensor([0.0, 1, 2, 3.0000002])},
        {"W": torch.arange(4.0).double()},
        {"W": torch.arange(4.0).view(torch.int32)},
        {"W": torch.arange(4.0).reshape(2, 2)},
        {"W": torch.arange(4.0)[:3]},
        {"seed": 4},
        {"seed": "3"},
        {"form": "author"},
        {"eps": 0.25},
        {"nothing": 0},
        {"more": 1},
    ],
)
def test_a_changed_input_is_another_entry(tmp_path: Path, changed: dict[str, Input]) -> None:
    cache, first, second = Cache(tmp_path), Counted(TENSORS), Counted({"a": torch.zeros(1)})
    cache.tensors("E", 1, INPUTS, first)
    assert same(cache.tensors("E", 1, INPUTS | changed, second), second.given)
    assert same(cache.tensors("E", 1, INPUTS, first), TENSORS)
    assert (first.calls, second.calls) == (1, 1)


@pytest.mark.parametrize(("definition", "version"), [("E", 2), ("E", 11), ("spectra", 1)])
def test_a_changed_definition_or_version_is_another_entry(tmp_path: Path, definition: str, version: int) -> None:
    cache, compute = Cache(tmp_path), Counted(TENSORS)
    cache.tensors("E", 1, INPUTS, compute)
    cache.tensors(definition, version, INPUTS, compute)
    assert compute.calls == 2


def test_inputs_are_not_taken_for_each_other(tmp_path: Path) -> None:
    cache, compute = Cache(tmp_path), Counted(TENSORS)
    for inputs in ({"a": "x", "b": "y"}, {"a": "y", "b": "x"}, {"a": "x\nb 'y'"}, {"a": "x"}, {"b": "x"}, {}):
        cache.tensors("E", 1, inputs, compute)
    assert compute.calls == 6


def test_a_tensor_counts_by_its_numbers_and_not_by_its_layout(tmp_path: Path) -> None:
    cache, compute = Cache(tmp_path), Counted(TENSORS)
    square = torch.arange(9.0).reshape(3, 3)
    cache.tensors("E", 1, {"W": square.T}, compute)
    cache.tensors("E", 1, {"W": square.T.contiguous()}, compute)
    assert compute.calls == 1
    cache.tensors("E", 1, {"W": square}, compute)
    assert compute.calls == 2
    cache.tensors("E", 1, {"W": square[:, 0]}, compute)
    cache.tensors("E", 1, {"W": torch.tensor([0.0, 3, 6])}, compute)
    assert compute.calls == 3


def test_an_entry_s_order_is_no_damage(tmp_path: Path) -> None:
    compute = Counted(dict(reversed(TENSORS.items())) | {"Z": torch.ones(1), "0": torch.ones(2)})
    for _ in range(2):
        assert same(Cache(tmp_path).tensors("E", 1, INPUTS, compute), compute.given)
    assert compute.calls == 1


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(2.5),
        torch.zeros(0, 3),
        torch.ones(2, dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.arange(9.0).reshape(3, 3).T,
        torch.arange(3.0, requires_grad=True),
    ],
)
def test_tensors_of_every_kind_are_kept_as_they_are(tmp_path: Path, tensor: Tensor) -> None:
    cache, compute = Cache(tmp_path), Counted({"t": tensor})
    for _ in range(2):
        assert same(cache.tensors("E", 1, {"in": tensor}, compute), {"t": tensor.detach()})
    assert compute.calls == 1


def test_tensors_that_share_their_numbers_are_kept(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    shared = {"whole": whole, "again": whole, "part": whole[:3]}
    cache, compute = Cache(tmp_path), Counted(shared)
    for _ in range(2):
        assert same(cache.tensors("E", 1, INPUTS, compute), shared)
    assert compute.calls == 1


def check_rebuilt(folder: Path, damage: Callable[[Path], object]) -> None:
    """Damage the entry, and see it computed anew, once."""
    path = entry_of(folder)
    damage(path)
    compute = Counted(TENSORS)
    for _ in range(2):
        assert same(Cache(folder).tensors("E", 1, INPUTS, compute), TENSORS)
    assert compute.calls == 1, path.read_bytes()


def rewrite(content: bytes) -> Callable[[Path], object]:
    """Damage that puts other bytes in an entry's place."""
    return lambda path: path.write_bytes(content)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    # One bit at a time, of each byte a different one: header, names, types, checksum and numbers.
    Cache(tmp_path).tensors("E", 1, INPUTS, Counted(TENSORS))
    good = entry_of(tmp_path).read_bytes()
    for at in range(len(good)):
        flipped = bytearray(good)
        flipped[at] ^= 1 << (at % 8)
        check_rebuilt(tmp_path, rewrite(bytes(flipped)))
        assert entry_of(tmp_path).read_bytes() == good


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    Cache(tmp_path).tensors("E", 1, INPUTS, Counted(TENSORS))
    good = entry_of(tmp_path).read_bytes()
    for length in range(0, len(good), 5):
        check_rebuilt(tmp_path, rewrite(good[:length]))


def save_under_its_checksum(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Write an entry's tensors anew, changed, with the checksum that they had."""
    with safe_open(path, framework="pt") as file:
        checksum, tensors = file.metadata()["checksum"], {name: file.get_tensor(name) for name in TENSORS}
    save_file(change(tensors), path, metadata={"checksum": checksum})


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"no safetensors at all"),
        lambda path: save_file({"a": torch.zeros(2)}, path),
        lambda path: save_file({"a": torch.zeros(2)}, path, metadata={"checksum": "0" * 64}),
        lambda path: save_file({}, path, metadata={"checksum": ""}),
        lambda path: save_under_its_checksum(path, lambda found: {"A": found["a"], "b": found["b"]}),
        lambda path: save_under_its_checksum(path, lambda found: found | {"a": found["a"].view(torch.int32)}),
        lambda path: save_under_its_checksum(path, lambda found: found | {"a": found["a"].reshape(3, 2)}),
        lambda path: path.unlink(),
    ],
    ids=["text", "no checksum", "wrong checksum", "empty", "other name", "other type", "other shape", "gone"],
)
def test_a_foreign_file_is_no_entry(tmp_path: Path, write: Callable[[Path], object]) -> None:
    Cache(tmp_path).tensors("E", 1, INPUTS, Counted(TENSORS))
    check_rebuilt(tmp_path, write)


def test_entries_of_a_definition_lie_in_its_folder(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.tensors("E", 1, INPUTS, Counted(TENSORS))
    cache.tensors("E", 1, INPUTS | {"seed": 4}, Counted({"a": torch.ones(1)}))
    cache.tensors("spectra", 1, INPUTS, Counted(TENSORS))
    assert sorted(path.parent.name for path in tmp_path.rglob("*.safetensors")) == ["E", "E", "spectra"]


def test_a_computation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> dict[str, Tensor]:
        raise RuntimeError("out of luck")

    cache, compute = Cache(tmp_path), Counted(TENSORS)
    with pytest.raises(RuntimeError, match="out of luck"):
        cache.tensors("E", 1, INPUTS, fail)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert same(cache.tensors("E", 1, INPUTS, compute), TENSORS)
    assert compute.calls == 1


def test_writing_leaves_no_scratch_file(tmp_path: Path) -> None:
    Cache(tmp_path).tensors("E", 1, INPUTS, Counted(TENSORS))
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".safetensors", ".lock"}


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path / "cache"))
    compute = Counted(TENSORS)
    for _ in range(2):
        assert same(Cache(None).tensors("E", 1, INPUTS, compute), TENSORS)
    assert compute.calls == 2
    assert not list(tmp_path.iterdir())


def test_the_folder_is_that_of_the_environment_or_of_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
    for empty in (lambda: monkeypatch.setenv("HEADCLAIMS_CACHE", ""), lambda: monkeypatch.delenv("HEADCLAIMS_CACHE")):
        empty()
        assert cache_folder() == platformdirs.user_cache_path("headclaims")
    cache = Cache(tmp_path / "not" / "there" / "yet")
    assert same(cache.tensors("E", 1, INPUTS, Counted(TENSORS)), TENSORS)


WORKER = """
import sys, time
from pathlib import Path
import torch
from headclaims.cache import Cache

folder, name = Path(sys.argv[1]), sys.argv[2]

def compute():
    with (folder / "computed").open("a") as log:
        log.write(name + "\\n")
    time.sleep(0.5)
    return {"by": torch.tensor([float(name)])}

(folder / ("ready" + name)).touch()
while not (folder / "go").exists():
    time.sleep(0.005)
print(Cache(folder / "cache").tensors("E", 1, {"W": torch.ones(3)}, compute)["by"].item())
"""


def test_two_processes_at_once_compute_once(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in ("1", "2")
    ]
    try:
        patience = time.monotonic() + 60
        while len(list(tmp_path.glob("ready*"))) < 2 and time.monotonic() < patience:
            time.sleep(0.01)
        (tmp_path / "go").touch()
        said = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    computed = (tmp_path / "computed").read_text().split()
    assert len(computed) == 1
    assert said == [f"{float(computed[0])}"] * 2


def test_a_process_that_is_killed_leaves_the_work_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    first = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), "1"], stdout=subprocess.DEVNULL)
    patience = time.monotonic() + 60
    while not (tmp_path / "computed").exists() and time.monotonic() < patience:
        time.sleep(0.005)
    first.kill()
    first.wait()
    found = Cache(tmp_path / "cache").tensors("E", 1, {"W": torch.ones(3)}, lambda: {"by": torch.tensor([2.0])})
    assert found["by"].tolist() == [2]
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


NO_SPACE = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("error", [NO_SPACE, OSError(28, "No space left on device")])
def test_a_full_disk_costs_the_entry_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("headclaims.cache.save_file", full)
    kept = Cache(tmp_path)
    for value in (1.0, 2.0):
        found = kept.tensors("a", 1, {"x": "same"}, lambda value=value: {"y": torch.tensor([value])})  # type: ignore[misc]
        assert found["y"].tolist() == [value]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"headclaims: the cache at {tmp_path} can't be used, going on without: ")
    assert "No space left on device" in line
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("*.partial"))


def test_a_folder_that_is_none_costs_nothing_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    found = Cache(tmp_path / "file").tensors("a", 1, {}, lambda: {"y": torch.ones(1)})
    assert found["y"].tolist() == [1]
    assert "going on without" in capsys.readouterr().err


def test_an_error_of_the_computation_is_its_own(tmp_path: Path) -> None:
    def broken() -> dict[str, torch.Tensor]:
        raise OSError("out of luck")

    with pytest.raises(OSError, match="out of luck"):
        Cache(tmp_path).tensors("a", 1, {}, broken)
