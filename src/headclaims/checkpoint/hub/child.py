"""Download one revision of a model, as a process of its own: `python hub_child.py REPO_ID REVISION
CACHE_FOLDER`.

A download hangs in ways that only a kill ends (a name server that never answers, a lock, retries inside
huggingface_hub), so `headclaims.checkpoint.hub.snapshot` runs this file and watches it. REVISION "" is the default
one. One JSON object a line goes to standard output: `{"is": "started"}`; `{"is": "alive"}` at most a few
times a second while bytes arrive; `{"is": "resolved", "commit"}`; `{"is": "rejected", "status"}` for an
answer that huggingface_hub may retry; and, last, `{"is": "done"}` or `{"is": "failed", "kind", "detail"}`. It
imports nothing of this package, and ends when its standard input does, that is, with its parent.
"""

import glob
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator

import httpx2
from huggingface_hub import HfApi, set_client_factory, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

ALIVE_SECONDS = 0.2
# A file may break off once in so many seconds, if it gets further each time: huggingface_hub resumes it.
INTERRUPTION_SECONDS = 10.0


def tell(event: str, **facts: str | int) -> None:
    """Write one line in one system call, so that the lines of several threads never mix."""
    os.write(1, json.dumps({"is": event, **facts}).encode() + b"\n")


class Connections:
    """What goes on between this process and the hub, told to the parent."""

    def __init__(self) -> None:
        self.told_alive = 0.0
        self.broken: dict[str, tuple[float, int]] = {}

    def answered(self, response: httpx2.Response) -> None:
        """An httpx event hook: the headers of an answer have come."""
        if response.status_code >= 400:
            tell("rejected", status=response.status_code)
        else:
            self.alive()
            response.stream = WatchedBody(response, self)

    def alive(self) -> None:
        """Bytes have come."""
        now = time.monotonic()
        if now - self.told_alive >= ALIVE_SECONDS:
            self.told_alive = now
            tell("alive")

    def broke(self, url: str, position: int, error: Exception) -> None:
        """A body ended early, at that byte of its file: a failure if it did so just before or got no further.

        The parent ends this process then, before huggingface_hub has retried in vain for as long as it may.
        """
        now = time.monotonic()
        before = self.broken.get(url)
        self.broken[url] = (now, position)
        if before is not None and (now - before[0] < INTERRUPTION_SECONDS or position <= before[1]):
            name = httpx2.URL(url).path.rpartition("/")[2]
            tell("failed", kind="broke-off", detail=f"at byte {position} of {name}: {one_line(error)}")


class WatchedBody(httpx2.SyncByteStream):
    """The body of a response, its bytes counted as they come."""

    def __init__(self, response: httpx2.Response, connections: Connections) -> None:
        if not isinstance(response.stream, httpx2.SyncByteStream):
            raise TypeError(f"expected a body that is read synchronously, got {type(response.stream).__name__}")
        self.body = response.stream
        self.url = str(response.request.url)
        part = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        self.position = int(part[1]) if part else 0
        self.connections = connections

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self.body:
                self.position += len(piece)
                self.connections.alive()
                yield piece
        except httpx2.TransportError as error:
            self.connections.broke(self.url, self.position, error)
            raise

    def close(self) -> None:
        """Close the connection, or give it back."""
        self.body.close()


def files_to_download(names: Iterable[str]) -> list[str]:
    """The configuration, the tokenizer and the weights among the files; empty if either lacks.

    Pickled weights count where there are no others. Files in subfolders are other formats of the same model,
    or other models.
    """
    here = [name for name in names if "/" not in name]
    texts = [name for name in here if name.endswith((".json", ".txt", ".model"))]
    safe = [name for name in here if re.fullmatch(r"model.*\.safetensors", name)]
    if "model.safetensors" in safe:
        safe = ["model.safetensors"]
    weights = safe or [name for name in here if re.fullmatch(r"pytorch_model.*\.bin", name)]
    return texts + weights if weights and "config.json" in texts else []


def one_line(error: BaseException) -> str:
    """The error's type and message, without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def tell_failure(error: BaseException) -> None:
    """Name the kind of failure by the first error of the chain that has one."""
    for cause in causes(error):
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            kind = "unreachable" if status >= 500 or status in (408, 429) else "refused"
            if isinstance(cause, GatedRepoError) or status in (401, 403):
                kind = "gated"
            # A model that is gated is also, to huggingface_hub, one that is not found; a 401 may be either.
            if isinstance(cause, RepositoryNotFoundError) and not isinstance(cause, GatedRepoError):
                kind = "no-model"
            if isinstance(cause, RevisionNotFoundError):
                kind = "no-revision"
            tell("failed", kind=kind, detail=f"answered {status}")
            return
        if isinstance(cause, httpx2.TransportError):
            tell("failed", kind="unreachable", detail=one_line(cause))
            return
    tell("failed", kind="failed", detail=one_line(error))


def download(repo_id: str, revision: str, folder: str) -> None:
    """Put the revision's files into the cache; what cannot be had is told, not raised."""
    connections = Connections()
    set_client_factory(
        lambda: httpx2.Client(
            event_hooks={"response": [connections.answered]},
            follow_redirects=True,
            timeout=httpx2.Timeout(None),
        )
    )
    tell("started")
    try:
        info = HfApi().model_info(repo_id, revision=revision or None)
        if info.sha is None or not re.fullmatch(r"[0-9a-f]{40}", info.sha):
            raise ValueError(f"expected a commit hash of forty hex digits, got {info.sha!r}")
        tell("resolved", commit=info.sha)
        names = files_to_download(sibling.rfilename for sibling in info.siblings or [])
        if not names:
            tell("failed", kind="no-weights", detail="")
            return
        # By the commit, not by the name: a branch that moves meanwhile cannot mix two revisions, and no ref
        # is written before all is here.
        snapshot_download(
            repo_id, revision=info.sha, cache_dir=folder, allow_patterns=[glob.escape(name) for name in names]
        )
    except Exception as error:
        tell_failure(error)
    else:
        tell("done")


def end_with_parent() -> None:
    """Wait for the end of standard input, which the parent holds open as long as it lives."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    download(*sys.argv[1:4])
