"""Small random models of several architectures, and transformers' own account of their weights.

Every parameter is random, the norms' gains and biases and the projections' biases among them, so that nothing that
folding could forget is 0 or 1. What a test expects is computed here from the transformers module alone.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from headclaims.prompts.words import WordList

WORDS = WordList(
    "small",
    {
        "colours": ("blue", "red", "green", "yellow"),
        "animals": ("dog", "cat", "mouse", "horse", "sheep"),
        "fruits": ("apple", "banana", "grape"),
    },
)
FILLERS = tuple(f"filler{i}" for i in range(70))
UNKNOWN, BOS = "<unknown>", "<start>"
TOKEN_IDS = {token: i for i, token in enumerate([UNKNOWN, *FILLERS, *(" " + word for word in WORDS.words), "red", BOS])}
VOCABULARY = len(TOKEN_IDS)
DEFAULTS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "bos_token_id": TOKEN_IDS[BOS],
    "eos_token_id": TOKEN_IDS[BOS],
    "pad_token_id": None,
}


@dataclass(frozen=True)
class Architecture:
    """A config of three layers, and where its module keeps what an audit reads."""

    config: Callable[[], Any]
    body: str
    layers: str
    norm: str
    attention: str
    centres: bool = True
    rotary: bool = False
    scale: float | None = None  # None: 1/√d_head
    gain_above_one: bool = False  # whether the norm's weight w stands for a gain of 1 + w


def _gpt2() -> Any:
    return transformers.GPT2Config(n_positions=72, n_embd=48, n_layer=3, n_head=4, n_inner=80, **DEFAULTS)


def _llama(**more: Any) -> Any:
    sizes = {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 12}
    shape = {"num_hidden_layers": 3, "intermediate_size": 80, "max_position_embeddings": 128}
    base = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
    return transformers.LlamaConfig(**{**DEFAULTS, **sizes, **shape, **base, **more})


def _qwen2() -> Any:
    sizes = {"hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    shape = {"num_hidden_layers": 3, "intermediate_size": 80, "max_position_embeddings": 128}
    return transformers.Qwen2Config(**DEFAULTS, **sizes, **shape, tie_word_embeddings=True)


def _neox() -> Any:
    sizes = {"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 80}
    rope = {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.5}
    return transformers.GPTNeoXConfig(
        **DEFAULTS, **sizes, max_position_embeddings=128, rope_parameters=rope, use_parallel_residual=True
    )


def _opt() -> Any:
    sizes = {"hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 3, "ffn_dim": 80}
    return transformers.OPTConfig(
        **{**DEFAULTS, "pad_token_id": 0}, **sizes, word_embed_proj_dim=48, max_position_embeddings=72
    )


def _gpt_neo() -> Any:
    sizes = {"hidden_size": 48, "num_heads": 4, "num_layers": 4, "intermediate_size": 80}
    types = [[["global", "local"], 2]]
    return transformers.GPTNeoConfig(**DEFAULTS, **sizes, attention_types=types, max_position_embeddings=72)


def _grouped(config: Callable[..., Any]) -> Any:
    sizes = {"hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    shape = {"num_hidden_layers": 3, "intermediate_size": 80, "max_position_embeddings": 128}
    return config(**DEFAULTS, **sizes, **shape)


RMS_NORM = {"layers": "layers", "norm": "input_layernorm", "attention": "self_attn", "centres": False}
ARCHITECTURES = {
    "gpt2": Architecture(_gpt2, "transformer", "h", "ln_1", "attn"),
    "llama": Architecture(_llama, "model", rotary=True, **RMS_NORM),  # type: ignore[arg-type]
    "neox": Architecture(_neox, "gpt_neox", "layers", "input_layernorm", "attention", rotary=True),
    "qwen2": Architecture(_qwen2, "model", rotary=True, **RMS_NORM),  # type: ignore[arg-type]
    "ernie": Architecture(  # rotates neighbouring dimensions
        lambda: _grouped(transformers.Ernie4_5Config),
        "model",
        rotary=True,
        **RMS_NORM,  # type: ignore[arg-type]
    ),
    "gemma": Architecture(
        lambda: _grouped(transformers.GemmaConfig),
        "model",
        rotary=True,
        gain_above_one=True,
        **RMS_NORM,  # type: ignore[arg-type]
    ),
    "opt": Architecture(_opt, "model.decoder", "layers", "self_attn_layer_norm", "self_attn"),
    "gpt-neo": Architecture(_gpt_neo, "transformer", "h", "ln_1", "attn.attention", scale=1.0),
}


@dataclass(frozen=True)
class SmallModel:
    """A model as transformers runs it, and the folder it is saved in."""

    name: str
    folder: Path
    model: Any

    @property
    def architecture(self) -> Architecture:
        """Where things are."""
        return ARCHITECTURES[self.name]

    def block(self, layer: int) -> Any:
        """A layer's module."""
        layers = self.model.get_submodule(f"{self.architecture.body}.{self.architecture.layers}")
        return layers[layer]

    def norm(self, layer: int) -> Any:
        """The norm before a layer's attention."""
        return self.block(layer).get_submodule(self.architecture.norm)

    def attention(self, layer: int) -> Any:
        """A layer's attention module."""
        return self.block(layer).get_submodule(self.architecture.attention)

    @property
    def n_heads(self) -> int:
        """Query heads a layer."""
        return int(self.model.config.num_attention_heads)

    @property
    def d_head(self) -> int:
        """Width of a head."""
        config = self.model.config
        return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


@dataclass(frozen=True)
class LayerWeights:
    """A layer's query and key weights head by head: [d_model, d_head] each, biases [d_head]; None where absent."""

    W_Q: list[Tensor]
    W_K: list[Tensor]
    b_Q: list[Tensor] | None
    b_K: list[Tensor] | None
    gain: Tensor
    norm_bias: Tensor | None


def build(name: str, folder: Path, seed: int = 0) -> SmallModel:
    """A random model of an architecture, saved with its tokenizer."""
    model = transformers.AutoModelForCausalLM.from_config(
        ARCHITECTURES[name].config(), attn_implementation="eager", dtype=torch.float32
    ).eval()
    randomise(model, seed)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return SmallModel(name, folder, model)


def randomise(model: Any, seed: int) -> None:
    """Draw every parameter: gains about 1, biases about 0, scores of an order of one or two nats."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.4 * drawn)
            elif parameter.dim() == 1:
                parameter.copy_(1 + 0.3 * drawn)
            else:
                embeds = any(part in name for part in ("wte", "wpe", "embed_tokens", "embed_in", "embed_pos"))
                parameter.copy_((0.7 if embeds else 0.17) * drawn)


def tokenizer() -> Any:
    """A tokenizer of whole words, with BOS as the last id."""
    words = Tokenizer(models.WordLevel(TOKEN_IDS, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^ ]+| "), behavior="isolated")
    words.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token=BOS, eos_token=BOS, unk_token=UNKNOWN)


def raw_weights(small: SmallModel, layer: int) -> LayerWeights:
    """A layer's weights as its module holds them, one head after the other."""
    attention, d_head, n_heads = small.attention(layer), small.d_head, small.n_heads
    norm = small.norm(layer)
    gain, norm_bias = norm.weight.detach() + small.architecture.gain_above_one, getattr(norm, "bias", None)
    norm_bias = None if norm_bias is None else norm_bias.detach()

    def heads(rows: Tensor, n: int, first: int = 0, step: int = d_head) -> list[Tensor]:
        """Of a weight [out, d_model] or a bias [out] every head's part, [d_model, d_head] or [d_head]."""
        parts = [rows.detach()[start : start + d_head] for start in range(first, first + n * step, step)]
        return [part.T.contiguous() if part.dim() == 2 else part for part in parts]

    if small.name == "gpt2":
        weight, bias, d_model = attention.c_attn.weight.T, attention.c_attn.bias, n_heads * d_head
        parts = [heads(w, n_heads, first) for w in (weight, bias) for first in (0, d_model)]
        return LayerWeights(*parts, gain, norm_bias)
    if small.name == "neox":
        fused = attention.query_key_value
        parts = [heads(w, n_heads, first, 3 * d_head) for w in (fused.weight, fused.bias) for first in (0, d_head)]
        return LayerWeights(*parts, gain, norm_bias)
    n_keys = getattr(small.model.config, "num_key_value_heads", None) or n_heads
    q, k = attention.q_proj, attention.k_proj
    return LayerWeights(
        heads(q.weight, n_heads),
        heads(k.weight, n_keys),
        None if q.bias is None else heads(q.bias, n_heads),
        None if k.bias is None else heads(k.bias, n_keys),
        gain,
        norm_bias,
    )


@contextmanager
def replaced_output(module: Any, term: Tensor | None, seen: list[Tensor] | None = None) -> Iterator[None]:
    """A module's output kept in `seen`, and `term` put in its place unless that is None."""

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        if seen is not None:
            seen.append(first.detach().clone())
        if term is None:
            return None
        instead = term.expand_as(first)
        return (instead, *output[1:]) if isinstance(output, tuple) else instead

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def without_gain(x: Tensor, centres: bool, eps: float) -> Tensor:
    """LayerNorm or RMSNorm without gain and bias, written out."""
    if centres:
        x = x - x.mean(dim=-1, keepdim=True)
    return x / (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()


def norm_eps(small: SmallModel, layer: int) -> float:
    """The number that the norm before a layer's attention adds under its root."""
    norm = small.norm(layer)
    return float(norm.eps if hasattr(norm, "eps") else norm.variance_epsilon)


def cut_partial(
    small: SmallModel,
    path: Path,
    keep: Callable[[str], bool] = lambda _: True,
    config: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A partial-weights file with those of a model's tensors that `keep` says, config entries changed as asked."""
    tensors = {
        name: tensor.detach().clone().contiguous() for name, tensor in small.model.state_dict().items() if keep(name)
    }
    settings = json.dumps({**small.model.config.to_dict(), **(config or {})}, default=str)
    header = {"kind": "partial-weights", "name": small.name, "config": settings, **(metadata or {})}
    save_file(tensors, path, metadata=header)
    return path


GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(small: SmallModel, path: Path, leave_out: str = "nothing") -> Path:
    """The small Llama as llama.cpp writes it: rotary pairs side by side; a byte-level tokenizer that knows `red`."""
    config, state = small.model.config, small.model.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(VOCABULARY)
    pieces = [UNKNOWN, "Ġ", "r", "e", "d", "re", "red", "Ġred"]
    pieces += [f"<{i}>" for i in range(VOCABULARY - 1 - len(pieces))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*pieces, BOS])
    writer.add_token_merges(["r e", "re d", "Ġ red"])
    writer.add_bos_token_id(VOCABULARY - 1)
    writer.add_eos_token_id(VOCABULARY - 1)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for layer in range(config.num_hidden_layers):
        names |= {f"model.layers.{layer}.{theirs}": f"blk.{layer}.{ours}" for theirs, ours in GGUF_NAMES.items()}
    for name, tensor in state.items():
        written = names[name.removesuffix(".weight")] + ".weight"
        if "q_proj" in name or "k_proj" in name:
            n = len(tensor) // config.head_dim
            tensor = tensor.reshape(n, 2, config.head_dim // 2, -1).transpose(1, 2).reshape(tensor.shape)
        if written != leave_out:
            writer.add_tensor(written, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def rotation(offset: int) -> Tensor:
    """Two planes, (0, 2) and (1, 3), turned by 0.9 and 0.2 a position."""
    R = torch.eye(4)
    for first, angle in ((0, 0.9 * offset), (1, 0.2 * offset)):
        R[first, first] = R[first + 2, first + 2] = math.cos(angle)
        R[first, first + 2], R[first + 2, first] = math.sin(angle), -math.sin(angle)
    return R
