"""Whether evidence files are of one model, and several files of weights read as one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

from torch import Tensor

from headclaims.checkpoint.partial import PartialWeights
from headclaims.checkpoint.recorded import RecordedAttention
from headclaims.checkpoint.recorded_graph import RecordedGraph
from headclaims.checkpoint.safetensors_file import EvidenceFile
from headclaims.errors import BadCheckpoint

Member = PartialWeights | RecordedAttention | RecordedGraph
MODEL_CONFIG = (
    "model_type", "n_layer", "n_head", "n_embd", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "hidden_size", "head_dim", "vocab_size", "layer_norm_epsilon", "rms_norm_eps", "activation_function", "rope_theta",
    "rope_parameters", "rope_scaling",
)  # fmt: skip
"""The config entries that evidence is read by."""
SIZES = {"n_layers": "layers", "n_heads": "heads", "d_model": "d_model", "d_head": "d_head", "d_vocab": "tokens"}


def check_one_model(spec: str, members: Sequence[Member]) -> None:
    """Raise BadCheckpoint, naming both files, where two differ in fingerprint, config, sizes or the model's name.

    The name counts, but for its owner and its case, where two files share no fingerprint.
    """
    for one, other in combinations(members, 2):
        both = f"{spec}: {one.file.path.name} and {other.file.path.name} are not of one model"
        shared = [layer for layer in _fingerprinted(one) if layer in _fingerprinted(other)]
        for layer in shared:
            if one.fingerprint(layer) != other.fingerprint(layer):
                raise BadCheckpoint(f"{both}: the fingerprints of layer {layer} differ")
        for key in MODEL_CONFIG:
            a, b = one.file.config.get(key), other.file.config.get(key)
            if None not in (a, b) and a != b:
                raise BadCheckpoint(f"{both}: config {key} is {a!r} and {b!r}")
        for size, what in SIZES.items():
            a, b = getattr(one.sizes, size), getattr(other.sizes, size)
            if a and b and a != b and not (size == "n_layers" and None in (one.n_model_heads, other.n_model_heads)):
                raise BadCheckpoint(f"{both}: {a} and {b} {what}")
        if not shared and _model_name(one) != _model_name(other):
            raise BadCheckpoint(f"{both}: the headers name {one.file.name!r} and {other.file.name!r}")


def _fingerprinted(member: Member) -> list[int]:
    return member.qk_layers() if isinstance(member, PartialWeights) else member.fingerprinted_layers


def _model_name(member: Member) -> str:
    return re.split("/|--", member.file.name)[-1].casefold()


@dataclass(frozen=True)
class JoinedFile(EvidenceFile):
    """Files of weights of one model, read as one: tensors by their names without the model's own prefix."""

    parts: dict[str, tuple[EvidenceFile, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: str, files: Sequence[EvidenceFile]) -> JoinedFile:
        """Join files; raises BadCheckpoint, naming both, where two have a tensor that is not the same."""
        parts: dict[str, tuple[EvidenceFile, str]] = {}
        for file in files:
            for name in file.shapes:
                plain = re.sub(r"^(transformer|model)\.", "", name)
                if plain not in parts:
                    parts[plain] = file, name
                    continue
                other, theirs = parts[plain]
                shape = file.shapes[name]
                same = other.shapes[theirs] == shape and bool(
                    (other.tensor(theirs, *shape) == file.tensor(name, *shape)).all()
                )
                if not same:
                    raise BadCheckpoint(
                        f"{spec}: {other.path.name} and {file.path.name} are not of one model: tensor {plain} differs"
                    )
        config = {key: value for file in reversed(files) for key, value in file.config.items()}
        shapes = {plain: file.shapes[name] for plain, (file, name) in parts.items()}
        return cls(spec, files[0].path, files[0].metadata, config, shapes, parts)

    @cached_property
    def digest(self) -> str:
        """sha256 over those of the files."""
        digests = sorted({file.digest for file, _ in self.parts.values()})
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def tensor(self, name: str, *shape: int | None, whole: bool = False, as_stored: bool = False) -> Tensor:
        """Read a tensor from the file that has it."""
        if name not in self.parts:
            raise BadCheckpoint(f"{self.spec}: no tensor {name}")
        file, actual = self.parts[name]
        return file.tensor(actual, *shape, whole=whole, as_stored=as_stored)
