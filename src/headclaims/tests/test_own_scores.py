"""Heads' own scores against the model's: norms of queries and keys, caps, biases, partial rotation, windows."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from headclaims.checkpoint import load
from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.interface import Capability
from headclaims.circuit.effective_pattern import effective_pattern
from headclaims.circuit.head_score import HeadScore
from headclaims.errors import NotAssessable
from headclaims.tests.small_models import DEFAULTS, VOCABULARY
from headclaims.tests.test_full import saved
from headclaims.vocabulary.token_scores import TokenScores, layer_turn, mean_rotation

LENGTH, WINDOW = 21, 8
CLOSE = {"atol": 1e-4, "rtol": 1e-5}
SHAPE: dict[str, Any] = {
    **DEFAULTS,
    "pad_token_id": 0,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "intermediate_size": 80,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
SLIDING_FIRST = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}


def _gemma(config: Callable[..., Any], **more: Any) -> Any:
    return config(**SHAPE, head_dim=16, query_pre_attn_scalar=30, **SLIDING_FIRST, **more)


def _partial_rotary() -> Any:
    rope = {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.5}
    return transformers.Phi3Config(**SHAPE, rope_parameters=rope)


def _falcon() -> Any:
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "bias": True}
    return transformers.FalconConfig(**DEFAULTS, **sizes)


CONFIGS: dict[str, Callable[[], Any]] = {
    "qwen3": lambda: transformers.Qwen3Config(**SHAPE, head_dim=12, attention_bias=True),
    "gemma2": lambda: _gemma(transformers.Gemma2Config, attn_logit_softcapping=3.0),
    "gemma3": lambda: _gemma(transformers.Gemma3TextConfig),
    "olmo2": lambda: transformers.Olmo2Config(**SHAPE),
    "phi3": _partial_rotary,
    "falcon": _falcon,
    "cohere": lambda: transformers.CohereConfig(**SHAPE, use_qk_norm=True),
    "smollm3": lambda: transformers.SmolLM3Config(**SHAPE, no_rope_layers=[1, 0, 1]),
    "yarn": lambda: transformers.LlamaConfig(
        **SHAPE,
        head_dim=12,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
}
NORMALISED = ("qwen3", "gemma3", "olmo2", "cohere")
WINDOWED = ("gemma2", "gemma3")


class Built:
    """Models by name, built and loaded once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, dict[str, tuple[Any, FullCheckpoint]]()

    def __call__(self, name: str) -> tuple[Any, FullCheckpoint]:
        if name not in self.made:
            model = saved(CONFIGS[name](), self.folder / name)
            with torch.no_grad():
                for at, parameter in model.named_parameters():
                    if at.endswith(("q_norm.weight", "k_norm.weight")) and parameter.dim() == 2:
                        parameter.add_(1.0)  # `randomise` takes a gain by head for a projection
            model.save_pretrained(self.folder / name)
            checkpoint = load(str(self.folder / name))
            assert isinstance(checkpoint, FullCheckpoint)
            self.made[name] = model, checkpoint
        return self.made[name]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("own-scores"))


def tokens_of(n: int = 1) -> Tensor:
    return torch.randint(0, VOCABULARY, (n, LENGTH), generator=torch.Generator().manual_seed(4))


def scores_before_softmax(model: Any, tokens: Tensor) -> list[Tensor]:
    """What transformers hands to its softmax in each layer, [prompt, head, query, key]: −∞ or nearly, where unseen."""
    seen: list[Tensor] = []
    softmax = torch.nn.functional.softmax

    def recorded(scores: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if scores.dim() == 4:
            seen.append(scores.detach().clone())
        return softmax(scores, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch.nn.functional, "softmax", recorded)
        model(tokens)
    return seen


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "falcon"])
def test_scores_are_those_that_transformers_hands_to_its_softmax(built: Built, name: str) -> None:
    """Of what the layer reads, at every offset that its window shows; beyond it there is nothing to compare."""
    model, checkpoint = built(name)
    tokens = tokens_of()
    expected = scores_before_softmax(model, tokens)
    assert len(expected) == checkpoint.sizes.n_layers
    for layer, theirs in enumerate(expected):
        compare(checkpoint, layer, tokens, theirs[0])


def test_scores_of_falcon_are_those_that_its_hooks_show(built: Built) -> None:
    """Its softmax in transformers is called by another name."""
    _, checkpoint = built("falcon")
    tokens = tokens_of()
    for layer in range(checkpoint.sizes.n_layers):
        name = f"blocks.{layer}.attn.hook_attn_scores"
        compare(checkpoint, layer, tokens, checkpoint.run(tokens, record=[name])[name][0])


def compare(checkpoint: FullCheckpoint, layer: int, tokens: Tensor, expected: Tensor) -> None:
    """Every head's scores of single pairs, from the stream that its layer reads."""
    name = checkpoint._scores.attention(layer).reads
    x = checkpoint.run(tokens, record=[name])[name][0]
    weights, window = checkpoint.score_weights(layer), checkpoint.window(layer)
    assert float(expected[expected > -1e9].abs().max()) > 2, "scores of a few nats, lest all would be alike"
    for head in range(checkpoint.sizes.n_heads):
        score = HeadScore.of(weights, head)
        for offset in range(LENGTH):
            R = checkpoint.rotation(layer, offset)
            at = torch.eye(checkpoint.sizes.d_head) if R is None else R
            found = TokenScores.at_offset(score, x, x, at).matrix().diagonal(-offset)
            theirs = expected[head].diagonal(-offset)
            if window is not None and offset >= window:
                assert bool((theirs < -1e9).all())
            else:
                torch.testing.assert_close(found, theirs, **CLOSE)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_first_layer_s_pattern_from_E_is_the_model_s(built: Built, name: str) -> None:
    """E holds what multiplies the embedding, and no norm where the layer has none; windows hide what they hide."""
    model, checkpoint = built(name)
    tokens = tokens_of(3)
    with torch.no_grad():
        expected = model(tokens, output_attentions=True).attentions[0].numpy()
    E = checkpoint.embed_alone(torch.arange(VOCABULARY), 0, torch.zeros(48), torch.zeros(0, 48))
    weights = checkpoint.score_weights(0)
    for head in range(checkpoint.sizes.n_heads):
        at = checkpoint.rotation_at(0), checkpoint.window(0)
        found = effective_pattern(HeadScore.of(weights, head), E, tokens.numpy(), *at)
        assert np.abs(found - expected[:, head]).max() < 2e-5
        assert np.abs(found - expected[:, (head + 1) % 4]).max() > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_tokens_alone_are_a_model_with_replaced_attention(built: Built, name: str) -> None:
    """Layer by layer, whatever norms come after attention and MLP, in parallel blocks too."""
    _, checkpoint = built(name)
    generator = torch.Generator().manual_seed(9)
    tokens, attention = torch.arange(VOCABULARY), torch.randn(2, 48, generator=generator)
    found = list(checkpoint.embed_by_layer(tokens, [0, 2], torch.zeros(48), attention))
    edits = {f"blocks.{layer}.hook_attn_out": lambda x, of=attention[layer]: of.expand_as(x) for layer in (0, 1)}
    reads = [checkpoint._scores.attention(layer).reads for layer in (0, 2)]
    recorded = checkpoint.run(tokens[:, None], edits, reads)
    for x, at in zip(found, reads, strict=True):
        torch.testing.assert_close(x, recorded[at][:, 0], atol=2e-4, rtol=1e-4)


def test_what_is_lacking_where_W_QK_is_not_the_score(built: Built) -> None:
    for name in CONFIGS:
        _, checkpoint = built(name)
        assert Capability.SCORES in checkpoint.capabilities
        why = "normalised" if name in NORMALISED else "capped" if name == "gemma2" else None
        assert (Capability.QK in checkpoint.capabilities) is (why is None)
        if why is not None:
            with pytest.raises(NotAssessable, match=f"needs qk: .*{why}.*: W_QK alone is not the score"):
                checkpoint.qk_weights(1)


def test_each_layer_of_gemma_3_has_its_own_rotation(built: Built) -> None:
    """Bases of 10,000 in windows and 1,000,000 else: the second of eight planes, of dimensions 1 and 9, by hand."""
    _, checkpoint = built("gemma3")
    for layer, base in ((0, 1e4), (1, 1e6), (2, 1e4)):
        R = checkpoint.rotation(layer, 3)
        assert R is not None
        angle = 3 * base ** (-1 / 8)
        assert R[1, [1, 9]].tolist() == pytest.approx([math.cos(angle), math.sin(angle)], abs=1e-6)
        assert checkpoint.window(layer) == (None if layer == 1 else WINDOW)


def test_the_mean_rotation_is_over_what_the_window_shows(built: Built) -> None:
    _, checkpoint = built("gemma3")
    for layer, seen in ((0, WINDOW), (1, 30)):
        at_offsets = [checkpoint.rotation(layer, offset) for offset in range(1, seen)]
        expected = torch.stack([R for R in at_offsets if R is not None]).mean(dim=0)
        found = layer_turn(checkpoint, layer, 30)
        assert found is not None
        torch.testing.assert_close(found, expected)
    assert mean_rotation(checkpoint.rotation_at(0), 1) is None


def test_a_layer_without_rotation_among_others(built: Built) -> None:
    _, checkpoint = built("smollm3")
    assert checkpoint.rotation(0, 5) is not None
    assert checkpoint.rotation(1, 5) is None
    assert layer_turn(checkpoint, 1, 16) is None


def test_a_norm_that_is_not_the_model_s_is_refused(built: Built) -> None:
    """What would be computed otherwise than the model does is not assessable."""
    _, checkpoint = built("qwen3")
    checkpoint._scores._scales.clear()
    norm = checkpoint.bridge.blocks[1].attn.q_norm.original_component
    kept = norm.variance_epsilon
    try:
        norm.variance_epsilon = lambda: None
        with pytest.raises(NotAssessable, match="normalises queries in a way"):
            checkpoint.score_weights(1)
    finally:
        norm.variance_epsilon = kept
    assert checkpoint.score_weights(1).query_norm is not None
