"""Models of the Hugging Face hub, by id and revision: fetched whole or not at all.

The environment is read at every call: HF_ENDPOINT, HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE), and for the
cache see `hub_cache`. A token is found as huggingface_hub finds it (HF_TOKEN, `hf auth login`).
huggingface_hub is imported by the downloading process alone.
"""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from headclaims.checkpoint.hub.cache import REVISION, CacheBefore, RepoCache
from headclaims.checkpoint.hub.download import Download
from headclaims.errors import BadCheckpoint

# For how many seconds nothing at all may come before the hub counts as silent; slow is not silent.
SILENCE_SECONDS = 5.0

_REPO_ID = re.compile(r"(\b[\w.-]+\b/)?\b[\w.-]{1,96}\b", re.ASCII)
_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True)
class Snapshot:
    """One commit of a model in the local cache: its files' folder, the revision asked for, the commit hash.

    The revision is None where none was asked for: the default branch.
    """

    folder: Path
    revision: str | None
    commit: str


def cached(repo_id: str, revision: str | None = None) -> Snapshot | None:
    """The complete snapshot of a revision in the local cache, or None.

    Complete: config.json, and model.safetensors or every shard its index names (or the same of
    pytorch_model.bin). No network.
    """
    if not _is_repo_id(repo_id):
        return None
    repo = RepoCache.of(repo_id)
    commit = repo.commit(revision)
    if commit is None or not repo.holds(commit):
        return None
    return Snapshot(repo.snapshot(commit), revision, commit)


def reachable(repo_id: str, seconds: float = 3.0) -> bool:
    """Whether the hub says within that many seconds that it has this model; False where told to be offline.

    The bound holds for a name server or a hub that never answers, too: the probe is left behind on a
    daemon thread.
    """
    if _offline_switch() is not None or not _is_repo_id(repo_id):
        return False
    deadline = time.monotonic() + seconds
    # The client that huggingface_hub downloads with: the same proxies, the same certificates.
    import httpx2

    answers: list[int] = []

    def probe() -> None:
        url = f"{_endpoint()}/api/models/{quote(repo_id)}"
        try:
            with httpx2.stream("GET", url, follow_redirects=True, timeout=seconds) as response:
                answers.append(response.status_code)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError):
            return

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    return answers == [200]


def fetch(repo_id: str, revision: str | None = None) -> Snapshot:
    """The snapshot of a model's revision (branch, tag or commit; None: the default), downloaded if need be.

    Only what an audit reads is downloaded: the configuration, the tokenizer, the weights as safetensors
    (pickled ones where there are no others). A commit that the cache holds complete needs no hub; of a branch
    or a tag the hub is asked first, and the cached snapshot is used if it cannot be reached. Offline, only
    the cache is looked at.

    Raises BadCheckpoint, in one line, for an id, a revision or a model that cannot be had, for a hub that
    cannot be reached, is silent for SILENCE_SECONDS or breaks off in the middle of a file. The cache is then
    as it was before.
    """
    if not _is_repo_id(repo_id):
        raise BadCheckpoint(f"{repo_id!r} is no model id; wanted 'name' or 'owner/name', such as 'gpt2'")
    if revision is not None and not REVISION.fullmatch(revision):
        raise BadCheckpoint(f"{revision!r} is no revision of model {repo_id!r}; wanted a branch, tag or commit hash")
    switch = _offline_switch()
    if switch is not None:
        snapshot = cached(repo_id, revision)
        if snapshot is None:
            state = _state(RepoCache.of(repo_id), revision)
            raise BadCheckpoint(f"{_named(repo_id, revision)} is {state}, and {switch} forbids to ask the hub for it")
        return snapshot
    repo = RepoCache.of(repo_id)
    try:
        with _one_at_a_time(repo):
            snapshot = cached(repo_id, revision)
            if snapshot is not None and snapshot.commit == revision:
                return snapshot
            return _fetch_from_hub(repo_id, revision, repo)
    except OSError as error:
        # A cache that cannot be written can still be read.
        snapshot = cached(repo_id, revision)
        if snapshot is not None:
            return snapshot
        raise BadCheckpoint(
            f"{_named(repo_id, revision)} cannot be downloaded into {repo.folder.parent} ({error})"
        ) from error


def _fetch_from_hub(repo_id: str, revision: str | None, repo: RepoCache) -> Snapshot:
    before = CacheBefore(repo)
    download = Download(repo_id, revision, repo.folder.parent, _endpoint())
    complete = False
    try:
        with download:
            download.watch(SILENCE_SECONDS)
        complete = download.kind == "done" and download.commit is not None and repo.holds(download.commit)
        if complete and download.commit is not None:
            repo.remember(revision, download.commit)
            return Snapshot(repo.snapshot(download.commit), revision, download.commit)
    finally:
        if not complete:
            # Of a process that crashed no one knows which partial files it held open: those that are new.
            crashed = download.kind == "crashed"
            before.restore(download.commit, repo.partial_files() - before.paths if crashed else download.partial)
    snapshot = cached(repo_id, revision)
    out_of_reach = download.kind in ("unreachable", "silent")
    # A commit that the hub has named is not replaced by an older one.
    if snapshot is not None and out_of_reach and download.commit in (None, snapshot.commit):
        return snapshot
    raise BadCheckpoint(_refusal(download, repo_id, revision))


def _refusal(download: Download, repo_id: str, revision: str | None) -> str:
    """The line that says why there is no snapshot, and what was wanted."""
    endpoint, model = _endpoint(), _named(repo_id, revision)
    hub, answer = f"the hub at {endpoint}", f"{endpoint} {download.detail}"
    state = _state(RepoCache.of(repo_id), revision, download.commit)
    match download.kind:
        case "no-model":
            return f"no model {repo_id!r} on the hub ({answer}); wanted an id that exists, such as 'gpt2'"
        case "no-revision":
            return f"no {model} on the hub ({answer}); wanted a branch, a tag or a commit hash that exists"
        case "gated":
            return f"{model} is gated or private ({answer}); wanted access: `hf auth login` or HF_TOKEN"
        case "no-weights":
            return (
                f"{model} on {hub} is no model to load; wanted config.json and weights"
                " as model*.safetensors or pytorch_model*.bin"
            )
        case "unreachable":
            return f"{hub} cannot be reached ({download.detail}), and {model} is {state}"
        case "silent":
            return f"{hub} fell silent for {download.detail}, and {model} is {state}"
        case "broke-off":
            return f"{hub} broke off in the middle of a file twice ({download.detail}), and {model} is {state}"
    return f"{model} cannot be fetched from {hub} ({download.detail or 'files are missing'})"


def _named(repo_id: str, revision: str | None) -> str:
    return f"model {repo_id!r}" if revision is None else f"revision {revision!r} of model {repo_id!r}"


def _state(repo: RepoCache, revision: str | None, commit: str | None = None) -> str:
    """Where the cache falls short of a complete snapshot of the revision, or of the commit it has by now."""
    commit = commit or repo.commit(revision)
    half = commit is not None and repo.snapshot(commit).is_dir()
    return f"{'only half' if half else 'not'} in the local cache {repo.folder.parent}"


def _is_repo_id(repo_id: str) -> bool:
    return _REPO_ID.fullmatch(repo_id) is not None and "--" not in repo_id and ".." not in repo_id


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _offline_switch() -> str | None:
    """The environment variable that forbids the network, if one does."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return next((name for name in names if os.environ.get(name, "").upper() in _TRUE), None)


@contextmanager
def _one_at_a_time(repo: RepoCache) -> Iterator[None]:
    """Hold the model's lock: parallel workers wait for one download, and none removes what another is adding.

    Raises OSError if the cache cannot be written.
    """
    import filelock

    repo.lock.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(repo.lock):
        yield
