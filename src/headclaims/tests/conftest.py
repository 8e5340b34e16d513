"""What the tests of checkpoints share: a cache of their own, the planted checkpoint and small random models."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Checkpoint
from headclaims.tests.small_models import SmallModel, build

# Kernels are compiled once for all sessions, whatever cache a session has; numba reads this when it is imported.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[3] / ".numba_cache"))

# Files that take minutes: begun first, they don't keep one processor waiting for the other at the end.
LONGEST = (
    "test_false_alarms.py",
    "test_run_planted.py",
    "test_run_seeds.py",
    "test_smollm2.py",
    "test_run.py",
    "test_sweep.py",
    "test_run_hub.py",
    "test_docs_blocks.py",
    "test_planted.py",
    "test_browser.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that no earlier run has filled, shared by parallel workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "headclaims-cache"
    patch = pytest.MonkeyPatch()
    # Run-time type checks hide from pytest that a fixture yields.
    request.addfinalizer(patch.undo)  # noqa: PT021
    patch.setenv("HEADCLAIMS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread(request: pytest.FixtureRequest) -> None:
    """Small models are all overhead: threads that wait for one another cost a busy machine a factor of four."""
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))  # noqa: PT021
    torch.set_num_threads(1)


@dataclass
class Models:
    """Small random models by architecture, built and loaded once a session."""

    folder: Path
    built: dict[str, SmallModel] = field(default_factory=dict)
    loaded: dict[str, Checkpoint] = field(default_factory=dict)

    def __call__(self, name: str) -> SmallModel:
        """The model as transformers has it."""
        if name not in self.built:
            self.built[name] = build(name, self.folder / name)
        return self.built[name]

    def checkpoint(self, name: str) -> Checkpoint:
        """The model as the suite loads it from its folder."""
        if name not in self.loaded:
            self.loaded[name] = load(str(self(name).folder))
        return self.loaded[name]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """`models("gpt2")` is the small random model, `models.checkpoint("gpt2")` what is under test."""
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def planted(cache_of_the_session: Path) -> Checkpoint:
    """The planted checkpoint, as the suite loads it."""
    return load("planted")
