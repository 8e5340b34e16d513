"""Computations whose arrays a cache keeps: which arguments are another entry, and which are the same one."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.cache import Cache, kept

CALLS: list[tuple[Any, ...]] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@kept("sums", version=1)
def sums(first: Any, second: Any = None, *more: Any) -> dict[str, np.ndarray]:
    """Something whose every computation is counted and differs from the last."""
    CALLS.append((first, second, *more))
    return {"number": np.array([float(len(CALLS))])}


class Colour(Enum):
    RED = "red"
    BLUE = "blue"
    NUMBER = 3


class Text(StrEnum):
    RED = "red"


class Whole(IntEnum):
    THREE = 3


@dataclass(frozen=True)
class Inner:
    values: Any
    name: str = "inner"


@dataclass
class Outer:
    inner: Inner
    parts: tuple[Inner, ...] = ()
    at: dict[str, Any] = field(default_factory=dict)
    derived: int = field(default=0, init=False)


class Model:
    """As a checkpoint: it says what results depend on, some of it only when asked."""

    def __init__(self, weights: Any, folder: str) -> None:
        self.weights, self.folder = weights, folder

    def cache_inputs(self) -> dict[str, Any]:
        return {"weights": self.weights, "hash": lambda: str(float(np.sum(np.asarray(self.weights, dtype=float))))}


def many(changed: int | None = None) -> np.ndarray:
    """So many numbers that numpy prints none in the middle."""
    values = np.zeros(5000)
    if changed is not None:
        values[changed] = 1
    return values


def outer(**changes: Any) -> Outer:
    parts = {"values": np.arange(3), "name": "a", "parts": (Inner(1), Inner([2, "x"])), "at": {"k": torch.ones(2)}}
    parts |= changes
    return Outer(Inner(parts["values"], parts["name"]), parts["parts"], parts["at"])


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "a number of a tensor": (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0000002])),
    "a tensor's type": (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
    "a tensor's shape": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "a number of an array": (np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-15])),
    "a number in the middle of an array": (many(), many(2500)),
    "an array's type": (np.zeros(2), np.zeros(2, dtype=np.float32)),
    "an array's shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "a number and a vector of it": (np.array(2.0), np.array([2.0])),
    "rows and columns": (np.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(2, 2).T),
    "texts": ("red", "Red"),
    "a text and a number": ("3", 3),
    "a number and whether": (1, True),
    "a number and none": (0, None),
    "a text and none": ("None", None),
    "numbers": (0.1, 0.1 + 1e-16),
    "members of an enum": (Colour.RED, Colour.BLUE),
    "the order of a sequence": (["a", "b"], ["b", "a"]),
    "the length of a sequence": (["a", "b"], ["a"]),
    "how a sequence is parted": ((("a", "b"), ("c",)), (("a",), ("b", "c"))),
    "nothing and none": ((), None),
    "a sequence of one and the one": (("a",), "a"),
    "one text and two": (["a, b"], ["a", "b"]),
    "values of a mapping": ({"a": 1}, {"a": 2}),
    "keys of a mapping": ({"a": 1}, {"b": 1}),
    "types of keys": ({1: "x"}, {"1": "x"}),
    "a mapping's length": ({"a": 1}, {"a": 1, "b": 2}),
    "an array in a dataclass": (outer(), outer(values=np.arange(1, 4))),
    "a text in a dataclass in a dataclass": (outer(), outer(name="b")),
    "the order of dataclasses": (outer(), outer(parts=(Inner([2, "x"]), Inner(1)))),
    "a tensor in a mapping in a dataclass": (outer(), outer(at={"k": torch.zeros(2)})),
    "the middle of a model's weights": (Model(many(100), "a"), Model(many(200), "a")),
    "a model's weights as a sequence": (Model((1.0, 3.0), "a"), Model((2.0, 2.0), "a")),
    "what a model says when asked": (Model(torch.ones(2), "a"), Model(torch.ones(2) * 2, "a")),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_other_content_is_another_entry(tmp_path: Path, name: str) -> None:
    first, second = DIFFERENT[name]
    cache = Cache(tmp_path)
    assert cache.call(sums, first)["number"].tolist() == [1]
    assert cache.call(sums, second)["number"].tolist() == [2]
    assert cache.call(sums, first)["number"].tolist() == [1]
    assert cache.call(sums, second)["number"].tolist() == [2]
    assert len(CALLS) == 2


SAME: dict[str, tuple[Any, Any]] = {
    "a tensor and its copy": (torch.arange(6.0), torch.arange(6.0).clone()),
    "a tensor that needs a gradient": (torch.ones(2), torch.ones(2, requires_grad=True)),
    "a tensor and a view in another layout": (
        torch.arange(4.0).reshape(2, 2).T.contiguous(),
        torch.arange(4.0).reshape(2, 2).T,
    ),
    "an array and every second of another": (np.array([0.0, 2.0, 4.0]), np.arange(6.0)[::2]),
    "an array and one of repeated rows": (np.ones((2, 3)), np.broadcast_to(np.ones(3), (2, 3))),
    "an array and one that can't be written": (np.ones(3), np.broadcast_to(np.ones(3), 3)),
    "an array and a tensor of its numbers": (np.arange(3), torch.arange(3)),
    "numbers of numpy and of Python": ([np.int64(3), np.float64(0.5), np.bool_(True)], [3, 0.5, True]),
    "an enum and its value": (Colour.RED, "red"),
    "an enum of numbers and its value": (Colour.NUMBER, 3),
    "an enum that is a text": (Text.RED, "red"),
    "an enum that is a number": (Whole.THREE, 3),
    "a list and a tuple": (["a", (1, 2)], ("a", [1, 2])),
    "dataclasses made alike": (outer(), outer()),
    "models of the same weights elsewhere": (Model(torch.ones(3), "here"), Model(torch.ones(3), "there")),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_content_is_the_same_entry(tmp_path: Path, name: str) -> None:
    first, second = SAME[name]
    assert first is not second
    for argument in (first, second, deepcopy(first)):
        assert Cache(tmp_path).call(sums, argument)["number"].tolist() == [1]
    assert len(CALLS) == 1


def test_what_a_dataclass_derives_is_no_content_of_its_own(tmp_path: Path) -> None:
    one, other = outer(), outer()
    other.derived = 7
    for argument in (one, other):
        assert Cache(tmp_path).call(sums, argument)["number"].tolist() == [1]


def test_arguments_are_told_apart_by_their_place(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    calls = [("a", "b"), ("b", "a"), ("a",), ("a", "b", "c"), ("a", "b", "c", "d"), ("a", ("b", "c"))]
    assert [cache.call(sums, *arguments)["number"].item() for arguments in calls] == [1, 2, 3, 4, 5, 6]


def made(definition: str, version: int) -> Callable[..., Mapping[str, Any]]:
    """A computation under this name and version that says so."""

    @kept(definition, version)
    def compute(_: Any) -> dict[str, Any]:
        return {"version": np.array([version]), "letters": np.array([len(definition)])}

    return compute


def test_another_version_or_definition_is_another_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for definition, version in (("one", 1), ("one", 2), ("eleven", 2), ("one", 1)):
        arrays = cache.call(made(definition, version), "x")
        assert (arrays["version"].item(), arrays["letters"].item()) == (version, len(definition))


def test_a_mark_leaves_the_computation_what_it_was() -> None:
    assert sums.__name__ == "sums"
    assert sums(1)["number"].tolist() == [1]


class NoContent:
    """An object like any other."""


def a_function() -> None: ...


WITHOUT_CONTENT = [NoContent(), {1, 2}, frozenset("ab"), a_function, NoContent, Path("x"), np.random.default_rng(0)]


WITHIN: dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "a sequence": lambda value: [1, value],
    "a mapping": lambda value: {"k": value},
    "a dataclass": Inner,
}


@pytest.mark.parametrize("value", WITHOUT_CONTENT, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("within", WITHIN)
def test_what_has_no_content_is_refused(tmp_path: Path, value: Any, within: str) -> None:
    with pytest.raises(TypeError, match=rf"^first.*: {type(value).__name__} as an argument of a kept computation"):
        Cache(tmp_path).call(sums, WITHIN[within](value))
    assert CALLS == []
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("value", [{1, 2}, Path("x")], ids=["set", "path"])
def test_what_a_model_depends_on_has_content_as_well(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match=r"^first\.weights: .* as an argument of a kept computation"):
        Cache(tmp_path).call(sums, Model(value, "a"))


@pytest.mark.parametrize("keeps", [True, False])
def test_a_computation_without_mark_is_refused(tmp_path: Path, keeps: bool) -> None:
    def unmarked(_: int) -> dict[str, Any]:
        raise AssertionError("it was called")

    with pytest.raises(TypeError, match=r"unmarked.*wanted @kept"):
        Cache(tmp_path if keeps else None).call(unmarked, 1)


RESULTS: dict[str, Any] = {
    "f64": np.array([[1.5, -0.0], [np.nan, np.inf]]),
    "f32": torch.tensor([1 / 3]),
    "i64": np.array([-(2**62)]),
    "bool": np.array([True, False]),
    "none": np.zeros((0, 3)),
    "scalar": np.float64(0.1),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "reversed": np.arange(3.0)[::-1],
    "unwritable": np.broadcast_to(np.arange(3.0), 3),
    "repeated": np.broadcast_to(np.arange(3.0), (2, 3)),
    "gradient": torch.ones(2, requires_grad=True),
}


@kept("results", version=1)
def results(_: int) -> dict[str, Any]:
    CALLS.append(())
    return RESULTS


@pytest.mark.parametrize("keeps", [True, False])
def test_arrays_come_back_as_they_were(tmp_path: Path, keeps: bool) -> None:
    for _ in range(2):
        arrays = Cache(tmp_path if keeps else None).call(results, 1)
        assert set(arrays) == set(RESULTS)
        for name, array in arrays.items():
            original = RESULTS[name]
            original = original.detach().numpy() if isinstance(original, Tensor) else np.asarray(original)
            assert type(array) is np.ndarray
            assert array.dtype == original.dtype
            np.testing.assert_array_equal(array, original, strict=True)
    assert len(CALLS) == (1 if keeps else 2)


def test_a_second_call_reads_what_lies_on_disk(tmp_path: Path) -> None:
    """In a file of its definition's, whose loss costs a computation."""
    cache = Cache(tmp_path)
    assert cache.call(sums, "x")["number"].tolist() == [1]
    (path,) = tmp_path.rglob("*.safetensors")
    assert path.parent == tmp_path / "sums"
    assert cache.call(sums, "x")["number"].tolist() == [1]
    path.unlink()
    assert cache.call(sums, "x")["number"].tolist() == [2]


def test_without_a_folder_nothing_is_kept_and_nothing_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path / "cache"))
    argument = NoContent()
    assert [Cache(None).call(sums, argument)["number"].item() for _ in range(2)] == [1, 2]
    assert CALLS[0][0] is argument
    assert list(tmp_path.iterdir()) == []


ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np
from headclaims.cache import Cache, kept
from headclaims.checkpoint.interface import Head

@kept("elsewhere", version=1)
def compute(heads, texts, at):
    Path(sys.argv[2]).touch()
    return {"n": np.array([len(heads)])}

arguments = [Head(1, 5), Head(2, 0)], {"b": ("x", 1.5), "a": None}, np.arange(3)
print(Cache(Path(sys.argv[1])).call(compute, *arguments)["n"].item())
"""


def test_another_process_reads_what_one_has_kept(tmp_path: Path) -> None:
    """Whatever the order of its sets, and wherever its objects lie."""
    for name in ("1", "2"):
        line = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "cache"), str(tmp_path / name)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        assert done.stdout == "2\n"
    assert (tmp_path / "1").exists()
    assert not (tmp_path / "2").exists()
