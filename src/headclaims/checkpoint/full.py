"""A complete model: a hub id, a local folder or a `.gguf`, run through TransformerLens.

The bridge is booted from local files and put into compatibility mode once: norms are folded into the weights that read
them, and reading and writing weights are centred, as for the write-up's numbers.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from headclaims.cache import Input, digest
from headclaims.checkpoint.attending import Layers
from headclaims.checkpoint.inside import TokensInside
from headclaims.checkpoint.interface import Capability, Checkpoint, Edit, Sizes, WeightBytes, pattern_name
from headclaims.checkpoint.left_out import left_out
from headclaims.checkpoint.lone_tokens import LoneTokens
from headclaims.checkpoint.ov_weights import OVWeights
from headclaims.checkpoint.own_outputs import OwnOutputs
from headclaims.checkpoint.own_scores import OwnScores
from headclaims.checkpoint.quiet import quiet
from headclaims.checkpoint.stream import Fault, first_fault, mixing_output, position_fault
from headclaims.checkpoint.weights import QKWeights, ScoreWeights
from headclaims.errors import BadCheckpoint, NotAssessable

TOKENS_AT_ONCE = 4096


class FullCheckpoint(Checkpoint):
    """A model that runs, with its tokenizer."""

    def __init__(
        self,
        kind: str,
        spec: str,
        name: str,
        bridge: Any,
        tokenizer: Any,
        raw: dict[int, str],
        layers: Layers,
        folded: bool = True,
    ) -> None:
        self.kind, self.spec, self.name, self._layers = kind, spec, name, layers
        self._bridge, self._tokenizer, self._fingerprints = bridge, tokenizer, raw
        cfg = bridge.cfg
        self.sizes = Sizes(cfg.n_layers, layers.n_heads, cfg.d_model, cfg.d_head, cfg.d_vocab, cfg.n_ctx)
        self.folded = folded
        self._scores = OwnScores(bridge, self.sizes, self.run, folded)
        self._token_of: dict[str, int | None] = {}
        self._outputs = OwnOutputs(bridge, self.sizes, self.run, folded)
        why_not = self._scores.not_bilinear()
        self.lacks: dict[Capability, str] = {} if why_not is None else {Capability.QK: why_not}

    @property
    def learned_positions(self) -> bool:
        """Whether positions are an embedding, added to the token embedding where TransformerLens shows it."""
        return self._bridge.cfg.positional_embedding_type == "standard" and "hook_pos_embed" in self._bridge.hook_dict

    @property
    def _centres(self) -> bool:
        return not self._bridge.cfg.uses_rms_norm

    @property
    def free_dimensions(self) -> int:
        """d_model, or d_model − 1 under LayerNorm."""
        return self.sizes.d_model - int(self._centres)

    @property
    def weight_bytes(self) -> WeightBytes:
        """How much memory the weights take, twice as much while they are folded in place; on any device."""
        parameters = list(self._bridge.original_model.parameters())
        held = sum(of.numel() * of.element_size() for of in parameters)
        widest = sum(of.numel() for of in parameters) * 4
        dtype = self._bridge.cfg.dtype
        loading = 2 * widest if self.folded else held
        return WeightBytes(held, loading, dtype.itemsize, str(dtype).removeprefix("torch."))

    def fingerprint(self, layer: int) -> str:
        """Return the `RawQK.fingerprint` of a layer, computed before folding."""
        return self._fingerprints[layer]

    @property
    def bridge(self) -> Any:
        """The model in TransformerLens: with weights folded in place where it is `folded`, otherwise as stored."""
        return self._bridge

    def mutated(self, mutation: str) -> None:
        """Change the name and the fingerprints after a deliberate change of weights, as this is another checkpoint."""
        self.name += f"-{mutation}"
        self._scores = OwnScores(self._bridge, self.sizes, self.run, self.folded)
        self._outputs = OwnOutputs(self._bridge, self.sizes, self.run, self.folded)
        for found in ("run_digest", "_fault", "_alone", "without_rotation"):
            vars(self).pop(found, None)
        self._fingerprints = {
            layer: hashlib.sha256(f"{raw} {mutation}".encode()).hexdigest() for layer, raw in self._fingerprints.items()
        }

    @cached_property
    def bos(self) -> int:
        """Id of the tokenizer's BOS, or of its EOS without one; raises BadCheckpoint where the model has neither."""
        for token in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token is not None and token >= (self.sizes.d_vocab or 0):
                raise BadCheckpoint(
                    f"{self.spec}: the tokenizer begins texts with token {token}; the model has {self.sizes.d_vocab}"
                )
            if token is not None:
                return int(token)
        raise BadCheckpoint(
            f"{self.spec}: the tokenizer has neither a BOS nor an EOS token; wanted one to begin prompts"
        )

    @property
    def prompts_begin_with(self) -> str:
        """Whether `bos` is the tokenizer's BOS or its EOS."""
        return "EOS" if self._tokenizer.bos_token_id is None else "BOS"

    @cached_property
    def _inside(self) -> TokensInside:
        return TokensInside(self._tokenizer)

    def single_token(self, text: str) -> int | None:
        """Return the id of a text that is one known token inside a text, otherwise None."""
        if text not in self._token_of:
            ids = self._inside.ids(text)
            known = len(ids) == 1 and ids[0] != self._tokenizer.unk_token_id and ids[0] < (self.sizes.d_vocab or 0)
            self._token_of[text] = int(ids[0]) if known else None
        return self._token_of[text]

    @property
    def tokenizer(self) -> Any:
        """The model's own tokenizer."""
        return self._tokenizer

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every token as text, decoded alone; empty for rows of the embedding without a token."""
        ids = np.arange(self.sizes.d_vocab or 0)[:, None]  # lists would be looked through number by number
        return list(self._tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False))

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """The token embedding, each row centred under LayerNorm."""
        W_E = self._bridge.W_E.detach().float().cpu()
        return W_E - W_E.mean(dim=-1, keepdim=True) if self._centres and not self.folded else W_E

    @property
    def layers_without_heads(self) -> Mapping[int, str]:
        """Layers without softmax attention, with what the config calls them."""
        return self._layers.others

    @property
    def attends_ahead(self) -> float:
        """The largest share of a row that went to later positions when the model was loaded."""
        return self._layers.ahead

    def attention_layers(self) -> list[int]:
        """Return the layers that have softmax attention."""
        return list(self._layers.attending)

    def attention_patterns(
        self, tokens: Int[Tensor, "prompt position"] | None
    ) -> Float[Tensor, "layer prompt head query key"]:
        """Compute the patterns of all layers on these prompts; raises ValueError without prompts."""
        if tokens is None:
            raise ValueError("no tokens; wanted prompts to run the model on")
        names = [pattern_name(layer) for layer in self.attention_layers()]
        recorded = self.run(tokens, record=names)
        return torch.stack([recorded[name] for name in names])

    def run(
        self,
        tokens: Int[Tensor, "prompt position"],
        edits: Mapping[str, Edit] | None = None,
        record: Sequence[str] = (),
        stop_at_layer: int | None = None,
        restart: tuple[int, Float[Tensor, "prompt position d_model"]] | None = None,
    ) -> dict[str, Tensor]:
        """Run one forward pass; the residual stream before `stop_at_layer` is returned under `stopped`."""
        recorded: dict[str, Tensor] = {}
        last = len(set(record)) if stop_at_layer is None else None
        for name in (*(edits or {}), *record):
            if name not in self._bridge.hook_dict:
                raise ValueError(f"no activation {name!r} in {self.name}; wanted a TransformerLens hook name")

        met = set()

        def editor(name: str, edit: Edit) -> Any:
            def change(activation: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
                met.add(name)
                return edit(activation)

            return change

        def recorder(name: str) -> Any:
            def keep(activation: Tensor, hook: Any) -> None:  # noqa: ARG001
                recorded[name] = activation.detach()
                if len(recorded) == last:
                    raise StopAtLayerException(activation)

            return keep

        hooks = [(name, editor(name, edit)) for name, edit in (edits or {}).items()]
        hooks += [(name, recorder(name)) for name in record]
        first, given = (None, tokens) if restart is None else restart
        before = self._bridge.blocks[:first] if first and self._leaves_out else ()
        with torch.no_grad(), quiet(), left_out(before):
            cfg = self._bridge.cfg
            output = self._bridge.run_with_hooks(
                given.to(cfg.device, cfg.dtype if given.is_floating_point() else None),
                fwd_hooks=hooks,
                start_at_layer=first,
                stop_at_layer=stop_at_layer,
                return_type="logits",
            )
        for name in (*(edits or {}), *record):
            if name not in met and name not in recorded:
                raise ValueError(f"activation {name!r} does not occur in this run of {self.name}")
        if last == len(recorded) > 0:
            return recorded
        return {**recorded, "logits" if stop_at_layer is None else "stopped": output}

    @cached_property
    def _leaves_out(self) -> bool:
        """Whether a run that begins at a layer may leave out the blocks before it, tried at the last one."""
        vars(self)["_leaves_out"] = False  # of the runs that try it
        last, tokens = self.sizes.n_layers - 1, torch.arange(min(8, self.sizes.d_vocab or 0))[None]
        name = f"blocks.{last}.hook_resid_pre"
        try:
            restart = last, self.run(tokens, record=[name])[name]
            whole = self.run(tokens, restart=restart)["logits"]
            with left_out(self._bridge.blocks[:last]):
                return torch.equal(self.run(tokens, restart=restart)["logits"], whole)
        except Exception:  # blocks of another form; what goes wrong in earnest does so without leaving any out
            return False

    def mixing_output(self, layer: int) -> str:
        """Return the name of what a layer's attention, or what it has instead, adds to the residual stream."""
        return mixing_output(self._bridge, layer) or f"blocks.{layer}.hook_attn_out"

    @cached_property
    def _fault(self) -> Fault | None:
        return first_fault(self, self._bridge, self.cache)

    def stream_fault(self, layer: int) -> str | None:
        """Say why the stream before a layer was not found to be the sum of its parts, tried on a few tokens."""
        return self._fault.why if self._fault is not None and self._fault.layer < layer else None

    def qk_layers(self) -> list[int]:
        """Return the layers that have softmax attention."""
        return self.attention_layers()

    def score_weights(self, layer: int) -> ScoreWeights:
        """Return all that a layer's heads score two tokens by.

        Raises NotAssessable where that does not give the model's own attention patterns.
        """
        self.require(Capability.SCORES)
        return self._scores.weights(layer)

    def qk_weights(self, layer: int) -> QKWeights:
        """Return the layer's folded and centred weights, checked to give the model's own attention.

        Raises NotAssessable where the softmax of (x W_Q + b_Q) R (y W_K + b_K)ᵀ · scale is not the model's pattern.
        """
        self.require(Capability.QK)
        return self.score_weights(layer).qk

    def ov_layers(self) -> list[int]:
        """Return all layers with attention."""
        return self.attention_layers()

    def ov_weights(self, layer: int) -> OVWeights:
        """Return the layer's folded and centred weights, checked to give what the model's attention writes."""
        self.require(Capability.OV)
        return self._outputs.weights(layer)

    def output_scale(self, layer: int) -> str | None:
        """Return the scale of a norm between attention and the residual stream."""
        return self._outputs.scale_name(layer)

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """The unembedding, folded and centred."""
        return self._outputs.W_U

    def rotation(self, layer: int, offset: int) -> Float[Tensor, "d_head d_head"] | None:
        """Return R from the layer's own cosines and sines; None with learned positions, or where it has none."""
        return self._scores.rotation(layer, offset)

    def window(self, layer: int) -> int | None:
        """Return how many last tokens a layer's query sees; None where it sees all."""
        return self._scores.attention(layer).window

    def embed_alone_at(
        self,
        tokens: Int[Tensor, " token"],
        layers: Sequence[int],
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Float[Tensor, "layer token d_model"]:
        """Run sequences of one token, with attention and position terms replaced, up to each layer's norm."""
        ascending = sorted(set(layers))
        by_layer = dict(zip(ascending, self.embed_by_layer(tokens, ascending, position, attention), strict=True))
        every = [by_layer[layer] for layer in layers]
        return torch.stack(every) if len(every) > 1 else every[0][None]  # a whole vocabulary is not copied

    def embed_by_layer(
        self,
        tokens: Int[Tensor, " token"],
        layers: Sequence[int],
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Iterator[Float[Tensor, "token d_model"]]:
        """Yield the same layer by layer, `layers` ascending: the streams of one layer are in memory."""
        self.require(Capability.EMBEDDING)
        self.require_sum(max(layers))
        alone, last = self._alone, max(layers)
        streams = deque(alone.entering(some, position) for some in tokens.split(TOKENS_AT_ONCE))
        for layer in range(last + 1):
            if layer in layers:
                E = torch.empty(len(tokens), self.sizes.d_model)
                for rows in E.split(TOKENS_AT_ONCE):  # of a whole vocabulary there is room for no second copy
                    x = streams.popleft()
                    rows.copy_(self._as_read(layer, x[:, 0].float().cpu()))
                    if layer < last:
                        streams.append(x)
                yield E
            if layer < last:
                for _ in range(len(streams)):
                    streams.append(alone.after(layer, streams.popleft(), attention[layer]))

    def _as_read(self, layer: int, x: Tensor) -> Tensor:
        """Apply the norm before a layer's attention, without gain, where it has one."""
        if not self._scores.attention(layer).has_input_norm:
            return x
        if self._centres:
            x = x - x.mean(dim=-1, keepdim=True)
        return x / (x.square().mean(dim=-1, keepdim=True) + self._bridge.cfg.eps).sqrt()

    @cached_property
    def _alone(self) -> LoneTokens:
        return LoneTokens(self._bridge, self.sizes, self.run, self.learned_positions, self.mixing_output)

    @cached_property
    def without_rotation(self) -> dict[str, Edit]:
        """Edits for `run` that make every rotation the identity: cosines 1, sines 0."""
        names = ("rotary_emb.hook_cos", "rotary_emb.hook_sin")
        if any(name not in self._bridge.hook_dict for name in names):
            raise NotAssessable("positions are neither an embedding nor a rotation that TransformerLens can take out")
        edits: dict[str, Edit] = dict(zip(names, (torch.ones_like, torch.zeros_like), strict=True))
        try:
            why_not = position_fault(self, edits)
        except ValueError as error:  # an activation that no run meets
            raise NotAssessable("the rotation is not one by cosines and sines that TransformerLens shows") from error
        if why_not is not None:
            raise NotAssessable(f"the rotation cannot be taken out: {why_not}")
        return edits

    @cached_property
    def run_digest(self) -> str:
        """Hash of the folded parameters, the config and the dtype."""
        model = self._bridge.original_model
        parameters: dict[str, Input] = {name: tensor.detach() for name, tensor in model.named_parameters()}
        config = f"{model.config.to_json_string(use_diff=False)} {self._bridge.cfg.dtype}"
        return digest("run", 1, parameters | {"config": config})

    def embedding_inputs(self, layer: int) -> dict[str, Tensor | str]:
        """Return the parameters of the embedding and of all earlier layers, and the settings that combine them."""
        cfg = self._bridge.cfg
        modules = {"embed": self._bridge.embed} | {f"blocks.{i}": self._bridge.blocks[i] for i in range(layer)}
        tensors: dict[str, Tensor | str] = {
            f"{stem}.{name}": parameter.detach()
            for stem, module in modules.items()
            for name, parameter in module.named_parameters()
        }
        return tensors | {"form": f"{cfg.architecture} {cfg.act_fn} {cfg.eps} {cfg.dtype} layer {layer}"}
