"""A Hugging Face hub on 127.0.0.1 that serves folders, well or badly.

It speaks what a download needs, as the hub does: `/api/models/{id}[/revision/{revision}]`,
`/api/models/{id}/tree/{revision}`, and HEAD and GET of `/{id}/resolve/{revision}/{file}` with
`X-Repo-Commit`, an `ETag` (git's blob hash, or the sha256 of a weight file, with `X-Linked-Etag` and
`X-Linked-Size`), `Content-Length` and `Range`. Files are streamed, never read whole.

    revisions = {"main": (commit, folder), "v1": (older_commit, older_folder)}
    with LoopbackHub(revisions) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)

A revision answers to its name and to its commit hash (forty hex digits). `misbehave` may be changed while the
hub runs.
"""

import functools
import hashlib
import http.server
import json
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote, urlsplit

Misbehaviour = Literal["none", "hang", "hang-later", "stall-in-file", "break-off", "refuse", "out-of-order", "portal"]

WEIGHTS = ".safetensors"


class LoopbackHub:
    """One made-up model on a hub of its own; a context manager that serves from its start to its end.

    `misbehave`: "none"; "hang" takes every request and never answers, "hang-later" every one for a file;
    "stall-in-file" answers, but falls silent in the middle of a weight file; "break-off" closes the connection
    there, every time; "refuse" has no one listening (from the start alone); "out-of-order" answers 503 to
    everything, "portal" a page that asks to log in, as the network of a hotel does. `gated` answers 401 to every
    file; `pause` waits that many seconds before each of eight pieces of a weight file. `requests` holds
    "GET /path" for every request so far.
    """

    def __init__(
        self,
        revisions: Mapping[str, tuple[str, Path]],
        misbehave: Misbehaviour = "none",
        repo_id: str = "made-up/model",
    ) -> None:
        self.revisions = dict(revisions)
        self.misbehave = misbehave
        self.repo_id = repo_id
        self.gated = False
        self.pause = 0.0
        self.requests: list[str] = []
        self.closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        """The value for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "LoopbackHub":
        if self.misbehave == "refuse":
            # The port was bound and is free again: no one listens there.
            self._server.server_close()
        else:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening and let go of the requests that hang; a second call does nothing."""
        self.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def revision(self, name: str) -> tuple[str, Path] | None:
        """The commit and the folder of a revision's name or commit hash; None for an unknown one."""
        by_commit = {commit: (commit, folder) for commit, folder in self.revisions.values()}
        return self.revisions.get(name) or by_commit.get(name)


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, hub: LoopbackHub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle is what the tests are about: no traceback."""


class _Handler(http.server.BaseHTTPRequestHandler):
    # Keep-alive, as the hub.
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: pytest's output is the tests'."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        if hub.misbehave == "hang" or (hub.misbehave == "hang-later" and "/resolve/" in path):
            hub.closing.wait()
            self.close_connection = True
            return
        if hub.misbehave == "out-of-order":
            self._send_error(503, "")
            return
        if hub.misbehave == "portal":
            self._send(b"<html>Welcome</html>", "text/html")
            return
        api, files = f"/api/models/{hub.repo_id}", f"/{hub.repo_id}/resolve/"
        if path == api or path.startswith(f"{api}/revision/"):
            self._send_info(path.removeprefix(api).removeprefix("/revision/") or "main")
        elif path.startswith(f"{api}/tree/"):
            self._send_tree(path.removeprefix(f"{api}/tree/"))
        elif path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            self._send_file(revision, name)
        else:
            self._send_error(404, "RepoNotFound")

    def _send_info(self, revision: str) -> None:
        found = self.server.hub.revision(revision)
        if found is None:
            self._send_error(404, "RevisionNotFound")
            return
        commit, folder = found
        siblings = [{"rfilename": name} for name in _names(folder)]
        self._send_json({"id": self.server.hub.repo_id, "sha": commit, "siblings": siblings})

    def _send_tree(self, revision: str) -> None:
        found = self.server.hub.revision(revision)
        if found is None:
            self._send_error(404, "RevisionNotFound")
            return
        _, folder = found
        entries: list[dict[str, Any]] = []
        for name in _names(folder):
            size, etag = (folder / name).stat().st_size, _etag_of(folder / name)
            entries.append({"type": "file", "path": name, "size": size, "oid": etag[:40]})
            if name.endswith(WEIGHTS):
                entries[-1]["lfs"] = {"oid": etag, "size": size, "pointerSize": 134}
        self._send_json(entries)

    def _send_file(self, revision: str, name: str) -> None:
        hub = self.server.hub
        found = hub.revision(revision)
        if found is None or name not in _names(found[1]):
            self._send_error(404, "RevisionNotFound" if found is None else "EntryNotFound")
            return
        if hub.gated:
            self._send_error(401, "GatedRepo")
            return
        commit, file = found[0], found[1] / name
        size, etag, start = file.stat().st_size, _etag_of(file), self._range_start()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        if name.endswith(WEIGHTS):
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(size))
        self.end_headers()
        if self.command == "GET":
            with file.open("rb") as stream:
                stream.seek(start)
                self._send_body(stream, size - start, name.endswith(WEIGHTS))

    def _send_body(self, stream: BinaryIO, size: int, weights: bool) -> None:
        hub = self.server.hub
        if weights and hub.misbehave in ("stall-in-file", "break-off"):
            self.wfile.write(stream.read(size // 2))
            self.wfile.flush()
            if hub.misbehave == "stall-in-file":
                hub.closing.wait()
            self.close_connection = True
        elif weights and hub.pause:
            for _ in range(8):
                time.sleep(hub.pause)
                self.wfile.write(stream.read(-(-size // 8)))
                self.wfile.flush()
        else:
            shutil.copyfileobj(stream, self.wfile, 1 << 20)

    def _range_start(self) -> int:
        wanted = self.headers.get("Range", "bytes=0-")
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    def _send_json(self, answer: object) -> None:
        self._send(json.dumps(answer).encode(), "application/json")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _send_error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _etag_of(file: Path) -> str:
    """The hub's: the sha256 of a weight file, git's blob hash of any other."""
    status = file.stat()
    return _etag(file, status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _etag(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as stream:
        if file.name.endswith(WEIGHTS):
            return hashlib.file_digest(stream, "sha256").hexdigest()
        return hashlib.sha1(b"blob %d\0" % size + stream.read()).hexdigest()
