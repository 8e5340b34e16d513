"""The hub kind against a hub on this machine that behaves, and against one that does not."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from headclaims.checkpoint import hub
from headclaims.errors import BadCheckpoint
from headclaims.tests.loopback_hub import LoopbackHub, Misbehaviour

REPO = "made-up/model"
OLD, NEW = "a" * 40, "b" * 40
# huggingface_hub waits for a second, and tries five times more, a second apart: twelve, and some for a busy machine.
BOUND = 25.0
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


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if HF_ENDPOINT had been so when huggingface_hub was imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own, and little patience; no token, proxy or offline switch of the machine's."""
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("TRANSFORMERS_OFFLINE", "DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(home / "agents.json"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Whatever a test forgets to set must not reach the network: nothing listens on port 9.
    point_at("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)
    monkeypatch.setattr(hub, "LISTING_SECONDS", 2.0)
    return home / "hub"


@pytest.fixture
def revisions(tmp_path: Path) -> dict[str, tuple[str, Path]]:
    """`main` is the new commit, `old-branch` and the tag `v1` are the old one."""
    old = write_model(tmp_path / "served" / "old", OLD_WEIGHTS)
    new = write_model(tmp_path / "served" / "new", NEW_WEIGHTS)
    return {"main": (NEW, new), "old-branch": (OLD, old), "v1": (OLD, old)}


@pytest.fixture
def served(revisions: dict[str, tuple[str, Path]], monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub(revisions) as loopback:
        point_at(loopback.endpoint, monkeypatch)
        monkeypatch.setenv("HF_ENDPOINT", loopback.endpoint)
        yield loopback


def contents(cache: Path) -> dict[str, bytes]:
    """Every file in the cache with its bytes, but for the lock files, which are empty and stay, and the cache's tag."""
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
    assert snapshot == cache / "models--made-up--model" / "snapshots" / commit
    assert (snapshot / "model.safetensors").read_bytes() == weights
    names = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*")}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "merges.txt"}
    asked = len(served.requests)
    served.stop()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    assert hub.fetch(REPO, revision) == snapshot == hub.cached(REPO, revision)
    assert time.monotonic() - start < 0.5
    assert len(served.requests) == asked


def test_a_branch_that_moved_is_fetched_again_and_only_what_changed(
    served: LoopbackHub, revisions: dict[str, tuple[str, Path]]
) -> None:
    served.revisions["main"] = revisions["v1"]
    assert hub.fetch(REPO, "main").name == OLD
    served.revisions["main"] = revisions["main"]
    served.requests.clear()
    assert hub.fetch(REPO, "main").name == NEW
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
    snapshot = hub.fetch(REPO)
    assert {path.name for path in snapshot.glob("*.bin")} == {"pytorch_model.bin"}
    assert hub.cached(REPO) == snapshot
    assert hub.fetch(REPO, "v1").name == OLD


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
    snapshot = hub.fetch(REPO)
    assert sorted(path.name for path in snapshot.glob("*.safetensors")) == shards
    assert snapshot.is_relative_to(cache)
    (snapshot / shards[1]).unlink()
    assert hub.cached(REPO) is None


def test_a_cache_that_cannot_be_written(served: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    line, _ = refusal(REPO)
    assert "NotADirectoryError" in line
    assert str(tmp_path / "file" / "hub") in line
    assert f"GET /{REPO}/resolve/{NEW}/config.json" not in served.requests


def test_a_complete_snapshot_in_a_cache_that_cannot_be_written(
    served: LoopbackHub, cache: Path, revisions: dict[str, tuple[str, Path]]
) -> None:
    """A branch has moved to a commit that is there already: it is used, though where the branch is can't be noted."""
    served.revisions["main"] = revisions["v1"]
    hub.fetch(REPO)
    served.revisions["main"] = revisions["main"]
    new = hub.fetch(REPO, NEW)
    ref = cache / "models--made-up--model" / "refs"
    (ref / "main").unlink()
    ref.rmdir()
    ref.write_text("no folder")
    assert hub.fetch(REPO) == new


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_repository_that_is_no_model(
    served: LoopbackHub, cache: Path, revisions: dict[str, tuple[str, Path]], missing: str
) -> None:
    (revisions["main"][1] / missing).unlink()
    (revisions["main"][1] / "pytorch_model.bin").unlink()
    line, _ = refusal(REPO)
    assert "wanted config.json and weights as" in line
    assert "tokenizer" in line
    assert not contents(cache)
    assert not [request for request in served.requests if "/resolve/" in request]


@pytest.mark.parametrize("index", ["[]", "{", '{"weight_map": {}}', '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
@pytest.mark.usefixtures("served")
def test_shards_without_a_list_of_them(revisions: dict[str, tuple[str, Path]], index: str) -> None:
    folder = revisions["main"][1]
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    line, _ = refusal(REPO)
    assert ("answered 404" if "3}}" in index else "is no model to load") in line
    assert hub.cached(REPO) is None


@pytest.mark.usefixtures("served")
def test_a_shard_that_the_hub_lacks(revisions: dict[str, tuple[str, Path]]) -> None:
    folder = revisions["main"][1]
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
    line, _ = refusal(REPO)
    assert "answered 404" in line
    assert hub.cached(REPO) is None


def test_an_unknown_id(served: LoopbackHub, cache: Path) -> None:
    line, seconds = refusal("made-up/other")
    assert line.startswith("no model 'made-up/other' on the hub")
    assert "nor such a path; wanted an id" in line
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
        hub.fetch(repo_id)
    assert "\n" not in str(caught.value)
    assert hub.cached(repo_id, None) is None
    assert not hub.reachable(repo_id)
    assert not served.requests


@pytest.mark.parametrize("revision", ["", "../../../etc/passwd", "/etc/passwd", "a b", "a\nb"])
def test_a_revision_that_cannot_be_one(served: LoopbackHub, revision: str) -> None:
    with pytest.raises(BadCheckpoint, match="branch, tag or commit hash"):
        hub.fetch(REPO, revision)
    assert not served.requests


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_and_not_cached(
    served: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    line, seconds = refusal(REPO)
    assert "is no path and not in the local cache" in line
    assert str(cache) in line
    assert variable in line
    assert line.endswith("; `planted` needs no hub")
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
    for name in {"config.json", "model.safetensors", "vocab.json", "merges.txt"} - {without}:
        (repo / "blobs" / name).write_bytes(b"{}")
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    # A link to a blob that is not there is no file either.
    (snapshot / without).symlink_to(Path("../../blobs") / without)
    return snapshot


HALVES = ["config.json", "model.safetensors", "vocab.json", "merges.txt"]


@pytest.mark.parametrize("without", HALVES)
def test_a_half_cached_snapshot_is_none(cache: Path, monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    leave_half(cache, without)
    assert hub.cached(REPO) is None
    assert hub.cached(REPO, NEW) is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for revision in (None, NEW):
        line, _ = refusal(REPO, revision)
        assert ("not in" if without == "config.json" else "only half in") + " the local cache" in line


def test_a_branch_that_cannot_be_read_is_asked_for(served: LoopbackHub, cache: Path) -> None:
    """As after a crash of the machine, which may leave a file of its size without what was written."""
    snapshot = hub.fetch(REPO)
    ref = cache / "models--made-up--model" / "refs" / "main"
    for left in (b"", b"\xff" * 40, b"\0" * 40):
        ref.write_bytes(left)
        assert hub.cached(REPO) is None
        assert hub.fetch(REPO) == snapshot == hub.cached(REPO)
        assert ref.read_text() == NEW


def test_a_whole_snapshot_of_another_tool(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = leave_half(cache, "nothing")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.fetch(REPO) == hub.fetch(REPO, NEW) == snapshot


@pytest.mark.parametrize("revision", [None, NEW])
@pytest.mark.parametrize("without", HALVES)
@pytest.mark.usefixtures("served")
def test_a_half_cached_snapshot_is_completed(
    cache: Path, revisions: dict[str, tuple[str, Path]], without: str, revision: str | None
) -> None:
    (revisions["main"][1] / "vocab.json").write_text("{}")
    snapshot = leave_half(cache, without)
    (snapshot.parents[1] / "blobs" / without).unlink(missing_ok=True)
    assert hub.fetch(REPO, revision) == snapshot == hub.cached(REPO, revision)
    assert (snapshot / without).read_bytes() == (revisions["main"][1] / without).read_bytes()


@pytest.mark.parametrize(
    ("misbehave", "says", "leaves"),
    [
        ("hang", "silent", 0),
        ("hang-later", "silent", 0),
        ("stall-in-file", "silent", 3),
        ("break-off", "broke off", 3),
        ("refuse", "cannot be reached", 0),
        ("out-of-order", "cannot be reached", 0),
        ("portal", "cannot be fetched", 0),
    ],
)
def test_a_hub_that_misbehaves(
    cache: Path,
    revisions: dict[str, tuple[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    misbehave: Misbehaviour,
    says: str,
    leaves: int,
) -> None:
    """Small files that were complete stay; of the file that was not, and of the branch, nothing is left."""
    with LoopbackHub(revisions, misbehave) as loopback:
        point_at(loopback.endpoint, monkeypatch)
        line, seconds = refusal(REPO)
    assert says in line
    assert loopback.endpoint in line
    assert len(line) <= 400
    assert seconds < BOUND
    assert len([name for name in contents(cache) if "/blobs/" in name]) == leaves
    assert not [name for name in contents(cache) if "/refs/" in name or name.endswith(".incomplete")]
    assert hub.cached(REPO) is None


def test_a_failure_leaves_the_branch_where_it_was(
    served: LoopbackHub,
    revisions: dict[str, tuple[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.revisions["main"] = revisions["v1"]
    old = hub.fetch(REPO, "main")
    served.revisions["main"] = revisions["main"]
    served.misbehave = "break-off"
    line, _ = refusal(REPO, "main")
    # The hub told that `main` has moved: the old commit is intact, and no stand-in for the new one.
    assert "only half in the local cache" in line
    assert hub.cached(REPO, "main") == old
    with monkeypatch.context() as offline:
        offline.setenv("HF_HUB_OFFLINE", "1")
        assert hub.fetch(REPO, "main") == old
    served.misbehave = "none"
    served.requests.clear()
    assert hub.fetch(REPO, "main").name == NEW
    assert [request for request in served.requests if request.startswith(f"GET /{REPO}/resolve")] == [
        f"GET /{REPO}/resolve/{NEW}/model.safetensors"
    ]


@pytest.mark.parametrize("misbehave", ["hang", "refuse", "out-of-order", "portal"])
def test_a_cached_revision_stands_in_for_a_hub_out_of_reach(
    served: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, misbehave: Misbehaviour
) -> None:
    snapshot = hub.fetch(REPO)
    before = contents(cache)
    if misbehave == "refuse":
        served.stop()
    served.misbehave = misbehave
    start = time.monotonic()
    assert hub.fetch(REPO) == snapshot
    assert time.monotonic() - start < BOUND
    assert contents(cache) == before


def test_slow_is_not_silent(served: LoopbackHub) -> None:
    """Eight pieces, 0.4 s apart, take longer than the patience of 1 s that each of them has."""
    served.pause = 0.4
    assert (hub.fetch(REPO) / "model.safetensors").read_bytes() == NEW_WEIGHTS


def test_two_at_once_download_once(served: LoopbackHub) -> None:
    """Parallel workers audit one checkpoint: the second waits for the first, and finds everything there."""
    served.pause = 0.2
    script = f"from headclaims.checkpoint import hub; print(hub.fetch({REPO!r}).name)"
    workers = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=importing_this())
        for _ in range(2)
    ]
    assert [worker.communicate(timeout=30)[0].strip() for worker in workers] == [NEW, NEW]
    assert served.requests.count(f"GET /{REPO}/resolve/{NEW}/model.safetensors") == 1
    # Left to itself, huggingface_hub asks for a list of programs as well, to tell the hub which of them it runs in.
    assert not [request for request in served.requests if REPO not in request]


def test_an_interrupted_download_ends_at_once(served: LoopbackHub, cache: Path) -> None:
    served.misbehave = "stall-in-file"
    script = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may have been told to ignore it
from headclaims.checkpoint import hub
hub.fetch({REPO!r})"""
    environment = importing_this() | {"HF_HUB_DOWNLOAD_TIMEOUT": "60"}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL) as auditor:
        try:
            assert within(30, lambda: f"GET /{REPO}/resolve/{NEW}/model.safetensors" in served.requests)
            auditor.send_signal(signal.SIGINT)
            assert auditor.wait(timeout=15) != 0
        finally:
            auditor.kill()
    assert not [name for name in contents(cache) if "/refs/" in name or name.endswith(".incomplete")]
    served.misbehave = "none"
    assert hub.fetch(REPO) == hub.cached(REPO)


def importing_this() -> dict[str, str]:
    """The environment for a process that imports the headclaims under test."""
    source, others = str(Path(hub.__file__).parents[2]), os.environ.get("PYTHONPATH", "")
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
    point_at(endpoint, monkeypatch)
    answer, seconds = probe(REPO)
    assert not answer
    assert seconds < 3.5
    assert not cache.exists()


@pytest.mark.parametrize(("held", "asked"), [("openai-community/gpt2", "gpt2"), ("gpt2", "openai-community/gpt2")])
def test_a_model_that_the_hub_has_moved(
    cache: Path,
    revisions: dict[str, tuple[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    held: str,
    asked: str,
) -> None:
    """A cache that was filled under one id of GPT-2 serves the other, offline and where the hub has the same commit."""
    with LoopbackHub(revisions, repo_id=held) as loopback:
        point_at(loopback.endpoint, monkeypatch)
        snapshot = hub.fetch(held)
    assert snapshot.is_relative_to(cache / f"models--{held.replace('/', '--')}")
    assert hub.cached(asked) == hub.cached(held) == snapshot
    assert hub.cached("gpt2-xl") is None
    with LoopbackHub(revisions, repo_id=asked) as loopback:
        point_at(loopback.endpoint, monkeypatch)
        assert hub.fetch(asked) == snapshot
        assert loopback.requests == [f"GET /api/models/{asked}"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.fetch(asked) == snapshot
