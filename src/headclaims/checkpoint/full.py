"""A complete model: a hub id, a local folder or a `.gguf`, run through TransformerLens.

The bridge is booted from local files and put into compatibility mode once: norms are folded into the weights that read
them, and reading and writing weights are centred, as for the write-up's numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from headclaims.cache import Input, digest
from headclaims.checkpoint.interface import Capability, Checkpoint, Edit, Sizes, pattern_name
from headclaims.checkpoint.quiet import quiet
from headclaims.checkpoint.rotary import rotate_half_matrix
from headclaims.checkpoint.weights import QKWeights
from headclaims.errors import BadCheckpoint, NotAssessable

PATTERN_TOLERANCE = 1e-4
WINDOWS = ("sliding_window", "window_size")
QUERY_NORMS = ("q_norm", "q_layernorm", "query_layernorm", "query_norm")
COARSE_TOLERANCE = 0.02  # of attention in bfloat16 or float16


class FullCheckpoint(Checkpoint):
    """A model that runs, with its tokenizer."""

    def __init__(self, kind: str, spec: str, name: str, bridge: Any, tokenizer: Any, raw: dict[int, str]) -> None:
        self.kind, self.spec, self.name = kind, spec, name
        self._bridge, self._tokenizer, self._fingerprints = bridge, tokenizer, raw
        cfg, config = bridge.cfg, bridge.original_model.config
        self.sizes = Sizes(cfg.n_layers, cfg.n_heads, cfg.d_model, cfg.d_head, cfg.d_vocab, cfg.n_ctx)
        self.lacks: dict[Capability, str] = {}
        self._scale_of: dict[int, float] = {}
        self._token_of: dict[str, int | None] = {}
        modules = (name for name, _ in bridge.original_model.named_modules())
        if any(name.split(".")[-1] in QUERY_NORMS for name in modules):
            self.lacks[Capability.QK] = "queries and keys are normalised per head: the bilinear form is not the score"
        elif getattr(config, "attn_logit_softcapping", None):
            self.lacks[Capability.QK] = "attention scores are capped: the bilinear form is not the score"

    @property
    def window(self) -> int | None:
        """Shortest window of the config, in tokens; None where it has none."""
        config = self._bridge.original_model.config
        windows = [getattr(config, name, None) for name in WINDOWS]
        return min((window for window in windows if isinstance(window, int) and window > 0), default=None)

    @property
    def learned_positions(self) -> bool:
        """Whether positions are an embedding, added to the token embedding."""
        return bool(self._bridge.cfg.positional_embedding_type == "standard")

    @property
    def _centres(self) -> bool:
        return not self._bridge.cfg.uses_rms_norm

    @property
    def free_dimensions(self) -> int:
        """d_model, or d_model − 1 under LayerNorm."""
        return self.sizes.d_model - int(self._centres)

    def fingerprint(self, layer: int) -> str:
        """Return the `RawQK.fingerprint` of a layer, computed before folding."""
        return self._fingerprints[layer]

    @property
    def bridge(self) -> Any:
        """The model in TransformerLens, with folded weights."""
        return self._bridge

    def mutated(self, mutation: str) -> None:
        """Change the name and the fingerprints after a deliberate change of weights, as this is another checkpoint."""
        self.name += f"-{mutation}"
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

    def single_token(self, text: str) -> int | None:
        """Return the id of a text that is one known token, otherwise None."""
        if text not in self._token_of:
            ids = self._tokenizer.encode(text, add_special_tokens=False)
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
        ids = range(self.sizes.d_vocab or 0)
        return list(self._tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False))

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """The token embedding, each row centred under LayerNorm."""
        return self._bridge.W_E.detach().float().cpu()

    def attention_layers(self) -> list[int]:
        """Return all layers."""
        return list(range(self.sizes.n_layers))

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
        with torch.no_grad(), quiet():
            first, given = (None, tokens) if restart is None else restart
            output = self._bridge.run_with_hooks(
                given.to(self._bridge.cfg.device),
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

    def qk_layers(self) -> list[int]:
        """Return all layers."""
        return self.attention_layers()

    def qk_weights(self, layer: int) -> QKWeights:
        """Return the layer's folded and centred weights, checked to give the model's own attention.

        Raises NotAssessable where the softmax of (x W_Q + b_Q) R (y W_K + b_K)ᵀ · scale is not the model's pattern.
        """
        self.require(Capability.QK)
        attention = self._bridge.blocks[layer].attn
        W_Q, W_K = attention.W_Q.detach().float().cpu(), attention.W_K.detach().float().cpu()
        per_key = W_Q.shape[0] // W_K.shape[0]

        def bias(b: Tensor | None, like: Tensor) -> Tensor:
            return (
                torch.zeros(like.shape[0], like.shape[2])
                if b is None
                else b.detach().float().cpu().view(like.shape[0], -1)
            )

        b_Q, b_K = bias(attention.b_Q, W_Q), bias(attention.b_K, W_K)
        W_K, b_K = W_K.repeat_interleave(per_key, 0), b_K.repeat_interleave(per_key, 0)
        if layer not in self._scale_of:
            self._scale_of[layer] = self._scale(layer, QKWeights(W_Q, W_K, b_Q, b_K, 1.0))
        return QKWeights(W_Q, W_K, b_Q, b_K, self._scale_of[layer])

    def _scale(self, layer: int, weights: QKWeights) -> float:
        """Find the scale with which folded weights give the model's attention; raises NotAssessable where none does."""
        off = self._pattern_errors(layer, weights, self._scales(layer))
        best = min(off, key=off.__getitem__)
        if not off[best] <= (PATTERN_TOLERANCE if self._bridge.cfg.dtype == torch.float32 else COARSE_TOLERANCE):
            raise NotAssessable(
                f"needs qk: layer {layer}'s attention is not that of its folded weights (off by {off[best]:.2g})"
            )
        return best

    def _scales(self, layer: int) -> list[float]:
        """List the scales that decoders use: 1/√d_head, the attention module's own, 1/√d_head by layer, 1."""
        usual = self.sizes.d_head**-0.5
        own = getattr(self._bridge.blocks[layer].attn.original_component, "scaling", None)
        return [usual, *([own] if isinstance(own, float) else []), usual / (layer + 1), 1.0]

    def _pattern_errors(self, layer: int, weights: QKWeights, scales: Sequence[float]) -> dict[float, float]:
        """Return for each scale the largest error of the folded weights' attention patterns, on a few tokens."""
        length = min(6, self.sizes.n_ctx or 6)
        tokens = torch.arange(1, length + 1)[None] % (self.sizes.d_vocab or 2)
        normed, pattern = f"blocks.{layer}.ln1.hook_normalized", pattern_name(layer)
        if normed not in self._bridge.hook_dict:
            raise NotAssessable(f"needs qk: layer {layer} has no norm before its attention to fold into the weights")
        recorded = self.run(tokens, record=(normed, pattern))
        x = recorded[normed][0].float().cpu()
        q, k = x @ weights.W_Q + weights.b_Q[:, None], x @ weights.W_K + weights.b_K[:, None]
        scores = torch.full((len(q), length, length), -torch.inf)
        for offset in range(length):
            R = self.rotation(offset)
            turned = q if R is None else q @ R
            row = torch.arange(offset, length)
            scores[:, row, row - offset] = (turned[:, row] * k[:, row - offset]).sum(-1)
        own = recorded[pattern][0].float().cpu()
        return {scale: float(((scores * scale).softmax(-1) - own).abs().max()) for scale in scales}

    @lru_cache(maxsize=256)  # noqa: B019
    def rotation(self, offset: int) -> Float[Tensor, "d_head d_head"] | None:
        """Compute R from the model's own rotary frequencies; None with learned positions."""
        if self.learned_positions:
            return None
        for module in self._bridge.original_model.modules():
            frequencies = getattr(module, "inv_freq", None)
            if isinstance(frequencies, Tensor):
                angles = offset * frequencies.double().cpu()
                interleaved = bool(self._bridge.cfg.rotary_adjacent_pairs)
                return rotate_half_matrix(angles.cos(), angles.sin(), self.sizes.d_head, interleaved).float()
        raise NotAssessable("needs qk: the model's rotary frequencies are not where transformers keeps them (inv_freq)")

    def embed_alone_at(
        self,
        tokens: Int[Tensor, " token"],
        layers: Sequence[int],
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Float[Tensor, "layer token d_model"]:
        """Run sequences of one token, with attention and position terms replaced, up to each layer's norm."""
        self.require(Capability.EMBEDDING)
        run = self._embed_by_mlps if self._mlps_alone else self._embed_by_run
        x = run(tokens, layers, position, attention)
        if self._centres:
            x = x - x.mean(dim=-1, keepdim=True)
        return x / (x.square().mean(dim=-1, keepdim=True) + self._bridge.cfg.eps).sqrt()

    def _position_edit(self, position: Tensor) -> dict[str, Edit]:
        return {"hook_pos_embed": _instead(position)} if self.learned_positions else {}

    def _embed_by_run(self, tokens: Tensor, layers: Sequence[int], position: Tensor, attention: Tensor) -> Tensor:
        """Return residual streams before layers from a run of the whole model on sequences of one token."""
        deepest = max(layers)
        edits = {f"blocks.{before}.hook_attn_out": _instead(attention[before]) for before in range(deepest)}
        edits |= self._position_edit(position)
        # The run stops before the deepest layer, whose input is therefore under `stopped`.
        names = {layer: f"blocks.{layer}.hook_resid_pre" for layer in layers if layer < max(deepest, 1)}
        recorded = self.run(tokens[:, None], edits, list(names.values()), stop_at_layer=max(deepest, 1))
        return torch.stack([recorded[names.get(layer, "stopped")][:, 0].float().cpu() for layer in layers])

    def _embed_by_mlps(self, tokens: Tensor, layers: Sequence[int], position: Tensor, attention: Tensor) -> Tensor:
        """Return the same without running attention, for models whose MLPs read the stream after attention is added."""
        x, before = self.run(tokens[:, None], self._position_edit(position), stop_at_layer=0)["stopped"], []
        with torch.no_grad(), quiet():
            for layer in range(max(layers) + 1):
                before.append(x)
                if layer < max(layers):
                    block = self._bridge.blocks[layer]
                    x = x + attention[layer].to(x)
                    x = x + block.mlp(block.ln2(x))
        return torch.stack([before[layer][:, 0].float().cpu() for layer in layers])

    @cached_property
    def _mlps_alone(self) -> bool:
        """Whether `_embed_by_mlps` gives the results of `_embed_by_run`, tried on a few tokens and random terms."""
        s, generator = self.sizes, torch.Generator().manual_seed(0)
        terms = torch.randn(s.n_layers, s.d_model, generator=generator) * 0.1
        tokens, layers = torch.arange(4) % (s.d_vocab or 4), list(range(s.n_layers))
        try:
            by_mlps = self._embed_by_mlps(tokens, layers, terms[0], terms[1:])
        except (AttributeError, TypeError, RuntimeError):
            return False
        by_run = self._embed_by_run(tokens, layers, terms[0], terms[1:])
        return bool(torch.allclose(by_mlps, by_run, rtol=1e-3, atol=1e-3 * float(by_run.abs().median())))

    @property
    def without_rotation(self) -> dict[str, Edit]:
        """Edits for `run` that make every rotation the identity: cosines 1, sines 0."""
        names = ("rotary_emb.hook_cos", "rotary_emb.hook_sin")
        if any(name not in self._bridge.hook_dict for name in names):
            raise NotAssessable("positions are neither an embedding nor a rotation that TransformerLens can take out")
        return dict(zip(names, (torch.ones_like, torch.zeros_like), strict=True))

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


def _instead(term: Tensor) -> Edit:
    return lambda activation: term.to(activation).expand_as(activation)
