"""A bundle: a folder of several evidence files of one model, audited as one checkpoint with all that they give."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Capability, Checkpoint, Graph, Head, Source
from headclaims.checkpoint.joined import JoinedFile, Member, check_one_model
from headclaims.checkpoint.ov_weights import OVWeights
from headclaims.checkpoint.partial import PartialWeights
from headclaims.checkpoint.recorded import RecordedAttention
from headclaims.checkpoint.recorded_graph import RecordedGraph
from headclaims.checkpoint.recordings import Recording, comparable
from headclaims.checkpoint.safetensors_file import KINDS, EvidenceFile, kind_in
from headclaims.checkpoint.weights import QKWeights
from headclaims.errors import BadCheckpoint, NotAssessable

MODEL_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
KIND_OF = {kind.kind: kind for kind in (PartialWeights, RecordedAttention, RecordedGraph)}
OF_WEIGHTS = {Capability.SCORES, Capability.QK, Capability.OV, Capability.EMBEDDING}
NOTHING = {
    Capability.TOKENS: "none of the files holds tokens",
    Capability.ATTENTION: "none of the files holds attention",
    Capability.INTERVENTIONS: "the files hold no model that runs",
    Capability.SCORES: "none of the files holds weights",
    Capability.QK: "none of the files holds weights",
    Capability.OV: "none of the files holds weights",
    Capability.EMBEDDING: "none of the files holds weights",
    Capability.GRAPH: "no recorded graph, and no model to derive one from",
}


def is_bundle(folder: Path) -> bool:
    """Return whether a folder holds evidence files and no model with its config."""
    if (folder / "config.json").is_file() and any((folder / name).is_file() for name in MODEL_FILES):
        return False
    return any(_kind(path) in KINDS for path in _files(folder))


def open_bundle(spec: str, folder: Path) -> Bundle:
    """Open every evidence file of a folder; other files are left alone, and named with the reason.

    Raises BadCheckpoint, in one line, for an evidence file that can't be read, and for two that are not of one model.
    """
    members: list[Member] = []
    left_out = []
    for path in _files(folder):
        kind = _kind(path)
        if kind in KINDS:
            file = EvidenceFile.open(str(path))
            members.append(KIND_OF[file.metadata["kind"]](file))
        elif path.suffix != ".safetensors":
            left_out.append(Source(path.name, left_out="no .safetensors file"))
        else:
            why = "no kind in its header" if kind is None else f"of kind {kind!r}"
            left_out.append(Source(path.name, left_out=why))
    return Bundle(spec, folder.resolve().name, members, left_out)


class Bundle(Checkpoint):
    """Evidence files of one model: the union of what they give.

    Files of weights are read as one. Of recorded prompts, those on which the same layers were recorded, all with BOS in
    front or all without, are one recording; a bundle is a view of one of them, and `recordings` has a view of each.
    """

    kind = "bundle"

    def __init__(self, spec: str, name: str, members: Sequence[Member], left_out: Sequence[Source] = ()) -> None:
        check_one_model(spec, members)
        self.spec, self.name = spec, name
        self._members, self._left_out = members, left_out
        weights = [one for one in members if isinstance(one, PartialWeights)]
        joined = len(weights) > 1
        self._weights = (
            PartialWeights(JoinedFile.of(spec, [one.file for one in weights])) if joined else next(iter(weights), None)
        )
        self._recordings = comparable(spec, [one for one in members if isinstance(one, RecordedAttention)])
        self._recording: Recording | None = next(iter(self._recordings), None)
        self._graphs = self._read_graphs()
        self._read_sizes()
        self.lacks = self._missing()

    def _read_graphs(self) -> dict[Head, Graph]:
        graphs: dict[Head, tuple[Graph, RecordedGraph]] = {}
        for one in self._members:
            if isinstance(one, RecordedGraph):
                for head, graph in one.graphs.items():
                    if head in graphs and graphs[head][1].identity != one.identity:
                        other = graphs[head][1].file.path.name
                        raise BadCheckpoint(f"{self.spec}: {other} and {one.file.path.name} are graphs of {head.label}")
                    graphs[head] = graph, one
        return {head: graph for head, (graph, _) in graphs.items()}

    def _read_sizes(self) -> None:
        """Take each size from a file that states it."""
        by_knowledge = sorted(self._members, key=lambda one: one.n_model_heads is None)
        first, *others = [one.sizes for one in by_knowledge]
        for s in others:
            first = replace(
                first,
                d_model=first.d_model or s.d_model,
                d_head=first.d_head or s.d_head,
                d_vocab=first.d_vocab or s.d_vocab,
            )
        self.sizes = first
        self._states_heads = by_knowledge[0].n_model_heads is not None
        for recording in self._recordings:
            if self._states_heads and recording.layers[-1] >= first.n_layers:
                raise BadCheckpoint(
                    f"{self.spec}: attention of layer {recording.layers[-1]} in {min(recording.files)}, config with "
                    f"{first.n_layers} layers in {by_knowledge[0].file.path.name}"
                )
        if not self._states_heads:
            self.sizes = replace(first, n_layers=max(one.sizes.n_layers for one in self._members))

    def _missing(self) -> dict[Capability, str]:
        weights = [] if self._weights is None else [self._weights]
        others = [one for one in self._members if not isinstance(one, PartialWeights)]
        given = {capability for one in (*weights, *others) for capability in one.capabilities}
        of_weights = {
            capability: one.lacks[capability] for one in weights for capability in OF_WEIGHTS & one.lacks.keys()
        }
        return {capability: why for capability, why in (NOTHING | of_weights).items() if capability not in given}

    @property
    def recordings(self) -> list[Checkpoint]:
        """The bundle with each of its recordings in turn as the one that claims are about."""
        views: list[Checkpoint] = []
        for recording in self._recordings:
            view = copy.copy(self)
            view._recording = recording
            views.append(view)
        return views

    @property
    def sources(self) -> list[Source]:
        """The files, what each gives, and why what is not used is not."""
        sources = []
        for one in self._members:
            unused = isinstance(one, RecordedAttention) and (
                self._recording is None or one.file.path.name not in self._recording.files
            )
            why = "other layers, or another beginning, than the prompts audited" if unused else None
            sources.append(Source(one.file.path.name, one.file.digest, one.gives, why))
        return [*sources, *self._left_out]

    @property
    def identity(self) -> str:
        """A sha256 over those of the files."""
        return hashlib.sha256("".join(sorted(one.file.digest for one in self._members)).encode()).hexdigest()

    @property
    def n_model_heads(self) -> int | None:
        """The number of the model's heads; None where no file states the model's layers."""
        return super().n_model_heads if self._states_heads else None

    def fingerprint(self, layer: int) -> str | None:
        """Return a layer's fingerprint by the weights, or as a recording states it; None without both."""
        found = (one.fingerprint(layer) for one in (self._weights, *self._members) if one is not None)
        return next((fingerprint for fingerprint in found if fingerprint is not None), None)

    @property
    def graphs(self) -> Mapping[Head, Graph]:
        """The recorded graphs."""
        return self._graphs

    @property
    def recorded_tokens(self) -> list[list[str]] | None:
        """The prompts of the recording; None where there is none."""
        return None if self._recording is None else [prompt.tokens for prompt in self._recording.prompts]

    def attention_layers(self) -> list[int]:
        """Return the layers of the recording."""
        return self._attention.layers

    def recorded_patterns(self, prompt: int) -> Float[Tensor, "layer head query key"]:
        """Return the patterns of all layers of the recording on one of its prompts."""
        return self._attention.patterns(prompt)

    def recorded_attention(self, head: Head, prompt: int) -> Float[Tensor, "query key"]:
        """Return a head's pattern on one of the recording's prompts."""
        return self._attention.attention(head, prompt)

    @property
    def _attention(self) -> Recording:
        if self._recording is None:
            raise self._lacking(Capability.ATTENTION)
        return self._recording

    def _of_weights(self, capability: Capability) -> PartialWeights:
        """Return the weights of all files as one; raises NotAssessable where none holds what is asked for."""
        self.require(capability)
        assert self._weights is not None
        return self._weights

    def qk_layers(self) -> list[int]:
        """Return the layers whose query and key weights are in the files."""
        return self._of_weights(Capability.QK).qk_layers()

    def qk_weights(self, layer: int) -> QKWeights:
        """Return a layer's query and key weights."""
        return self._of_weights(Capability.QK).qk_weights(layer)

    def ov_layers(self) -> list[int]:
        """Return the layers whose value and output weights are in the files."""
        return self._of_weights(Capability.OV).ov_layers()

    def ov_weights(self, layer: int) -> OVWeights:
        """Return a layer's value and output weights."""
        return self._of_weights(Capability.OV).ov_weights(layer)

    @property
    def free_dimensions(self) -> int:
        """Dimension of the space of W_Q's columns."""
        return self._of_weights(Capability.QK).free_dimensions

    def rotation(self, layer: int, offset: int) -> Float[Tensor, "d_head d_head"] | None:
        """Return a layer's rotation of a key so many positions before its query; None where not rotary."""
        return self._of_weights(Capability.QK).rotation(layer, offset)

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """Token embedding of the files."""
        return self._of_weights(Capability.EMBEDDING).W_E

    def embed_alone_at(
        self,
        tokens: Int[Tensor, " token"],
        layers: Sequence[int],
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Float[Tensor, "layer token d_model"]:
        """Compute the embedding and MLPs from the files' tensors."""
        return self._of_weights(Capability.EMBEDDING).embed_alone_at(tokens, layers, position, attention)

    def embedding_inputs(self, layer: int) -> dict[str, torch.Tensor | str]:
        """Return the files' embedding and the MLPs before the layer."""
        return self._of_weights(Capability.EMBEDDING).embedding_inputs(layer)

    def _lacking(self, capability: Capability) -> NotAssessable:
        return NotAssessable(f"needs {capability.value}: {self.lacks.get(capability, 'the files hold no tokenizer')}")


def _files(folder: Path) -> list[Path]:
    """Return what a folder holds and shows, by name; raises BadCheckpoint where it can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise BadCheckpoint(f"{folder}: {error.strerror}; wanted a folder to read") from error


def _kind(path: Path) -> str | None:
    """Return the kind that a file's header states; raises BadCheckpoint for a damaged safetensors file."""
    return kind_in(path) if path.suffix == ".safetensors" and path.is_file() else None
