"""E and its variants against transformers' modules, called by hand and without the suite's ablations."""

import copy
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from headclaims.cache import Cache
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Checkpoint
from headclaims.checkpoint.planted.folder import planted_folder
from headclaims.circuit.effective_embedding import Variant, ablated_terms, effective_embedding
from headclaims.errors import NotAssessable
from headclaims.prompts.category import category_prompts
from headclaims.prompts.words import WordList
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import (
    TOKEN_IDS,
    VOCABULARY,
    WORDS,
    SmallModel,
    build,
    cut_partial,
    norm_eps,
    replaced_output,
    without_gain,
)
from headclaims.tests.word_lists import load_words

NOTHING = Cache(None)
TOLERANCE = 1e-4  # float32: the norm divides by a residual stream of order one

Terms = tuple[Tensor, list[Tensor]]


def position_embedding(model: Any, length: int) -> Tensor:
    """Learned positions 0…length − 1."""
    return model.transformer.wpe.weight[:length].detach()


def recorded_terms(small: SmallModel, layer: int, tokens: Tensor, first: int) -> Terms:
    """The mean position embedding and attention outputs over prompts and positions from `first` on."""
    d_model = small.model.config.hidden_size
    seen: list[list[Tensor]] = [[] for _ in range(layer)]
    with ExitStack() as hooks, torch.no_grad():
        for before in range(layer):
            hooks.enter_context(replaced_output(small.attention(before), None, seen[before]))
        small.model(tokens)
    attention = [outputs[0][:, first:].reshape(-1, d_model).double().mean(dim=0).float() for outputs in seen]
    if small.architecture.rotary:
        return torch.zeros(d_model), attention
    return position_embedding(small.model, tokens.shape[1])[first:].mean(dim=0), attention


def default_prompts(small: SmallModel, words: WordList) -> Tensor:
    """32 category prompts of 64 tokens, drawn with seed 0, by a tokenizer that transformers opened."""
    ids = transformers.AutoTokenizer.from_pretrained(small.folder).get_vocab()
    bos = ids[transformers.AutoTokenizer.from_pretrained(small.folder).bos_token]
    drawn = category_prompts(words, ids.get, bos, 32, 64, seed=0)
    assert drawn.tokens is not None
    return torch.as_tensor(drawn.tokens)


def gpt2_by_hand(small: SmallModel, layer: int, terms: Terms) -> Tensor:
    model, (position, attention) = small.model.transformer, terms
    x = model.wte.weight + position
    for before in range(layer):
        block = model.h[before]
        x = x + attention[before]
        x = x + block.mlp(block.ln_2(x))
    return without_gain(x, True, 1e-5).detach()


def llama_by_hand(small: SmallModel, layer: int, terms: Terms) -> Tensor:
    model, (_, attention) = small.model.model, terms
    x = model.embed_tokens.weight
    for before in range(layer):
        block = model.layers[before]
        x = x + attention[before]
        x = x + block.mlp(block.post_attention_layernorm(x))
    return without_gain(x, False, 1e-6).detach()


def neox_by_hand(small: SmallModel, layer: int, terms: Terms) -> Tensor:
    """In a parallel block the MLP doesn't read the attention output."""
    model, (_, attention) = small.model.gpt_neox, terms
    x = model.embed_in.weight
    for before in range(layer):
        block = model.layers[before]
        x = x + attention[before] + block.mlp(block.post_attention_layernorm(x))
    return without_gain(x, True, 1e-5).detach()


def gemma_by_hand(small: SmallModel, layer: int, terms: Terms) -> Tensor:
    """Embeddings are scaled by √d_model."""
    model, (_, attention) = small.model.model, terms
    x = model.embed_tokens.weight * 48**0.5
    for before in range(layer):
        block = model.layers[before]
        x = x + attention[before]
        x = x + block.mlp(block.post_attention_layernorm(x))
    return without_gain(x, False, 1e-6).detach()


BY_HAND = {"gpt2": gpt2_by_hand, "llama": llama_by_hand, "neox": neox_by_hand, "gemma": gemma_by_hand}


def terms_by_hand(small: SmallModel, layer: int, variant: Variant, words: WordList) -> Terms:
    config = small.model.config
    if variant is Variant.ZERO:
        return torch.zeros(config.hidden_size), [torch.zeros(config.hidden_size)] * layer
    if variant is Variant.AUTHOR:
        length = min(1024, config.max_position_embeddings, config.vocab_size)
        return recorded_terms(small, layer, torch.arange(length)[None], first=0)
    return recorded_terms(small, layer, default_prompts(small, words), first=1)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_embedding_is_the_modules_called_by_hand(models: Models, name: str, variant: Variant, layer: int) -> None:
    small, checkpoint = models(name), models.checkpoint(name)
    assert norm_eps(small, 0) == {"gpt2": 1e-5, "neox": 1e-5}.get(name, 1e-6)
    expected = BY_HAND[name](small, layer, terms_by_hand(small, layer, variant, WORDS))
    E = effective_embedding(checkpoint, layer, WORDS, NOTHING, variant)
    assert E.dtype == torch.float32
    assert E.shape == (VOCABULARY, 48)
    assert (E - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_variants_differ_by_more_than_the_tolerance(models: Models, name: str) -> None:
    """Lest the comparison above could not tell them apart."""
    small = models(name)
    mean, zero, author = (BY_HAND[name](small, 2, terms_by_hand(small, 2, variant, WORDS)) for variant in Variant)
    for one, other in ((mean, zero), (mean, author), (zero, author)):
        assert (one - other).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["opt", "gpt-neo", "qwen2", "ernie"])
def test_embedding_is_a_run_on_single_tokens(models: Models, name: str) -> None:
    """Sequences of one token through the whole model, attention outputs and position embedding replaced by hooks."""
    small = models(name)
    draw = torch.Generator().manual_seed(5)
    position, attention = torch.randn(48, generator=draw), torch.randn(2, 48, generator=draw)
    with ExitStack() as hooks, torch.no_grad():
        for before in range(2):
            hooks.enter_context(replaced_output(small.attention(before), attention[before]))
        if not small.architecture.rotary:
            where = "model.decoder.embed_positions" if name == "opt" else "transformer.wpe"
            hooks.enter_context(replaced_output(small.model.get_submodule(where), position))
        streams = small.model(torch.arange(VOCABULARY)[:, None], output_hidden_states=True).hidden_states
    expected = without_gain(streams[2][:, 0], small.architecture.centres, norm_eps(small, 2))
    E = models.checkpoint(name).embed_alone(torch.arange(VOCABULARY), 2, position, attention)
    assert (E - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("variant", list(Variant))
def test_embedding_of_the_planted_checkpoint(planted: Checkpoint, variant: Variant) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(planted_folder()).eval()
    small, words = SmallModel("gpt2", planted_folder(), model), load_words("write-up")
    expected = gpt2_by_hand(small, 1, terms_by_hand(small, 1, variant, words))
    E = effective_embedding(planted, 1, words, NOTHING, variant)
    assert E.shape == (model.config.vocab_size, 768)
    assert (E - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_ablated_terms_move_with_the_prompts(models: Models, name: str) -> None:
    """Other words, other means: the prompts are those of the list that was given."""
    checkpoint = models.checkpoint(name)
    fewer = WordList("fewer", {c: WORDS.categories[c] for c in ("colours", "fruits")})
    one, other = (ablated_terms(checkpoint, 2, words, Variant.MEAN, Cache(None))[1] for words in (WORDS, fewer))
    assert (one - other).abs().max() > 1e-3
    expected = recorded_terms(models(name), 2, default_prompts(models(name), fewer), first=1)[1]
    # Compatibility mode centres what a LayerNorm model writes.
    expected = [term - term.mean() if name == "gpt2" else term for term in expected]
    assert (other - torch.stack(expected)).abs().max() < TOLERANCE


def test_batches_make_no_difference(models: Models) -> None:
    checkpoint = models.checkpoint("gpt2")
    whole = effective_embedding(checkpoint, 2, WORDS, NOTHING)
    assert (effective_embedding(checkpoint, 2, WORDS, NOTHING, batch=7) - whole).abs().max() < 1e-5


def test_the_mean_needs_words_and_the_others_do_not(models: Models) -> None:
    checkpoint = models.checkpoint("gpt2")
    with pytest.raises(ValueError, match="no word list"):
        effective_embedding(checkpoint, 1, None, NOTHING)
    for variant in (Variant.ZERO, Variant.AUTHOR):
        assert len(effective_embedding(checkpoint, 1, None, NOTHING, variant)) == VOCABULARY


def test_rows_are_tokens(models: Models) -> None:
    """Row t is token t, whichever tokens are asked for."""
    checkpoint = models.checkpoint("llama")
    E = effective_embedding(checkpoint, 1, None, NOTHING, Variant.ZERO)
    some = torch.tensor([TOKEN_IDS[" red"], 3, TOKEN_IDS["red"]])
    alone = checkpoint.embed_alone(some, 1, torch.zeros(48), torch.zeros(1, 48))
    assert (alone - E[some]).abs().max() < 1e-5


def partial(models: Models, tmp_path: Path, keep: Callable[[str], bool], **config: Any) -> Checkpoint:
    return load(str(cut_partial(models("gpt2"), tmp_path / "partial.safetensors", keep, config)))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_zero_embedding_of_partial_weights(models: Models, tmp_path: Path, layer: int) -> None:
    """The file's tensors give what the whole model gives; means can't be had from what doesn't run."""
    checkpoint = partial(models, tmp_path, lambda name: "wpe" not in name)
    E = effective_embedding(checkpoint, layer, None, NOTHING, Variant.ZERO)
    expected = gpt2_by_hand(models("gpt2"), layer, (torch.zeros(48), [torch.zeros(48)] * layer))
    assert (E - expected).abs().max() < TOLERANCE
    full = effective_embedding(models.checkpoint("gpt2"), layer, None, NOTHING, Variant.ZERO)
    assert (E - full).abs().max() < TOLERANCE
    for variant in (Variant.MEAN, Variant.AUTHOR):
        with pytest.raises(NotAssessable, match=r"interventions|tokens"):
            effective_embedding(checkpoint, layer, WORDS, NOTHING, variant)


def test_partial_weights_take_the_ablated_terms_they_are_given(models: Models, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(5)
    terms = torch.randn(48, generator=draw), torch.randn(2, 48, generator=draw)
    E = partial(models, tmp_path, lambda _: True).embed_alone(torch.arange(VOCABULARY), 2, *terms)
    expected = gpt2_by_hand(models("gpt2"), 2, (terms[0], list(terms[1])))
    assert (E - expected).abs().max() < TOLERANCE


def test_partial_weights_without_an_mlp_stop_at_its_layer(models: Models, tmp_path: Path) -> None:
    checkpoint = partial(models, tmp_path, lambda name: "h.1.mlp.c_fc" not in name)
    assert len(effective_embedding(checkpoint, 1, None, NOTHING, Variant.ZERO)) == VOCABULARY
    with pytest.raises(NotAssessable, match="MLP 1"):
        effective_embedding(checkpoint, 2, None, NOTHING, Variant.ZERO)


@pytest.mark.parametrize("gone", ["wte", "h.0.mlp.c_proj.bias", "h.0.ln_2.weight"])
def test_partial_weights_without_embedding_tensors_have_no_embedding(models: Models, tmp_path: Path, gone: str) -> None:
    checkpoint = partial(models, tmp_path, lambda name: gone not in name)
    with pytest.raises(NotAssessable, match="needs embedding"):
        effective_embedding(checkpoint, 1, None, NOTHING, Variant.ZERO)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu", "relu"])
def test_partial_weights_heed_the_activation_or_have_no_embedding(
    models: Models, tmp_path: Path, activation: str
) -> None:
    """Not every GPT-2 has the tanh form of GELU."""
    small = models("gpt2")
    forms = {"gelu_new": torch.nn.GELU("tanh"), "gelu": torch.nn.GELU(), "relu": torch.nn.ReLU()}
    other = copy.deepcopy(small.model)
    for layer in range(2):
        other.transformer.h[layer].mlp.act = forms[activation]
    nothing = torch.zeros(48), [torch.zeros(48)] * 2
    expected = gpt2_by_hand(SmallModel("gpt2", small.folder, other), 2, nothing)
    try:
        checkpoint = partial(models, tmp_path, lambda _: True, activation_function=activation)
        E = effective_embedding(checkpoint, 2, None, NOTHING, Variant.ZERO)
    except ValueError:
        return
    assert (E - expected).abs().max() < 1e-5


def test_partial_weights_whose_config_has_no_vocabulary_size_embed_all_tokens(models: Models, tmp_path: Path) -> None:
    """The size is that of the embedding in the file."""
    checkpoint = partial(models, tmp_path, lambda _: True, vocab_size=None)
    assert len(effective_embedding(checkpoint, 1, None, NOTHING, Variant.ZERO)) == VOCABULARY


def test_partial_weights_heed_the_epsilon(models: Models, tmp_path: Path) -> None:
    checkpoint = partial(models, tmp_path, lambda _: True, layer_norm_epsilon=0.25)
    x = models("gpt2").model.transformer.wte.weight.detach()
    E = effective_embedding(checkpoint, 0, None, NOTHING, Variant.ZERO)
    assert (E - without_gain(x, True, 0.25)).abs().max() < 1e-5


def test_the_key_of_the_embedding_changes_with_all_it_is_computed_from(models: Models, tmp_path: Path) -> None:
    """A cache filled by one model gives another its own E, and the same model its E unchanged."""
    cache = Cache(tmp_path / "cache")
    small = build("gpt2", tmp_path / "model", seed=1)

    def embedding() -> Tensor:
        checkpoint = load(str(small.folder))
        E = effective_embedding(checkpoint, 1, WORDS, cache)
        assert torch.equal(E, effective_embedding(checkpoint, 1, WORDS, cache))
        return E

    first = embedding()
    changed = ("transformer.wte.weight", "transformer.wpe.weight", "transformer.h.0.mlp.c_proj.bias")
    for name in (*changed, "transformer.h.0.ln_2.weight", "transformer.h.0.attn.c_attn.weight"):
        parameter = small.model.get_parameter(name)
        with torch.no_grad():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        small.model.save_pretrained(small.folder)
        second = embedding()
        expected = gpt2_by_hand(small, 1, terms_by_hand(small, 1, Variant.MEAN, WORDS))
        assert (second - expected).abs().max() < TOLERANCE
        assert (second - first).abs().max() > 10 * TOLERANCE
        first = second
