"""What a checkpoint is to an auditor: evidence of some kind, and what that kind can give."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.weights import QKWeights
from headclaims.errors import NotAssessable

Edit = Callable[[Tensor], Tensor]


class Capability(StrEnum):
    """What a claim can need and a kind of checkpoint can give."""

    TOKENS = "tokens"
    ATTENTION = "attention"
    INTERVENTIONS = "interventions"
    QK = "qk"
    EMBEDDING = "embedding"
    GRAPH = "graph"


@dataclass(frozen=True)
class Sizes:
    """A model's shape; None where the evidence doesn't say."""

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_vocab: int | None = None
    n_ctx: int | None = None


@dataclass(frozen=True, order=True)
class Head:
    """An attention head by layer and index, both from 0."""

    layer: int
    index: int

    @property
    def label(self) -> str:
        """As the field writes it: `L1H5`."""
        return f"L{self.layer}H{self.index}"

    @classmethod
    def parse(cls, label: str) -> Head | None:
        """The head of a label, None where it is none."""
        found = re.fullmatch(r"L(\d{1,6})H(\d{1,6})", label, re.ASCII)
        return cls(int(found[1]), int(found[2])) if found else None


def pattern_name(layer: int) -> str:
    """The activation that holds a layer's attention patterns, [prompt, head, query, key]."""
    return f"blocks.{layer}.attn.hook_pattern"


def patterns_of(run: Mapping[str, Tensor], heads: Sequence[Head]) -> Float[np.ndarray, "head prompt query key"]:
    """Patterns of heads out of a run that recorded their layers'."""
    return torch.stack([run[pattern_name(head.layer)][:, head.index] for head in heads]).float().cpu().numpy()


class Checkpoint(ABC):
    """Evidence about a model. A method whose capability is lacking raises NotAssessable with the reason.

    `kind` is one of hub, folder, gguf, planted, partial-weights, recorded-attention, recorded-graph; `name` is for
    readers and for the report's folder; `lacks` gives for each missing capability why.
    """

    kind: str
    spec: str
    name: str
    revision: str | None = None
    sizes: Sizes
    lacks: Mapping[Capability, str]

    @property
    def capabilities(self) -> list[Capability]:
        """What this evidence can give."""
        return [capability for capability in Capability if capability not in self.lacks]

    def require(self, capability: Capability) -> None:
        """Raise NotAssessable, with the reason, where a capability is missing."""
        if capability in self.lacks:
            raise NotAssessable(f"needs {capability.value}: {self.lacks[capability]}")

    def fingerprint(self, layer: int) -> str | None:
        """What names the checkpoint to readers: `RawQK.fingerprint` of a layer; None where there are no weights."""
        return None

    @property
    def bos(self) -> int:
        """The id put first in every prompt: BOS, or EOS where the tokenizer has no BOS."""
        raise self._lacking(Capability.TOKENS)

    @property
    def recorded_tokens(self) -> list[list[str]] | None:
        """The prompts that were recorded, as token strings; None where prompts can be chosen."""
        return None

    def single_token(self, text: str) -> int | None:
        """The id of a text that is one token, None where it is several or unknown."""
        raise self._lacking(Capability.TOKENS)

    @property
    def tokenizer(self) -> Any:
        """The model's own tokenizer, as transformers has it."""
        raise self._lacking(Capability.TOKENS)

    @property
    def vocabulary(self) -> list[str]:
        """Every token as text, by id."""
        raise self._lacking(Capability.TOKENS)

    def texts(self, tokens: Int[Tensor, " token"]) -> list[str]:
        """Some tokens as text."""
        return [self.vocabulary[token] for token in tokens.tolist()]

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """The token embedding, each row centred where the norms centre."""
        raise self._lacking(Capability.EMBEDDING)

    def attention_layers(self) -> list[int]:
        """The layers whose attention patterns can be had."""
        raise self._lacking(Capability.ATTENTION)

    def attention_patterns(
        self, tokens: Int[Tensor, "prompt position"] | None
    ) -> Float[Tensor, "layer prompt head query key"]:
        """Attention patterns of all `attention_layers`, rows summing to 1; recorded ones where tokens is None."""
        raise self._lacking(Capability.ATTENTION)

    def run(
        self,
        tokens: Int[Tensor, "prompt position"],
        edits: Mapping[str, Edit] | None = None,
        record: Sequence[str] = (),
        stop_at_layer: int | None = None,
        restart: tuple[int, Float[Tensor, "prompt position d_model"]] | None = None,
    ) -> dict[str, Tensor]:
        """Run the model with interventions.

        `edits` maps names of activations (TransformerLens's: `hook_embed`, `hook_pos_embed`, `blocks.0.hook_attn_out`,
        `blocks.0.hook_mlp_out`, `blocks.1.attn.hook_attn_scores`, …) to functions from the activation to what
        takes its place; `record` names those to return, after the edits: the run ends with the last of them. Where a
        layer is given in `stop_at_layer` it ends before that layer instead, and without either, with the logits. With
        `restart` (a layer, and the residual stream before it) layers before that one aren't run. Raises ValueError for
        a name this model hasn't.
        """
        raise self._lacking(Capability.INTERVENTIONS)

    def qk_layers(self) -> list[int]:
        """The layers whose query and key weights are there."""
        raise self._lacking(Capability.QK)

    def qk_weights(self, layer: int) -> QKWeights:
        """A layer's query and key weights, gain and bias folded in, centred over d_model where the norm centres."""
        raise self._lacking(Capability.QK)

    @property
    def free_dimensions(self) -> int:
        """How many dimensions a column of W_Q can have: d_model, less one where the norm centres."""
        raise self._lacking(Capability.QK)

    def rotation(self, offset: int) -> Float[Tensor, "d_head d_head"] | None:
        """R with score = (q R) kᵀ for a query and a key `offset` positions before it; None without rotary positions."""
        raise self._lacking(Capability.QK)

    def embed_alone(
        self,
        tokens: Int[Tensor, " token"],
        layer: int,
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Float[Tensor, "token d_model"]:
        """`embed_alone_at` of one layer."""
        return self.embed_alone_at(tokens, [layer], position, attention)[0]

    def embed_alone_at(
        self,
        tokens: Int[Tensor, " token"],
        layers: Sequence[int],
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Float[Tensor, "layer token d_model"]:
        """Each token alone, up to the target layers' norms, without their gain and bias.

        x ← W_E[token] + `position`; then for every layer l before a target layer: x ← x + `attention`[l] + MLP_l(x),
        the MLP reading what it reads in the model. `attention` covers all layers before the deepest.
        """
        raise self._lacking(Capability.EMBEDDING)

    def embedding_inputs(self, layer: int) -> dict[str, Tensor | str]:
        """Every tensor, and setting, that `embed_alone` computes from: the key under which its result may be kept."""
        raise self._lacking(Capability.EMBEDDING)

    @property
    def window(self) -> int | None:
        """How many of the last tokens a layer's attention sees at the fewest; None where it sees all."""
        return None

    @property
    def learned_positions(self) -> bool:
        """Whether positions are an embedding that is added, rather than a rotation of queries and keys."""
        raise self._lacking(Capability.INTERVENTIONS)

    @property
    def without_rotation(self) -> dict[str, Edit]:
        """Edits for `run` that take the rotation out of every layer's queries and keys.

        Raises NotAssessable where positions are neither an embedding nor a rotation that can be reached.
        """
        raise self._lacking(Capability.INTERVENTIONS)

    @property
    def run_digest(self) -> str:
        """A hash of every parameter and the config: all that a result of running the model depends on."""
        raise self._lacking(Capability.INTERVENTIONS)

    def _lacking(self, capability: Capability) -> NotAssessable:
        return NotAssessable(f"needs {capability.value}: {self.lacks.get(capability, 'not given')}")
