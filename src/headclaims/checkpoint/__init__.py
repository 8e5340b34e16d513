"""Evidence that can be audited: `load(spec)` loads what `--checkpoint` names.

Kinds: a hub id, a local folder, a `.gguf` file, `planted`, `trained:<series>@<step>`, the `.safetensors` kinds
partial-weights, recorded-attention and recorded-graph, and a bundle, a folder of such files. TransformerLens and
transformers are imported only for kinds that need them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from headclaims.cache import cache_folder
from headclaims.checkpoint.interface import Checkpoint
from headclaims.errors import BadCheckpoint, BadInput, OfAnotherSet
from headclaims.uncollected import uncollected

if TYPE_CHECKING:
    from headclaims.checkpoint.full import FullCheckpoint

CATEGORIES = "categories"
"""The construction of planted checkpoints where a claim set names none."""
TRAINED = "trained:"
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def load(
    spec: str,
    revision: str | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    construction: str = CATEGORIES,
) -> Checkpoint:
    """Load the evidence that `spec` names; a checkpoint that fails to load is never replaced by another.

    `revision` (branch, tag or commit) applies to hub ids, `device` and `dtype` to models that run, `construction` to
    planted ones (`planted.constructions`); without a `dtype` a model runs in the one that it is stored in. Raises
    BadCheckpoint, with a message of one line, for what cannot be loaded, and BadInput for a revision of anything else
    than a hub id.
    """
    # torch makes a folder for compiled code when it is imported in full, whether or not it compiles any.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torch"))
    if not spec.strip():
        raise BadCheckpoint(f"--checkpoint {spec!r}: names nothing; wanted a hub id, a folder, a file or planted")
    path = Path(os.path.expanduser(spec))
    if _is_made_here(spec) or os.path.exists(path) or path.suffix in (".gguf", ".safetensors"):
        if revision is not None:
            raise BadInput(f"--revision {revision}: {spec} has no revisions; wanted a hub id")
        return _local(spec, path, device, dtype, construction)
    if not HUB_ID.fullmatch(spec):
        raise BadCheckpoint(f"{spec}: no such file or folder, nor the form of a hub id (name or owner/name)")
    from headclaims.checkpoint import hub

    folder = hub.fetch(spec, revision)
    checkpoint = _load_full()("hub", spec, spec.replace("/", "--"), folder, device, dtype)
    checkpoint.revision = folder.name
    if revision is not None:
        checkpoint.name += "@" + revision.replace("/", "--")
    return checkpoint


def _local(spec: str, path: Path, device: str, dtype: torch.dtype | None, construction: str) -> Checkpoint:
    if _is_planted(spec):
        from headclaims.checkpoint.planted.constructions import constructions

        _, _, name = spec.partition(":")
        made = constructions()[construction]
        if spec != "planted" and name not in made.names:
            raise OfAnotherSet(f"{spec}: no such counterfeit; planted:list prints those there are")
        name_for_readers = spec.replace(":", "-") if construction == CATEGORIES else f"{construction}-{name or spec}"
        checkpoint = _load_full()("planted", spec, name_for_readers, made.folder(name), device, dtype)
        checkpoint.construction = construction
        return checkpoint
    if spec.startswith(TRAINED):
        from headclaims.checkpoint.trained.folder import parse, trained_folder

        series, step = parse(spec)
        return _load_full()("trained", spec, f"trained-{series}-{step}", trained_folder(series, step), device, dtype)
    if path.suffix == ".safetensors":
        return _evidence_file(spec)
    if path.suffix == ".gguf" and not path.is_file():
        raise BadCheckpoint(f"{spec}: no such file")
    if path.is_dir():
        from headclaims.checkpoint.bundle import is_bundle, open_bundle

        if is_bundle(path):
            return open_bundle(spec, path)
    if path.is_dir() and not (path / "config.json").is_file():
        raise BadCheckpoint(
            f"{spec}: a folder without config.json or evidence files; wanted a Hugging Face model's folder, or "
            ".safetensors files whose headers state their kind"
        )
    if path.is_file() and path.suffix != ".gguf":
        raise BadCheckpoint(f"{spec}: a file of no kind this suite reads; wanted a folder, .gguf or .safetensors")
    if path.is_dir():
        return _load_full()("folder", spec, path.resolve().name, path, device, dtype)
    return _load_full()("gguf", spec, path.stem, path.parent, device, dtype, gguf=path.name)


@cache
def _load_full() -> Callable[..., FullCheckpoint]:
    """Import `boot.load_full`, and with it TransformerLens and transformers."""
    with uncollected():
        from headclaims.checkpoint.spared import spared

        with spared():
            from headclaims.checkpoint.boot import load_full
    return load_full


def _is_made_here(spec: str) -> bool:
    return _is_planted(spec) or spec.startswith(TRAINED)


def _is_planted(spec: str) -> bool:
    return spec == "planted" or spec.startswith("planted:")


def _evidence_file(spec: str) -> Checkpoint:
    from headclaims.checkpoint.partial import PartialWeights
    from headclaims.checkpoint.recorded import RecordedAttention
    from headclaims.checkpoint.recorded_graph import RecordedGraph
    from headclaims.checkpoint.safetensors_file import EvidenceFile

    file = EvidenceFile.open(spec)
    kinds = {kind.kind: kind for kind in (PartialWeights, RecordedAttention, RecordedGraph)}
    return kinds[file.metadata["kind"]](file)


def default_spec(model: str) -> tuple[str, str]:
    """Return what is audited when none is named, and why: a write-up's model if it is to be had, else `planted`."""
    from headclaims.checkpoint import hub

    if hub.cached(model, None) is not None:
        return model, f"no --checkpoint given; {model} is in the local cache"
    if hub.reachable(model):
        return model, f"no --checkpoint given; the hub has {model}"
    return "planted", f"no --checkpoint given; {model} is not in the local cache and the hub does not answer"
