"""Models that run in the type they are stored in, are too large to be folded in place, or run on other devices."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from headclaims.audit.prepare import check_device
from headclaims.checkpoint import boot, load
from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.checkpoint.mutate import mutate
from headclaims.checkpoint.opening import stored_type
from headclaims.errors import BadCheckpoint, BadInput
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import ARCHITECTURES, VOCABULARY, SmallModel, raw_weights, tokenizer

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
TOKENS = torch.randint(0, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(3))


def narrowed(small: SmallModel, folder: Path, dtype: torch.dtype) -> SmallModel:
    """A small model with its weights rounded to a type, and stored in it; as transformers has it in float32."""
    model = type(small.model)(small.model.config).to(dtype).eval()
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in small.model.state_dict().items()})
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    wide = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return SmallModel(small.name, folder, wide.eval())


def folded(small: SmallModel, layer: int) -> list[Tensor]:
    """W_Q, W_K, b_Q and b_K of a layer's heads from transformers' modules: gain · W, centred where the norm centres."""
    raw = raw_weights(small, layer)
    per_key = len(raw.W_Q) // len(raw.W_K)
    folds = []
    for W, b in ((raw.W_Q, raw.b_Q), (raw.W_K, raw.b_K)):
        gained = [raw.gain[:, None] * one for one in W]
        shift = [raw.norm_bias @ one if raw.norm_bias is not None else torch.zeros(one.shape[1]) for one in W]
        biases = [s + (b[i] if b is not None else 0) for i, s in enumerate(shift)]
        folds += [
            torch.stack([one - one.mean(dim=0) if small.architecture.centres else one for one in gained]),
            torch.stack(biases),
        ]
    W_Q, b_Q, W_K, b_K = folds
    return [W_Q, W_K.repeat_interleave(per_key, 0), b_Q, b_K.repeat_interleave(per_key, 0)]


def assert_folded(checkpoint: Checkpoint, small: SmallModel) -> None:
    for layer in checkpoint.qk_layers():
        weights = checkpoint.qk_weights(layer)
        for found, expected in zip(
            (weights.W_Q, weights.W_K, weights.b_Q, weights.b_K), folded(small, layer), strict=True
        ):
            assert found.dtype == torch.float32
            assert torch.allclose(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_what_is_stored_in_sixteen_bits_runs_so_and_is_folded_in_float32(
    models: Models, tmp_path: Path, name: str, dtype: str
) -> None:
    """The weights that claims read are those of the stored numbers, without a rounding of what is folded."""
    small = narrowed(models(name), tmp_path, TYPES[dtype])
    checkpoint = load(str(tmp_path))
    assert isinstance(checkpoint, FullCheckpoint)
    assert {of.dtype for of in checkpoint.bridge.original_model.parameters()} == {TYPES[dtype]}
    assert not checkpoint.lacks
    assert_folded(checkpoint, small)
    patterns = checkpoint.attention_patterns(TOKENS)
    assert patterns.dtype == TYPES[dtype]
    with torch.no_grad():
        wide = torch.stack(small.model(TOKENS, output_attentions=True).attentions)
        own = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto", attn_implementation="eager")
        same = torch.stack(own(TOKENS, output_attentions=True).attentions)
    off = (patterns.float() - same.float()).abs()  # GPT-Neo's own queries and keys are widened before their product
    assert off.mean() < 1e-3
    assert off.max() < 0.06
    assert 0 < (patterns.float() - wide).abs().mean() < 0.005


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_fingerprints_and_embeddings_do_not_depend_on_the_type_it_runs_in(
    models: Models, tmp_path: Path, name: str
) -> None:
    narrowed(models(name), tmp_path, torch.bfloat16)
    stored, wide = load(str(tmp_path)), load(str(tmp_path), dtype=torch.float32)
    layer = wide.sizes.n_layers - 1
    assert [stored.fingerprint(i) for i in range(layer + 1)] == [wide.fingerprint(i) for i in range(layer + 1)]
    assert torch.allclose(stored.W_E, wide.W_E, atol=1e-6)
    terms = torch.randn(layer + 1, wide.sizes.d_model, generator=torch.Generator().manual_seed(0)) * 0.1
    every = torch.arange(VOCABULARY)
    E, exact = (of.embed_alone(every, layer, terms[0], terms[1:]) for of in (stored, wide))
    assert E.dtype == torch.float32
    assert 0 < (E - exact).abs().mean() < 0.01
    assert (E - exact).abs().max() < 0.1


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_model_that_is_too_large_to_be_folded_in_place_gives_the_same(
    models: Models, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(boot, "MOST_FOLDED", 0)
    small, in_place = models(name), models.checkpoint(name)
    checkpoint = load(str(small.folder))
    assert isinstance(checkpoint, FullCheckpoint)
    assert not checkpoint.folded
    assert_folded(checkpoint, small)
    assert torch.allclose(checkpoint.attention_patterns(TOKENS), in_place.attention_patterns(TOKENS), atol=2e-5)
    assert torch.allclose(checkpoint.W_E, in_place.W_E, atol=1e-5)
    assert torch.allclose(checkpoint.W_U, in_place.W_U, atol=1e-5)
    for layer in checkpoint.ov_layers():
        found, wanted = (of.ov_weights(layer) for of in (checkpoint, in_place))
        assert torch.allclose(found.W_V, wanted.W_V, atol=1e-5)
        assert torch.allclose(found.W_O, wanted.W_O, atol=1e-5)
    assert checkpoint.identity == in_place.identity
    terms = torch.randn(3, checkpoint.sizes.d_model, generator=torch.Generator().manual_seed(0)) * 0.1
    E, expected = (of.embed_alone(torch.arange(40), 2, terms[0], terms[1:]) for of in (checkpoint, in_place))
    assert torch.allclose(E, expected, atol=1e-4)
    losses = [torch.log_softmax(of.run(TOKENS)["logits"], -1) for of in (checkpoint, in_place)]
    assert torch.allclose(*losses, atol=1e-4)


def test_a_mutation_needs_weights_that_are_folded_in_place(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "MOST_FOLDED", 0)
    with pytest.raises(BadInput, match="not folded in place; wanted --dtype float32"):
        mutate(load(str(models("gpt2").folder)), "transpose-qk", Head(1, 0), 0)


def test_the_stored_type_is_that_of_most_numbers(tmp_path: Path) -> None:
    """Whatever the config says; without safetensors the config is all there is."""
    few, many = torch.zeros(3), torch.zeros(40)
    (tmp_path / "config.json").write_text(json.dumps({"dtype": "float32"}))
    assert stored_type(tmp_path, None) == torch.float32
    (tmp_path / "config.json").write_text(json.dumps({"torch_dtype": "bfloat16"}))
    assert stored_type(tmp_path, None) == torch.bfloat16
    assert stored_type(tmp_path, "model.gguf") == torch.float32
    save_file({"norm": few, "W": many.half()}, tmp_path / "model-00001-of-00002.safetensors")
    assert stored_type(tmp_path, None) == torch.float16
    save_file({"V": many.bfloat16(), "U": few.bfloat16()}, tmp_path / "model-00002-of-00002.safetensors")
    assert stored_type(tmp_path, None) == torch.bfloat16
    save_file({"V": many, "U": many + 1}, tmp_path / "model-00002-of-00002.safetensors")
    assert stored_type(tmp_path, None) == torch.float32


def test_a_weight_that_is_not_finite_is_seen_in_sixteen_bits(models: Models, tmp_path: Path) -> None:
    narrowed(models("llama"), tmp_path, torch.bfloat16)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    for spoilt, count in ((float("nan"), 1), (-float("inf"), 2)):
        tensors["model.layers.1.mlp.up_proj.weight"][3, :count] = spoilt
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(BadCheckpoint, match=rf"up_proj.weight holds {count} values that are NaN or infinite"):
            load(str(tmp_path))


def test_what_overflows_in_sixteen_bits_is_refused_and_runs_in_float32(models: Models, tmp_path: Path) -> None:
    narrowed(models("llama"), tmp_path, torch.float16)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    for name in ("q_proj", "k_proj"):
        tensors[f"model.layers.1.self_attn.{name}.weight"] *= 1000
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(BadCheckpoint, match="attention is not finite in float16; wanted a wider --dtype"):
        load(str(tmp_path))
    assert load(str(tmp_path), dtype=torch.float32).attention_patterns(TOKENS).isfinite().all()


def test_on_mps_the_reference_is_the_processors(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metal that computes queries wrongly is refused; the model is moved after the reference ran, and no earlier."""
    moved: list[str] = []
    really = transformers.PreTrainedModel.to
    wrong = False

    def to(model: Any, device: Any) -> Any:
        moved.append(str(device))
        if device != "mps":
            return really(model, device)
        if wrong:
            with torch.no_grad():
                model.model.layers[1].self_attn.q_proj.weight.mul_(2)
        return model

    monkeypatch.setattr(transformers.PreTrainedModel, "to", to)
    folder = str(models("llama").folder)
    assert not load(folder, device="mps").lacks
    assert moved == ["cpu", "mps"]
    wrong = True
    with pytest.raises(BadCheckpoint, match="attends otherwise than transformers"):
        load(folder, device="mps")


def test_a_model_is_spread_over_what_there_is(models: Models) -> None:
    """Here that is the processor: nothing else could be tried."""
    checkpoint = load(str(models("llama").folder), device="auto")
    expected = models.checkpoint("llama").attention_patterns(TOKENS)
    assert torch.allclose(checkpoint.attention_patterns(TOKENS), expected, atol=2e-5)
    assert_folded(checkpoint, models("llama"))


def test_without_accelerate_a_model_is_not_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_device("auto") == "auto"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(BadInput, match="--device auto: accelerate"):
        check_device("auto")
