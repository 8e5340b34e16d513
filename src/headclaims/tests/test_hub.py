"""The hub kind against a hub on this machine that behaves, and against one that does not."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from headclaims.checkpoint.hub import snapshot as hub
from headclaims.errors import BadCheckpoint
from headclaims.tests.loopback_hub import LoopbackHub, Misbehaviour

REPO = "made-up/model"
OLD, NEW = "a" * 40, "b" * 40
# The suite promises ten seconds for a small model; the margin is for a busy machine.
BOUND = 9.0
OLD_WEIGHTS, NEW_WEIGHTS = b"old" * 100_000, b"new" * 100_000


def write_model(folder: Path, weights: bytes) -> Path:
    """A folder with what an audit needs and with what it must never download."""
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "merges.txt").write_text("a b\n")
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "training_args.bin").write_bytes(b"pickled")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "README.md").write_text("A model.")
    (folder / "onnx" / "config.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own; no token, proxy or offline switch of the machine's."""
    for name in (
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    # Whatever a test forgets to set must not reach the network: nothing listens on port 9.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "home" / "hub"


@pytest.fixture
def revisions(tmp_path: Path) -> dict[str, tuple[str, Path]]:
    """`main` is the new commit, `old-branch` and the tag `v1` are the old one."""
    old = write_model(tmp_path / "served" / "old", OLD_WEIGHTS)
    new = write_model(tmp_path / "served" / "new", NEW_WEIGHTS)
    return {"main": (NEW, new), "old-branch": (OLD, old), "v1": (OLD, old)}


@pytest.fixture
def served(revisions: dict[str, tuple[str, Path]], monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub(revisions) as loopback:
        monkeypatch.setenv("HF_ENDPOINT", loopback.endpoint)
        yield loopback


def contents(cache: Path) -> dict[str, bytes]:
    """Every file in the cache with its bytes, but for the lock files, which are empty and stay."""
    files = (path for path in cache.rglob("*") if path.is_file() or path.is_symlink())
    return {
        name: path.read_bytes()
        for path in files
        if not (name := path.relative_to(cache).as_posix()).startswith(".locks/") and name != "CACHEDIR.TAG"
    }


def refusal(repo_id: str, revision: str | None = None) -> tuple[str, float]:
    """The line `fetch` raises with, and the seconds until then."""
    start = time.monotonic()
    with pytest.raises(BadCheckpoint) as caught:
        hub.fetch(repo_id, revision)
    seconds = time.monotonic() - start
    line = str(caught.value)
    assert "\n" not in line
    assert repo_id in line
    return line, seconds


@pytest.mark.parametrize(
    ("revision", "commit", "weights"),
    [
        (None, NEW, NEW_WEIGHTS),
        ("main", NEW, NEW_WEIGHTS),
        ("old-branch", OLD, OLD_WEIGHTS),
        ("v1", OLD, OLD_WEIGHTS),
        (OLD, OLD, OLD_WEIGHTS),
    ],
)
def test_fetch_then_offline(
    served: LoopbackHub,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    revision: str | None,
    commit: str,
    weights: bytes,
) -> None:
    assert hub.cached(REPO, revision) is None
    snapshot = hub.fetch(REPO, revision)
    assert snapshot.commit == commit
    assert snapshot.revision == revision
    assert snapshot.folder == cache / "models--made-up--model" / "snapshots" / commit
    assert (snapshot.folder / "model.safetensors").read_bytes() == weights
    names = {path.relative_to(snapshot.folder).as_posix() for path in snapshot.folder.rglob("*")}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "merges.txt"}
    asked = len(served.requests)
    served.stop()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    assert hub.fetch(REPO, revision) == snapshot == hub.cached(REPO, revision)
    assert time.monotonic() - start < 0.5
    assert len(served.requests) == asked


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
@pytest.mark.usefixtures("served")
def test_the_cache_folder_is_the_one_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert hub.fetch(REPO, None).folder.is_relative_to(tmp_path / "elsewhere")


def test_a_branch_that_moved_is_fetched_again_and_only_what_changed(
    served: LoopbackHub, revisions: dict[str, tuple[str, Path]]
) -> None:
    served.revisions["main"] = revisions["v1"]
    assert hub.fetch(REPO, "main").commit == OLD
    served.revisions["main"] = revisions["main"]
    served.requests.clear()
    assert hub.fetch(REPO, "main").commit == NEW
    downloaded = [request for request in served.requests if request.startswith(f"GET /{REPO}/resolve")]
    assert downloaded == [f"GET /{REPO}/resolve/{NEW}/model.safetensors"]


def test_a_cached_commit_needs_no_hub(served: LoopbackHub) -> None:
    snapshot = hub.fetch(REPO, OLD)
    asked = len(served.requests)
    assert hub.fetch(REPO, OLD) == snapshot
    assert len(served.requests) == asked


@pytest.mark.usefixtures("served")
def test_pickled_weights_only_where_there_are_no_others(revisions: dict[str, tuple[str, Path]]) -> None:
    (revisions["main"][1] / "model.safetensors").unlink()
    snapshot = hub.fetch(REPO, None)
    assert {path.name for path in snapshot.folder.glob("*.bin")} == {"pytorch_model.bin"}
    assert hub.cached(REPO, None) == snapshot
    assert hub.fetch(REPO, "v1").commit == OLD


@pytest.mark.usefixtures("served")
def test_sharded_weights(
    cache: Path,
    revisions: dict[str, tuple[str, Path]],
) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    folder = revisions["main"][1]
    (folder / "model.safetensors").rename(folder / shards[0])
    (folder / shards[1]).write_bytes(b"second")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("ab", shards, strict=True))})
    )
    snapshot = hub.fetch(REPO, None)
    assert sorted(path.name for path in snapshot.folder.glob("*.safetensors")) == shards
    assert snapshot.folder.is_relative_to(cache)
    (snapshot.folder / shards[1]).unlink()
    assert hub.cached(REPO, None) is None


def test_a_download_whose_process_is_killed(served: LoopbackHub, cache: Path) -> None:
    """Short of memory, the system may kill it: that is no hang, and leaves nothing either."""
    served.misbehave = "stall-in-file"
    weights = f"GET /{REPO}/resolve/{NEW}/model.safetensors"
    others = psutil.Process().children()

    def kill() -> None:
        assert within(15, lambda: weights in served.requests)
        for child in psutil.Process().children():
            if child not in others:
                child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    line, _ = refusal(REPO)
    killer.join()
    assert "status -9" in line
    assert not contents(cache)


def test_a_cache_that_cannot_be_written(served: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    line, _ = refusal(REPO)
    assert str(tmp_path / "file" / "hub") in line
    assert not served.requests


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
@pytest.mark.usefixtures("served")
def test_a_repository_that_is_no_model(cache: Path, revisions: dict[str, tuple[str, Path]], missing: str) -> None:
    (revisions["main"][1] / missing).unlink()
    (revisions["main"][1] / "pytorch_model.bin").unlink()
    line, seconds = refusal(REPO)
    assert "wanted config.json and weights" in line
    assert seconds < BOUND
    assert not contents(cache)


def test_an_unknown_id(served: LoopbackHub, cache: Path) -> None:
    line, seconds = refusal("made-up/other")
    assert line.startswith("no model 'made-up/other' on the hub")
    assert "404" in line
    assert seconds < BOUND
    assert not contents(cache)
    assert served.requests


@pytest.mark.parametrize("revision", ["no-such-branch", "c" * 40])
def test_an_unknown_revision(served: LoopbackHub, cache: Path, revision: str) -> None:
    line, seconds = refusal(REPO, revision)
    assert line.startswith(f"no revision {revision!r} of model {REPO!r} on the hub")
    assert seconds < BOUND
    assert not contents(cache)
    assert served.requests


def test_a_gated_model(served: LoopbackHub, cache: Path) -> None:
    served.gated = True
    line, seconds = refusal(REPO)
    assert "gated" in line
    assert "401" in line
    assert seconds < BOUND
    assert not contents(cache)


@pytest.mark.parametrize("repo_id", ["", "a/b/c", "../secrets", "has space", "two\nlines", "a--b", "-m"])
def test_an_id_that_cannot_be_one(served: LoopbackHub, repo_id: str) -> None:
    with pytest.raises(BadCheckpoint, match="owner/name") as caught:
        hub.fetch(repo_id, None)
    assert "\n" not in str(caught.value)
    assert hub.cached(repo_id, None) is None
    assert not hub.reachable(repo_id)
    assert not served.requests


@pytest.mark.parametrize("revision", ["", "../../../etc/passwd", "/etc/passwd", "a b", "a\nb"])
def test_a_revision_that_cannot_be_one(served: LoopbackHub, revision: str) -> None:
    with pytest.raises(BadCheckpoint, match="branch, tag or commit hash"):
        hub.fetch(REPO, revision)
    assert hub.cached(REPO, revision) is None
    assert not served.requests


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_and_not_cached(
    served: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    line, seconds = refusal(REPO)
    assert "not in the local cache" in line
    assert str(cache) in line
    assert variable in line
    assert seconds < 0.5
    assert not served.requests


@pytest.mark.usefixtures("served")
def test_offline_with_another_revision_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fetch(REPO, "v1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line, _ = refusal(REPO, "main")
    assert "'main'" in line
    assert str(cache) in line


def leave_half(cache: Path, without: str) -> Path:
    """What a tool that was killed leaves: a ref, a partial blob, and a snapshot without one file."""
    repo = cache / "models--made-up--model"
    snapshot = repo / "snapshots" / NEW
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(NEW)
    (repo / "blobs").mkdir()
    (repo / "blobs" / "0123.incomplete").write_bytes(b"ne")
    for name in {"config.json", "model.safetensors"} - {without}:
        (repo / "blobs" / name).write_bytes(b"{}")
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    # A link to a blob that is not there is no file either.
    (snapshot / without).symlink_to(Path("../../blobs") / without)
    return repo


@pytest.mark.parametrize("without", ["config.json", "model.safetensors"])
def test_a_half_cached_snapshot_is_none(cache: Path, monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    leave_half(cache, without)
    assert hub.cached(REPO, None) is None
    assert hub.cached(REPO, NEW) is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line, _ = refusal(REPO)
    assert "only half" in line


@pytest.mark.usefixtures("served")
def test_a_half_cached_snapshot_is_completed(cache: Path) -> None:
    leave_half(cache, without="model.safetensors")
    snapshot = hub.fetch(REPO, None)
    assert (snapshot.folder / "model.safetensors").read_bytes() == NEW_WEIGHTS
    assert hub.cached(REPO, None) == snapshot


def test_a_failure_leaves_what_another_tool_left(served: LoopbackHub, cache: Path) -> None:
    repo = leave_half(cache, without="model.safetensors")
    (repo / "snapshots" / NEW / "model.safetensors").unlink()
    before = contents(cache)
    served.misbehave = "break-off"
    refusal(REPO)
    assert contents(cache) == before


@pytest.mark.parametrize(
    ("misbehave", "says"),
    [
        ("hang", "silent"),
        ("stall-in-file", "silent"),
        ("break-off", "broke off"),
        ("refuse", "cannot be reached"),
    ],
)
def test_a_hub_that_misbehaves_leaves_nothing(
    cache: Path,
    revisions: dict[str, tuple[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    misbehave: Misbehaviour,
    says: str,
) -> None:
    with LoopbackHub(revisions, misbehave) as loopback:
        monkeypatch.setenv("HF_ENDPOINT", loopback.endpoint)
        line, seconds = refusal(REPO)
    print(f"{misbehave}: {seconds:.1f} s: {line}")
    assert says in line
    assert loopback.endpoint in line
    assert seconds < BOUND
    assert not contents(cache)
    assert not (cache / "models--made-up--model").exists()


@pytest.mark.parametrize("misbehave", ["stall-in-file", "break-off"])
def test_other_revisions_survive_a_failure(
    served: LoopbackHub,
    cache: Path,
    revisions: dict[str, tuple[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    misbehave: Misbehaviour,
) -> None:
    monkeypatch.setattr(hub, "SILENCE_SECONDS", 2.0)
    served.revisions["main"] = revisions["v1"]
    old = hub.fetch(REPO, "main")
    before = contents(cache)
    served.revisions["main"] = revisions["main"]
    served.misbehave = misbehave
    line, seconds = refusal(REPO, "main")
    assert seconds < BOUND
    assert served.endpoint in line
    assert "not in the local cache" in line
    # The hub told that `main` has moved: the old commit is intact, and no stand-in for the new one.
    assert contents(cache) == before
    assert hub.cached(REPO, "main") == old
    served.misbehave = "none"
    assert hub.fetch(REPO, "main").commit == NEW


@pytest.mark.parametrize("misbehave", ["hang", "refuse"])
def test_a_cached_revision_stands_in_for_a_hub_out_of_reach(
    served: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, misbehave: Misbehaviour
) -> None:
    monkeypatch.setattr(hub, "SILENCE_SECONDS", 2.0)
    snapshot = hub.fetch(REPO, None)
    before = contents(cache)
    if misbehave == "refuse":
        served.stop()
    served.misbehave = misbehave
    start = time.monotonic()
    assert hub.fetch(REPO, None) == snapshot
    assert time.monotonic() - start < BOUND
    assert contents(cache) == before


def test_slow_is_not_silent(served: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight pieces, 0.4 s apart, take longer than the patience of 2 s that each of them has."""
    monkeypatch.setattr(hub, "SILENCE_SECONDS", 2.0)
    served.pause = 0.4
    assert (hub.fetch(REPO, None).folder / "model.safetensors").read_bytes() == NEW_WEIGHTS


def test_a_partial_file_of_another_process_is_left_alone(
    served: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What appears while our download stalls, and is not ours, belongs to someone who is still at work."""
    served.misbehave = "stall-in-file"
    monkeypatch.setattr(hub, "SILENCE_SECONDS", 2.0)
    repo = cache / "models--made-up--model"
    foreign = repo / "blobs" / "4567.incomplete"
    script = (
        "import pathlib, sys, time\n"
        "time.sleep(1.5)\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "path.parent.mkdir(parents=True, exist_ok=True)\n"
        "path.write_text('theirs')\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(foreign)]):
        refusal(REPO)
    assert [path.name for path in (repo / "blobs").glob("*.incomplete")] == [foreign.name]


def test_two_at_once_download_once(served: LoopbackHub) -> None:
    """Parallel workers audit one checkpoint: the second waits for the first, and finds everything there."""
    served.pause = 0.2
    script = f"from headclaims.checkpoint import hub; print(hub.fetch({REPO!r}, None).commit)"
    workers = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=importing_this())
        for _ in range(2)
    ]
    assert [worker.communicate(timeout=30)[0].strip() for worker in workers] == [NEW, NEW]
    assert served.requests.count(f"GET /{REPO}/resolve/{NEW}/model.safetensors") == 1


def test_a_killed_auditor_takes_its_download_along(served: LoopbackHub, cache: Path) -> None:
    with stalled_auditor(served) as auditor:
        child = psutil.Process(auditor.pid).children()[0]
        auditor.kill()
    assert within(5, lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert hub.cached(REPO, None) is None
    served.misbehave = "none"
    assert hub.fetch(REPO, None).folder.is_relative_to(cache)


def test_an_interrupted_auditor_leaves_nothing(served: LoopbackHub, cache: Path) -> None:
    with stalled_auditor(served) as auditor:
        child = psutil.Process(auditor.pid).children()[0]
        auditor.send_signal(signal.SIGINT)
        assert auditor.wait(timeout=40) != 0
    assert not child.is_running()
    assert not contents(cache)


@contextmanager
def stalled_auditor(served: LoopbackHub) -> Iterator[subprocess.Popen[bytes]]:
    """Another process in the middle of `fetch`, whose weights have stopped coming; it would wait for a
    minute.
    """
    served.misbehave = "stall-in-file"
    script = f"from headclaims.checkpoint import hub; hub.SILENCE_SECONDS = 60; hub.fetch({REPO!r}, None)"
    weights = f"GET /{REPO}/resolve/{NEW}/model.safetensors"
    with subprocess.Popen([sys.executable, "-c", script], env=importing_this(), stderr=subprocess.DEVNULL) as auditor:
        try:
            assert within(30, lambda: weights in served.requests)
            yield auditor
        finally:
            auditor.kill()


def importing_this() -> dict[str, str]:
    """The environment for a process that imports the headclaims under test."""
    source, others = str(Path(hub.__file__).parents[3]), os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [source, others]))}


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def probe(repo_id: str, seconds: float = 3.0) -> tuple[bool, float]:
    start = time.monotonic()
    answer = hub.reachable(repo_id, seconds)
    return answer, time.monotonic() - start


def test_reachable(served: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.reachable(REPO)
    assert served.requests == [f"GET /api/models/{REPO}"]
    assert not hub.reachable("made-up/other")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    served.requests.clear()
    assert not hub.reachable(REPO)
    assert not served.requests


def test_reachable_is_bounded_when_the_hub_never_answers(served: LoopbackHub) -> None:
    served.misbehave = "hang"
    answer, seconds = probe(REPO, seconds=1.0)
    assert not answer
    assert seconds < 1.5


def test_reachable_is_bounded_when_names_are_never_resolved(
    served: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unanswered(*_: object, **__: object) -> None:
        served.closing.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unanswered)
    answer, seconds = probe(REPO, seconds=1.0)
    assert not answer
    assert seconds < 1.5


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "127.0.0.1:9", "http://[", "ftp://127.0.0.1:9"])
def test_reachable_is_false_where_no_hub_listens(cache: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    answer, seconds = probe(REPO)
    assert not answer
    assert seconds < 3.5
    assert not cache.exists()
