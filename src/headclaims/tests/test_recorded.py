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
from headclaims.checkpoint.recorded import RecordedAttention
from headclaims.checkpoint.recorded_graph import RecordedGraph
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
    for prompt in range(2):
        patterns = checkpoint.recorded_patterns(prompt)
        assert patterns.shape == (3, 3, 4, 4)
        for i, layer in enumerate((1, 9, 10)):
            written = tensors[f"blocks.{layer}.attn.hook_pattern"][prompt]
            assert torch.equal(patterns[i], written)
            assert torch.equal(checkpoint.recorded_attention(Head(layer, 2), prompt), written[2])
    with pytest.raises(NotAssessable, match=r"needs attention of L2H1: the file has that of layers \[1, 9, 10\]"):
        checkpoint.recorded_attention(Head(2, 1), 0)
    assert checkpoint.recorded_tokens == PROMPTS
    assert checkpoint.sizes == Sizes(12, 3, 12, 4, 50, None)
    assert checkpoint.fingerprint(1) is None


def test_recorded_attention_gives_nothing_else(tmp_path: Path) -> None:
    checkpoint = load(str(write(tmp_path / "a.safetensors", "recorded-attention", attention_tensors())))
    tokens = torch.zeros(1, 3, dtype=torch.long)
    for call in (
        lambda: checkpoint.run(tokens),
        lambda: checkpoint.qk_weights(1),
        lambda: checkpoint.qk_layers(),
        lambda: checkpoint.rotation(0, 1),
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
    (graph,) = checkpoint.graphs.values()
    assert graph.tokens == (" red", " blue", " dog")
    assert graph.edges.tolist() == [[0, 1], [1, 0], [2, 2], [2, 0]]
    assert graph.scores.tolist() == [3.0, 2.5, -1.0, 0.5]
    assert graph.head == Head(1, 2)
    assert checkpoint.recorded_tokens is None
    for call in (lambda: checkpoint.recorded_patterns(0), lambda: checkpoint.qk_weights(1)):
        with pytest.raises(NotAssessable, match="the file holds a recorded graph only"):
            call()


def rounded_scores(kind: torch.dtype, length: int = 300, stored: torch.dtype | None = None) -> Tensors:
    """Long rows of an even softmax, rounded to a type: of bfloat16 their sums miss 1 by up to some 3e-3."""
    scores = torch.randn(1, 3, length, length, generator=torch.Generator().manual_seed(5))
    pattern = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)
    return {"blocks.1.attn.hook_pattern": pattern.to(kind).to(stored or kind)}


def of_one_prompt(path: Path, tensors: Tensors) -> Path:
    length = next(iter(tensors.values())).shape[-1]
    return write(path, "recorded-attention", tensors, tokens=json.dumps([["<s>", *[" red"] * (length - 1)]]))


@pytest.mark.parametrize("stored", [None, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_may_miss_one_by_the_rounding_of_the_type(
    tmp_path: Path, kind: torch.dtype, stored: torch.dtype | None
) -> None:
    """Whatever the type in which what was computed in another is stored."""
    tensors = rounded_scores(kind, stored=stored)
    off = (tensors["blocks.1.attn.hook_pattern"].double().sum(-1) - 1).abs().max()
    assert (off > 1e-3) == (kind == torch.bfloat16)
    pattern = load(str(of_one_prompt(tmp_path / "a.safetensors", tensors))).recorded_patterns(0)
    assert pattern.dtype == torch.float32
    assert torch.equal(pattern, tensors["blocks.1.attn.hook_pattern"].float())


@pytest.mark.parametrize(("kind", "factor"), [(torch.float32, 0.998), (torch.float16, 0.998), (torch.bfloat16, 0.985)])
def test_rows_that_miss_one_by_more_are_refused_in_each_type(tmp_path: Path, kind: torch.dtype, factor: float) -> None:
    tensors = {name: (pattern.float() * factor).to(kind) for name, pattern in rounded_scores(kind).items()}
    refused(of_one_prompt(tmp_path / "a.safetensors", tensors), "has rows whose sum is .* from 1; wanted sums of 1")


def test_attention_to_later_positions_is_refused_in_half_precision(tmp_path: Path) -> None:
    tensors = rounded_scores(torch.bfloat16, 8)
    tensors["blocks.1.attn.hook_pattern"][0, 1, 2, :4] = torch.tensor([0.5, 0.25, 0.125, 0.125])
    refused(of_one_prompt(tmp_path / "a.safetensors", tensors), "attends to later positions, by up to 0.125; wanted 0")


LENGTHS = (5, 3, 8, 1)


def ragged(layers: tuple[int, ...] = (1, 4), axis: bool = False) -> tuple[Tensors, list[list[str]]]:
    """Four prompts of different lengths, one tensor each and layer, with an axis of one prompt or without."""
    tensors = {}
    for n, length in enumerate(LENGTHS):
        for layer in layers:
            scores = torch.randn(3, length, length, generator=torch.Generator().manual_seed(10 * n + layer))
            pattern = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)
            tensors[f"{n}/blocks.{layer}.attn.hook_pattern"] = pattern[None] if axis else pattern
    return tensors, [["<s>", *[" red"] * (length - 1)] for length in LENGTHS]


@pytest.mark.parametrize("axis", [False, True])
def test_prompts_of_different_lengths_have_a_tensor_each(tmp_path: Path, axis: bool) -> None:
    tensors, tokens = ragged(axis=axis)
    path = write(tmp_path / "a.safetensors", "recorded-attention", tensors, tokens=json.dumps(tokens))
    checkpoint = load(str(path))
    assert checkpoint.recorded_tokens == tokens
    assert checkpoint.attention_layers() == [1, 4]
    for n, length in enumerate(LENGTHS):
        patterns = checkpoint.recorded_patterns(n)
        assert patterns.shape == (2, 3, length, length)
        for at, layer in enumerate((1, 4)):
            written = tensors[f"{n}/blocks.{layer}.attn.hook_pattern"].reshape(3, length, length)
            assert torch.equal(patterns[at], written)
            assert torch.equal(checkpoint.recorded_attention(Head(layer, 1), n), written[1])


def ragged_without(name: str) -> Tensors:
    return {key: tensor for key, tensor in ragged()[0].items() if key != name}


BAD_RAGGED: dict[str, tuple[Tensors, str]] = {
    "a layer of a prompt missing": (ragged_without("2/blocks.4.attn.hook_pattern"), "no tensor 2/blocks.4"),
    "a prompt too many": (ragged()[0] | {"4/blocks.1.attn.hook_pattern": causal(1)[0]}, "4/blocks.1.*of 4 prompts"),
    "of another length": (ragged()[0] | {"1/blocks.1.attn.hook_pattern": causal(1)[0]}, r"\[3, 4, 4\]; wanted \[3, 3"),
    "all prompts, too": (ragged()[0] | {"blocks.1.attn.hook_pattern": causal(1)}, "of all prompts and of single ones"),
    "all prompts alone": ({"blocks.1.attn.hook_pattern": causal(1)}, "prompts of 1 to 8 in one tensor a layer"),
    "a wrong row": (
        ragged()[0] | {"2/blocks.4.attn.hook_pattern": ragged()[0]["2/blocks.4.attn.hook_pattern"] * 0.9},
        "2/blocks.4.attn.hook_pattern has rows whose sum",
    ),
}


@pytest.mark.parametrize("what", BAD_RAGGED)
def test_prompts_of_different_lengths_that_are_none(tmp_path: Path, what: str) -> None:
    tensors, match = BAD_RAGGED[what]
    tokens = json.dumps(ragged()[1])
    refused(write(tmp_path / "a.safetensors", "recorded-attention", tensors, tokens=tokens), match)


@pytest.mark.parametrize("nested", [False, True])
def test_a_single_prompt_needs_no_axis_of_its_own(tmp_path: Path, nested: bool) -> None:
    """TransformerLens's caches have lost it after remove_batch_dim; tokens are then a list of strings."""
    tokens = json.dumps([PROMPTS[0]] if nested else PROMPTS[0])
    pattern = causal(1)[0].contiguous()
    path = write(
        tmp_path / "a.safetensors", "recorded-attention", {"blocks.1.attn.hook_pattern": pattern}, tokens=tokens
    )
    checkpoint = load(str(path))
    assert checkpoint.recorded_tokens == PROMPTS[:1]
    assert torch.equal(checkpoint.recorded_patterns(0)[0], pattern)


@pytest.mark.parametrize(
    ("spelled", "plain"),
    [
        (["<|endoftext|>", "ĠThe", "Ġcaf", "Ã©", "Ċ", "un"], ["<|endoftext|>", " The", " caf", "é", "\n", "un"]),
        (["<s>", "▁The", "▁red", "un", "<0x0A>", "▁▁"], ["<s>", " The", " red", "un", "<0x0A>", "  "]),
        (["<s>", " red", "Ġ", "▁"], ["<s>", " red", "Ġ", "▁"]),  # spaces are there: these are letters
        (["<s>", "red", "dog"], ["<s>", "red", "dog"]),
    ],
)
def test_tokens_as_tokenizers_spell_them(tmp_path: Path, spelled: list[str], plain: list[str]) -> None:
    n = len(spelled)
    pattern = {"blocks.1.attn.hook_pattern": torch.eye(n).expand(1, 3, n, n).clone()}
    path = write(tmp_path / "a.safetensors", "recorded-attention", pattern, tokens=json.dumps([spelled]))
    assert load(str(path)).recorded_tokens == [plain]
    graph = write(tmp_path / "b.safetensors", "recorded-graph", graph_tensors(), tokens=json.dumps(spelled))
    (recorded,) = load(str(graph)).graphs.values()
    assert recorded.tokens == tuple(plain)


def test_sizes_that_the_header_does_not_state(tmp_path: Path) -> None:
    """Heads are those of the patterns; how many layers the model has isn't known, and so not how many heads."""
    path = write(tmp_path / "a.safetensors", "recorded-attention", attention_tensors(), {"model_type": "gpt2"})
    checkpoint = load(str(path))
    assert (checkpoint.sizes.n_layers, checkpoint.sizes.n_heads) == (11, 3)
    assert checkpoint.n_model_heads is None
    stated = load(str(write(tmp_path / "b.safetensors", "recorded-attention", attention_tensors())))
    assert stated.n_model_heads == 36


def test_recorded_files_import_no_model_library(tmp_path: Path) -> None:
    attention = write(tmp_path / "a.safetensors", "recorded-attention", attention_tensors())
    graph = write(tmp_path / "b.safetensors", "recorded-graph", graph_tensors())
    script = """
import sys
from headclaims.checkpoint import load
assert load(sys.argv[1]).recorded_patterns(0).sum() > 0
assert len(next(iter(load(sys.argv[2]).graphs.values())).edges) == 4
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
    "no axes": (lambda _: torch.ones(()), r"shape \[\]; wanted \[2, 3, 4, 4\]"),
    "rounded to a byte": (lambda p: p.to(torch.float8_e4m3fn), "wanted float32"),
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
        '["<start>", " red"]',
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
