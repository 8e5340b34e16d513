"""The hub's cache on this machine: where it is, what it holds complete, and undoing a failed download.

The layout is huggingface_hub's, so that every Hugging Face tool shares it: `models--{owner}--{name}/` with
`refs/{revision}` (a file with the commit hash), `snapshots/{commit}/{file}` (links to `blobs/{hash}`) and
`trees/{commit}.json`; `blobs/*.incomplete` are downloads in progress. Everything here reads the environment
when it is called and imports nothing of huggingface_hub.
"""

import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}")
# What git allows in the name of a branch or a tag, as far as a file name is concerned.
REVISION = re.compile(r"(?![/-])(?!.*\.\.)[^\s\x00-\x1f~^:?*\[\\]+")


def cache_folder() -> Path:
    """The folder that HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME or XDG_CACHE_HOME names, in this order."""
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if not folder:
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = str(Path(os.environ.get("HF_HOME") or Path(caches, "huggingface"), "hub"))
    return Path(os.path.expandvars(folder)).expanduser().absolute()


@dataclass(frozen=True)
class RepoCache:
    """One model's folder in the cache, which need not exist."""

    folder: Path

    @classmethod
    def of(cls, repo_id: str) -> "RepoCache":
        """The folder of `owner/name` or `name` in the cache of the environment."""
        return cls(cache_folder() / "--".join(["models", *repo_id.split("/")]))

    @property
    def lock(self) -> Path:
        """The file that one process at a time locks to download this model."""
        return self.folder.parent / ".locks" / self.folder.name / "headclaims.lock"

    def commit(self, revision: str | None) -> str | None:
        """The commit hash that a revision (None: `main`) had when last fetched, None if it never was.

        A full hash is its own.
        """
        name = "main" if revision is None else revision
        if COMMIT.fullmatch(name):
            return name
        if not REVISION.fullmatch(name):
            return None
        try:
            commit = (self.folder / "refs" / name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return commit if COMMIT.fullmatch(commit) else None

    def remember(self, revision: str | None, commit: str) -> None:
        """Note in one atomic step that a revision has this commit; a full hash needs no note.

        Raises OSError if the folder cannot be written.
        """
        name = "main" if revision is None else revision
        ref = self.folder / "refs" / name
        if name == commit or self.commit(revision) == commit:
            return
        ref.parent.mkdir(parents=True, exist_ok=True)
        unfinished = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
        unfinished.write_text(commit, encoding="utf-8")
        unfinished.replace(ref)

    def snapshot(self, commit: str) -> Path:
        """The folder of that commit's files, which need not exist."""
        return self.folder / "snapshots" / commit

    def holds(self, commit: str) -> bool:
        """Whether config.json and all weights of that commit are there; a dead link is no file."""
        snapshot = self.snapshot(commit)
        return (snapshot / "config.json").is_file() and any(
            _holds_weights(snapshot, name) for name in ("model.safetensors", "pytorch_model.bin")
        )

    def partial_files(self) -> set[Path]:
        """The blobs that someone is downloading, or has left half downloaded."""
        return set((self.folder / "blobs").glob("*.incomplete"))


def _holds_weights(snapshot: Path, name: str) -> bool:
    """Whether the file `name` is there, or every shard that its index names."""
    if (snapshot / name).is_file():
        return True
    try:
        shards = set(json.loads((snapshot / f"{name}.index.json").read_bytes())["weight_map"].values())
        return bool(shards) and all((snapshot / shard).is_file() for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


class CacheBefore:
    """A model's folder as it was before a download; `restore` takes away what a failed one has added.

    Only what the download of that commit can have made goes: its snapshot, its list of files, the blobs
    nothing else links to, its partial files. Other revisions, and what another tool had left, stay as they
    were.
    """

    def __init__(self, repo: RepoCache) -> None:
        self.repo = repo
        self.paths = set(_all_below(repo.folder))

    def restore(self, commit: str | None, partial: Collection[Path]) -> None:
        """Remove what the failed download has left.

        `commit` is the one it was downloading, None if it never came to know; `partial` are the partial files
        that are its own.
        """
        for path in partial:
            _remove(path)
        if self.repo.partial_files() - self.paths:
            # Another process is downloading this model now; what is new here may be its work.
            return
        new = [path for path in _all_below(self.repo.folder) if path not in self.paths]
        if commit is not None:
            for path in new:
                if commit in path.parts or path.name == f"{commit}.json":
                    _remove(path)
            linked = {path.resolve() for path in _all_below(self.repo.folder / "snapshots")}
            for path in new:
                if path.parent == self.repo.folder / "blobs" and path.resolve() not in linked:
                    _remove(path)
        for folder in [*reversed(new), *([] if self.paths else [self.repo.folder])]:
            if folder.is_dir() and not folder.is_symlink():
                _remove(folder)


def _all_below(folder: Path) -> list[Path]:
    """Every file, link and folder below, each folder before what it holds; links are not followed."""
    return sorted(folder.rglob("*"))


def _remove(path: Path) -> None:
    """Remove a file, a link or an empty folder, and let be what is gone or not empty."""
    try:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError:
        return
