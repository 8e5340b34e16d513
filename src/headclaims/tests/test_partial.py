"""Partial weights cut from whole models: the same numbers, without transformers or TransformerLens."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.llama import modeling_llama

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Capability, Checkpoint
from headclaims.checkpoint.partial import PartialWeights
from headclaims.checkpoint.rotary import rotate_half_matrix
from headclaims.errors import BadCheckpoint, NotAssessable
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import cut_partial, raw_weights

ROOT = Path(__file__).parents[3]
NAMES = ["gpt2", "llama", "qwen2"]


def cut(models: Models, name: str, folder: Path, keep: Callable[[str], bool], **config: Any) -> Checkpoint:
    return load(str(cut_partial(models(name), folder / f"{name}.safetensors", keep, config)))


def query_key_tensors(name: str) -> bool:
    """What an audit of the spectra needs, and no more."""
    parts = ("ln_1.", "c_attn.", "input_layernorm.", "q_proj.", "k_proj.")
    return any(part in name for part in parts)


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint_is_that_of_the_full_folder_and_of_the_raw_weights(
    models: Models, tmp_path: Path, name: str
) -> None:
    checkpoint = cut(models, name, tmp_path, query_key_tensors)
    for layer in range(3):
        raw, digest = raw_weights(models(name), layer), hashlib.sha256()
        for part in (raw.W_Q, raw.W_K, raw.b_Q, raw.b_K):
            for head in part or []:
                digest.update(np.ascontiguousarray(head.numpy(), dtype="<f4").tobytes())
        assert checkpoint.fingerprint(layer) == digest.hexdigest()
        assert checkpoint.fingerprint(layer) == models.checkpoint(name).fingerprint(layer)


@pytest.mark.parametrize("name", NAMES)
def test_folded_weights_are_by_hand_and_those_of_the_full_folder(models: Models, tmp_path: Path, name: str) -> None:
    small, checkpoint = models(name), cut(models, name, tmp_path, query_key_tensors)
    for layer in range(3):
        raw, weights = raw_weights(small, layer), checkpoint.qk_weights(layer)
        per_key = len(raw.W_Q) // len(raw.W_K)
        for head in range(small.n_heads):
            sides = (
                (weights.W_Q[head], weights.b_Q[head], raw.W_Q, raw.b_Q, head),
                (weights.W_K[head], weights.b_K[head], raw.W_K, raw.b_K, head // per_key),
            )
            for W, b, raw_W, raw_b, of in sides:
                wanted = raw.gain[:, None] * raw_W[of]
                wanted_bias = torch.zeros(small.d_head) if raw_b is None else raw_b[of]
                if raw.norm_bias is not None:
                    wanted, wanted_bias = wanted - wanted.mean(dim=0), wanted_bias + raw.norm_bias @ raw_W[of]
                assert (W - wanted).abs().max() < 1e-5
                assert (b - wanted_bias).abs().max() < 1e-5
        full = models.checkpoint(name).qk_weights(layer)
        assert weights.scale == pytest.approx(full.scale, rel=1e-12)
        for one, other in ((weights.W_Q, full.W_Q), (weights.W_K, full.W_K)):
            assert (one - other).abs().max() < 1e-5
        for one, other in ((weights.b_Q, full.b_Q), (weights.b_K, full.b_K)):
            assert (one - other).abs().max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_what_is_lacking(models: Models, tmp_path: Path, name: str) -> None:
    small, checkpoint = models(name), cut(models, name, tmp_path, query_key_tensors)
    sizes, config = checkpoint.sizes, small.model.config
    assert (sizes.n_layers, sizes.n_heads) == (config.num_hidden_layers, config.num_attention_heads)
    assert (sizes.d_model, sizes.d_head) == (config.hidden_size, small.d_head)
    assert checkpoint.capabilities == [Capability.QK]
    assert checkpoint.free_dimensions == 48 - (name == "gpt2")
    assert (checkpoint.kind, checkpoint.name) == ("partial-weights", name)
    for call in (
        lambda: checkpoint.recorded_patterns(0),
        lambda: checkpoint.run(torch.zeros(1, 3, dtype=torch.long)),
        lambda: checkpoint.bos,
        lambda: checkpoint.single_token(" red"),
        lambda: checkpoint.embed_alone(torch.zeros(1, dtype=torch.long), 0, torch.zeros(48), torch.zeros(0, 48)),
        lambda: checkpoint.attention_layers(),
    ):
        with pytest.raises(NotAssessable, match=r"needs \w+: "):
            call()


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_names_with_and_without_the_models_prefix(models: Models, tmp_path: Path, prefix: str) -> None:
    """GPT-2's own file on the hub says `h.0.ln_1.weight`, what transformers saves `transformer.h.0.ln_1.weight`."""
    path = cut_partial(models("gpt2"), tmp_path / "saved.safetensors", query_key_tensors)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {n.replace("transformer.", prefix): file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "renamed.safetensors", metadata=metadata)
    checkpoint = load(str(tmp_path / "renamed.safetensors"))
    assert checkpoint.fingerprint(1) == models.checkpoint("gpt2").fingerprint(1)
    assert checkpoint.qk_weights(1).W_Q.shape == (4, 48, 12)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_only_the_layers_that_are_whole(models: Models, tmp_path: Path, name: str) -> None:
    """Layer 0 is not there, layer 2 lacks its norm's gain."""
    norm = {"gpt2": "ln_1.weight", "llama": "input_layernorm.weight"}[name]

    def keep(tensor: str) -> bool:
        return query_key_tensors(tensor) and ".0." not in tensor and f".2.{norm}" not in tensor

    checkpoint = cut(models, name, tmp_path, keep)
    assert checkpoint.qk_layers() == [1]
    assert checkpoint.fingerprint(0) is None
    assert checkpoint.fingerprint(2) is None
    assert checkpoint.fingerprint(1) == models.checkpoint(name).fingerprint(1)
    for layer in (0, 2):
        with pytest.raises(NotAssessable, match=rf"layers \[1\], not layer {layer}"):
            checkpoint.qk_weights(layer)


def test_layers_are_numbers_not_strings(models: Models, tmp_path: Path) -> None:
    """Of twelve layers, 10 comes after 9."""
    state = models("gpt2").model.state_dict()
    block = {n.removeprefix("transformer.h.0."): t for n, t in state.items() if n.startswith("transformer.h.0.")}
    config = json.dumps(models("gpt2").model.config.to_dict() | {"n_layer": 12})
    tensors = {f"h.{i}.{n}": t.clone() for i in (10, 2, 9) for n, t in block.items()}
    save_file(tensors, tmp_path / "a.safetensors", {"kind": "partial-weights", "name": "a", "config": config})
    assert load(str(tmp_path / "a.safetensors")).qk_layers() == [2, 9, 10]


@pytest.mark.parametrize("name", NAMES)
def test_token_embedding_is_that_of_the_full_folder(models: Models, tmp_path: Path, name: str) -> None:
    raw = models(name).model.get_input_embeddings().weight.detach()
    wanted = raw - raw.mean(dim=1, keepdim=True) if name == "gpt2" else raw
    found = cut(models, name, tmp_path, lambda _: True).W_E
    assert found.shape == raw.shape
    assert (found - wanted).abs().max() < 1e-5
    assert (found - models.checkpoint(name).W_E).abs().max() < 1e-5
    with pytest.raises(NotAssessable, match="needs embedding"):
        assert cut(models, name, tmp_path, query_key_tensors).W_E is None


def test_no_layer_at_all(models: Models, tmp_path: Path) -> None:
    checkpoint = cut(models, "gpt2", tmp_path, lambda name: "wte" in name)
    assert checkpoint.capabilities == []
    with pytest.raises(NotAssessable, match="no layer"):
        checkpoint.qk_weights(1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_read_as_float32(models: Models, tmp_path: Path, dtype: torch.dtype) -> None:
    path = cut_partial(models("gpt2"), tmp_path / "a.safetensors", query_key_tensors)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).to(dtype) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata=metadata)
    weights, raw = load(str(path)).qk_weights(1), raw_weights(models("gpt2"), 1)
    assert weights.W_Q.dtype == torch.float32
    rounded = raw.gain.to(dtype).float()[:, None] * raw.W_Q[2].to(dtype).float()
    assert (weights.W_Q[2] - (rounded - rounded.mean(dim=0))).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("setting", "scale"),
    [
        ({}, 12**-0.5),
        ({"scale_attn_by_inverse_layer_idx": True}, 12**-0.5 / 3),
        ({"scale_attn_weights": False}, 1.0),
    ],
)
def test_scale_is_what_the_config_says(models: Models, tmp_path: Path, setting: dict[str, bool], scale: float) -> None:
    checkpoint = cut(models, "gpt2", tmp_path, query_key_tensors, **setting)
    assert checkpoint.qk_weights(2).scale == pytest.approx(scale, rel=1e-12)


def rotated(x: Tensor, position: int, config: Any) -> Tensor:
    """A vector at a position, as transformers' Llama turns it."""
    cos, sin = modeling_llama.LlamaRotaryEmbedding(config)(x, torch.tensor([[position]]))
    turned, _ = modeling_llama.apply_rotary_pos_emb(x[None, None, None], x[None, None, None], cos, sin)
    return turned[0, 0, 0]


@pytest.mark.parametrize("name", ["llama", "qwen2"])
@pytest.mark.parametrize(("query_at", "key_at"), [(0, 0), (3, 2), (17, 17), (40, 1)])
def test_rotation_gives_the_scores_of_transformers_at_every_offset(
    models: Models, tmp_path: Path, name: str, query_at: int, key_at: int
) -> None:
    checkpoint, draw = cut(models, name, tmp_path, query_key_tensors), torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 12, generator=draw)
    config = models(name).model.config
    expected = rotated(q, query_at, config) @ rotated(k, key_at, config)
    R = checkpoint.rotation(0, query_at - key_at)
    assert R is not None
    assert ((q @ R) @ k - expected).abs() < 1e-5
    full = models.checkpoint(name).rotation(0, query_at - key_at)
    assert (R - full).abs().max() < 1e-5  # the model takes its angles in float32


def test_learned_positions_do_not_rotate(models: Models, tmp_path: Path) -> None:
    assert cut(models, "gpt2", tmp_path, query_key_tensors).rotation(0, 4) is None


@pytest.mark.parametrize("entry", ["rope_scaling", "rope_parameters"])
def test_scaled_rotation_is_not_assessable(models: Models, tmp_path: Path, entry: str) -> None:
    scaling = {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}
    checkpoint = cut(models, "llama", tmp_path, query_key_tensors, **{"rope_parameters": None, entry: scaling})
    with pytest.raises(NotAssessable, match="scales"):
        checkpoint.rotation(0, 1)
    assert checkpoint.qk_weights(1).scale == pytest.approx(12**-0.5)


def test_the_base_of_an_older_config(models: Models, tmp_path: Path) -> None:
    """Before transformers 5 `rope_theta` stood by itself; without it the base is 10,000."""
    for config, base in (({"rope_theta": 500.0}, 500.0), ({"rope_theta": 9.0}, 9.0), ({}, 1e4)):
        settings = {"rope_parameters": None, "rope_scaling": None, **config}
        R = cut(models, "llama", tmp_path, query_key_tensors, **settings).rotation(0, 1)
        assert R is not None
        assert R[1, 1].item() == pytest.approx(float(np.cos(base ** (-1 / 6))), abs=1e-6)


def test_rotation_matrix_by_hand() -> None:
    """(1, 0) turned by 90° is (0, 1); of four dimensions the pairs are 0, 2 and 1, 3, or 0, 1 and 2, 3."""
    cos, sin = torch.tensor([0.0, 0.6]), torch.tensor([1.0, 0.8])
    halves = rotate_half_matrix(cos, sin, 5)
    assert (torch.tensor([1.0, 0, 0, 0, 7]) @ halves).tolist() == [0, 0, 1, 0, 7]
    assert (torch.tensor([0, 1.0, 0, 2, 0]) @ halves).tolist() == pytest.approx([0, 0.6 - 1.6, 0, 0.8 + 1.2, 0])
    neighbours = rotate_half_matrix(cos, sin, 4, interleaved=True)
    assert (torch.tensor([1.0, 0, 1, 2]) @ neighbours).tolist() == pytest.approx([0, 1, 0.6 - 1.6, 0.8 + 1.2])


# Bad input: one line that says what came and what was wanted.


def refused(path: Path, match: str) -> None:
    """Loading and using all there is raises BadCheckpoint, in one line, with these words."""
    with pytest.raises(BadCheckpoint, match=match) as caught:
        use(load(str(path)))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def use(checkpoint: Checkpoint) -> None:
    """What an audit asks of partial weights."""
    for layer in checkpoint.qk_layers():
        checkpoint.fingerprint(layer)
        checkpoint.qk_weights(layer)
        checkpoint.rotation(0, 1)
    if Capability.EMBEDDING in checkpoint.capabilities:
        checkpoint.embed_alone(torch.arange(3), 1, torch.zeros(48), torch.zeros(1, 48))
        checkpoint.embedding_inputs(1)


@pytest.mark.parametrize(
    ("name", "config", "match"),
    [
        ("gpt2", {"model_type": "t5"}, "t5.*wanted.*gpt2"),
        ("gpt2", {"model_type": None}, "None.*wanted.*gpt2"),
        ("gpt2", {"model_type": ["gpt2"]}, "wanted.*gpt2"),
        ("gpt2", {"n_head": 5}, "5 heads on 48.*wanted"),
        ("gpt2", {"n_head": 0}, "n_head is 0; wanted a positive"),
        ("gpt2", {"n_head": "four"}, "n_head is 'four'; wanted"),
        ("gpt2", {"n_head": True}, "n_head is True; wanted"),
        ("gpt2", {"n_embd": 4.5}, "n_embd is 4.5; wanted"),
        ("gpt2", {"n_embd": 24}, r"of shape \[48, 144\]; wanted \[24, 72\]"),
        ("gpt2", {"n_layer": None}, "without n_layer"),
        ("gpt2", {"n_layer": 2}, "layer 2, config with 2 layers"),
        ("gpt2", {"vocab_size": 10}, r"wte.weight of shape \[85, 48\]; wanted \[10, 48\]"),
        ("gpt2", {"vocab_size": "many"}, "vocab_size.*wanted"),
        ("gpt2", {"vocab_size": -1}, "wanted.*-1|-1.*wanted"),
        ("gpt2", {"layer_norm_epsilon": "small"}, "layer_norm_epsilon.*wanted"),
        ("llama", {"num_key_value_heads": 4}, "4 key heads for 6 heads; wanted a divisor"),
        ("llama", {"num_key_value_heads": 3}, r"k_proj.weight of shape \[24, 48\]; wanted \[36, 48\]"),
        ("llama", {"head_dim": 10}, r"q_proj.weight of shape \[72, 48\]; wanted \[60, 48\]"),
        ("llama", {"head_dim": None}, r"q_proj.weight of shape \[72, 48\]; wanted \[48, 48\]"),
        ("llama", {"hidden_size": None}, "without n_embd or hidden_size"),
        ("llama", {"rope_parameters": "default"}, "rope_parameters.*wanted"),
        ("llama", {"rope_parameters": {"rope_theta": "large"}}, "rope_theta.*wanted"),
    ],
)
def test_a_config_that_does_not_fit(
    models: Models, tmp_path: Path, name: str, config: dict[str, Any], match: str
) -> None:
    refused(cut_partial(models(name), tmp_path / "a.safetensors", config=config), match)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("tensor", ["h.1.attn.c_attn.weight", "h.0.ln_1.bias", "wte.weight", "h.0.mlp.c_fc.bias"])
def test_values_that_are_not_finite(models: Models, tmp_path: Path, tensor: str, value: float) -> None:
    path = cut_partial(models("gpt2"), tmp_path / "a.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors[f"transformer.{tensor}"].view(-1)[5] = value
    save_file(tensors, path, metadata=metadata)
    refused(path, f"{tensor} holds 1 values.*finite")


def test_weights_that_are_whole_numbers_are_refused(models: Models, tmp_path: Path) -> None:
    """Quantised weights are no weights without their scales."""
    path = cut_partial(models("gpt2"), tmp_path / "a.safetensors", query_key_tensors)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["transformer.h.1.attn.c_attn.weight"] = torch.ones(48, 144, dtype=torch.int8)
    save_file(tensors, path, metadata=metadata)
    refused(path, "c_attn.weight.*int8")


@pytest.mark.parametrize("missing", ["kind", "name", "config"])
def test_a_header_without_its_metadata(models: Models, tmp_path: Path, missing: str) -> None:
    path = cut_partial(models("gpt2"), tmp_path / "a.safetensors")
    with safe_open(path, "pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key != missing}
    save_file({"x": torch.zeros(2)}, path, metadata=metadata)
    refused(path, f"no '{missing}' in the header's metadata; wanted")


def test_no_metadata_at_all(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "no 'kind' in the header's metadata; wanted kind")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "whole-weights"}, "kind 'whole-weights'; wanted one of partial-weights"),
        ({"kind": "partial\nweights"}, "wanted one of partial-weights"),
        ({"config": "{not json"}, "'config' in the header's metadata is no JSON"),
        ({"config": ""}, "'config' in the header's metadata is no JSON"),
        ({"config": "[1, 2]"}, "config in the header is no JSON object; wanted"),
        ({"config": "[" * 100_000}, "'config' in the header's metadata is no JSON"),
        ({"config": '{"n_layer": ' + "9" * 5000 + "}"}, "'config' in the header's metadata"),
    ],
)
def test_a_header_that_says_something_else(models: Models, tmp_path: Path, change: dict[str, str], match: str) -> None:
    path = tmp_path / "a.safetensors"
    refused(cut_partial(models("gpt2"), path, query_key_tensors, metadata=change), match)


def damaged(path: Path, how: str) -> None:
    whole = path.read_bytes()
    header = struct.unpack("<Q", whole[:8])[0]
    contents = {
        "empty": b"",
        "a few bytes": whole[:5],
        "half a header": whole[: 8 + header // 2],
        "no tensors": whole[: 8 + header],
        "half the tensors": whole[: (len(whole) + header) // 2],
        "too long": whole + b"\0" * 64,
        "random": np.random.default_rng(0).bytes(5000),
        "text": b"version https://git-lfs.github.com/spec/v1\n" * 3,
        "huge header": struct.pack("<Q", 2**62) + whole[8:],
        "header to the end": struct.pack("<Q", len(whole)) + whole[8:],
        "header of 100 MB": struct.pack("<Q", 100_000_000) + whole[8:],
        "header no JSON": whole[:8] + b"{" * header + whole[8 + header :],
    }
    path.write_bytes(contents[how])


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "a few bytes",
        "half a header",
        "no tensors",
        "half the tensors",
        "too long",
        "random",
        "text",
        "huge header",
        "header to the end",
        "header of 100 MB",
        "header no JSON",
    ],
)
def test_a_damaged_file(models: Models, tmp_path: Path, how: str) -> None:
    path = cut_partial(models("gpt2"), tmp_path / "a.safetensors", query_key_tensors)
    damaged(path, how)
    refused(path, "no readable safetensors file: .")


def test_a_folder_named_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    refused(tmp_path / "a.safetensors", r"no such file|folder")


def test_a_file_that_is_cut_off_after_it_was_opened(models: Models, tmp_path: Path) -> None:
    path = cut_partial(models("gpt2"), tmp_path / "a.safetensors", query_key_tensors)
    checkpoint = load(str(path))
    damaged(path, "half the tensors")
    with pytest.raises(BadCheckpoint, match="cannot be read") as caught:
        checkpoint.qk_weights(0)
    assert "\n" not in str(caught.value)


# Audits of files are light.

MODEL_LIBRARIES = ("transformers", "transformer_lens")


def loaded_libraries(script: str, *arguments: str) -> list[str]:
    """Which of the model libraries a fresh interpreter has imported after this script."""
    report = f"import sys; print([n for n in {MODEL_LIBRARIES!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\n{report}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1].replace("'", '"'))
    return found


def test_partial_weights_import_no_model_library(models: Models, tmp_path: Path) -> None:
    path = cut_partial(models("gpt2"), tmp_path / "a.safetensors")
    script = """
import sys
from headclaims.cache import Cache
from headclaims.checkpoint import load
from headclaims.circuit.effective_embedding import Variant, effective_embedding
checkpoint = load(sys.argv[1])
checkpoint.fingerprint(1), checkpoint.qk_weights(1), checkpoint.rotation(0, 1)
assert effective_embedding(checkpoint, 1, None, Cache(None), Variant.ZERO).abs().sum() > 0
"""
    assert loaded_libraries(script, str(path)) == []
    # Not because nothing would ever be found.
    assert loaded_libraries("import sys; sys.modules['transformers'] = sys") == ["transformers"]


def test_an_audit_of_partial_weights_imports_no_model_library(models: Models, tmp_path: Path) -> None:
    path = cut_partial(models("gpt2"), tmp_path / "a.safetensors", query_key_tensors)
    script = """
import sys, pytest
status = pytest.main(["claims/self_hating_head", "-q", "-p", "no:cacheprovider", "--checkpoint", sys.argv[1],
                      "--head", "L1H2", "--report-dir", sys.argv[2]])
assert status in (0, 1), status
"""
    if not (ROOT / "claims").is_dir():
        pytest.skip("the package is installed without its claims")
    assert loaded_libraries(f"import os; os.chdir({str(ROOT)!r})\n{script}", str(path), str(tmp_path)) == []


def test_the_kind_is_read_from_the_header(models: Models, tmp_path: Path) -> None:
    path = cut_partial(models("gpt2"), tmp_path / "recorded-attention.safetensors", query_key_tensors)
    assert isinstance(load(str(path)), PartialWeights)
