"""Models of the Hugging Face hub by id and revision, through huggingface_hub: its cache, token, time-outs and retries.

HF_HUB_CACHE, HF_HOME and HF_ENDPOINT are read as huggingface_hub reads them, when it is imported; HF_HUB_OFFLINE and
TRANSFORMERS_OFFLINE at every call. A snapshot is the folder of one commit's files, `snapshots/{commit}`, in the cache.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from logging import CRITICAL
from pathlib import Path
from threading import Thread
from unittest.mock import patch

import httpx2
from huggingface_hub import (
    HfApi,
    ModelInfo,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from headclaims.errors import BadCheckpoint
from headclaims.files import write_atomically

# In the order in which transformers looks for them, and tokenizers of which all files are needed.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json with merges.txt", "vocab.txt", "spiece.model")
# Models that the hub has moved: the old id stays valid, and a cache may hold them under either.
MOVED = {name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "openai-gpt")}
MOVED |= {"distilgpt2": "distilbert/distilgpt2"}
# What git allows in the name of a branch or a tag, as far as a file name is concerned.
REVISION = re.compile(r"(?![/-])(?!.*\.\.)[^\s\x00-\x1f~^:?*\[\\]+")
LISTING_SECONDS = 10.0
WITHOUT = "; `planted` needs no hub"
"""Ends the refusals of those who can't reach the hub."""


def cached(repo_id: str, revision: str | None = None) -> Path | None:
    """Return the complete snapshot of a revision (None: main) in the local cache, under any id of the model, or None.

    Complete: config.json, a tokenizer, and the weights, of which every shard that their index names. No network.
    """
    return next((folder for folder in _snapshots(repo_id, revision) if _is_complete(folder)), None)


def reachable(repo_id: str, seconds: float = 3.0) -> bool:
    """Return whether the hub says within that many seconds that it has this model; False where told to be offline."""
    with suppress(Exception), _undisturbed():
        return _offline_switch() is None and bool(_ask(repo_id, None, seconds))
    return False


def fetch(repo_id: str, revision: str | None = None) -> Path:
    """Return the snapshot of a model's revision (branch, tag or commit; None: main), downloaded as far as need be.

    Only what an audit reads is downloaded: configuration, tokenizer, and weights, pickled ones only where there are no
    safetensors. A commit that the cache holds complete needs no hub; of a branch or a tag the hub is asked first, and
    the cached snapshot is used if it cannot be reached. Offline, only the cache is looked at.

    Raises BadCheckpoint, in one line, for an id, a revision or a model that cannot be had, and for a hub that cannot be
    reached, falls silent or breaks off, once huggingface_hub has retried, which takes a minute where a file stays away.
    Files that were complete by then stay in the cache, for the next time.
    """
    named = f"model {repo_id!r}" if revision is None else f"revision {revision!r} of model {repo_id!r}"
    if revision is not None and not REVISION.fullmatch(revision):
        raise BadCheckpoint(f"{revision!r} is no revision of model {repo_id!r}; wanted a branch, tag or commit hash")
    folder, switch = cached(repo_id, revision), _offline_switch()
    if folder is not None and (switch is not None or folder.name == revision):
        return folder
    if switch is not None:
        raise BadCheckpoint(
            f"{named} is {_state(repo_id, revision)}, and {switch} forbids to ask the hub for it{WITHOUT}"
        )
    commit = revision
    try:
        with _undisturbed():
            info = _ask(repo_id, revision, LISTING_SECONDS)
            commit = info.sha
            folder = _download(repo_id, info)
    except Exception as error:
        cause = _cause(error)
        # A commit that the hub has named is not replaced by an older one.
        folder = cached(repo_id, commit)
        if folder is None or _is_no(cause):
            raise BadCheckpoint(_refusal(cause, repo_id, named, _state(repo_id, commit))) from error
        return folder
    if folder is None:
        raise BadCheckpoint(
            f"{named} on the hub at {constants.ENDPOINT} is no model to load; wanted config.json and weights as"
            " model*.safetensors or pytorch_model*.bin, and a tokenizer such as tokenizer.json"
        )
    if folder.name != revision and cached(repo_id, revision) != folder:
        # Only now that all files are here: what was there under this name before was complete until now.
        with suppress(OSError):
            write_atomically(folder.parents[1] / "refs" / (revision or "main"), folder.name)
    return folder


def has_tokenizer(names: Collection[str]) -> bool:
    """Return whether all files of some kind of tokenizer are among the files."""
    return any(set(files.split(" with ")).issubset(names) for files in TOKENIZERS)


def _ask(repo_id: str, revision: str | None, seconds: float) -> ModelInfo:
    """Return what the hub says of a model; raises what huggingface_hub raises, and TimeoutError.

    Asked on a thread, left behind when time is up: no time-out of a client bounds the look-up of a host's name.
    """
    answer: Future[ModelInfo] = Future()

    def ask() -> None:
        try:
            answer.set_result(HfApi().model_info(repo_id, revision=revision, timeout=seconds))
        except Exception as error:
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    return answer.result(seconds)


def _download(repo_id: str, info: ModelInfo) -> Path | None:
    """Return a commit's snapshot with all files that an audit reads, or None if the hub has no complete model there.

    Files that the cache has are not asked for. Files are had by commit, lest a branch that moves meanwhile mix two
    revisions, and one after another, so that Ctrl-C ends the download.
    """
    names = {sibling.rfilename for sibling in info.siblings or []}
    if not _is_model(names):
        return None
    folder = cached(repo_id, info.sha)
    if folder is not None and folder.parents[1].name != f"models--{repo_id.replace('/', '--')}":
        return folder

    def have(name: str) -> Path:
        if not isinstance(try_to_load_from_cache(repo_id, name, revision=info.sha), str):
            # hf_hub_download by itself would wait six times a minute for a hub that is silent by now.
            with suppress(HfHubHTTPError, httpx2.ConnectError):
                get_hf_file_metadata(
                    hf_hub_url(repo_id, name, revision=info.sha), timeout=constants.HF_HUB_ETAG_TIMEOUT
                )
        return Path(hf_hub_download(repo_id, name, revision=info.sha))

    folder = have("config.json").parent
    # Files in subfolders are other formats of the same model, or other models.
    for name in sorted(name for name in names if "/" not in name and name.endswith((".json", ".txt", ".model"))):
        have(name)
    for name in _weights(folder, names):
        have(name)
    return folder if _is_complete(folder) else None


def _snapshots(repo_id: str, revision: str | None) -> Iterator[Path]:
    """Iterate over the snapshots of a revision, complete or not, that the cache holds under any id of the model."""
    ids = {repo_id, MOVED.get(repo_id, repo_id), *(old for old, new in MOVED.items() if new == repo_id)}
    for name in sorted(ids, key=lambda name: name != repo_id):
        with suppress(OSError, ValueError):  # no id, or a cache that cannot be read
            config = try_to_load_from_cache(name, "config.json", revision=revision)
            if isinstance(config, str):
                yield Path(config).absolute().parent


def _is_complete(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir() if path.is_file()}
    weights = _weights(folder, names) if _is_model(names) else []
    return bool(weights) and all((folder / name).is_file() for name in weights)


def _is_model(names: Collection[str]) -> bool:
    """Return whether config.json, a tokenizer, and weights or their index are among the files."""
    return "config.json" in names and has_tokenizer(names) and any(name in names for name in WEIGHTS)


def _weights(folder: Path, names: Collection[str]) -> list[str]:
    """Return the files of the preferred weights, shards by their index in the folder; none if that can't be read."""
    first = next(name for name in WEIGHTS if name in names)
    if not first.endswith(".index.json"):
        return [first]
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        return sorted({str(shard) for shard in json.loads((folder / first).read_bytes())["weight_map"].values()})
    return []


def _cause(error: BaseException) -> BaseException:
    """Return the answer of the hub or the failure of the connection that an error was raised from, else the error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (HfHubHTTPError, httpx2.TransportError)):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def _is_no(cause: BaseException) -> bool:
    """Return whether the hub has answered, other than that it is out of order or busy."""
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 500
    return status < 500 and status not in (408, 429)


def _refusal(cause: BaseException, repo_id: str, named: str, state: str) -> str:
    """Return the line that says why there is no snapshot, and what was wanted."""
    hub = f"the hub at {constants.ENDPOINT}"
    text = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
    detail = f"{type(cause).__name__}: {text[:120]}" if text else type(cause).__name__
    if isinstance(cause, HfHubHTTPError):
        detail = f"{constants.ENDPOINT} answered {cause.response.status_code}"
    match cause:
        case HFValidationError():
            return f"{repo_id!r} is no model id; wanted 'name' or 'owner/name', such as 'gpt2'"
        # To huggingface_hub a gated model is also one that is not found; a 401 may be either.
        case RepositoryNotFoundError() if not isinstance(cause, GatedRepoError):
            return (
                f"no model {repo_id!r} on the hub ({detail}), nor such a path; wanted an id that exists, such as 'gpt2'"
            )
        case RevisionNotFoundError():
            return f"no {named} on the hub ({detail}); wanted a branch, a tag or a commit hash that exists"
        case TimeoutError() | httpx2.TimeoutException():
            return f"{hub} fell silent ({detail}), and {named} is {state}{WITHOUT}"
        case httpx2.RemoteProtocolError() | httpx2.ReadError():
            return f"{hub} broke off ({detail}), and {named} is {state}{WITHOUT}"
        case HfHubHTTPError() if cause.response.status_code in (401, 403):
            return f"{named} is gated or private ({detail}); wanted access: `hf auth login` or HF_TOKEN"
        case httpx2.TransportError() | HfHubHTTPError() if not _is_no(cause):
            return f"{hub} cannot be reached ({detail}), and {named} is {state}{WITHOUT}"
    return f"{named} cannot be fetched from {hub} ({detail}), and is {state}"


def _state(repo_id: str, revision: str | None) -> str:
    """Return where the cache falls short of a complete snapshot of the revision."""
    half = any(_snapshots(repo_id, revision))
    where = "only half" if half else "no path and not" if revision is None else "not"
    return f"{where} in the local cache {constants.HF_HUB_CACHE}"


def _offline_switch() -> str | None:
    """Return the environment variable that forbids the network, if one does."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in constants.ENV_VARS_TRUE_VALUES:
            return name
    return "HF_HUB_OFFLINE" if constants.is_offline_mode() else None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let huggingface_hub print nothing, report nothing of this machine, and not use Xet, in the `with` block.

    Xet's client has time-outs of its own, with which a silent hub is waited for many minutes.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        with (
            disable_progress_bars(),
            patch.object(constants, "HF_HUB_DISABLE_TELEMETRY", True),
            patch.object(constants, "HF_HUB_DISABLE_XET", True),
        ):
            yield
    finally:
        logging.set_verbosity(verbosity)
