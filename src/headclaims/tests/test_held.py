"""The checkpoint that a process holds: loaded once, while what was named and its files stay as they were."""

import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from headclaims.audit.prepare import open_workspace
from headclaims.audit.settings import Settings
from headclaims.checkpoint import held
from headclaims.checkpoint.interface import Checkpoint
from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.checkpoint.recorded_graph import RecordedGraph
from headclaims.claim.claim_set import ClaimSet
from headclaims.tests.claims_run import SET


class Loads:
    """Counts what is loaded; each time it is another object."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, spec: str, *_: object) -> Checkpoint:
        self.names.append(spec)
        return object.__new__(RecordedGraph)


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold checkpoints for the time of a test."""
    monkeypatch.setattr(held, "_held", None)
    held._free_the_first.cache_clear()
    held.hold_the_last()
    return


def test_nothing_is_held_in_a_process_that_did_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_held", None)
    load = Loads()
    assert held.held_or(load, "a", "cpu") is not held.held_or(load, "a", "cpu")
    assert load.names == ["a", "a"]


@pytest.mark.usefixtures("holding")
def test_the_same_is_loaded_once_and_one_at_a_time() -> None:
    load = Loads()
    first = held.held_or(load, "a", "cpu", None)
    held.hold_the_last()  # asked again, it forgets nothing
    assert held.held_or(load, "a", "cpu", None) is first
    assert held.held_or(load, "a", "mps", None) is not first
    held.held_or(load, "b", "cpu", None)
    held.held_or(load, "a", "cpu", None)
    assert load.names == ["a", "a", "b", "a"]
    assert held._held is not None
    assert len(held._held) == 1


@pytest.mark.usefixtures("holding")
def test_what_is_let_go_is_freed_though_it_was_frozen() -> None:
    class InACycle(RecordedGraph):
        """As models are: it holds itself."""

        def __init__(self) -> None:
            self.itself = self

    made: list[Checkpoint] = [InACycle()]
    freed = weakref.ref(made[0])
    held.held_or(lambda *_: made.pop(), "a")
    gc.freeze()
    still_there: list[bool] = []

    def load_another(*_: object) -> Checkpoint:
        still_there.append(freed() is not None)
        return InACycle()

    held.held_or(load_another, "b")
    assert still_there == [False]
    gc.unfreeze()


@pytest.mark.usefixtures("holding")
@pytest.mark.parametrize("change", ["content", "time", "file"])
def test_a_file_that_changed_is_loaded_again(tmp_path: Path, change: str) -> None:
    weights, load = tmp_path / "model.safetensors", Loads()
    weights.write_bytes(b"one")
    first = held.held_or(load, str(tmp_path))
    assert held.held_or(load, str(tmp_path)) is first
    if change == "content":
        weights.write_bytes(b"three")
    elif change == "time":
        os.utime(weights, ns=(1, 1))
    else:
        (tmp_path / "config.json").write_text("{}")
    assert held.held_or(load, str(tmp_path)) is not first
    assert held.held_or(load, str(weights)) is held.held_or(load, str(weights))


@pytest.mark.usefixtures("holding")
def test_what_a_mutation_changed_is_nobody_elses() -> None:
    about = ClaimSet.read(SET)
    settings = Settings(checkpoint=str(random_folder(0)), mutate="transpose-qk", verdicts_only=True)

    def opened(settings: Settings) -> object:
        return open_workspace(settings, about.word_lists, about.defaults).checkpoint

    whole = settings.model_copy(update={"mutate": None})
    first = opened(whole)
    assert opened(whole) is first
    assert opened(settings) is not first
    assert opened(settings) is not opened(settings)
    assert opened(whole) is first
