"""Recorded attention: files of attention patterns, on prompts whose tokens they hold.

A file has one tensor a layer, `blocks.{L}.attn.hook_pattern` [prompt, head, query, key], where its prompts are of one
length, or one a prompt and layer, `{n}/blocks.{L}.attn.hook_pattern` [head, query, key]. The axis of a single prompt
may be there or not, as TransformerLens caches have it.
"""

from __future__ import annotations

import re
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.checkpoint.interface import Capability, Checkpoint, Head, Sizes, in_words
from headclaims.checkpoint.safetensors_file import EvidenceFile, json_value
from headclaims.checkpoint.spelling import plain_text
from headclaims.checkpoint.weights import finite
from headclaims.errors import BadCheckpoint, NotAssessable

PATTERN = re.compile(r"(?:(\d{1,9})/)?blocks\.(\d{1,9})\.attn\.hook_pattern", re.ASCII)
ROW_SUM_TOLERANCE = 1e-3
HALF_PRECISION = (torch.bfloat16, torch.float16)
AHEAD_TOLERANCE = 1e-6
SHORTEST = 3


def stated_sizes(file: EvidenceFile) -> Sizes:
    """Return the sizes in a file's header; raises BadCheckpoint where those of all models are not there."""
    n_heads = file.size("n_head", "num_attention_heads")
    d_model = file.size("n_embd", "hidden_size")
    d_head = file.size("head_dim") if file.config.get("head_dim") else d_model // n_heads
    n_layers = file.size("n_layer", "num_hidden_layers")
    return Sizes(n_layers, n_heads, d_model, d_head, file.optional_size("vocab_size"))


def lacking_all_but(why: str, *given: Capability) -> dict[Capability, str]:
    """Return every capability but some, with the reason why it is missing."""
    return {capability: why for capability in Capability if capability not in given}


def row_sum_tolerance(pattern: Tensor) -> float:
    """Return by how much rows may miss a sum of 1: 1e-3, or where values are in half precision twice its rounding.

    Rounding to bfloat16 moves a row's sum by at most 2⁻⁸, to float16 by 2⁻¹¹; a softmax computed in that type adds as
    much. Values that were computed in half precision and stored in float32 are told by being numbers of that type.
    """
    for kind in HALF_PRECISION:
        if pattern.dtype == kind or torch.equal(pattern.to(kind).to(pattern.dtype), pattern):
            return max(ROW_SUM_TOLERANCE, torch.finfo(kind).eps)
    return ROW_SUM_TOLERANCE


class RecordedAttention(Checkpoint):
    """Attention patterns of some layers on recorded prompts, of any lengths, with any tokens.

    Raises BadCheckpoint for a file without patterns, or whose patterns are not causal with rows that sum to 1.
    """

    kind = "recorded-attention"

    def __init__(self, file: EvidenceFile) -> None:
        self.file, self.spec, self.name = file, file.spec, file.path.stem
        self.lacks = lacking_all_but("the file holds recorded attention only", Capability.TOKENS, Capability.ATTENTION)
        self._tokens = self._read_tokens()
        self._layers, self._by_prompt = self._read_names()
        self.sizes = self._read_sizes()
        self._fingerprints = self._read_fingerprints()
        for prompt in range(len(self._tokens) if self._by_prompt else 1):
            for layer in self._layers:
                self._check(self._name(prompt, layer), self._stored(prompt, layer))

    def _read_tokens(self) -> list[list[str]]:
        tokens = json_value(self.spec, self.file.metadata, "tokens")
        if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
            tokens = [tokens]
        right = isinstance(tokens, list) and all(
            isinstance(prompt, list) and prompt and all(isinstance(token, str) for token in prompt) for prompt in tokens
        )
        if not right or max(map(len, tokens), default=0) < SHORTEST:
            raise BadCheckpoint(
                f"{self.spec}: tokens in the header; wanted one list of strings a prompt, {SHORTEST} or more in one"
            )
        return plain_text(tokens)

    def _read_names(self) -> tuple[list[int], bool]:
        """Return the recorded layers, and whether there is a tensor a prompt."""
        matches = [match for name in self.file.shapes if (match := PATTERN.fullmatch(name))]
        if not matches:
            raise BadCheckpoint(f"{self.spec}: no tensor blocks.{{L}}.attn.hook_pattern")
        layers = sorted({int(match[2]) for match in matches})
        numbered = {match[1] is not None for match in matches}
        if len(numbered) > 1:
            raise BadCheckpoint(f"{self.spec}: patterns of all prompts and of single ones; wanted either")
        by_prompt = numbered == {True}
        if not by_prompt and len(lengths := {len(prompt) for prompt in self._tokens}) > 1:
            raise BadCheckpoint(
                f"{self.spec}: tokens of prompts of {min(lengths)} to {max(lengths)} in one tensor a layer; wanted one "
                "a prompt, {n}/blocks.{L}.attn.hook_pattern"
            )
        if by_prompt:
            beyond = [match[0] for match in matches if int(match[1]) >= len(self._tokens)]
            if beyond:
                raise BadCheckpoint(f"{self.spec}: tensor {beyond[0]}, tokens of {len(self._tokens)} prompts")
        return layers, by_prompt

    def _read_sizes(self) -> Sizes:
        """Return the sizes that the header states; heads it doesn't state are those of the first pattern."""
        file = self.file
        n_heads = file.optional_size("n_head") or file.optional_size("num_attention_heads")
        if n_heads is None:
            shape = file.shapes.get(self._name(0, self._layers[0]), ())
            if len(shape) < 3 or not shape[-3]:
                raise BadCheckpoint(f"{self.spec}: config without n_head or num_attention_heads")
            n_heads = shape[-3]
        n_layers = file.optional_size("n_layer") or file.optional_size("num_hidden_layers")
        self._states_layers = n_layers is not None
        if n_layers is not None and self._layers[-1] >= n_layers:
            raise BadCheckpoint(f"{self.spec}: attention of layer {self._layers[-1]}, config with {n_layers} layers")
        d_model = file.optional_size("n_embd") or file.optional_size("hidden_size") or 0
        d_head = file.optional_size("head_dim") or d_model // n_heads
        return Sizes(n_layers or self._layers[-1] + 1, n_heads, d_model, d_head, file.optional_size("vocab_size"))

    def _read_fingerprints(self) -> dict[int, str]:
        """Return the fingerprints of layers that the header states, as `headclaims record` does."""
        if "fingerprints" not in self.file.metadata:
            return {}
        stated = json_value(self.spec, self.file.metadata, "fingerprints")
        right = isinstance(stated, dict) and all(
            re.fullmatch(r"\d{1,9}", layer, re.ASCII) and isinstance(value, str) for layer, value in stated.items()
        )
        if not right:
            raise BadCheckpoint(f"{self.spec}: fingerprints in the header; wanted an object of one a layer")
        return {int(layer): value for layer, value in stated.items()}

    def _name(self, prompt: int, layer: int) -> str:
        return f"{prompt}/blocks.{layer}.attn.hook_pattern" if self._by_prompt else f"blocks.{layer}.attn.hook_pattern"

    def _shape(self, prompt: int, name: str) -> tuple[int, ...]:
        """Return the shape that a tensor should have; a single prompt's axis is left out where the file leaves it."""
        length, n_prompts = len(self._tokens[prompt]), 1 if self._by_prompt else len(self._tokens)
        shape = self.sizes.n_heads, length, length
        return shape if n_prompts == 1 and len(self.file.shapes.get(name, ())) == 3 else (n_prompts, *shape)

    def _stored(self, prompt: int, layer: int) -> Float[Tensor, "_ head query key"]:
        """Read a tensor in the type that it is stored in."""
        name = self._name(prompt, layer)
        pattern = self.file.tensor(name, *self._shape(prompt, name), as_stored=True)
        return pattern if pattern.ndim == 4 else pattern[None]

    def _check(self, name: str, stored: Float[Tensor, "_ head query key"]) -> None:
        """Raise BadCheckpoint unless attention is finite, not negative, to no later position, and in rows of sum 1."""
        pattern = stored.float()
        length = pattern.shape[-1]
        # In one pass over what may be gigabytes: each row's sum, and what of it is on later positions.
        weights = torch.stack([torch.ones(length, length), torch.ones(length, length).triu(1)], dim=-1)
        sums, ahead = (pattern.flatten(0, 1).transpose(0, 1) @ weights).unbind(-1)
        if not bool(torch.isfinite(sums).all()):
            finite(name, pattern, self.spec)
        if float(pattern.min()) < 0:
            raise BadCheckpoint(f"{self.spec}: tensor {name} holds negative attention, {float(pattern.min()):.3g}")
        if float(ahead.max()) > AHEAD_TOLERANCE and (most := float(pattern.triu(1).max())) > AHEAD_TOLERANCE:
            raise BadCheckpoint(f"{self.spec}: tensor {name} attends to later positions, by up to {most:.3g}; wanted 0")
        off = float((sums - 1).abs().max())
        if off > ROW_SUM_TOLERANCE and off > row_sum_tolerance(stored):
            raise BadCheckpoint(f"{self.spec}: tensor {name} has rows whose sum is {off:.3g} from 1; wanted sums of 1")

    @property
    def identity(self) -> str:
        """The sha256 of the file."""
        return self.file.digest

    def fingerprint(self, layer: int) -> str | None:
        """Return the fingerprint of a layer's weights that the header states; None where it states none."""
        return self._fingerprints.get(layer)

    @property
    def fingerprinted_layers(self) -> list[int]:
        """The layers whose fingerprint the header states."""
        return list(self._fingerprints)

    @property
    def n_model_heads(self) -> int | None:
        """The number of the model's heads; None where the header does not state the model's layers."""
        return super().n_model_heads if self._states_layers else None

    @property
    def recorded_tokens(self) -> list[list[str]]:
        """Recorded prompts, as token strings with the space before a word; position 0 may be BOS or not."""
        return self._tokens

    def attention_layers(self) -> list[int]:
        """Return the recorded layers."""
        return self._layers

    def recorded_patterns(self, prompt: int) -> Float[Tensor, "layer head query key"]:
        """Return the patterns of all recorded layers on a recorded prompt."""
        return torch.stack([self.pattern(prompt, layer) for layer in self._layers])

    def recorded_attention(self, head: Head, prompt: int) -> Float[Tensor, "query key"]:
        """Return a head's pattern on a recorded prompt; raises NotAssessable for a layer that was not recorded."""
        if head.layer not in self._layers:
            raise NotAssessable(f"needs attention of {head.label}: the file has that of layers {self._layers}")
        return self.pattern(prompt, head.layer, head.index)

    def pattern(self, prompt: int, layer: int, *head: int) -> Float[Tensor, "*head query key"]:
        """Read the pattern of one prompt, of all heads [head, query, key] or of one [query, key]."""
        name = self._name(prompt, layer)
        has_prompts = len(self.file.shapes[name]) == 4
        at = (0 if self._by_prompt else prompt,) if has_prompts else ()
        return self.file.part(name, *at, *head)

    @cached_property
    def gives(self) -> str:
        """What the file holds, in words."""
        lengths = sorted({len(prompt) for prompt in self._tokens})
        tokens = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
        n = len(self._tokens)
        return f"attention of {in_words(self._layers)} on {n} prompt{'s' * (n > 1)} of {tokens} tokens"
