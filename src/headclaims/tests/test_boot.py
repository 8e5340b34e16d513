"""Booting: the architecture is found whether or not a config names it."""

import json
from pathlib import Path

import pytest
import torch

from headclaims.checkpoint import load
from headclaims.errors import BadCheckpoint
from headclaims.tests.small_configs import CONFIGS, saved_model, saved_small
from headclaims.tests.small_models import VOCABULARY

TOKENS = torch.randint(2, VOCABULARY - 1, (2, 16), generator=torch.Generator().manual_seed(3))


def without_architectures(folder: Path, *instead: str) -> None:
    """Take `architectures` out of a folder's config, or put others there."""
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    if instead:
        config["architectures"] = list(instead)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_without_architectures(name: str, tmp_path: Path) -> None:
    """As of every GGUF file: the class that transformers itself takes for the model type says what it is."""
    model = saved_small(name, tmp_path)
    without_architectures(tmp_path)
    with torch.no_grad():
        expected = torch.stack(model(TOKENS, output_attentions=True).attentions)
    assert (load(str(tmp_path)).attention_patterns(TOKENS) - expected).abs().max() < 2e-5


@pytest.mark.parametrize("stated", ["LlamaModel", "LlamaForSequenceClassification", "SomeoneElsesModel"])
def test_a_config_that_names_another_class(stated: str, tmp_path: Path) -> None:
    model = saved_small("internlm", tmp_path)
    without_architectures(tmp_path, stated)
    with torch.no_grad():
        expected = torch.stack(model(TOKENS, output_attentions=True).attentions)
    assert (load(str(tmp_path)).attention_patterns(TOKENS) - expected).abs().max() < 2e-5


def test_an_architecture_without_an_adapter_is_named(tmp_path: Path) -> None:
    from transformers import BioGptConfig

    saved_model(
        BioGptConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48
        ),
        tmp_path,
    )
    with pytest.raises(BadCheckpoint, match="no adapter for BioGptForCausalLM") as caught:
        load(str(tmp_path))
    assert len(str(caught.value)) < 400


def test_booting_copies_no_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TransformerLens looks at all attributes of a model again and again, of which one is made anew each time."""
    from transformer_lens.model_bridge import TransformerBridge

    saved_small("gpt-bigcode", tmp_path)
    whole = TransformerBridge.W_E_pos
    looks: list[int] = []
    monkeypatch.setattr(TransformerBridge, "W_E_pos", property(lambda bridge: looks.append(1) or whole.fget(bridge)))
    bridge = load(str(tmp_path)).bridge
    assert not looks
    assert len(bridge.W_E_pos) == len(bridge.W_E) + len(bridge.W_pos)


@pytest.mark.filterwarnings("ignore:.*does not support fold_ln")
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "phimoe"])  # whose class has another name there
def test_folding_without_copies_gives_the_same_weights(name: str, tmp_path: Path) -> None:
    """To the last bit those of TransformerLens left to itself, and no matrix is copied while it folds."""
    import transformers
    from transformer_lens.model_bridge import TransformerBridge

    saved_small(name, tmp_path)
    checkpoint = load(str(tmp_path))
    plain = TransformerBridge.boot_transformers(
        str(tmp_path), hf_model=transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    )
    plain.enable_compatibility_mode(disable_warnings=True)
    expected = dict(plain.original_model.named_parameters())
    found = dict(checkpoint.bridge.original_model.named_parameters())
    assert found.keys() == expected.keys()
    different = [of for of, tensor in expected.items() if not torch.equal(found[of], tensor)]
    assert different == []
    storages = [tensor.data_ptr() for tensor in found.values() if tensor.ndim > 1]
    assert len(set(storages)) == len(storages)


def test_a_matrix_is_copied_again_after_folding(tmp_path: Path) -> None:
    saved_small("internlm", tmp_path)
    load(str(tmp_path))
    matrix = torch.ones(2, 2)
    assert matrix.clone() is not matrix
    assert torch.empty(9, 9).normal_().std() > 0
