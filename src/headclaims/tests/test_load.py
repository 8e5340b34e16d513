"""`load`: which kind a spec names, and one clear line for what cannot be loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from headclaims import checkpoint as checkpoints
from headclaims.checkpoint import hub, load
from headclaims.checkpoint.interface import Capability
from headclaims.errors import BadCheckpoint, BadInput
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import BOS, TOKEN_IDS, build, cut_partial, tokenizer, write_gguf


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test gets wrong must not reach the network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def folder(models: Models, tmp_path: Path) -> Path:
    """A folder of the small GPT-2 to damage."""
    return Path(shutil.copytree(models("gpt2").folder, tmp_path / "model"))


def refused(spec: object, match: str, **options: Any) -> str:
    """BadCheckpoint, in one line that names the spec and has these words."""
    with pytest.raises(BadCheckpoint, match=match) as caught:
        load(str(spec), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{spec}: ")
    assert len(message.removeprefix(f"{spec}: ")) > 10
    return message


# What is loaded


def test_a_folder(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models("gpt2").folder.parent)
    for spec in ("gpt2", "gpt2/", "./gpt2", str(models("gpt2").folder)):
        checkpoint = load(spec)
        assert (checkpoint.kind, checkpoint.spec, checkpoint.name) == ("folder", spec, "gpt2")
        assert checkpoint.revision is None
        assert checkpoint.capabilities == list(Capability)
    monkeypatch.chdir(models("gpt2").folder)
    assert load(".").name == "gpt2"


def test_a_folder_or_file_whose_name_begins_with_planted(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is there is what is loaded; only `planted` itself is taken."""
    shutil.copytree(models("gpt2").folder, tmp_path / "planted-copy")
    cut_partial(models("gpt2"), tmp_path / "planted.safetensors")
    monkeypatch.chdir(tmp_path)
    assert load("planted-copy").kind == "folder"
    assert load("planted.safetensors").kind == "partial-weights"


def test_a_gguf_file(models: Models, tmp_path: Path) -> None:
    """The same model in llama.cpp's format: its order of rotary dimensions undone, its patterns the same."""
    small = models("llama")
    checkpoint = load(str(write_gguf(small, tmp_path / "small.gguf")))
    assert (checkpoint.kind, checkpoint.name, checkpoint.sizes) == (
        "gguf",
        "small",
        models.checkpoint("llama").sizes,
    )
    tokens = torch.randint(0, 80, (2, 15), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.stack(small.model(tokens, output_attentions=True).attentions)
    assert (checkpoint.attention_patterns(tokens) - expected).abs().max() < 1e-5
    assert checkpoint.fingerprint(1) == models.checkpoint("llama").fingerprint(1)
    assert (checkpoint.bos, checkpoint.single_token(" red")) == (TOKEN_IDS[BOS], 7)
    assert checkpoint.single_token(" blue") is None


def test_weights_in_shards(models: Models, tmp_path: Path) -> None:
    small = models("gpt2")
    small.model.save_pretrained(tmp_path, max_shard_size="60KB")
    tokenizer().save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert load(str(tmp_path)).fingerprint(2) == models.checkpoint("gpt2").fingerprint(2)
    shards[1].unlink()
    refused(tmp_path, shards[1].name)


def test_weights_saved_in_half_precision_are_read_in_float32(models: Models, folder: Path) -> None:
    weights = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    W_Q = load(str(folder)).qk_weights(1).W_Q
    assert W_Q.dtype == torch.float32
    assert 0 < (W_Q - models.checkpoint("gpt2").qk_weights(1).W_Q).abs().max() < 1e-3


def test_code_in_a_folder_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Model", "AutoConfig": "modeling.Config"}
    (folder / "modeling.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\n")
    (folder / "config.json").write_text(json.dumps(config))
    load(str(folder))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "made-up"}))
    refused(folder, "no readable model")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("cached", "reachable", "spec", "why"),
    [
        (Path("snapshot"), False, "{model}", "{model} is in the local cache"),
        (None, True, "{model}", "the hub has {model}"),
        (None, False, "planted", "{model} is not in the local cache and the hub does not answer"),
    ],
)
@pytest.mark.parametrize("model", ["gpt2", "owner/other"])
def test_without_a_spec(
    monkeypatch: pytest.MonkeyPatch, model: str, cached: Path | None, reachable: bool, spec: str, why: str
) -> None:
    monkeypatch.setattr(hub, "cached", lambda *asked: {(model, None): cached}[asked])
    monkeypatch.setattr(hub, "reachable", {model: reachable}.__getitem__)
    chosen, reason = checkpoints.default_spec(model)
    assert chosen == spec.format(model=model)
    assert reason.startswith("no --checkpoint given")
    assert why.format(model=model) in reason


# What is not: specs


@pytest.mark.parametrize(
    "spec",
    [
        "/no/such/folder",
        "./no-such-folder",
        "one/two/three",
        "two words",
        "../no-such-folder",
        "name@branch",
        "https://example.org/model",
        "~/no-such-folder-at-home",
    ],
)
def test_a_path_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused(spec, "no such file or folder, nor the form of a hub id")


@pytest.mark.parametrize("spec", ["no-such.gguf", "/no/such/file.safetensors", "/no/such/file.gguf"])
def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused(spec, "no such file")


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors"])
def test_a_folder_that_is_called_like_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    refused(tmp_path / name, r"no such file|folder")


@pytest.mark.parametrize("spec", ["planted:nonsense", "planted:", "planted:seed1"])
def test_an_unknown_counterfeit(spec: str) -> None:
    refused(spec, "no such counterfeit; planted:list prints those there are")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("red blue")
    refused(tmp_path / "notes.txt", "wanted a folder, .gguf or .safetensors")


@pytest.mark.parametrize("spec", ["~no-such-user/model", "a" * 5000, "a\0b", "no\nsuch"])
def test_specs_that_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadCheckpoint) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


def test_a_revision_of_what_has_none(models: Models, tmp_path: Path) -> None:
    partial = cut_partial(models("gpt2"), tmp_path / "a.safetensors")
    for spec in (str(models("gpt2").folder), str(partial), "planted", "planted:nonsense", "no-such.gguf"):
        with pytest.raises(BadInput, match=r"--revision main: .*; wanted a hub id") as caught:
            load(spec, revision="main")
        assert spec in str(caught.value)
        assert "\n" not in str(caught.value)


# What is not: folders


def test_a_folder_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused(folder, "without config.json or evidence files; wanted a Hugging Face model's folder")


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "without config.json or evidence files; wanted")


@pytest.mark.parametrize(
    "config",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"model_type": "made-up"}',
        '{"model_type": "bert", "vocab_size": 10}',
        '{"model_type": "gpt2", "n_head": "four"}',
        '{"model_type": "gpt2", "n_head": 5}',
        '{"model_type": "gpt2", "n_layer": -1}',
        "\udcff\udcfe",
    ],
)
def test_a_config_that_is_none(folder: Path, config: str) -> None:
    (folder / "config.json").write_bytes(config.encode(errors="surrogateescape"))
    refused(folder, "no readable model: .")


def test_a_config_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, r"no readable model: .*(model\.safetensors|weights)")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """The folder's weights, changed."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "name",
    ["h.1.attn.c_attn.weight", "h.1.ln_1.bias", "h.2.mlp.c_proj.bias", "ln_f.weight", "wte.weight", "wpe.weight"],
)
def test_weights_that_lack_a_tensor(folder: Path, name: str) -> None:
    """What transformers would draw it at random, with no more than a warning."""
    rewrite(folder, lambda weights: weights.pop(f"transformer.{name}"))
    refused(folder, f"no readable model: weights without .*({name}|lm_head)")


def test_an_output_matrix_of_its_own_that_is_lacking(models: Models, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models("llama").folder, tmp_path / "model"))
    rewrite(folder, lambda weights: weights.pop("lm_head.weight"))
    refused(folder, "weights without .*lm_head.weight")


def test_more_layers_in_the_config_than_in_the_weights(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 4}))
    refused(folder, r"weights without .*h\.3\.")


def test_weights_of_another_shape(folder: Path) -> None:
    def shorten(weights: dict[str, torch.Tensor]) -> None:
        weights["transformer.wte.weight"] = weights["transformer.wte.weight"][:-1].clone()

    rewrite(folder, shorten)
    refused(folder, r"wte.weight.*84.*85|wte.weight.*85.*84")


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["NaN", "infinite"])
@pytest.mark.parametrize("name", ["h.1.attn.c_attn.weight", "h.0.ln_1.bias", "wte.weight", "wpe.weight", "ln_f.bias"])
def test_weights_that_are_not_finite(folder: Path, name: str, value: float) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights[f"transformer.{name}"].view(-1)[3] = value

    rewrite(folder, spoil)
    refused(folder, f"tensor transformer.{name} holds 1 values that are NaN or infinite; wanted finite")


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.01, 0.5, 0.999])
def test_weights_that_are_cut_off(folder: Path, share: float) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: int(share * len(whole))])
    refused(folder, "no readable model: .")


def test_weights_that_are_random_bytes(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(np.random.default_rng(0).bytes(10_000))
    refused(folder, "no readable model: .")


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    """It would otherwise know no word, and look like a model that has none of the categories."""
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refused(folder, "tokenizer")


def test_a_tokenizer_that_is_none(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    refused(folder, "no readable model: .")


def test_a_tokenizer_that_is_longest_at_a_word(folder: Path) -> None:
    """A tokenizer compares the length of each text with it."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": "1024"}))
    refused(folder, r"no readable model: a tokenizer that takes no text \(.+\)")


def test_a_tokenizer_that_has_no_token_for_what_it_does_not_know(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] = {"type": "WordLevel", "vocab": {"red": 0}, "unk_token": "[UNK]"}
    content["added_tokens"] = []
    path.write_text(json.dumps(content))
    refused(folder, r"no readable model: a tokenizer that takes no text \(.+UNK.+\)")


def test_a_model_that_is_no_decoder(tmp_path: Path) -> None:
    config = transformers.T5Config(vocab_size=len(TOKEN_IDS), d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    refused(tmp_path, "no readable model: .")


# What is not: GGUF


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.001, 0.005, 0.02, 0.5, 0.999])
def test_a_gguf_file_that_is_cut_off(models: Models, tmp_path: Path, share: float) -> None:
    path = write_gguf(models("llama"), tmp_path / "small.gguf")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "no readable model: .")


@pytest.mark.parametrize("content", [b"GGUF" + bytes(100), b"\0" * 500, b"GGUF\x03\0\0\0" + b"\xff" * 400])
def test_a_gguf_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "small.gguf").write_bytes(content)
    refused(tmp_path / "small.gguf", "no readable model: .")


@pytest.mark.parametrize("tensor", ["blk.1.attn_q.weight", "blk.0.ffn_norm.weight", "token_embd.weight"])
def test_a_gguf_file_that_lacks_a_tensor(models: Models, tmp_path: Path, tensor: str) -> None:
    refused(write_gguf(models("llama"), tmp_path / "small.gguf", leave_out=tensor), "weights without")


def test_a_gguf_file_with_nan(tmp_path: Path) -> None:
    small = build("llama", tmp_path / "model")
    with torch.no_grad():
        small.model.model.layers[1].self_attn.k_proj.weight[3, 4] = float("nan")
    refused(write_gguf(small, tmp_path / "small.gguf"), "k_proj.weight holds 1 values that are NaN or infinite")
