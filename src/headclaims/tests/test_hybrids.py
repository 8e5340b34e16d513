"""Models of which some layers attend, or none, or in another way: which heads there are, and what is said of others."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from headclaims.audit.audit import without_heads
from headclaims.audit.prepare import Defaults, choose_heads, open_workspace
from headclaims.audit.settings import Settings
from headclaims.audit.workspace import Workspace
from headclaims.cache import Cache
from headclaims.checkpoint import load, stream
from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.interface import Capability, Checkpoint, Head
from headclaims.errors import BadCheckpoint, BadInput, NotAssessable
from headclaims.prompts.words import WordLists
from headclaims.tests.small_configs import HYBRIDS, LATENT, WITHOUT_HEADS, saved_model, saved_small
from headclaims.tests.small_models import DEFAULTS, VOCABULARY, replaced_output, without_gain

TOKENS = torch.randint(2, VOCABULARY - 1, (2, 16), generator=torch.Generator().manual_seed(3))
ATTENDING = {
    "bamba": [1, 3],
    "granite-hybrid": [1, 3],
    "jamba": [2],
    "lfm2": [1, 3],
    "olmo-hybrid": [3],
    "qwen3-next": [3],
}
INSTEAD = {"lfm2": "conv", "qwen3-next": "linear attention"}

NO_LISTS = WordLists({}, "none", None)


def loaded(name: str, folder: Path) -> tuple[Any, Checkpoint]:
    return saved_small(name, folder), load(str(folder))


def attentions(model: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack(list(model(tokens, output_attentions=True).attentions))


@pytest.mark.parametrize("name", HYBRIDS)
def test_heads_are_those_of_layers_that_attend(name: str, tmp_path: Path) -> None:
    model, checkpoint = loaded(name, tmp_path)
    layers = ATTENDING[name]
    assert checkpoint.attention_layers() == layers
    assert sorted(checkpoint.layers_without_heads) == [layer for layer in range(4) if layer not in layers]
    assert set(checkpoint.layers_without_heads.values()) <= {INSTEAD.get(name, "linear attention"), "mamba"}
    assert checkpoint.model_heads == [Head(layer, head) for layer in layers for head in range(4)]
    assert (checkpoint.attention_patterns(TOKENS) - attentions(model, TOKENS)).abs().max() < 2e-5
    # A hash for every layer, and none twice.
    fingerprints = [checkpoint.fingerprint(layer) for layer in range(4)]
    assert len(set(fingerprints)) == 4


def test_a_hash_of_a_layer_without_heads_tells_checkpoints_apart(tmp_path: Path) -> None:
    _, checkpoint = loaded("lfm2", tmp_path / "one")
    model = saved_small("lfm2", tmp_path / "one")
    with torch.no_grad():
        model.model.layers[0].conv.out_proj.weight[0, 0] += 0.01
    model.save_pretrained(tmp_path / "one")
    other = load(str(tmp_path / "one"))
    assert [checkpoint.fingerprint(layer) == other.fingerprint(layer) for layer in range(4)] == [
        False,
        True,
        True,
        True,
    ]
    assert checkpoint.identity != other.identity


@pytest.mark.parametrize("name", LATENT)
def test_queries_of_latents_are_surveyed_without_a_form(name: str, tmp_path: Path) -> None:
    model, checkpoint = loaded(name, tmp_path)
    assert checkpoint.attention_layers() == [0, 1]
    assert (checkpoint.attention_patterns(TOKENS) - attentions(model, TOKENS)).abs().max() < 2e-5
    with pytest.raises(NotAssessable, match="layer 0 makes queries and keys otherwise than by one matrix each a head"):
        checkpoint.qk_weights(0)
    assert checkpoint.fingerprint(0) != checkpoint.fingerprint(1)


@pytest.mark.parametrize("name", WITHOUT_HEADS)
def test_a_model_without_heads_is_one_line(name: str, tmp_path: Path) -> None:
    saved_small(name, tmp_path)
    with pytest.raises(BadCheckpoint, match="wanted softmax attention in some layer"):
        load(str(tmp_path))


def test_what_transformer_lens_does_not_show_is_one_line(tmp_path: Path) -> None:
    config = transformers.RecurrentGemmaConfig(
        **DEFAULTS,
        hidden_size=32,
        num_hidden_layers=3,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=1,
        lru_width=32,
        attention_window_size=32,
    )
    saved_model(config, tmp_path)
    with pytest.raises(
        BadCheckpoint, match="1 layer attends in transformers; TransformerLens shows the attention of 0"
    ):
        load(str(tmp_path))


def workspace_of(checkpoint: Checkpoint) -> Workspace:
    return Workspace(Settings.of({"checkpoint": checkpoint.spec}), checkpoint, NO_LISTS, Cache(None))


def test_a_head_of_a_layer_without_heads_is_one_line(tmp_path: Path) -> None:
    _, checkpoint = loaded("lfm2", tmp_path)
    workspace = workspace_of(checkpoint)
    assert choose_heads(workspace, "L3H1", {}) == [Head(3, 1)]
    with pytest.raises(BadInput, match=r"--head L0H3: layer 0 of .* \(conv\); wanted a head of layers 1, 3$"):
        choose_heads(workspace, "L0H3", {})
    with pytest.raises(BadInput, match="layer 2"):
        choose_heads(workspace, "L1H0,L2H0", {})
    assert choose_heads(workspace, "all", {}) == [Head(layer, head) for layer in (1, 3) for head in range(4)]
    assert workspace.chosen_among == 1


def test_layers_without_heads_in_words() -> None:
    assert without_heads({}) is None
    assert without_heads({2: "conv"}) == "layer 2 has no softmax attention: conv"
    assert without_heads({0: "conv", 1: "mamba", 3: "conv"}) == "layers 0, 1, 3 have no softmax attention: conv, mamba"
    many = {layer: "linear attention" for layer in range(48) if layer % 4 != 3}
    assert without_heads(many) == (
        "layers 0 to 2, 4 to 6, 8 to 10, 12 to 14, 16 to 18, 20 to 22, 24 to 26, 28 to 30, 32 to 34, 36 to 38, "
        "40 to 42, 44 to 46 have no softmax attention: linear attention"
    )


# What ablations and the effective embedding take apart


def test_a_convolution_is_ablated_in_place_of_attention(tmp_path: Path) -> None:
    """Its output and the MLP's replaced in TransformerLens, and by hooks on the modules in transformers."""
    model, checkpoint = loaded("lfm2", tmp_path)
    assert checkpoint.stream_fault(3) is None
    term = torch.randn(32, generator=torch.Generator().manual_seed(5))
    first, name = model.model.layers[0], "blocks.1.attn.hook_pattern"
    for module, output in ((first.conv, checkpoint.mixing_output(0)), (first.feed_forward, "blocks.0.hook_mlp_out")):
        with replaced_output(module, term):
            expected = attentions(model, TOKENS)[0]
        edited = checkpoint.run(TOKENS, {output: lambda activation: term.expand_as(activation)}, [name])[name]
        assert (edited - expected).abs().max() < 2e-5
        assert (attentions(model, TOKENS)[0] - expected).abs().max() > 0.02


def test_a_lone_token_past_a_convolution(tmp_path: Path) -> None:
    """E of a hybrid: each token alone, the convolution's output replaced; the norm before attention without gain."""
    model, checkpoint = loaded("lfm2", tmp_path)
    generator = torch.Generator().manual_seed(6)
    terms, tokens = torch.randn(3, 32, generator=generator), torch.arange(4, 12)
    layers = model.model.layers
    with (
        torch.no_grad(),
        replaced_output(layers[0].conv, terms[0]),
        replaced_output(layers[1].self_attn, terms[1]),
        replaced_output(layers[2].conv, terms[2]),
    ):
        streams = model(tokens[:, None], output_hidden_states=True).hidden_states
    expected = torch.stack([without_gain(streams[layer][:, 0], False, 1e-5) for layer in (1, 3)])
    found = checkpoint.embed_alone_at(tokens, [1, 3], torch.zeros(32), terms)
    assert (found - expected).abs().max() < 1e-4


def fixed_positions() -> Any:
    return transformers.XGLMConfig(
        **{**DEFAULTS, "pad_token_id": 1},
        d_model=32,
        num_layers=2,
        attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=128,
    )


def normed_sums() -> Any:
    """BERT as a decoder: a norm after each sum, that of the embeddings too."""
    return encoder(is_decoder=True)


def norm_after_the_sum() -> Any:
    return transformers.OpenAIGPTConfig(vocab_size=VOCABULARY, n_positions=128, n_embd=32, n_layer=2, n_head=4)


@pytest.mark.parametrize(
    ("config", "layer", "why"),
    [
        (fixed_positions, 0, "positions enter the residual stream otherwise than by an embedding that is added"),
        (normed_sums, 0, "positions enter the residual stream otherwise than by an embedding that is added"),
        (norm_after_the_sum, 1, "the residual stream after layer 0 is not before"),
    ],
)
def test_a_stream_that_is_no_sum_is_said(config: Any, layer: int, why: str, tmp_path: Path) -> None:
    """Patterns are the model's all the same; what takes the stream apart is not assessable."""
    model = saved_model(config(), tmp_path)
    checkpoint = load(str(tmp_path))
    assert (checkpoint.attention_patterns(TOKENS) - attentions(model, TOKENS)).abs().max() < 2e-5
    if layer:
        checkpoint.require_sum(0)
    with pytest.raises(NotAssessable, match=f"sum of parts: {why}"):
        checkpoint.require_sum(layer)
    with pytest.raises(NotAssessable, match=why):
        checkpoint.embed_alone(torch.arange(3), layer, torch.zeros(32), torch.zeros(layer, 32))


def test_rotations_that_cannot_be_taken_out_are_said(tmp_path: Path) -> None:
    """A convolution tells positions apart whatever becomes of the rotation."""
    _, checkpoint = loaded("lfm2", tmp_path)
    with pytest.raises(NotAssessable, match="cannot be taken out: layer 1 tells positions apart"):
        _ = checkpoint.without_rotation


# What attends to later positions


def encoder(**more: Any) -> Any:
    return transformers.BertConfig(
        **{**DEFAULTS, "pad_token_id": 0},
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=128,
        **more,
    )


def embedding_gemma() -> Any:
    return transformers.Gemma3TextConfig(
        **DEFAULTS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        use_bidirectional_attention=True,
    )


@pytest.mark.parametrize("config", [encoder, lambda: encoder(is_decoder=False), embedding_gemma])
def test_attention_to_later_positions_is_refused(config: Any, tmp_path: Path) -> None:
    model = saved_model(config(), tmp_path)
    ahead = float(attentions(model, torch.arange(1, 25)[None]).triu(1).sum(-1).max())
    assert load(str(tmp_path)).attends_ahead == pytest.approx(ahead, abs=1e-5)
    assert ahead > 0.5
    settings = Settings.of({"checkpoint": str(tmp_path)})
    with pytest.raises(BadCheckpoint, match=r"attends to later positions, .* of a row; wanted a causal decoder"):
        open_workspace(settings, NO_LISTS, Defaults("none", "L0H0", {}))


def test_an_encoder_as_a_decoder_is_causal(tmp_path: Path) -> None:
    saved_model(normed_sums(), tmp_path)
    checkpoint = load(str(tmp_path))
    assert isinstance(checkpoint, FullCheckpoint)
    assert checkpoint.attends_ahead == checkpoint.attention_patterns(TOKENS).triu(1).abs().max() == 0
    assert Capability.ATTENTION in checkpoint.capabilities


def test_attention_that_goes_to_no_token_is_refused(tmp_path: Path) -> None:
    """GPT-OSS has a sink in each head's softmax, so that rows sum to less than 1."""
    config = transformers.GptOssConfig(
        **DEFAULTS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        num_local_experts=2,
        num_experts_per_tok=1,
    )
    saved_model(config, tmp_path)
    with pytest.raises(BadCheckpoint, match="attention sink"):
        load(str(tmp_path))


def test_what_was_found_of_a_stream_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same parameters run by the same releases, whether it is a sum or why not."""
    saved_model(norm_after_the_sum(), tmp_path / "no sum")
    saved_small("lfm2", tmp_path / "sum")
    cache = Cache(tmp_path / "cache")

    def faults() -> list[str | None]:
        found = []
        for folder, layer in (("no sum", 0), ("no sum", 1), ("sum", 3)):
            checkpoint = load(str(tmp_path / folder))
            checkpoint.cache = cache
            found.append(checkpoint.stream_fault(layer))
        return found

    first = faults()
    assert [why is None for why in first] == [True, False, True]
    looked: list[int] = []
    monkeypatch.setattr(stream._Stream, "fault", lambda _: looked.append(1))
    assert faults() == first
    assert not looked
    monkeypatch.setattr(stream, "version", lambda name: f"another {name}")
    assert faults() == [None] * 3
    assert looked
