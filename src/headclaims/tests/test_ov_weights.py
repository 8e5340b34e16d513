"""Value and output weights: against what transformers' own heads write, and on real GPT-2 through the folding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from headclaims.checkpoint import load
from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.interface import Capability, pattern_name
from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.errors import NotAssessable
from headclaims.tests.evidence_files import header
from headclaims.tests.real_gpt2 import FOLDER, WEIGHTS, needs_weights
from headclaims.tests.small_models import VOCABULARY, build
from headclaims.tests.test_full import saved
from headclaims.tests.test_own_scores import _gemma

SENTENCE = FOLDER / "recorded-qk-sentence.safetensors"
TOKENS = (torch.arange(1, 15) * 5 % VOCABULARY)[None]


def written_by_heads(model: Any, project: Any, W_O: Tensor) -> Tensor:
    """What each head adds by its layer's output projection [head, d_head, d_model], as [position, head, d_model]."""
    seen: list[Tensor] = []
    handle = project.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        model(TOKENS)
    handle.remove()
    z = seen[0][0].view(TOKENS.shape[1], len(W_O), -1)
    return torch.einsum("phk,hkd->phd", z, W_O.detach())


def by_the_circuit(checkpoint: Any, layer: int) -> Tensor:
    """What each head adds, [position, head, d_model], by its pattern and the OV weights."""
    names = [pattern_name(layer), f"blocks.{layer}.ln1.hook_normalized"]
    scale = checkpoint.output_scale(layer)
    run = checkpoint.run(TOKENS, record=[*names, *([scale] if scale else [])])
    ov = checkpoint.ov_weights(layer)
    values = run[names[1]][0] @ ov.W_V
    added = (run[names[0]][0] @ values @ ov.W_O).transpose(0, 1)
    return added if scale is None else added / run[scale][0][:, None]


def test_gpt2_s_heads_add_what_the_circuit_says(tmp_path: Path) -> None:
    small = build("gpt2", tmp_path)
    checkpoint = load(str(tmp_path))
    assert Capability.OV in checkpoint.capabilities
    assert checkpoint.ov_layers() == [0, 1, 2]
    for layer in (0, 2):
        attention = small.attention(layer)
        W_O = attention.c_proj.weight.view(4, 12, 48)
        added = written_by_heads(small.model, attention.c_proj, W_O)
        added = added - added.mean(dim=-1, keepdim=True)  # the next norm takes the mean off
        # Both biases, the projection's and that of the norm through it, are the same at all positions.
        norm_bias = small.norm(layer).bias.detach() @ attention.c_attn.weight.detach()[:, 96:]
        constant = (norm_bias + attention.c_attn.bias.detach()[96:]).view(4, 1, 12) @ W_O.detach()
        constant = constant - constant.mean(dim=-1, keepdim=True)
        assert torch.allclose(by_the_circuit(checkpoint, layer), added - constant.transpose(0, 1), atol=1e-4)


def test_grouped_heads_add_what_the_circuit_says(tmp_path: Path) -> None:
    small = build("llama", tmp_path)
    project = small.attention(1).o_proj
    added = written_by_heads(small.model, project, project.weight.T.reshape(6, 12, 48))
    assert torch.allclose(by_the_circuit(load(str(tmp_path)), 1), added, atol=1e-4)


def test_a_norm_after_attention_is_gain_and_scale(tmp_path: Path) -> None:
    """Gemma 3: o ← norm(Σ heads); a head adds its part times (1 + w) over the root mean square of the sum."""
    folder = tmp_path / "gemma3"
    model = saved(_gemma(transformers.Gemma3TextConfig), folder)
    layer = model.model.layers[1]
    project = layer.self_attn.o_proj
    added = written_by_heads(model, project, project.weight.T.reshape(4, 16, 48))
    norm = layer.post_attention_layernorm
    rms = (added.sum(dim=1).square().mean(dim=-1) + norm.eps).sqrt()
    added = added * (1 + norm.weight.detach()) / rms[:, None, None]
    assert torch.allclose(by_the_circuit(load(str(folder)), 1), added, atol=2e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_unembedding_gives_transformers_logits_but_for_a_constant(name: str, tmp_path: Path) -> None:
    small = build(name, tmp_path)
    checkpoint = load(str(tmp_path))
    assert isinstance(checkpoint, FullCheckpoint)
    with torch.no_grad():
        logits = small.model(TOKENS).logits[0]
    run = checkpoint.run(TOKENS, record=["ln_final.hook_normalized"])
    mine = run["ln_final.hook_normalized"][0] @ checkpoint.W_U
    b_U = checkpoint.bridge.b_U
    mine = mine if b_U is None else mine + b_U.detach()
    off = logits - mine
    assert float((off - off.mean(dim=1, keepdim=True)).abs().max()) < 1e-3


def test_partial_weights_hold_ov_where_the_output_projection_is_there(tmp_path: Path) -> None:
    """The same weights as the whole model's; a layer whose projection is lacking says so."""
    small = build("gpt2", tmp_path / "model")
    state = {
        f"transformer.{name}": tensor.contiguous() for name, tensor in small.model.transformer.state_dict().items()
    }
    kept = {name: tensor for name, tensor in state.items() if ".attn.c_" in name or ".ln_1." in name}
    del kept["transformer.h.2.attn.c_proj.weight"]
    config = {"model_type": "gpt2", "n_layer": 3, "n_head": 4, "n_embd": 48, "vocab_size": VOCABULARY}
    path = tmp_path / "part.safetensors"
    save_file(kept, path, header("partial-weights", config=config))
    part, whole = load(str(path)), load(str(tmp_path / "model"))
    assert part.ov_layers() == [0, 1]
    assert part.qk_layers() == [0, 1, 2]
    for name in ("W_V", "W_O"):
        assert torch.allclose(getattr(part.ov_weights(1), name), getattr(whole.ov_weights(1), name), atol=1e-5)
    with pytest.raises(NotAssessable, match="layers \\[0, 1\\], not layer 2"):
        part.ov_weights(2)
    with pytest.raises(NotAssessable, match="needs an unembedding"):
        _ = part.W_U


def test_llama_s_partial_weights_hold_the_same_ov(tmp_path: Path) -> None:
    small = build("llama", tmp_path / "model")
    state = small.model.state_dict()
    kept = {n: t.contiguous() for n, t in state.items() if "self_attn" in n or "input_layernorm" in n}
    config = {"model_type": "llama", "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2}
    config |= {"hidden_size": 48, "head_dim": 12, "vocab_size": VOCABULARY}
    path = tmp_path / "part.safetensors"
    save_file(kept, path, header("partial-weights", config=config))
    part, whole = load(str(path)), load(str(tmp_path / "model"))
    for name in ("W_V", "W_O"):
        assert torch.allclose(getattr(part.ov_weights(2), name), getattr(whole.ov_weights(2), name), atol=1e-5)


def test_weights_without_output_projections_lack_ov(tmp_path: Path) -> None:
    small = build("gpt2", tmp_path / "model")
    state = {
        f"transformer.{name}": tensor.contiguous() for name, tensor in small.model.transformer.state_dict().items()
    }
    kept = {name: tensor for name, tensor in state.items() if ".attn.c_attn" in name or ".ln_1." in name}
    config = {"model_type": "gpt2", "n_layer": 3, "n_head": 4, "n_embd": 48, "vocab_size": VOCABULARY}
    path = tmp_path / "part.safetensors"
    save_file(kept, path, header("partial-weights", config=config))
    assert load(str(path)).lacks[Capability.OV] == "no layer's input norm and value and output weights are in the file"


@needs_weights
@pytest.mark.skipif(not SENTENCE.is_file(), reason=f"{SENTENCE} is not there")
def test_real_queries_and_keys_come_out_of_the_folded_weights() -> None:
    """Recorded normed residuals times the folded weights are the recorded queries and keys, to 1e-5 of their size."""
    with safe_open(SENTENCE, framework="np") as file:
        normed, queries, keys, pattern = (file.get_tensor(name) for name in ("normed", "queries", "keys", "pattern"))
    checkpoint = load(str(WEIGHTS))
    for layer in range(12):
        weights = checkpoint.qk_weights(layer)
        x = torch.from_numpy(normed[layer])
        for head in range(12):
            circuit = QKCircuit.of(weights, head)
            q, k = x @ circuit.W_Q + circuit.b_Q, circuit.keys(x)
            for mine, recorded in ((q, queries[layer, head]), (k, keys[layer, head])):
                assert np.abs(mine.numpy() - recorded).max() <= 1e-5 * np.abs(recorded).max()
            scores = torch.from_numpy(queries[layer, head] @ keys[layer, head].T) / 8
            causal = scores.masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf).softmax(dim=-1)
            assert np.abs(causal.numpy() - pattern[layer, head]).max() <= 5e-7
