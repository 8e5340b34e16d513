"""What can be audited: `load(spec)` gives the evidence behind a `--checkpoint`.

Kinds: a hub id, a local folder, a `.gguf` file, `planted`, and the `.safetensors` kinds partial-weights,
recorded-attention and recorded-graph. TransformerLens and transformers are imported only for kinds that need them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from headclaims.checkpoint.interface import Checkpoint
from headclaims.errors import BadCheckpoint, BadInput

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MUTATIONS = ("transpose-qk", "flip-negative", "shuffle-embedding", "swap-head", "permute-heads")
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def load(spec: str, revision: str | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Load the evidence that `spec` names, or raise BadCheckpoint in one line; nothing is put in its place.

    `revision` (branch, tag or commit) goes with hub ids; `device` and `dtype` with models that run.
    """
    if not spec.strip():
        raise BadCheckpoint(f"--checkpoint {spec!r}: names nothing; wanted a hub id, a folder, a file or planted")
    path = Path(os.path.expanduser(spec))
    if _is_planted(spec) or os.path.exists(path) or path.suffix in (".gguf", ".safetensors"):
        if revision is not None:
            raise BadInput(f"--revision {revision}: {spec} has no revisions; wanted a hub id")
        return _local(spec, path, device, dtype)
    if not HUB_ID.fullmatch(spec):
        raise BadCheckpoint(f"{spec}: no such file or folder, nor the form of a hub id (name or owner/name)")
    from headclaims.checkpoint import hub

    snapshot = hub.fetch(spec, revision)
    from headclaims.checkpoint.boot import load_full

    checkpoint = load_full("hub", spec, spec.replace("/", "--"), snapshot.folder, device, dtype)
    checkpoint.revision = snapshot.commit
    if revision is not None:
        checkpoint.name += "@" + revision.replace("/", "--")
    return checkpoint


def _local(spec: str, path: Path, device: str, dtype: torch.dtype) -> Checkpoint:
    if _is_planted(spec):
        from headclaims.checkpoint.boot import load_full
        from headclaims.checkpoint.planted.counterfeits.registry import counterfeit_folder, names
        from headclaims.checkpoint.planted.folder import planted_folder

        _, _, name = spec.partition(":")
        if spec != "planted" and name not in names():
            raise BadCheckpoint(f"{spec}: no such counterfeit; planted:list prints those there are")
        folder = counterfeit_folder(name) if name else planted_folder()
        return load_full("planted", spec, spec.replace(":", "-"), folder, device, dtype)
    if path.suffix == ".safetensors":
        return _evidence_file(spec)
    if path.suffix == ".gguf" and not path.is_file():
        raise BadCheckpoint(f"{spec}: no such file")
    if path.is_dir() and not (path / "config.json").is_file():
        raise BadCheckpoint(f"{spec}: a folder without config.json; wanted a Hugging Face model's folder")
    if path.is_file() and path.suffix != ".gguf":
        raise BadCheckpoint(f"{spec}: a file of no kind this suite reads; wanted a folder, .gguf or .safetensors")
    from headclaims.checkpoint.boot import load_full

    if path.is_dir():
        return load_full("folder", spec, path.resolve().name, path, device, dtype)
    return load_full("gguf", spec, path.stem, path.parent, device, dtype, gguf=path.name)


def _is_planted(spec: str) -> bool:
    return spec == "planted" or spec.startswith("planted:")


def _evidence_file(spec: str) -> Checkpoint:
    from headclaims.checkpoint.partial import PartialWeights
    from headclaims.checkpoint.recorded import RecordedAttention, RecordedGraph
    from headclaims.checkpoint.safetensors_file import EvidenceFile

    file = EvidenceFile.open(spec)
    kinds = {kind.kind: kind for kind in (PartialWeights, RecordedAttention, RecordedGraph)}
    return kinds[file.metadata["kind"]](file)


def default_spec() -> tuple[str, str]:
    """What is audited when no checkpoint is named, and why: `gpt2` if it is to be had, else `planted`."""
    from headclaims.checkpoint import hub

    if hub.cached("gpt2", None) is not None:
        return "gpt2", "no --checkpoint given; gpt2 is in the local cache"
    if hub.reachable("gpt2"):
        return "gpt2", "no --checkpoint given; the hub has gpt2"
    return "planted", "no --checkpoint given; gpt2 is not in the local cache and the hub does not answer"
