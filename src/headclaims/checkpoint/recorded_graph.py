"""A recorded graph: a file of each token's highest-scoring keys by one head."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Capability, Checkpoint, Graph, Head
from headclaims.checkpoint.recorded import lacking_all_but, stated_sizes
from headclaims.checkpoint.safetensors_file import EvidenceFile, json_value
from headclaims.checkpoint.spelling import plain_text
from headclaims.errors import BadCheckpoint


class RecordedGraph(Checkpoint):
    """Edges from each token to its highest-scoring keys: `edges` int32 [n, 2] (source, target), `score` float32 [n].

    Raises BadCheckpoint for a file without edges or tokens, or whose edges or target head are out of range.
    """

    kind = "recorded-graph"

    def __init__(self, file: EvidenceFile) -> None:
        self.file, self.spec, self.name = file, file.spec, file.path.stem
        self.sizes = stated_sizes(file)
        self.lacks = lacking_all_but("the file holds a recorded graph only", Capability.TOKENS, Capability.GRAPH)
        self._graph = self._read()

    def _read(self) -> Graph:
        file = self.file
        tokens = json_value(self.spec, file.metadata, "tokens")
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
            raise BadCheckpoint(f"{self.spec}: tokens in the header; wanted a list of strings")
        edges: Int[Tensor, "edge 2"] = file.tensor("edges", None, 2, whole=True)
        scores: Float[Tensor, " edge"] = file.tensor("score", len(edges))
        outside = (edges < 0) | (edges >= len(tokens))
        if not len(edges) or bool(outside.any()):
            raise BadCheckpoint(f"{self.spec}: edges missing or beyond; wanted indices from 0 to {len(tokens) - 1}")
        target = Head.parse(file.metadata.get("target", ""))
        if target is None or target.layer >= self.sizes.n_layers or target.index >= self.sizes.n_heads:
            raise BadCheckpoint(
                f"{self.spec}: target {file.metadata.get('target')!r} in the header; wanted the label of a head"
            )
        return Graph(target, tuple(plain_text([tokens])[0]), edges, scores)

    @property
    def identity(self) -> str:
        """The sha256 of the file."""
        return self.file.digest

    @property
    def graphs(self) -> Mapping[Head, Graph]:
        """The graph of the file, by its head."""
        return {self._graph.head: self._graph}

    @property
    def fingerprinted_layers(self) -> list[int]:
        """The layers whose fingerprint the file gives: none."""
        return []

    @property
    def gives(self) -> str:
        """What the file holds, in words."""
        return f"the graph of {self._graph.head.label}, {len(self._graph.edges)} edges"
