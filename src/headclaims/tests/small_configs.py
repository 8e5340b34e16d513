"""Configs of many architectures, of two or four layers on 32 dimensions, for models that are built and thrown away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from headclaims.tests.small_models import DEFAULTS, randomise, tokenizer

_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
_GROUPED: dict[str, Any] = {**_SHAPE, "num_key_value_heads": 2}
_GPT2: dict[str, Any] = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4}


def _of(config: Callable[..., Any], *parts: dict[str, Any], **more: Any) -> Callable[[], Any]:
    settings = dict(DEFAULTS)
    for part in (*parts, more):
        settings |= part
    return lambda: config(**settings)


CONFIGS: dict[str, Callable[[], Any]] = {
    "cohere": _of(transformers.CohereConfig, _GROUPED),
    "falcon": _of(transformers.FalconConfig, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    "gemma2": _of(transformers.Gemma2Config, _GROUPED, head_dim=8, sliding_window=8),
    "gemma3": _of(transformers.Gemma3TextConfig, _GROUPED, head_dim=8, sliding_window=8),
    "gpt-bigcode": _of(transformers.GPTBigCodeConfig, _GPT2),
    "gptj": _of(transformers.GPTJConfig, _GPT2, rotary_dim=4),
    "granite": _of(transformers.GraniteConfig, _GROUPED, attention_multiplier=0.2, residual_multiplier=0.5),
    "internlm": _of(transformers.LlamaConfig, _GROUPED, attention_bias=True),
    "mixtral": _of(transformers.MixtralConfig, _GROUPED, num_local_experts=2, num_experts_per_tok=1),
    "neox": _of(transformers.GPTNeoXConfig, _SHAPE),
    "olmo": _of(transformers.OlmoConfig, _GROUPED),
    "opt": _of(
        transformers.OPTConfig,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=128,
        word_embed_proj_dim=32,
        pad_token_id=1,
    ),
    "phi": _of(transformers.PhiConfig, _SHAPE, partial_rotary_factor=0.5),
    "phi3": _of(transformers.Phi3Config, _GROUPED, pad_token_id=0),
    "phimoe": _of(transformers.PhimoeConfig, _GROUPED, num_local_experts=2, num_experts_per_tok=1),
    "qwen3": _of(transformers.Qwen3Config, _GROUPED, head_dim=8),
    "stablelm": _of(transformers.StableLmConfig, _GROUPED, partial_rotary_factor=0.5),
}

_FOUR: dict[str, Any] = {**_GROUPED, "num_hidden_layers": 4}
_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
_EXPERTS: dict[str, Any] = {"n_routed_experts": 2, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1}
_MAMBA: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
_DELTA: dict[str, Any] = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

HYBRIDS: dict[str, Callable[[], Any]] = {
    "bamba": _of(transformers.BambaConfig, _FOUR, _MAMBA, attn_layer_indices=[1, 3]),
    "granite-hybrid": _of(
        transformers.GraniteMoeHybridConfig,
        _FOUR,
        _MAMBA,
        layer_types=["mamba", "attention", "mamba", "attention"],
        num_local_experts=0,
        shared_intermediate_size=48,
        position_embedding_type="rope",
    ),
    "jamba": _of(
        transformers.JambaConfig,
        {name: size for name, size in _FOUR.items() if name != "max_position_embeddings"},
        use_mamba_kernels=False,
        num_experts=2,
        num_experts_per_tok=1,
        attn_layer_period=4,
        attn_layer_offset=2,
        mamba_d_state=4,
        mamba_dt_rank=4,
    ),
    "lfm2": _of(transformers.Lfm2Config, _FOUR, layer_types=["conv", "full_attention", "conv", "full_attention"]),
    "olmo-hybrid": _of(transformers.OlmoHybridConfig, _FOUR),
    "qwen3-next": _of(
        transformers.Qwen3NextConfig,
        _FOUR,
        _DELTA,
        head_dim=16,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
}
"""Models of which some layers attend: convolutions, state spaces or linear attention are in the others."""

LATENT: dict[str, Callable[[], Any]] = {
    "deepseek2": _of(
        transformers.DeepseekV2Config,
        _SHAPE,
        _LATENT,
        _EXPERTS,
        q_lora_rank=None,
        first_k_dense_replace=1,
        moe_intermediate_size=16,
    ),
    "deepseek3": _of(
        transformers.DeepseekV3Config,
        _SHAPE,
        _LATENT,
        _EXPERTS,
        q_lora_rank=8,
        first_k_dense_replace=1,
        moe_intermediate_size=16,
    ),
    "jetmoe": _of(
        transformers.JetMoeConfig,
        hidden_size=32,
        num_hidden_layers=2,
        num_key_value_heads=2,
        kv_channels=16,
        intermediate_size=48,
        num_local_experts=2,
        num_experts_per_tok=1,
    ),
}
"""Models that make queries and keys otherwise than by one matrix each a head."""

WITHOUT_HEADS: dict[str, Callable[[], Any]] = {
    "falcon-mamba": _of(transformers.FalconMambaConfig, hidden_size=32, num_hidden_layers=2, state_size=4),
    "mamba": _of(transformers.MambaConfig, hidden_size=32, num_hidden_layers=2, state_size=4),
    "mamba2": _of(
        transformers.Mamba2Config,
        hidden_size=32,
        num_hidden_layers=2,
        state_size=4,
        num_heads=8,
        head_dim=8,
        n_groups=1,
    ),
    "rwkv": _of(
        transformers.RwkvConfig, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32, intermediate_size=48
    ),
}


def saved_small(name: str, folder: Path, seed: int = 0) -> Any:
    """A random model of one of these configs as transformers runs it, saved with its tokenizer."""
    return saved_model((CONFIGS | HYBRIDS | LATENT | WITHOUT_HEADS)[name](), folder, seed)


def saved_model(config: Any, folder: Path, seed: int = 0) -> Any:
    """A random causal model of a config as transformers runs it, saved with its tokenizer."""
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", dtype=torch.float32
    ).eval()
    randomise(model, seed)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return model.eval()
