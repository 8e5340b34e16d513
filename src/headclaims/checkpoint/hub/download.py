"""The downloading process, `child.py`, started, watched and ended."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

# In how many seconds the process must have imported its libraries: not the hub's fault, yet not for ever.
START_SECONDS = 60.0


class Download:
    """One attempt to download a revision into the cache; a context manager that leaves no process behind.

    After `watch`, and also when it is interrupted, once the context is left: `kind` says how it ended
    ("done", "silent", "crashed", or a kind that child.py tells), `detail` more for a message, `commit`
    which commit it was, if the hub came to tell, and `partial` which partial files a killed process has left.
    """

    def __init__(self, repo_id: str, revision: str | None, cache: Path, endpoint: str) -> None:
        self.kind, self.detail = "interrupted", ""
        self.commit: str | None = None
        self.partial: frozenset[Path] = frozenset()
        self._arguments = [repo_id, revision or "", str(cache)]
        self._endpoint = endpoint
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def __enter__(self) -> "Download":
        child = Path(__file__).with_name("child.py")
        # -P: the modules beside child.py must not hide others. A session of its own: Ctrl-C is for us.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", str(child), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self._environment()},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self._reader.join()
        with self._process:
            # Leaving waits for the process and closes its pipes.
            pass

    def _environment(self) -> dict[str, str]:
        return {
            "HF_ENDPOINT": self._endpoint,
            # Over Xet the bytes would pass by the connections that child.py watches.
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def _read(self) -> None:
        assert self._process.stdout is not None, "the process was started with a pipe for its standard output"
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def watch(self, silence: float) -> None:
        """Return when the download has ended, or when nothing has come from the hub for `silence` seconds."""
        deadline, rejected = time.monotonic() + START_SECONDS, ""
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.kind, self.detail = "silent", f"{silence:g} s{rejected}"
                return
            if not line:
                self.kind, self.detail = "crashed", f"its process ended with status {self._process.wait()}"
                return
            if not line.startswith(b'{"is": '):
                # A start-up hook of this Python may print, too.
                continue
            event = json.loads(line)
            match event["is"]:
                case "done" | "failed":
                    self.kind, self.detail = event.get("kind", "done"), event.get("detail", "")
                    return
                case "rejected":
                    # No sign of life: a hub that answers nothing but errors is retried in vain.
                    rejected = f", its last answer was {event['status']}"
                    continue
                case "resolved":
                    self.commit = event["commit"]
            deadline = time.monotonic() + silence

    def _kill(self) -> None:
        """End the process, and note which partial files were its own: those that it held open."""
        import psutil

        # Where it has ended by itself it has also removed its partial files.
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            # It must not open another between the look and the kill.
            process.suspend()
            held = (Path(file.path) for file in process.open_files())
            self.partial = frozenset(path for path in held if path.suffix == ".incomplete")
        self._process.kill()
