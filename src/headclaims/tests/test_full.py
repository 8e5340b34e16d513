"""Complete models against transformers alone: patterns, folded weights, rotation, fingerprints, interventions."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import processors
from torch import Tensor

from headclaims.checkpoint import load
from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.interface import Capability, Checkpoint
from headclaims.checkpoint.planted.folder import planted_folder
from headclaims.errors import BadCheckpoint, NotAssessable
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import (
    ARCHITECTURES,
    BOS,
    TOKEN_IDS,
    VOCABULARY,
    SmallModel,
    build,
    norm_eps,
    randomise,
    raw_weights,
    replaced_output,
    tokenizer,
    without_gain,
)

TOLERANCE = 2e-5  # float32: two orders of the same sums, and of the steps of GELU, on weights of order one
LENGTH = 21
NAMES = sorted(ARCHITECTURES)


def prompts(n: int = 3, length: int = LENGTH, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randint(0, vocabulary, (n, length), generator=torch.Generator().manual_seed(7))


def attentions(model: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack(model(tokens, output_attentions=True).attentions)


def hidden_states(model: Any, tokens: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(model(tokens, output_hidden_states=True).hidden_states)


def log_probabilities(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1)  # compatibility mode centres the logits


@pytest.fixture(scope="module")
def planted_model() -> SmallModel:
    model = transformers.AutoModelForCausalLM.from_pretrained(planted_folder(), attn_implementation="eager").eval()
    return SmallModel("gpt2", planted_folder(), model)


@pytest.fixture
def both(request: pytest.FixtureRequest, models: Models) -> tuple[SmallModel, Checkpoint]:
    """A model as transformers has it and as the suite loads it."""
    if request.param == "planted":
        return request.getfixturevalue("planted_model"), request.getfixturevalue("planted")
    return models(request.param), models.checkpoint(request.param)


every_model = pytest.mark.parametrize("both", ["planted", *NAMES], indirect=True)
Both = tuple[SmallModel, Checkpoint]


@every_model
def test_sizes(both: Both) -> None:
    small, checkpoint = both
    sizes, config = checkpoint.sizes, small.model.config
    assert (sizes.n_layers, sizes.n_heads) == (config.num_hidden_layers, config.num_attention_heads)
    assert (sizes.d_model, sizes.d_head) == (config.hidden_size, small.d_head)
    assert (sizes.d_vocab, sizes.n_ctx) == (config.vocab_size, config.max_position_embeddings)
    assert checkpoint.capabilities == list(Capability)
    assert checkpoint.learned_positions is not small.architecture.rotary
    assert checkpoint.free_dimensions == config.hidden_size - small.architecture.centres
    assert checkpoint.attention_layers() == checkpoint.qk_layers() == list(range(config.num_hidden_layers))


@every_model
def test_attention_patterns_are_those_of_transformers(both: Both) -> None:
    small, checkpoint = both
    tokens = prompts(vocabulary=small.model.config.vocab_size)
    expected = attentions(small.model, tokens)
    patterns = checkpoint.attention_patterns(tokens)
    assert patterns.shape == expected.shape
    assert (patterns - expected).abs().max() < TOLERANCE
    # Not a comparison of one uniform pattern with another, as most of an untrained model's are.
    uniform = torch.ones(LENGTH, LENGTH).tril() / torch.arange(1, LENGTH + 1)[:, None]
    assert ((expected - uniform).abs().amax(dim=(1, 3, 4)) > 0.1).float().mean() > 0.5


@every_model
def test_folded_weights_are_gain_times_weight_centred_where_the_norm_centres(both: Both) -> None:
    small, checkpoint = both
    for layer in checkpoint.qk_layers():
        weights, raw = checkpoint.qk_weights(layer), raw_weights(small, layer)
        per_key = len(raw.W_Q) // len(raw.W_K)
        assert weights.scale == pytest.approx(small.architecture.scale or small.d_head**-0.5, rel=1e-12)
        assert len(weights.W_Q) == len(weights.W_K) == small.n_heads
        for head in range(small.n_heads):
            key_head = head // per_key
            for W, b, raw_W, raw_b in (
                (weights.W_Q[head], weights.b_Q[head], raw.W_Q[head], raw.b_Q and raw.b_Q[head]),
                (weights.W_K[head], weights.b_K[head], raw.W_K[key_head], raw.b_K and raw.b_K[key_head]),
            ):
                wanted = raw.gain[:, None] * raw_W
                if small.architecture.centres:
                    wanted = wanted - wanted.mean(dim=0)
                wanted_bias = torch.zeros(small.d_head) if raw_b is None else raw_b
                if raw.norm_bias is not None:
                    wanted_bias = wanted_bias + raw.norm_bias @ raw_W
                assert (W - wanted).abs().max() < TOLERANCE
                assert (b - wanted_bias).abs().max() < TOLERANCE


def test_the_scale_is_right_however_flat_the_attention(tmp_path: Path) -> None:
    """GPT-Neo has none; with weights so small its attention is nearly uniform under any."""
    small = build("gpt-neo", tmp_path)
    with torch.no_grad():
        for layer in range(4):
            for projection in (small.attention(layer).q_proj, small.attention(layer).k_proj):
                projection.weight *= 0.003
    small.model.save_pretrained(tmp_path)
    assert load(str(tmp_path)).qk_weights(1).scale == 1.0


def test_grouped_heads_read_the_key_head_of_their_group(models: Models) -> None:
    """Six query heads on two key heads: the first three share the first."""
    W_K = models.checkpoint("llama").qk_weights(1).W_K
    same = (W_K[:, None] == W_K[None]).all(dim=(2, 3))
    assert same.tolist() == [[i // 3 == j // 3 for j in range(6)] for i in range(6)]


@every_model
def test_scores_of_the_folded_weights_give_the_real_attention_at_true_offsets(both: Both) -> None:
    """softmax((x W_Q + b_Q) R (y W_K + b_K)ᵀ · scale), x and y read by a norm without gain or bias."""
    small, checkpoint = both
    tokens = prompts(n=2, vocabulary=small.model.config.vocab_size)
    expected, streams = attentions(small.model, tokens), hidden_states(small.model, tokens)
    for layer in checkpoint.qk_layers():
        weights = checkpoint.qk_weights(layer)
        x = without_gain(streams[layer], small.architecture.centres, norm_eps(small, layer))
        q = torch.einsum("pid,hdk->phik", x, weights.W_Q) + weights.b_Q[:, None]
        k = torch.einsum("pjd,hdk->phjk", x, weights.W_K) + weights.b_K[:, None]
        scores = torch.full(expected.shape[1:], -torch.inf)
        for offset in range(LENGTH):
            R = checkpoint.rotation(0, offset)
            turned = q if R is None else q @ R
            for i in range(offset, LENGTH):
                scores[:, :, i, i - offset] = (turned[:, :, i] * k[:, :, i - offset]).sum(-1) * weights.scale
        assert (scores.softmax(-1) - expected[layer]).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_rotation_is_there_for_rotary_positions_alone(models: Models, name: str) -> None:
    checkpoint = models.checkpoint(name)
    if not ARCHITECTURES[name].rotary:
        assert checkpoint.rotation(0, 3) is None
        return
    R = [checkpoint.rotation(0, offset) for offset in range(4)]
    d_head = checkpoint.sizes.d_head
    assert all(matrix is not None for matrix in R)
    turns = torch.stack([matrix for matrix in R if matrix is not None])
    assert torch.equal(turns[0], torch.eye(d_head))
    assert (turns[1] @ turns[2] - turns[3]).abs().max() < TOLERANCE


def test_rotation_by_hand(models: Models) -> None:
    """Llama's base is 500 over 6 pairs of 12; half of NeoX's 16 dimensions turn, base 300, the others stay."""
    R = models.checkpoint("llama").rotation(0, 2)
    angle = torch.tensor(2 * 500.0 ** (-3 / 6))
    q = torch.zeros(12)
    q[3], q[9] = 2.0, 5.0  # one pair: the plane of dimensions i and i + 6
    turned = q @ R
    assert turned[3].item() == pytest.approx(2 * angle.cos().item() - 5 * angle.sin().item(), abs=1e-6)
    assert turned[9].item() == pytest.approx(5 * angle.cos().item() + 2 * angle.sin().item(), abs=1e-6)
    partial = models.checkpoint("neox").rotation(0, 5)
    assert torch.equal(partial[8:], torch.eye(16)[8:])
    first = torch.tensor(5.0)
    assert partial[0, 0].item() == pytest.approx(first.cos().item(), abs=1e-6)
    assert partial[1, 1].item() == pytest.approx((first * 300.0 ** (-1 / 4)).cos().item(), abs=1e-6)


@every_model
def test_token_embedding_is_centred_where_norms_centre(both: Both) -> None:
    small, checkpoint = both
    raw = small.model.get_input_embeddings().weight.detach()
    wanted = raw - raw.mean(dim=1, keepdim=True) if small.architecture.centres else raw
    assert checkpoint.W_E.shape == raw.shape
    assert (checkpoint.W_E - wanted).abs().max() < TOLERANCE


@every_model
def test_fingerprint_is_that_of_the_raw_weights(both: Both) -> None:
    small, checkpoint = both
    seen = set()
    for layer in checkpoint.qk_layers():
        raw, digest = raw_weights(small, layer), hashlib.sha256()
        for part in (raw.W_Q, raw.W_K, raw.b_Q, raw.b_K):
            for head in part or []:
                digest.update(head.numpy().astype("<f4").tobytes(order="C"))
        assert checkpoint.fingerprint(layer) == digest.hexdigest()
        seen.add(digest.hexdigest())
    assert len(seen) == checkpoint.sizes.n_layers


def test_tokens(models: Models) -> None:
    checkpoint = models.checkpoint("gpt2")
    assert checkpoint.bos == TOKEN_IDS[BOS]
    assert checkpoint.single_token(" red") == TOKEN_IDS[" red"]
    assert checkpoint.single_token("red") == TOKEN_IDS["red"]
    for several_or_unknown in (" red blue", " Red", "nonsense", ""):
        assert checkpoint.single_token(several_or_unknown) is None


@pytest.mark.parametrize(
    ("bos", "eos", "wanted"), [(BOS, " red", TOKEN_IDS[BOS]), (None, " red", TOKEN_IDS[" red"]), (None, None, None)]
)
def test_bos_begins_prompts_or_eos_where_there_is_none(
    tmp_path: Path, bos: str | None, eos: str | None, wanted: int | None
) -> None:
    small, words = build("gpt2", tmp_path), tokenizer()
    words.bos_token, words.eos_token = bos, eos
    words.save_pretrained(small.folder)
    checkpoint = load(str(tmp_path))
    if wanted is not None:
        assert checkpoint.bos == wanted
    else:
        with pytest.raises(BadCheckpoint, match="neither a BOS nor an EOS"):
            assert checkpoint.bos


def test_a_tokenizer_that_adds_bos_by_itself(tmp_path: Path) -> None:
    """A word is one token whatever else the tokenizer puts around a text."""
    small, words = build("llama", tmp_path), tokenizer()
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, TOKEN_IDS[BOS])]
    )
    words.save_pretrained(small.folder)
    checkpoint = load(str(tmp_path))
    assert checkpoint.tokenizer(" red")["input_ids"] == [TOKEN_IDS[BOS], TOKEN_IDS[" red"]]
    assert checkpoint.single_token(" red") == TOKEN_IDS[" red"]
    assert checkpoint.bos == TOKEN_IDS[BOS]


def test_a_word_beyond_the_embedding_is_no_token(tmp_path: Path) -> None:
    """A tokenizer can know more than the model embeds."""
    small = build("gpt2", tmp_path)
    words = tokenizer()
    words.add_tokens([" unembedded"])
    assert words.encode(" unembedded") == [VOCABULARY]
    words.save_pretrained(small.folder)
    assert load(str(tmp_path)).single_token(" unembedded") is None


@every_model
def test_run_without_edits_gives_the_logits_of_transformers(both: Both) -> None:
    small, checkpoint = both
    tokens = prompts(vocabulary=small.model.config.vocab_size)
    with torch.no_grad():
        expected = small.model(tokens).logits
    logits = checkpoint.run(tokens)["logits"]
    assert (log_probabilities(logits) - log_probabilities(expected)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["gpt2", "opt", "gpt-neo"])
def test_zeroed_positions_are_a_model_without_position_embedding(models: Models, name: str) -> None:
    small, tokens = models(name), prompts()
    positions = {"gpt2": "transformer.wpe", "opt": "model.decoder.embed_positions", "gpt-neo": "transformer.wpe"}
    with replaced_output(small.model.get_submodule(positions[name]), torch.zeros(48)):
        expected = attentions(small.model, tokens)
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(len(expected))]
    recorded = models.checkpoint(name).run(tokens, {"hook_pos_embed": torch.zeros_like}, names)
    assert (torch.stack([recorded[n] for n in names]) - expected).abs().max() < TOLERANCE
    assert (attentions(small.model, tokens) - expected).abs().max() > 0.1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["attn", "mlp"])
def test_a_replaced_output_is_a_hook_on_the_module(models: Models, name: str, part: str) -> None:
    small, tokens = models(name), prompts()
    term = torch.randn(48, generator=torch.Generator().manual_seed(3))
    if part == "attn":
        module = small.attention(0)
    elif name == "opt":
        module = small.block(0).fc2
    else:
        module = small.block(0).mlp
    with replaced_output(module, term), torch.no_grad():
        expected = small.model(tokens, output_attentions=True)
    names = ["blocks.1.attn.hook_pattern", "blocks.2.attn.hook_pattern"]
    edits = {f"blocks.0.hook_{part}_out": lambda activation: term.expand_as(activation)}
    recorded = models.checkpoint(name).run(tokens, edits, names)
    for layer, hook in enumerate(names, start=1):
        assert (recorded[hook] - expected.attentions[layer]).abs().max() < TOLERANCE
    logits = models.checkpoint(name).run(tokens, edits)["logits"]
    assert (log_probabilities(logits) - log_probabilities(expected.logits)).abs().max() < 1e-4
    assert (attentions(small.model, tokens)[2] - expected.attentions[2]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_edited_scores_are_a_model_with_scaled_queries(models: Models, tmp_path: Path, name: str) -> None:
    """Head 1 of layer 1 has its scores halved: in transformers, its query weights and biases are."""
    small, tokens = build(name, tmp_path), prompts()
    attention, d_head = small.attention(1), small.d_head
    rows = {"gpt2": slice(d_head, 2 * d_head), "llama": slice(d_head, 2 * d_head)}
    rows["neox"] = slice(3 * d_head, 4 * d_head)
    with torch.no_grad():
        if name == "gpt2":
            attention.c_attn.weight[:, rows[name]] *= 0.5
            attention.c_attn.bias[rows[name]] *= 0.5
        elif name == "llama":
            attention.q_proj.weight[rows[name]] *= 0.5
        else:
            attention.query_key_value.weight[rows[name]] *= 0.5
            attention.query_key_value.bias[rows[name]] *= 0.5
    expected = attentions(small.model, tokens)

    def halve(scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, 1] *= 0.5
        return scores

    names = ["blocks.1.attn.hook_pattern", "blocks.2.attn.hook_pattern"]
    recorded = models.checkpoint(name).run(tokens, {"blocks.1.attn.hook_attn_scores": halve}, names)
    for layer, hook in enumerate(names, start=1):
        assert (recorded[hook] - expected[layer]).abs().max() < TOLERANCE
    change = (attentions(models(name).model, tokens) - expected).abs()
    assert change[1, :, 1].max() > 0.05
    assert change[2].max() > 0.001


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_recorded_scores_are_before_the_softmax_and_after_the_scale(models: Models, name: str) -> None:
    small, checkpoint, tokens = models(name), models.checkpoint(name), prompts()
    recorded = checkpoint.run(tokens, record=["blocks.1.attn.hook_attn_scores"])
    scores = recorded["blocks.1.attn.hook_attn_scores"]
    expected = attentions(small.model, tokens)[1]
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    by_key = (scores[..., :1] - scores)[..., seen]
    assert (by_key - (expected[..., :1].log() - expected.log())[..., seen]).abs().max() < 1e-3


def test_records_are_taken_after_the_edits(models: Models) -> None:
    name = "blocks.1.hook_mlp_out"
    recorded = models.checkpoint("gpt2").run(prompts(), {name: lambda x: torch.full_like(x, 2.5)}, [name])
    assert torch.equal(recorded[name], torch.full((3, LENGTH, 48), 2.5))


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_run_stops_where_it_is_told(models: Models, name: str) -> None:
    small, tokens = models(name), prompts()
    expected = hidden_states(small.model, tokens)[2]
    result = models.checkpoint(name).run(tokens, record=["blocks.1.attn.hook_pattern"], stop_at_layer=2)
    assert set(result) == {"stopped", "blocks.1.attn.hook_pattern"}
    stopped = result["stopped"]
    if small.architecture.centres:
        stopped, expected = (x - x.mean(-1, keepdim=True) for x in (stopped, expected))
    assert (stopped - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_run_ends_with_the_last_record(models: Models, name: str) -> None:
    """What comes after is not run, as the MLP of the last layer, whose edit is not met."""
    checkpoint, tokens = models.checkpoint(name), prompts()
    pattern, earlier = "blocks.1.attn.hook_pattern", "blocks.0.hook_mlp_out"
    found = checkpoint.run(tokens, record=[pattern, earlier])
    assert set(found) == {pattern, earlier}
    whole = checkpoint.run(tokens, record=[pattern, earlier], stop_at_layer=2)
    assert all(torch.equal(found[at], whole[at]) for at in found)
    with pytest.raises(ValueError, match=r"blocks\.1\.hook_mlp_out.*does not occur"):
        checkpoint.run(tokens, {"blocks.1.hook_mlp_out": torch.zeros_like}, [pattern])
    assert torch.equal(checkpoint.run(tokens)["logits"], checkpoint.run(tokens)["logits"])


def test_edits_are_gone_after_the_run_even_one_that_failed(models: Models) -> None:
    checkpoint, tokens = models.checkpoint("gpt2"), prompts()
    before = checkpoint.run(tokens)["logits"]
    checkpoint.run(tokens, {"hook_embed": torch.zeros_like})
    assert torch.equal(checkpoint.run(tokens)["logits"], before)

    def fail(activation: Tensor) -> Tensor:
        raise ZeroDivisionError(activation.shape)

    with pytest.raises(ZeroDivisionError):
        checkpoint.run(tokens, {"hook_embed": torch.zeros_like, "blocks.0.hook_mlp_out": fail})
    assert torch.equal(checkpoint.run(tokens)["logits"], before)


@pytest.mark.parametrize("name", ["blocks.9.hook_attn_out", "hook_nonsense", ""])
def test_an_unknown_activation_is_a_value_error(models: Models, name: str) -> None:
    checkpoint = models.checkpoint("gpt2")
    with pytest.raises(ValueError, match="no activation"):
        checkpoint.run(prompts(), {name: torch.zeros_like})
    with pytest.raises(ValueError, match="no activation"):
        checkpoint.run(prompts(), record=[name])


def test_rotary_models_have_no_position_embedding_to_edit(models: Models) -> None:
    with pytest.raises(ValueError, match="hook_pos_embed"):
        models.checkpoint("llama").run(prompts(), {"hook_pos_embed": torch.zeros_like})


def test_patterns_need_tokens(models: Models) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        models.checkpoint("gpt2").attention_patterns(None)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_bfloat16_is_folded_in_float32_and_then_cast(models: Models, name: str) -> None:
    small, tokens = models(name), prompts()
    checkpoint = load(str(small.folder), dtype=torch.bfloat16)
    patterns = checkpoint.attention_patterns(tokens)
    difference = (patterns.float() - attentions(small.model, tokens)).abs().max()
    assert 1e-4 < difference < 0.1
    assert checkpoint.fingerprint(1) == models.checkpoint(name).fingerprint(1)
    weights, exact = checkpoint.qk_weights(1), models.checkpoint(name).qk_weights(1)
    assert weights.W_Q.dtype == torch.float32
    # Rounding of the folded weights, 8 bits each: two roundings would show.
    assert ((weights.W_Q - exact.W_Q).abs() <= 2.0**-8 * exact.W_Q.abs() + 1e-6).all()


def normalised_queries() -> Any:
    return transformers.Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        num_hidden_layers=2,
        intermediate_size=80,
    )


def capped_scores() -> Any:
    return transformers.Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        num_hidden_layers=2,
        intermediate_size=80,
        attn_logit_softcapping=50.0,
    )


@pytest.mark.parametrize(("config", "why"), [(normalised_queries, "normalised"), (capped_scores, "capped")])
def test_scores_that_are_not_bilinear_are_not_assessable(tmp_path: Path, config: Callable[[], Any], why: str) -> None:
    """Patterns can be had all the same."""
    model = saved(config(), tmp_path)
    checkpoint = load(str(tmp_path))
    assert Capability.QK not in checkpoint.capabilities
    with pytest.raises(NotAssessable, match=why):
        checkpoint.qk_weights(0)
    tokens = prompts()
    assert (checkpoint.attention_patterns(tokens) - attentions(model, tokens)).abs().max() < TOLERANCE


def saved(config: Any, folder: Path) -> Any:
    """A random model of two layers on 48 dimensions, saved with its tokenizer."""
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomise(model, 0)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return model


@pytest.mark.parametrize("setting", ["scale_attn_weights", "scale_attn_by_inverse_layer_idx"])
def test_gpt2_with_another_scale_has_its_own_patterns_or_is_refused(tmp_path: Path, setting: str) -> None:
    value = setting != "scale_attn_weights"
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=48, n_head=4, n_layer=2, n_positions=72, **{setting: value}
    )
    model, tokens = saved(config, tmp_path), prompts()
    try:
        checkpoint = load(str(tmp_path))
    except BadCheckpoint:
        return
    assert (checkpoint.attention_patterns(tokens) - attentions(model, tokens)).abs().max() < TOLERANCE
    scale = 12**-0.5 / 2 if value else 1.0
    assert checkpoint.qk_weights(1).scale == pytest.approx(scale)


def norm_after_attention() -> Any:
    return transformers.Olmo2Config(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        intermediate_size=80,
    )


def norm_after_the_sum() -> Any:
    return transformers.OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_attention_heads=4,
        num_hidden_layers=2,
        ffn_dim=80,
        word_embed_proj_dim=48,
        max_position_embeddings=72,
        do_layer_norm_before=False,
    )


@pytest.mark.parametrize("config", [norm_after_attention, norm_after_the_sum])
def test_a_layer_without_a_norm_before_its_attention_is_refused_or_not_assessable(
    tmp_path: Path, config: Callable[[], Any]
) -> None:
    """There is nothing to fold: never another error, and no patterns but the model's."""
    model, tokens = saved(config(), tmp_path), prompts()
    try:
        checkpoint = load(str(tmp_path))
    except BadCheckpoint:
        return
    assert (checkpoint.attention_patterns(tokens) - attentions(model, tokens)).abs().max() < TOLERANCE
    with pytest.raises(NotAssessable):
        checkpoint.qk_weights(0)


def test_positions_neither_learned_nor_rotary_are_refused(tmp_path: Path) -> None:
    saved(transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=48, n_head=4, n_layer=2), tmp_path)
    with pytest.raises(BadCheckpoint, match=r"alibi.*wanted learned or rotary"):
        load(str(tmp_path))


def test_a_context_of_four_tokens(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=48, n_head=4, n_layer=2, n_positions=4)
    model, tokens = saved(config, tmp_path), prompts(length=4)
    checkpoint = load(str(tmp_path))
    assert (checkpoint.attention_patterns(tokens) - attentions(model, tokens)).abs().max() < TOLERANCE
    assert checkpoint.qk_weights(1).scale == pytest.approx(12**-0.5)


def without_attention() -> Any:
    return transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=48, num_hidden_layers=2, state_size=4)


def heads_that_cannot_be_turned() -> Any:
    """Three dimensions of a head, whose rotation is of pairs."""
    return transformers.StableLmConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        intermediate_size=80,
    )


@pytest.mark.parametrize("config", [without_attention, heads_that_cannot_be_turned])
def test_a_model_that_does_not_attend_is_refused(tmp_path: Path, config: Callable[[], Any]) -> None:
    saved(config(), tmp_path)
    with pytest.raises(BadCheckpoint) as caught:
        load(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(caught.value)


def test_nothing_reaches_the_hub_or_the_terminal(
    models: Models, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *address: pytest.fail(f"connects: {address}"))
    checkpoint = load(str(models("gpt2").folder))
    checkpoint.attention_patterns(prompts())
    assert isinstance(checkpoint, FullCheckpoint)
    assert capfd.readouterr() == ("", "")
