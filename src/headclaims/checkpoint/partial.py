"""Partial weights: a `.safetensors` with some of a model's tensors, under their Hugging Face names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.checkpoint.interface import Capability, Checkpoint, Sizes, in_words
from headclaims.checkpoint.ov_weights import OVWeights
from headclaims.checkpoint.partial_ov import layers_with_ov, read_ov
from headclaims.checkpoint.rotary import rotate_half_matrix
from headclaims.checkpoint.safetensors_file import EvidenceFile
from headclaims.checkpoint.weights import QKWeights, RawQK, fold
from headclaims.errors import BadCheckpoint, NotAssessable

LLAMA_LIKE = ("llama", "mistral", "qwen2")
MODEL_TYPES = ("gpt2", *LLAMA_LIKE)


class PartialWeights(Checkpoint):
    """Evidence of the layers whose input norm, query and key weights are in the file, and of E if its tensors are."""

    kind = "partial-weights"

    def __init__(self, file: EvidenceFile) -> None:
        self.file, self.spec, self.name = file, file.spec, file.path.stem
        self.model_type = file.config.get("model_type")
        if self.model_type not in MODEL_TYPES:
            raise BadCheckpoint(
                f"{file.spec}: partial weights of model type {self.model_type!r}; wanted {', '.join(MODEL_TYPES)}"
            )
        n_heads = file.size("n_head", "num_attention_heads")
        d_model = file.size("n_embd", "hidden_size")
        d_head = file.size("head_dim") if file.config.get("head_dim") else d_model // n_heads
        if self.model_type == "gpt2" and d_head * n_heads != d_model:
            raise BadCheckpoint(f"{file.spec}: config with {n_heads} heads on {d_model} dimensions; wanted a divisor")
        self.sizes = Sizes(file.size("n_layer", "num_hidden_layers"), n_heads, d_model, d_head, self._vocabulary(file))
        absent = "the file holds weights, no model that runs"
        self.lacks = {
            Capability.TOKENS: "the file holds weights, no tokenizer",
            Capability.ATTENTION: absent,
            Capability.INTERVENTIONS: absent,
            Capability.GRAPH: "no recorded graph, and no model to derive one from",
        }
        if not self.qk_layers():
            self.lacks[Capability.QK] = "no layer's input norm and query and key weights are in the file"
        if not self.ov_layers():
            self.lacks[Capability.OV] = "no layer's input norm and value and output weights are in the file"
        if self._embedding is None or not self._has_mlp(0):
            self.lacks[Capability.EMBEDDING] = "no token embedding and MLP 0 in the file"
        elif file.config.get("activation_function", "gelu_new") != "gelu_new":
            self.lacks[Capability.EMBEDDING] = "partial weights give E where MLPs have GPT-2's gelu_new alone"
        lacking = next((of for of in (Capability.QK, Capability.EMBEDDING) if of in self.lacks), None)
        if lacking is not None:
            self.lacks[Capability.SCORES] = self.lacks[lacking]
        self._check()

    def _check(self) -> None:
        """Read all tensors once, so that one of a wrong shape or with NaN raises BadCheckpoint at the start."""
        for layer in self.qk_layers():
            self.qk_weights(layer)
        for layer in self.ov_layers():
            self.ov_weights(layer)
        if Capability.EMBEDDING not in self.lacks:
            layer = next(n for n in range(self.sizes.n_layers + 1) if not self._has_mlp(n))
            nothing = torch.zeros(self.sizes.d_model)
            self.embed_alone(torch.zeros(1, dtype=torch.int64), layer, nothing, nothing.expand(layer, -1))

    def _vocabulary(self, file: EvidenceFile) -> int | None:
        """Return the vocabulary's size in the config, or the embedding's where the config has none."""
        stated = file.optional_size("vocab_size")
        return file.shapes[self._embedding][0] if stated is None and self._embedding else stated

    @property
    def gpt2(self) -> bool:
        """Whether the model has fused Conv1D projections and LayerNorm; else it has separate ones and RMSNorm."""
        return self.model_type == "gpt2"

    @property
    def free_dimensions(self) -> int:
        """d_model, or d_model − 1 under LayerNorm."""
        return self.sizes.d_model - int(self.gpt2)

    @cached_property
    def _layer_prefix(self) -> dict[int, str]:
        pattern = re.compile(r"((?:transformer\.)?h|(?:model\.)?layers)\.(\d+)\.")
        matches = (pattern.match(name) for name in self.file.shapes)
        prefixes = {int(m[2]): f"{m[1]}.{m[2]}." for m in matches if m}
        beyond = [layer for layer in prefixes if layer >= self.sizes.n_layers]
        if beyond:
            raise BadCheckpoint(f"{self.spec}: tensors of layer {beyond[0]}, config with {self.sizes.n_layers} layers")
        return prefixes

    @cached_property
    def _embedding(self) -> str | None:
        names = ("wte.weight", "embed_tokens.weight")
        return next((name for name in self.file.shapes if name.endswith(names)), None)

    def qk_layers(self) -> list[int]:
        """Return the layers whose input norm and query and key weights are in the file."""
        needed: tuple[str, ...] = ("ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias")
        if not self.gpt2:
            needed = ("input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight")
        return sorted(
            layer
            for layer, prefix in self._layer_prefix.items()
            if all(prefix + name in self.file.shapes for name in needed)
        )

    @lru_cache(maxsize=2)  # noqa: B019  # a checkpoint lives as long as its run
    def raw_qk(self, layer: int) -> RawQK:
        """Return a layer's query and key weights as they are in the file; raises NotAssessable where it lacks them."""
        self.require(Capability.QK)
        if layer not in self.qk_layers():
            raise NotAssessable(f"needs qk: the file holds layers {self.qk_layers()}, not layer {layer}")
        s, prefix = self.sizes, self._layer_prefix[layer]
        if self.gpt2:
            W = self.file.tensor(f"{prefix}attn.c_attn.weight", s.d_model, 3 * s.d_model)
            b = self.file.tensor(f"{prefix}attn.c_attn.bias", 3 * s.d_model)
            q, k, _ = W.reshape(s.d_model, 3, s.n_heads, s.d_head).permute(1, 2, 0, 3)
            b_q, b_k, _ = b.reshape(3, s.n_heads, s.d_head)
            return RawQK(q, k, b_q, b_k)
        n_keys = self._n_keys

        def projection(which: str, n: int) -> tuple[Tensor, Tensor | None]:
            stem = f"{prefix}self_attn.{which}_proj"
            W = self.file.tensor(f"{stem}.weight", n * s.d_head, s.d_model)
            has_bias = f"{stem}.bias" in self.file.shapes
            b = self.file.tensor(f"{stem}.bias", n * s.d_head).reshape(n, s.d_head) if has_bias else None
            return W.reshape(n, s.d_head, s.d_model).mT, b

        (W_Q, b_Q), (W_K, b_K) = projection("q", s.n_heads), projection("k", n_keys)
        return RawQK(W_Q, W_K, b_Q, b_K)

    @property
    def _n_keys(self) -> int:
        """How many heads of keys and values there are; raises BadCheckpoint where heads can't share them evenly."""
        if self.gpt2:
            return self.sizes.n_heads
        n_keys, n_heads = self.file.size("num_key_value_heads", "num_attention_heads"), self.sizes.n_heads
        if n_heads % n_keys:
            raise BadCheckpoint(f"{self.spec}: config with {n_keys} key heads for {n_heads} heads; wanted a divisor")
        return n_keys

    def ov_layers(self) -> list[int]:
        """Return the layers whose input norm, value and output weights are in the file."""
        return layers_with_ov(self.file, self._layer_prefix, self.gpt2)

    def ov_weights(self, layer: int) -> OVWeights:
        """Return a layer's weights, folded and centred; raises NotAssessable where the file lacks them."""
        self.require(Capability.OV)
        if layer not in self.ov_layers():
            raise NotAssessable(f"needs ov: the file holds layers {self.ov_layers()}, not layer {layer}")
        return read_ov(self.file, self._layer_prefix[layer], self.sizes, self._n_keys, self.gpt2)

    def fingerprint(self, layer: int) -> str | None:
        """Return the `RawQK.fingerprint` of a layer, None where the file lacks its weights."""
        return self.raw_qk(layer).fingerprint() if layer in self.qk_layers() else None

    @property
    def gives(self) -> str:
        """What the file holds, in words."""
        qk, ov = self.qk_layers(), self.ov_layers()
        held = [f"query and key weights of {in_words(qk)}"] if qk or not ov else []
        held += [f"value and output weights of {in_words(ov)}"] if ov else []
        held += [] if Capability.EMBEDDING in self.lacks else ["the embedding"]
        return ", and ".join(held)

    @cached_property
    def identity(self) -> str:
        """The sha256 of the file."""
        return self.file.digest

    @lru_cache(maxsize=2)  # noqa: B019
    def qk_weights(self, layer: int) -> QKWeights:
        """Return a layer's weights, folded and centred; raises NotAssessable where the file lacks them."""
        raw, s = self.raw_qk(layer), self.sizes
        prefix = self._layer_prefix[layer]
        scale = s.d_head**-0.5
        if self.gpt2:
            if self.file.config.get("scale_attn_weights") is False:
                scale = 1.0
            if self.file.config.get("scale_attn_by_inverse_layer_idx"):
                scale /= layer + 1
            gain = self.file.tensor(f"{prefix}ln_1.weight", s.d_model)
            return fold(raw, gain, self.file.tensor(f"{prefix}ln_1.bias", s.d_model), centre=True, scale=scale)
        gain = self.file.tensor(f"{prefix}input_layernorm.weight", s.d_model)
        return fold(raw, gain, None, centre=False, scale=scale)

    def rotation(self, layer: int, offset: int) -> Float[Tensor, "d_head d_head"] | None:  # noqa: ARG002
        """Return R for the config's base, the same in all layers; None with learned positions.

        Raises NotAssessable for scaled rotations.
        """
        if self.gpt2:
            return None
        rope = self.file.config.get("rope_parameters") or self.file.config.get("rope_scaling") or {}
        if not isinstance(rope, dict):
            raise BadCheckpoint(f"{self.spec}: config rope_parameters is {rope!r}; wanted an object")
        if rope.get("rope_type", rope.get("type", "default")) != "default":
            raise NotAssessable("needs qk at an offset: the config scales its rotary positions")
        base = self.file.number({**self.file.config, **rope}, "rope_theta", 10000.0)
        half = self.sizes.d_head // 2
        angles = offset * base ** (-torch.arange(half, dtype=torch.float64) / half)
        return rotate_half_matrix(angles.cos(), angles.sin(), self.sizes.d_head).float()

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """Token embedding of the file, each row centred under LayerNorm."""
        if self._embedding is None:
            raise self._lacking(Capability.EMBEDDING)
        W_E = self.file.tensor(self._embedding, self.sizes.d_vocab, self.sizes.d_model)
        return W_E - W_E.mean(dim=-1, keepdim=True) if self.gpt2 else W_E

    def _has_mlp(self, layer: int) -> bool:
        if not self.gpt2 or layer not in self._layer_prefix:
            return False
        names = (
            "ln_2.weight",
            "ln_2.bias",
            *(f"mlp.{m}.{w}" for m in ("c_fc", "c_proj") for w in ("weight", "bias")),
        )
        return all(self._layer_prefix[layer] + name in self.file.shapes for name in names)

    def embed_alone_at(
        self,
        tokens: Int[Tensor, " token"],
        layers: Sequence[int],
        position: Float[Tensor, " d_model"],
        attention: Float[Tensor, "before d_model"],
    ) -> Float[Tensor, "layer token d_model"]:
        """Compute GPT-2's embedding and MLPs from the file's tensors; raises NotAssessable where an MLP is missing."""
        self.require(Capability.EMBEDDING)
        missing = [before for before in range(max(layers)) if not self._has_mlp(before)]
        if missing:
            raise NotAssessable(f"needs embedding: MLP {missing[0]} is not in the file")
        s, file = self.sizes, self.file
        x = file.tensor(str(self._embedding), s.d_vocab, s.d_model)[tokens] + position
        eps = file.number(file.config, "layer_norm_epsilon", 1e-5)
        entering = [x]
        for before in range(max(layers)):
            prefix = self._layer_prefix[before]
            x = x + attention[before]
            normed = torch.nn.functional.layer_norm(
                x,
                (s.d_model,),
                file.tensor(f"{prefix}ln_2.weight", s.d_model),
                file.tensor(f"{prefix}ln_2.bias", s.d_model),
                eps,
            )
            W_in = file.tensor(f"{prefix}mlp.c_fc.weight", s.d_model, None)
            d_mlp = W_in.shape[1]
            hidden = normed @ W_in + file.tensor(f"{prefix}mlp.c_fc.bias", d_mlp)
            hidden = torch.nn.functional.gelu(hidden, approximate="tanh")  # GPT-2's gelu_new
            W_out = file.tensor(f"{prefix}mlp.c_proj.weight", d_mlp, s.d_model)
            x = x + hidden @ W_out + file.tensor(f"{prefix}mlp.c_proj.bias", s.d_model)
            entering.append(x)
        return torch.nn.functional.layer_norm(torch.stack([entering[n] for n in layers]), (s.d_model,), eps=eps)

    def embedding_inputs(self, layer: int) -> dict[str, Tensor | str]:
        """Return the file's embedding and the MLPs before the layer."""
        names = [str(self._embedding)]
        for before in range(layer):
            prefix = self._layer_prefix.get(before, "?")
            names += [name for name in self.file.shapes if name.startswith((prefix + "ln_2.", prefix + "mlp."))]
        tensors: dict[str, Tensor | str] = {
            name: self.file.tensor(name, *self.file.shapes[name]) for name in sorted(names)
        }
        return tensors | {"form": f"gpt2 {self.file.config.get('layer_norm_epsilon', 1e-5)} layer {layer}"}
