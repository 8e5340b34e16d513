"""Recorded evidence: files of attention patterns, or of a graph of each token's highest-scoring keys."""

from __future__ import annotations

import re
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Capability, Checkpoint, Head, Sizes
from headclaims.checkpoint.safetensors_file import EvidenceFile, json_value
from headclaims.errors import BadCheckpoint

ROW_SUM_TOLERANCE = 1e-3
AHEAD_TOLERANCE = 1e-6


def _sizes(file: EvidenceFile) -> Sizes:
    n_heads = file.size("n_head", "num_attention_heads")
    d_model = file.size("n_embd", "hidden_size")
    d_head = file.size("head_dim") if file.config.get("head_dim") else d_model // n_heads
    n_layers = file.size("n_layer", "num_hidden_layers")
    return Sizes(n_layers, n_heads, d_model, d_head, file.optional_size("vocab_size"))


def _lacks(why: str, *given: Capability) -> dict[Capability, str]:
    return {capability: why for capability in Capability if capability not in given}


class RecordedAttention(Checkpoint):
    """Patterns `blocks.{L}.attn.hook_pattern` [prompt, head, query, key] on prompts whose tokens are in the file.

    Raises BadCheckpoint for a file without patterns, or whose patterns are not causal with rows that sum to 1.
    """

    kind = "recorded-attention"

    def __init__(self, file: EvidenceFile) -> None:
        self.file, self.spec, self.name, self.sizes = file, file.spec, file.path.stem, _sizes(file)
        self.lacks = _lacks("the file holds recorded attention only", Capability.TOKENS, Capability.ATTENTION)
        self._tokens = self._read_tokens()
        self._patterns = {layer: self._read_pattern(name) for layer, name in self._named.items()}

    @cached_property
    def _named(self) -> dict[int, str]:
        matches = (re.fullmatch(r"blocks\.(\d+)\.attn\.hook_pattern", name) for name in self.file.shapes)
        named = {int(m[1]): m[0] for m in sorted((m for m in matches if m), key=lambda m: int(m[1]))}
        if not named:
            raise BadCheckpoint(f"{self.spec}: no tensor blocks.{{L}}.attn.hook_pattern")
        if max(named) >= self.sizes.n_layers:
            raise BadCheckpoint(
                f"{self.spec}: attention of layer {max(named)}, config with {self.sizes.n_layers} layers"
            )
        return named

    def _read_tokens(self) -> list[list[str]]:
        tokens = json_value(self.spec, self.file.metadata, "tokens")
        right = isinstance(tokens, list) and all(
            isinstance(prompt, list) and all(isinstance(token, str) for token in prompt) for prompt in tokens
        )
        if not right or not tokens or len({len(prompt) for prompt in tokens}) != 1 or len(tokens[0]) < 3:
            raise BadCheckpoint(
                f"{self.spec}: tokens in the header; wanted one list of strings a prompt, all of one length, 3 or more"
            )
        return [list(prompt) for prompt in tokens]

    def _read_pattern(self, name: str) -> Float[Tensor, "prompt head query key"]:
        length = len(self._tokens[0])
        pattern = self.file.tensor(name, len(self._tokens), self.sizes.n_heads, length, length)
        if float(pattern.min()) < 0:
            raise BadCheckpoint(f"{self.spec}: tensor {name} holds negative attention, {float(pattern.min()):.3g}")
        ahead = float(pattern.triu(diagonal=1).max())
        if ahead > AHEAD_TOLERANCE:
            raise BadCheckpoint(
                f"{self.spec}: tensor {name} attends to later positions, by up to {ahead:.3g}; wanted 0"
            )
        off = float((pattern.double().sum(dim=-1) - 1).abs().max())
        if off > ROW_SUM_TOLERANCE:
            raise BadCheckpoint(f"{self.spec}: tensor {name} has rows whose sum is {off:.3g} from 1; wanted sums of 1")
        return pattern

    @property
    def identity(self) -> str:
        """The sha256 of the file."""
        return self.file.digest

    @property
    def recorded_tokens(self) -> list[list[str]]:
        """Recorded prompts, as token strings; position 0 is BOS."""
        return self._tokens

    def attention_layers(self) -> list[int]:
        """Return the recorded layers."""
        return list(self._patterns)

    def attention_patterns(
        self, tokens: Int[Tensor, "prompt position"] | None
    ) -> Float[Tensor, "layer prompt head query key"]:
        """Return the recorded patterns; raises NotAssessable for any other tokens than the recorded ones."""
        if tokens is not None:
            raise self._lacking(Capability.INTERVENTIONS)
        return torch.stack(list(self._patterns.values()))


class RecordedGraph(Checkpoint):
    """Edges from each token to its highest-scoring keys: `edges` int32 [n, 2] (source, target), `score` float32 [n].

    Raises BadCheckpoint for a file without edges or tokens, or whose edges or target head are out of range.
    """

    kind = "recorded-graph"

    def __init__(self, file: EvidenceFile) -> None:
        self.file, self.spec, self.name, self.sizes = file, file.spec, file.path.stem, _sizes(file)
        self.lacks = _lacks("the file holds a recorded graph only", Capability.TOKENS, Capability.GRAPH)
        tokens = json_value(self.spec, file.metadata, "tokens")
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
            raise BadCheckpoint(f"{self.spec}: tokens in the header; wanted a list of strings")
        self.graph_tokens: list[str] = tokens
        self.edges: Int[Tensor, "edge 2"] = file.tensor("edges", None, 2, whole=True)
        self.edge_scores: Float[Tensor, " edge"] = file.tensor("score", len(self.edges))
        outside = (self.edges < 0) | (self.edges >= len(tokens))
        if not len(self.edges) or bool(outside.any()):
            raise BadCheckpoint(f"{self.spec}: edges missing or beyond; wanted indices from 0 to {len(tokens) - 1}")
        target = Head.parse(file.metadata.get("target", ""))
        if target is None or target.layer >= self.sizes.n_layers or target.index >= self.sizes.n_heads:
            raise BadCheckpoint(
                f"{self.spec}: target {file.metadata.get('target')!r} in the header; wanted the label of a head"
            )
        self.target = target

    @property
    def identity(self) -> str:
        """The sha256 of the file."""
        return self.file.digest
