"""The interface of all checkpoints: evidence of some kind about a model, with the capabilities of that kind."""

from __future__ import annotations

import hashlib
import re
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.cache import Cache, Input
from headclaims.checkpoint.ov_weights import OVWeights
from headclaims.checkpoint.weights import QKWeights, ScoreWeights
from headclaims.errors import NotAssessable

Edit = Callable[[Tensor], Tensor]
NUMBERS_AT_ONCE = 2**22
"""Numbers of patterns of all heads that one run of a model is made for: 16 MiB."""


class Capability(StrEnum):
    """What a claim can require and a kind of checkpoint can provide."""

    TOKENS = "tokens"
    ATTENTION = "attention"
    INTERVENTIONS = "interventions"
    SCORES = "scores"
    QK = "qk"
    OV = "ov"
    EMBEDDING = "embedding"
    GRAPH = "graph"


@dataclass(frozen=True)
class Sizes:
    """A model's shape; None, of d_model and d_head 0, where the evidence does not give a size."""

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_vocab: int | None = None
    n_ctx: int | None = None

    def __contains__(self, head: Head) -> bool:
        """Return whether the model has a head."""
        return head.layer < self.n_layers and head.index < self.n_heads

    def prompts_at_once(self, length: int, fewest: int) -> int:
        """Return how many prompts of a length to run at once: as many as `NUMBERS_AT_ONCE` allows, at least `fewest`.

        Beginning a run takes a small model longer than the run itself.
        """
        return max(fewest, NUMBERS_AT_ONCE // (self.n_layers * self.n_heads * length**2))


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a model's weights: as they are held, and at most while they are loaded; and the type they are in."""

    held: int
    while_loading: int
    itemsize: int
    type: str


@dataclass(frozen=True, order=True)
class Head:
    """An attention head by layer and index, both from 0."""

    layer: int
    index: int

    @property
    def label(self) -> str:
        """Usual name of the head, such as `L1H5`."""
        return f"L{self.layer}H{self.index}"

    @classmethod
    def parse(cls, label: str) -> Head | None:
        """Read a head from its label; None where the text is not a label."""
        match = re.fullmatch(r"L(\d{1,6})H(\d{1,6})", label, re.ASCII)
        return cls(int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True)
class Graph:
    """A head's edges from each token to its highest-scoring keys, with their scores."""

    head: Head
    tokens: tuple[str, ...]
    edges: Int[Tensor, "edge 2"]
    scores: Float[Tensor, " edge"]


@dataclass(frozen=True)
class Source:
    """A file that evidence is from: its sha256, what it gives, and why it is not used where it isn't."""

    file: str
    sha256: str | None = None
    gives: str | None = None
    left_out: str | None = None


def in_words(layers: Sequence[int]) -> str:
    """Name layers by number, ascending: `layer 2`, `layers 0, 1, 4 to 6`."""
    spans: list[list[int]] = []
    for layer in layers:
        if spans and spans[-1][-1] == layer - 1:
            spans[-1].append(layer)
        else:
            spans.append([layer])
    if not layers:
        return "no layer"
    named = [f"{span[0]} to {span[-1]}" if len(span) > 2 else ", ".join(map(str, span)) for span in spans]
    return f"layer{'s' * (len(layers) > 1)} {', '.join(named)}"


def pattern_name(layer: int) -> str:
    """Return the name of the activation that holds a layer's attention patterns, [prompt, head, query, key]."""
    return f"blocks.{layer}.attn.hook_pattern"


def patterns_of(run: Mapping[str, Tensor], heads: Sequence[Head]) -> Float[np.ndarray, "head prompt query key"]:
    """Select the patterns of heads from a run that recorded their layers' patterns."""
    return torch.stack([run[pattern_name(head.layer)][:, head.index] for head in heads]).float().cpu().numpy()


class Checkpoint(ABC):
    """Evidence about a model; a method or property whose capability is missing raises NotAssessable with the reason.

    `kind` is one of hub, folder, gguf, planted, trained, partial-weights, recorded-attention, recorded-graph, bundle;
    `name` is shown to readers and names the report's folder; `lacks` maps each missing capability to the reason.
    """

    kind: str
    spec: str
    name: str
    revision: str | None = None
    construction: str | None = None
    """Of a planted checkpoint the name of its construction."""
    sizes: Sizes
    lacks: Mapping[Capability, str]
    cache = Cache(None)
    """Where it keeps what it found out by running the model, none before an audit gives one."""

    @property
    def capabilities(self) -> list[Capability]:
        """Capabilities that this evidence provides."""
        return [capability for capability in Capability if capability not in self.lacks]

    def require(self, capability: Capability) -> None:
        """Raise NotAssessable, with the reason, where a capability is missing."""
        if capability in self.lacks:
            raise NotAssessable(f"needs {capability.value}: {self.lacks[capability]}")

    @property
    def weight_bytes(self) -> WeightBytes | None:
        """How much memory the weights take; None of evidence that does not run."""
        return None

    def fingerprint(self, layer: int) -> str | None:
        """Return the `RawQK.fingerprint` of a layer, which identifies the checkpoint; None without its weights."""
        return None

    @property
    def n_model_heads(self) -> int | None:
        """The number of the model's heads; None where the evidence does not give it."""
        return (self.sizes.n_layers - len(self.layers_without_heads)) * self.sizes.n_heads

    @property
    def bos(self) -> int:
        """Id of the first token of every prompt: BOS, or EOS where the tokenizer has no BOS."""
        raise self._lacking(Capability.TOKENS)

    @property
    def prompts_begin_with(self) -> str | None:
        """`BOS`, or `EOS` where the tokenizer has no BOS; None where prompts are not made here."""
        return None

    @property
    def recorded_tokens(self) -> list[list[str]] | None:
        """Recorded prompts, as token strings; None where prompts can be chosen."""
        return None

    @property
    def graphs(self) -> Mapping[Head, Graph]:
        """Recorded graphs by the head that they are of."""
        return {}

    @property
    def recordings(self) -> Sequence[Checkpoint]:
        """The same evidence about each of several recordings that can't be compared; empty where there is none such."""
        return ()

    @property
    def sources(self) -> Sequence[Source] | None:
        """The files that the evidence is from, where these may be several."""
        return None

    def single_token(self, text: str) -> int | None:
        """Return the id of a text that is one token, None where it is several or unknown."""
        raise self._lacking(Capability.TOKENS)

    @property
    def tokenizer(self) -> Any:
        """The model's own tokenizer, as an object of transformers."""
        raise self._lacking(Capability.TOKENS)

    @property
    def vocabulary(self) -> list[str]:
        """Every token as text, by id."""
        raise self._lacking(Capability.TOKENS)

    def texts(self, tokens: Int[Tensor, " token"]) -> list[str]:
        """Return some tokens as text."""
        return [self.vocabulary[token] for token in tokens.tolist()]

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """Token embedding, each row centred where the norms centre."""
        raise self._lacking(Capability.EMBEDDING)

    @property
    def layers_without_heads(self) -> Mapping[int, str]:
        """Layers without softmax attention, as far as is known, with what they have instead: `conv`, `mamba`."""
        return {}

    @property
    def attends_ahead(self) -> float:
        """The largest share of a row of attention that was seen to go to later positions: 0 for a causal model."""
        return 0.0

    @property
    def model_heads(self) -> list[Head]:
        """Every head of the model, whether or not the evidence tells of it."""
        layers = (layer for layer in range(self.sizes.n_layers) if layer not in self.layers_without_heads)
        return [Head(layer, head) for layer in layers for head in range(self.sizes.n_heads)]

    def attention_layers(self) -> list[int]:
        """Return the layers whose attention patterns are available."""
        raise self._lacking(Capability.ATTENTION)

    def attention_patterns(
        self, tokens: Int[Tensor, "prompt position"] | None
    ) -> Float[Tensor, "layer prompt head query key"]:
        """Run the model and return attention patterns of all `attention_layers`, rows summing to 1."""
        raise self._lacking(Capability.ATTENTION)

    def recorded_patterns(self, prompt: int) -> Float[Tensor, "layer head query key"]:
        """Return the patterns of all `attention_layers` on one of the recorded prompts."""
        raise self._lacking(Capability.ATTENTION)

    def recorded_attention(self, head: Head, prompt: int) -> Float[Tensor, "query key"]:
        """Return a head's pattern on one of the recorded prompts."""
        raise self._lacking(Capability.ATTENTION)

    def run(
        self,
        tokens: Int[Tensor, "prompt position"],
        edits: Mapping[str, Edit] | None = None,
        record: Sequence[str] = (),
        stop_at_layer: int | None = None,
        restart: tuple[int, Float[Tensor, "prompt position d_model"]] | None = None,
    ) -> dict[str, Tensor]:
        """Run the model with interventions and return the recorded activations by name.

        `edits` maps names of activations (TransformerLens's: `hook_embed`, `hook_pos_embed`, `blocks.0.hook_attn_out`,
        `blocks.0.hook_mlp_out`, `blocks.1.attn.hook_attn_scores`, …) to functions from the activation to its
        replacement; `record` names the activations to return, after the edits. The run ends with the last of these,
        or before `stop_at_layer` where it is given, or without either with the logits. With `restart` (a layer, and the
        residual stream before it) earlier layers are not run. Raises ValueError for a name that this model lacks.
        """
        raise self._lacking(Capability.INTERVENTIONS)

    def mixing_output(self, layer: int) -> str:
        """Return the name of the activation that a layer's attention adds to the residual stream, for `run`.

        In a layer of another kind it is what that has in place of attention.
        """
        return f"blocks.{layer}.hook_attn_out"

    def stream_fault(self, layer: int) -> str | None:
        """Say why the residual stream before a layer is not the sum of its parts; None where it is.

        Parts are the token embedding, the position embedding where there is one, and each earlier layer's
        `mixing_output` and MLP.
        """
        return None

    def require_sum(self, layer: int) -> None:
        """Raise NotAssessable where the residual stream before a layer is not the sum of its parts."""
        why = self.stream_fault(layer)
        if why is not None:
            raise NotAssessable(f"needs the residual stream as a sum of parts: {why}")

    def qk_layers(self) -> list[int]:
        """Return the layers whose query and key weights are available."""
        raise self._lacking(Capability.QK)

    def qk_weights(self, layer: int) -> QKWeights:
        """Return a layer's query and key weights, its norm folded in, centred over d_model where the norm centres."""
        raise self._lacking(Capability.QK)

    def ov_layers(self) -> list[int]:
        """Return the layers whose value and output weights are available."""
        raise self._lacking(Capability.OV)

    def ov_weights(self, layer: int) -> OVWeights:
        """Return a layer's value and output weights, its norm folded in, centred as TransformerLens does."""
        raise self._lacking(Capability.OV)

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """Unembedding with the final norm's gain folded in, centred over tokens and, where norms centre, over d_model.

        Raises NotAssessable where the evidence has none.
        """
        raise NotAssessable("needs an unembedding: the evidence has none")

    def output_scale(self, layer: int) -> str | None:
        """Return the activation by which a layer's attention output is divided before it is added; None without one."""
        raise self._lacking(Capability.OV)

    @property
    def free_dimensions(self) -> int:
        """Dimension of the space of W_Q's columns: d_model, or d_model − 1 where the norm centres."""
        raise self._lacking(Capability.QK)

    def score_weights(self, layer: int) -> ScoreWeights:
        """Return all that a layer's heads score two tokens by: `qk_weights`, with norms and a cap where it has any."""
        self.require(Capability.SCORES)
        return ScoreWeights(self.qk_weights(layer))

    def rotation(self, layer: int, offset: int) -> Float[Tensor, "d_head d_head"] | None:
        """Return a layer's R with score = (q R) kᵀ for a key `offset` positions before its query; None without one."""
        raise self._lacking(Capability.SCORES)

    def embed_alone(
        self,
        tokens: Int[Tensor, " token"],
        layer: int,
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Float[Tensor, "token d_model"]:
        """Run `embed_alone_at` for one layer."""
        return self.embed_alone_at(tokens, [layer], position, attention)[0]

    def embed_alone_at(
        self,
        tokens: Int[Tensor, " token"],
        layers: Sequence[int],
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Float[Tensor, "layer token d_model"]:
        """Return each token's residual stream by itself, after the input norm of each layer, without gain and bias.

        x ← W_E[token] + `position`; then for every layer l before the given one: x ← x + `attention`[l] + MLP_l(x),
        where the MLP reads what it reads in the model. `attention` covers all layers before the deepest. A layer
        without input norm, as OLMo 2's, reads the stream itself.
        """
        raise self._lacking(Capability.EMBEDDING)

    def embed_by_layer(
        self,
        tokens: Int[Tensor, " token"],
        layers: Sequence[int],
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Iterator[Float[Tensor, "token d_model"]]:
        """Yield what `embed_alone_at` returns layer by layer, `layers` ascending: one layer at a time is in memory."""
        yield from self.embed_alone_at(tokens, layers, position, attention)

    def embedding_inputs(self, layer: int) -> dict[str, Tensor | str]:
        """Return every tensor and setting that `embed_alone` depends on, as the cache key of its result."""
        raise self._lacking(Capability.EMBEDDING)

    def rotation_at(self, layer: int) -> Callable[[int], Float[Tensor, "d_head d_head"] | None]:
        """Return a layer's `rotation` as a function of the offset."""
        return partial(self.rotation, layer)

    def window(self, layer: int) -> int | None:
        """Return how many last tokens, its own among them, a layer's query sees; None where it sees all."""
        return None

    @property
    def learned_positions(self) -> bool:
        """Whether positions are an embedding that is added, rather than another form such as a rotation."""
        raise self._lacking(Capability.INTERVENTIONS)

    @property
    def without_rotation(self) -> dict[str, Edit]:
        """Edits for `run` that remove the rotation from every layer's queries and keys.

        Raises NotAssessable where positions are neither an embedding nor a rotation that edits can reach.
        """
        raise self._lacking(Capability.INTERVENTIONS)

    def cache_inputs(self) -> dict[str, Input]:
        """Return what results of running the model depend on."""
        return {"model": lambda: self.run_digest}

    @property
    def identity(self) -> str:
        """A sha256 that tells the checkpoint from others of its name: over the fingerprints of all layers."""
        fingerprints = [self.fingerprint(layer) or "" for layer in range(self.sizes.n_layers)]
        return hashlib.sha256("".join(fingerprints).encode()).hexdigest()

    @property
    def run_digest(self) -> str:
        """Hash of every parameter and the config, on which results of running the model depend."""
        raise self._lacking(Capability.INTERVENTIONS)

    def _lacking(self, capability: Capability) -> NotAssessable:
        return NotAssessable(f"needs {capability.value}: {self.lacks.get(capability, 'not given')}")
