"""Recorded attention and recorded graphs: what was written is what is read, and what cannot be is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Capability, Head, Sizes
from headclaims.checkpoint.recorded import RecordedAttention, RecordedGraph
from headclaims.errors import BadCheckpoint, NotAssessable
from headclaims.tests.test_partial import loaded_libraries

CONFIG = {"model_type": "gpt2", "n_layer": 12, "n_head": 3, "n_embd": 12, "vocab_size": 50}
PROMPTS = [["<start>", " red", " dog", " blue"], ["<start>", " cat", " cat", " green"]]
Tensors = dict[str, Tensor]


def causal(seed: int) -> Tensor:
    """Attention of three heads on two prompts of four tokens."""
    scores = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return scores.masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf).softmax(-1)


def attention_tensors() -> Tensors:
    return {f"blocks.{layer}.attn.hook_pattern": causal(layer) for layer in (10, 9, 1)}


def graph_tensors() -> Tensors:
    edges = torch.tensor([[0, 1], [1, 0], [2, 2], [2, 0]], dtype=torch.int32)
    return {"edges": edges, "score": torch.tensor([3.0, 2.5, -1.0, 0.5])}


def write(
    path: Path, kind: str, tensors: Tensors, config: dict[str, Any] | None = None, **metadata: str | None
) -> Path:
    header: dict[str, str | None] = {"kind": kind, "name": "small", "config": json.dumps(config or CONFIG)}
    if kind == "recorded-attention":
        header["tokens"] = json.dumps(PROMPTS)
    else:
        header |= {"tokens": json.dumps([" red", " blue", " dog"]), "target": "L1H2"}
    kept = {key: value for key, value in (header | metadata).items() if value is not None}
    save_file(tensors, path, metadata=kept)
    return path


def test_recorded_attention_is_what_was_written(tmp_path: Path) -> None:
    """Layers in order, 10 after 9."""
    tensors = attention_tensors()
    checkpoint = load(str(write(tmp_path / "a.safetensors", "recorded-attention", tensors)))
    assert isinstance(checkpoint, RecordedAttention)
    assert checkpoint.capabilities == [Capability.TOKENS, Capability.ATTENTION]
    assert checkpoint.attention_layers() == [1, 9, 10]
    patterns = checkpoint.attention_patterns(None)
    assert patterns.shape == (3, 2, 3, 4, 4)
    for i, layer in enumerate((1, 9, 10)):
        assert torch.equal(patterns[i], tensors[f"blocks.{layer}.attn.hook_pattern"])
    assert checkpoint.recorded_tokens == PROMPTS
    assert checkpoint.sizes == Sizes(12, 3, 12, 4, 50, None)
    assert checkpoint.fingerprint(1) is None


def test_recorded_attention_gives_nothing_else(tmp_path: Path) -> None:
    checkpoint = load(str(write(tmp_path / "a.safetensors", "recorded-attention", attention_tensors())))
    tokens = torch.zeros(1, 3, dtype=torch.long)
    for call in (
        lambda: checkpoint.attention_patterns(tokens),
        lambda: checkpoint.run(tokens),
        lambda: checkpoint.qk_weights(1),
        lambda: checkpoint.qk_layers(),
        lambda: checkpoint.rotation(1),
        lambda: checkpoint.embedding_inputs(1),
        lambda: checkpoint.require(Capability.GRAPH),
    ):
        with pytest.raises(NotAssessable, match=r"needs \w+: the file holds recorded attention only"):
            call()


def test_recorded_graph_is_what_was_written(tmp_path: Path) -> None:
    tensors = graph_tensors()
    checkpoint = load(str(write(tmp_path / "a.safetensors", "recorded-graph", tensors)))
    assert isinstance(checkpoint, RecordedGraph)
    assert checkpoint.capabilities == [Capability.TOKENS, Capability.GRAPH]
    assert checkpoint.graph_tokens == [" red", " blue", " dog"]
    assert checkpoint.edges.tolist() == [[0, 1], [1, 0], [2, 2], [2, 0]]
    assert checkpoint.edge_scores.tolist() == [3.0, 2.5, -1.0, 0.5]
    assert checkpoint.target == Head(1, 2)
    assert checkpoint.recorded_tokens is None
    for call in (lambda: checkpoint.attention_patterns(None), lambda: checkpoint.qk_weights(1)):
        with pytest.raises(NotAssessable, match="the file holds a recorded graph only"):
            call()


def test_half_precision_attention_is_read_within_its_rounding(tmp_path: Path) -> None:
    """Rows of float16 sum to 1 within 1e-3."""
    tensors = {"blocks.1.attn.hook_pattern": causal(1).half()}
    patterns = load(str(write(tmp_path / "a.safetensors", "recorded-attention", tensors))).attention_patterns(None)
    assert patterns.dtype == torch.float32
    assert (patterns[0] - causal(1)).abs().max() < 1e-3


def test_recorded_files_import_no_model_library(tmp_path: Path) -> None:
    attention = write(tmp_path / "a.safetensors", "recorded-attention", attention_tensors())
    graph = write(tmp_path / "b.safetensors", "recorded-graph", graph_tensors())
    script = """
import sys
from headclaims.checkpoint import load
assert load(sys.argv[1]).attention_patterns(None).sum() > 0
assert len(load(sys.argv[2]).edges) == 4
"""
    assert loaded_libraries(script, str(attention), str(graph)) == []


def refused(path: Path, match: str) -> None:
    with pytest.raises(BadCheckpoint, match=match) as caught:
        load(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def changed(change: Callable[[Tensor], Any]) -> Tensors:
    """Attention of layer 1, changed in place or replaced."""
    pattern = causal(1)
    new = change(pattern)
    return {"blocks.1.attn.hook_pattern": new if isinstance(new, Tensor) else pattern}


def put(*at: int, value: float) -> Callable[[Tensor], None]:
    def change(pattern: Tensor) -> None:
        pattern[at] = value

    return change


def looking_ahead(pattern: Tensor) -> None:
    """A row that sums to one, a hundredth of it on a later position."""
    pattern[1, 2, 1] = torch.tensor([0.5, 0.49, 0.01, 0])


def negative(pattern: Tensor) -> None:
    """A row that sums to one."""
    pattern[0, 1, 2] = torch.tensor([0.6, 0.5, -0.1, 0])


BAD_PATTERNS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "sums below one": (lambda p: p * 0.99, "rows whose sum is 0.01 from 1; wanted sums of 1"),
    "sums above one": (lambda p: p * 1.01, "rows whose sum is 0.01 from 1; wanted sums of 1"),
    "one sum": (put(1, 2, 3, 0, value=0.0), "rows whose sum is .* from 1; wanted sums of 1"),
    "looking ahead": (looking_ahead, "later positions, by up to 0.01; wanted 0"),
    "transposed": (lambda p: p.mT.contiguous(), "later positions, by up to .*; wanted 0"),
    "negative": (negative, "negative attention, -0.1"),
    "NaN": (put(0, 0, 0, 0, value=float("nan")), "holds 1 values that are NaN or infinite; wanted finite"),
    "infinite": (put(0, 0, 0, 0, value=float("inf")), "holds 1 values that are NaN or infinite; wanted finite"),
    "prompts": (lambda p: p[:1].clone(), r"\[1, 3, 4, 4\]; wanted \[2, 3, 4, 4\]"),
    "heads": (lambda p: p[:, :2].clone(), r"\[2, 2, 4, 4\]; wanted \[2, 3, 4, 4\]"),
    "length": (lambda p: p[:, :, :3, :3].clone(), r"\[2, 3, 3, 3\]; wanted \[2, 3, 4, 4\]"),
    "axes": (lambda p: p[0].clone(), r"\[3, 4, 4\]; wanted \[2, 3, 4, 4\]"),
    "type": (lambda _: torch.eye(4, dtype=torch.int64).expand(2, 3, 4, 4).clone(), "int64; wanted float32"),
}


@pytest.mark.parametrize("what", BAD_PATTERNS)
def test_patterns_that_are_none(tmp_path: Path, what: str) -> None:
    change, match = BAD_PATTERNS[what]
    refused(write(tmp_path / "a.safetensors", "recorded-attention", changed(change)), match)


def test_one_bad_layer_among_good_ones(tmp_path: Path) -> None:
    tensors = attention_tensors() | {"blocks.9.attn.hook_pattern": causal(9) * 0.5}
    refused(write(tmp_path / "a.safetensors", "recorded-attention", tensors), "blocks.9.*rows whose sum")


def test_attention_of_a_layer_beyond_the_config(tmp_path: Path) -> None:
    tensors = {"blocks.12.attn.hook_pattern": causal(1)}
    path = write(tmp_path / "a.safetensors", "recorded-attention", tensors)
    refused(path, "layer 12, config with 12 layers")


def test_no_attention_at_all(tmp_path: Path) -> None:
    tensors = {"blocks.1.attn.hook_attn_scores": causal(1)}
    path = write(tmp_path / "a.safetensors", "recorded-attention", tensors)
    refused(path, r"no tensor blocks\.\{L\}\.attn\.hook_pattern")


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        "no JSON",
        "[]",
        "[[]]",
        '["<start>", " red", " dog", " blue"]',
        '[["<start>", " red", " dog", " blue"], ["<start>", " cat", " cat"]]',
        '[["<start>", " red", " dog", 4], ["<start>", " cat", " cat", " green"]]',
        '[["<start>", " red"], ["<start>", " cat"]]',
        '{"tokens": []}',
        "null",
    ],
)
def test_tokens_that_are_not_prompts(tmp_path: Path, tokens: str | None) -> None:
    path = write(tmp_path / "a.safetensors", "recorded-attention", attention_tensors(), tokens=tokens)
    refused(path, "tokens")


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"n_layer": 12, "n_embd": 12}, "config without n_head or num_attention_heads"),
        ({**CONFIG, "n_layer": 1.5}, "n_layer is 1.5; wanted a positive whole number"),
        ({**CONFIG, "n_head": 4}, r"\[2, 3, 4, 4\]; wanted \[2, 4, 4, 4\]"),
        ({**CONFIG, "n_head": -3}, "n_head is -3; wanted a positive whole number"),
        ({**CONFIG, "vocab_size": "many"}, "vocab_size.*wanted"),
    ],
)
def test_a_config_that_does_not_fit(tmp_path: Path, config: dict[str, Any], match: str) -> None:
    refused(write(tmp_path / "a.safetensors", "recorded-attention", attention_tensors(), config), match)


def with_edges(edges: Any, dtype: torch.dtype = torch.int32) -> Tensors:
    return graph_tensors() | {"edges": torch.tensor(edges, dtype=dtype)}


RIGHT_EDGES = [[0, 1], [1, 0], [2, 2], [2, 0]]
BAD_GRAPHS = {
    "beyond": (with_edges([[0, 1], [1, 3], [2, 2], [2, 0]]), "edges.*wanted indices from 0 to 2"),
    "negative": (with_edges([[0, 1], [1, -1], [2, 2], [2, 0]]), "edges.*wanted indices from 0 to 2"),
    "float edges": (with_edges(RIGHT_EDGES, torch.float32), "edges.*wanted"),
    "bool edges": (with_edges([[0, 1], [1, 0], [1, 1], [1, 0]], torch.bool), "edges.*bool; wanted"),
    "too few edges": (with_edges([[0, 1], [1, 0]]), r"score of shape \[4\]; wanted \[2\]"),
    "triples": (with_edges([[0, 1, 2], [1, 0, 2]]), r"edges of shape \[2, 3\]; wanted \[any, 2\]"),
    "flat": (with_edges([0, 1]), r"edges of shape \[2\]; wanted \[any, 2\]"),
    "empty": ({"edges": torch.zeros(0, 2, dtype=torch.int32), "score": torch.zeros(0)}, "edges.*wanted"),
    "NaN": (graph_tensors() | {"score": torch.tensor([1, float("nan"), 0, 0])}, "score holds 1 values.*finite"),
    "whole scores": (graph_tensors() | {"score": torch.tensor([1, 2, 3, 4])}, "score.*int64; wanted float32"),
    "no score": ({"edges": graph_tensors()["edges"]}, "no tensor score"),
    "no edges": ({"score": graph_tensors()["score"]}, "no tensor edges"),
}


@pytest.mark.parametrize("what", BAD_GRAPHS)
def test_graphs_that_are_none(tmp_path: Path, what: str) -> None:
    tensors, match = BAD_GRAPHS[what]
    refused(write(tmp_path / "a.safetensors", "recorded-graph", tensors), match)


@pytest.mark.parametrize("tokens", [None, "no JSON", "[]", "[1, 2, 3]", '[[" red", " blue", " dog"]]', '"red"'])
def test_tokens_that_are_no_list_of_strings(tmp_path: Path, tokens: str | None) -> None:
    refused(write(tmp_path / "a.safetensors", "recorded-graph", graph_tensors(), tokens=tokens), "tokens")


@pytest.mark.parametrize("target", [None, "nonsense", "", "L12H0", "L1H3", "H5"])
def test_a_target_that_is_no_head_of_the_model(tmp_path: Path, target: str | None) -> None:
    """The config has 12 layers of 3 heads."""
    path = write(tmp_path / "a.safetensors", "recorded-graph", graph_tensors(), target=target)
    refused(path, "target|head")
