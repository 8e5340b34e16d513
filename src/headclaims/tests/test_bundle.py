"""Bundles: a folder of evidence files of one model is one checkpoint, with the union of what they give."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from headclaims.audit.prepare import Defaults, audits, open_workspace
from headclaims.audit.settings import Settings
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Capability, Checkpoint, Head
from headclaims.errors import BadCheckpoint, NotAssessable
from headclaims.fleet.workers import audit
from headclaims.tests.claims_run import SET
from headclaims.tests.evidence_files import (
    CATEGORY_OF,
    D_MODEL,
    HEADS,
    EvidenceParts,
    partial_weights,
    recorded_attention,
    recorded_graph,
    texts,
    tiny_gpt2,
)
from headclaims.tests.real_gpt2 import ATTENTION, ATTENTION_128, FOLDER, needs_both, recorded_rows
from headclaims.tests.record_schema import departures
from headclaims.tests.word_lists import word_lists

CAPABILITIES = [Capability.TOKENS, Capability.ATTENTION, Capability.QK, Capability.GRAPH]


def write(folder: Path, **parts: EvidenceParts) -> Path:
    """A folder of such files."""
    folder.mkdir(exist_ok=True)
    for name, part in parts.items():
        part.write(folder / f"{name}.safetensors")
    return folder


def of_prompts(parts: EvidenceParts, chosen: slice) -> EvidenceParts:
    """Recorded attention on some of its prompts."""
    tokens = json.loads(parts.metadata["tokens"])[chosen]
    tensors = {name: pattern[chosen].clone() for name, pattern in parts.tensors.items()}
    return EvidenceParts(tensors, parts.metadata | {"tokens": json.dumps(tokens)})


def of_layers(parts: EvidenceParts, *layers: int) -> EvidenceParts:
    """Tensors of some layers."""
    marks = [mark for layer in layers for mark in (f"blocks.{layer}.", f".h.{layer}.")]
    return EvidenceParts(
        {name: tensor for name, tensor in parts.tensors.items() if any(mark in name for mark in marks)}, parts.metadata
    )


def same_attention(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints have the same recorded attention of the same prompts."""
    assert one.recorded_tokens is not None
    return (one.recorded_tokens, one.attention_layers()) == (other.recorded_tokens, other.attention_layers()) and all(
        torch.equal(one.recorded_patterns(n), other.recorded_patterns(n)) for n in range(len(one.recorded_tokens))
    )


def test_a_folder_gives_what_each_of_its_files_gives(tmp_path: Path) -> None:
    folder = write(tmp_path / "all", weights=partial_weights(), attention=recorded_attention(), graph=recorded_graph())
    (folder / "notes.csv").write_text("a,b\n", encoding="utf-8")
    (folder / ".hidden").write_text("x", encoding="utf-8")
    (folder / "more").mkdir()
    save_file({"a": torch.zeros(2)}, folder / "other.safetensors")
    save_file({"a": torch.zeros(2)}, folder / "strange.safetensors", metadata={"kind": "steering-vector"})
    bundle = load(str(folder))
    alone = {name: load(str(folder / f"{name}.safetensors")) for name in ("weights", "attention", "graph")}
    assert (bundle.kind, bundle.name, bundle.sizes) == ("bundle", "all", alone["weights"].sizes)
    assert bundle.capabilities == CAPABILITIES
    assert bundle.lacks[Capability.SCORES] == alone["weights"].lacks[Capability.SCORES]
    assert same_attention(bundle, alone["attention"])
    assert torch.equal(bundle.recorded_attention(Head(2, 3), 4), alone["attention"].recorded_attention(Head(2, 3), 4))
    assert bundle.qk_layers() == alone["weights"].qk_layers()
    assert torch.equal(bundle.qk_weights(1).W_Q, alone["weights"].qk_weights(1).W_Q)
    assert bundle.fingerprint(1) == alone["weights"].fingerprint(1)
    assert bundle.graphs.keys() == {Head(1, 5)}
    assert bundle.n_model_heads == 24
    sources = {one.file: (one.gives, one.left_out) for one in bundle.sources or ()}
    assert sources == {
        "attention.safetensors": ("attention of layers 0 to 2 on 12 prompts of 24 tokens", None),
        "graph.safetensors": ("the graph of L1H5, 4 edges", None),
        "weights.safetensors": ("query and key weights of layers 0 to 2", None),
        "more": (None, "no .safetensors file"),
        "notes.csv": (None, "no .safetensors file"),
        "other.safetensors": (None, "no kind in its header"),
        "strange.safetensors": (None, "of kind 'steering-vector'"),
    }


def test_value_and_output_weights_may_lie_in_different_files(tmp_path: Path) -> None:
    """Layer 1's output projection in a file of its own, which alone gives nothing."""
    W_O = {"transformer.h.1.attn.c_proj.weight": torch.randn(D_MODEL, D_MODEL)}
    both, apart = partial_weights(), partial_weights()
    one = load(str(EvidenceParts(both.tensors | W_O, both.metadata).write(tmp_path / "one.safetensors")))
    folder = write(tmp_path / "all", weights=apart, output=EvidenceParts(W_O, apart.metadata))
    bundle = load(str(folder))
    assert Capability.OV not in bundle.lacks
    assert bundle.ov_layers() == [1]
    for name in ("W_V", "W_O"):
        assert torch.equal(getattr(bundle.ov_weights(1), name), getattr(one.ov_weights(1), name))
    with pytest.raises(NotAssessable, match=r"needs ov: the file holds layers \[1\], not layer 0"):
        bundle.ov_weights(0)
    assert one.gives == "query and key weights of layers 0 to 2, and value and output weights of layer 1"


def test_what_no_file_gives_is_not_assessable(tmp_path: Path) -> None:
    bundle = load(str(write(tmp_path / "a", graph=recorded_graph())))
    calls: dict[Callable[[], Any], str] = {
        lambda: bundle.recorded_patterns(0): "none of the files holds attention",
        lambda: bundle.qk_weights(1): "none of the files holds weights",
        lambda: bundle.ov_weights(1): "none of the files holds weights",
        lambda: bundle.W_E: "none of the files holds weights",
        lambda: bundle.run(torch.zeros(1, 3, dtype=torch.int64)): "the files hold no model that runs",
        lambda: bundle.single_token(" red"): "the files hold no tokenizer",
    }
    for call, why in calls.items():
        with pytest.raises(NotAssessable, match=why):
            call()


def test_weights_in_several_files_are_read_as_one(tmp_path: Path) -> None:
    """Whichever prefix their names have, and whether a layer is there twice."""
    whole = partial_weights()
    apart = of_layers(whole, 1, 2)
    apart.tensors = {name.removeprefix("transformer."): tensor for name, tensor in apart.tensors.items()}
    bundle = load(str(write(tmp_path / "a", one=of_layers(whole, 0, 1), two=apart)))
    alone = load(str(whole.write(tmp_path / "whole.safetensors")))
    assert bundle.qk_layers() == [0, 1, 2]
    for layer in range(3):
        assert torch.equal(bundle.qk_weights(layer).W_K, alone.qk_weights(layer).W_K)
        assert bundle.fingerprint(layer) == alone.fingerprint(layer)


def test_an_embedding_of_one_file_and_the_mlps_of_another(tmp_path: Path) -> None:
    from headclaims.checkpoint.extract import extract

    model = tiny_gpt2(tmp_path / "model", list(CATEGORY_OF))
    whole = extract(str(model), [1], tmp_path / "whole.safetensors", embedding=True)
    with safe_open(whole, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (tmp_path / "parts").mkdir()
    for name, is_its in (
        ("wte", lambda n: "wte" in n),
        ("mlp", lambda n: ".h.0." in n),
        ("qk", lambda n: ".h.1." in n),
    ):
        own = {key: tensor for key, tensor in tensors.items() if is_its(key)}
        save_file(own, tmp_path / "parts" / f"{name}.safetensors", metadata=metadata)
    bundle, alone = load(str(tmp_path / "parts")), load(str(whole))
    assert Capability.EMBEDDING not in bundle.lacks
    arguments = torch.arange(9), 1, torch.zeros(48), torch.zeros(1, 48)
    assert torch.equal(bundle.embed_alone(*arguments), alone.embed_alone(*arguments))
    assert torch.equal(bundle.W_E, alone.W_E)
    assert bundle.embedding_inputs(1).keys() == {
        name.removeprefix("transformer.") for name in alone.embedding_inputs(1)
    }


def test_prompts_of_the_same_layers_are_put_together(tmp_path: Path) -> None:
    whole = recorded_attention()
    one, two = of_prompts(whole, slice(0, 5)), of_prompts(whole, slice(4, 12))  # the fifth is in both
    bundle = load(str(write(tmp_path / "a", one=one, two=two)))
    assert len(bundle.recordings) == 1
    assert same_attention(bundle, load(str(whole.write(tmp_path / "whole.safetensors"))))


def test_layers_of_the_same_prompts_are_put_together(tmp_path: Path) -> None:
    whole = recorded_attention()
    bundle = load(str(write(tmp_path / "a", one=of_layers(whole, 2), two=of_layers(whole, 0, 1))))
    assert same_attention(bundle, load(str(whole.write(tmp_path / "whole.safetensors"))))


def workspace_of(folder: Path, head: str) -> Any:
    settings = Settings.of({"checkpoint": str(folder), "head": head, "no_cache": True})
    return open_workspace(settings, word_lists(), Defaults("gpt2", "L1H5", {"lowest": "category score"}))


def test_what_cannot_be_compared_is_not_mixed(tmp_path: Path) -> None:
    """Category prompts of layer 1 and texts of all layers: each head by the recording that tells most of it."""
    folder = write(tmp_path / "a", prompts=of_layers(recorded_attention(), 1), text=texts())
    workspace = workspace_of(folder, "L1H5,L2H0")
    first, second = audits(workspace, Defaults("gpt2", "L1H5", {"lowest": "category score"}))
    assert first.survey.heads == tuple(Head(1, head) for head in range(HEADS))
    assert len(first.prompts) == 12
    assert second.survey.heads == tuple(Head(layer, head) for layer in range(3) for head in range(HEADS))
    assert [len(prompt) for prompt in second.checkpoint.recorded_tokens or []] == [5, 4]
    unused = [[one.file for one in of.checkpoint.sources or () if one.left_out] for of in (first, second)]
    assert unused == [["text.safetensors"], ["prompts.safetensors"]]
    assert first.checkpoint.identity == second.checkpoint.identity
    assert len(workspace_of(folder, "all").heads) == 24


def test_prompts_with_bos_and_without_are_two_recordings(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", a=texts(), b=texts(first="<s>", seed=4))
    views = load(str(folder)).recordings
    assert sorted(view.recorded_tokens[0][0] for view in views if view.recorded_tokens) == ["<s>", "The"]


def with_config(parts: EvidenceParts, **changed: Any) -> EvidenceParts:
    parts.config = parts.config | changed
    return parts


def changed(parts: EvidenceParts, name: str, change: Callable[[Tensor], Tensor]) -> EvidenceParts:
    parts.tensors[name] = change(parts.tensors[name])
    return parts


def named(parts: EvidenceParts, name: str) -> EvidenceParts:
    parts.metadata["name"] = name
    return parts


def stating(parts: EvidenceParts, fingerprint: str) -> EvidenceParts:
    parts.metadata["fingerprints"] = json.dumps({"1": fingerprint})
    return parts


C_ATTN, LN_1 = "transformer.h.1.attn.c_attn.weight", "transformer.h.1.ln_1.weight"
PATTERN = "blocks.1.attn.hook_pattern"
CONFLICTS: dict[str, tuple[EvidenceParts, EvidenceParts, str]] = {
    "weights": (
        partial_weights(),
        changed(partial_weights(), C_ATTN, lambda W: W * 2),
        "the fingerprints of layer 1 differ",
    ),
    "a norm": (partial_weights(), changed(partial_weights(), LN_1, lambda gain: gain * 2), "tensor h.1.ln_1.weight"),
    "stated": (partial_weights(), stating(recorded_attention(), "0" * 64), "the fingerprints of layer 1 differ"),
    "layers": (partial_weights(), with_config(recorded_attention(), n_layer=4), "config n_layer is 3 and 4"),
    "tokens": (recorded_graph(), with_config(recorded_attention(), vocab_size=101), "config vocab_size is 100 and 101"),
    "named otherwise": (
        partial_weights(),
        EvidenceParts(
            recorded_attention().tensors,
            recorded_attention().metadata,
            {"num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 64},
        ),
        "3 and 4 layers",
    ),
    "type": (partial_weights(), with_config(recorded_attention(), model_type="gpt_neo"), "config model_type is"),
    "names": (partial_weights(), named(recorded_attention(), "another"), "name 'made by hand' and 'another'"),
    "attention": (
        recorded_attention(),
        changed(recorded_attention(), PATTERN, lambda pattern: torch.eye(24).expand_as(pattern).clone()),
        "on the same prompt layer 1 attends otherwise",
    ),
}


@pytest.mark.parametrize("what", CONFLICTS)
def test_files_that_are_not_of_one_model_are_refused_by_name(tmp_path: Path, what: str) -> None:
    one, two, said = CONFLICTS[what]
    folder = write(tmp_path / "a", one=one, two=two)
    with pytest.raises(BadCheckpoint, match=said) as caught:
        load(str(folder))
    line = str(caught.value)
    assert "one.safetensors and two.safetensors are not of one model" in line
    assert "\n" not in line
    assert len(line) < 400 + len(str(folder))


def test_a_name_counts_but_for_its_owner(tmp_path: Path) -> None:
    parts = named(partial_weights(), "openai-community/GPT2"), named(recorded_attention(), "gpt2")
    assert load(str(write(tmp_path / "a", one=parts[0], two=parts[1]))).kind == "bundle"


def test_two_graphs_of_a_head_are_refused_and_of_two_heads_are_both_there(tmp_path: Path) -> None:
    other = recorded_graph()
    other.metadata["target"] = "L2H0"
    assert load(str(write(tmp_path / "a", a=recorded_graph(), b=other))).graphs.keys() == {Head(1, 5), Head(2, 0)}
    changed(other, "score", lambda score: score + 1).metadata["target"] = "L1H5"
    with pytest.raises(BadCheckpoint, match=r"a\.safetensors and b\.safetensors are graphs of L1H5"):
        load(str(write(tmp_path / "b", a=recorded_graph(), b=other)))


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", weights=partial_weights(), attention=recorded_attention())
    (folder / "weights.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BadCheckpoint, match=r"weights\.safetensors: no readable safetensors file"):
        load(str(folder))


def test_a_models_folder_stays_one(tmp_path: Path) -> None:
    """With evidence beside the model's own files; and a config alone makes no model."""
    model = tiny_gpt2(tmp_path / "model", list(CATEGORY_OF))
    write(model, weights=partial_weights())
    assert load(str(model)).kind == "folder"
    folder = write(tmp_path / "a", weights=partial_weights())
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert load(str(folder)).kind == "bundle"


def test_a_folder_without_evidence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(BadCheckpoint, match=r"a folder without config\.json or evidence files"):
        load(str(tmp_path))


def test_a_recording_of_an_unknown_number_of_layers(tmp_path: Path) -> None:
    """Weights beside it say how many there are; it must not have more of them."""
    without = EvidenceParts(recorded_attention().tensors, recorded_attention().metadata, {"n_head": HEADS})
    alone = load(str(write(tmp_path / "a", attention=without)))
    assert (alone.sizes.n_layers, alone.n_model_heads) == (3, None)
    beside = load(str(write(tmp_path / "b", attention=without, weights=partial_weights())))
    assert (beside.sizes.n_layers, beside.n_model_heads, beside.sizes.d_model) == (3, 24, 64)
    few = with_config(of_layers(partial_weights(), 0, 1), n_layer=2)
    with pytest.raises(BadCheckpoint, match=r"attention of layer 2 in attention\.safetensors, config with 2 layers"):
        load(str(write(tmp_path / "c", attention=without, weights=few)))


def test_the_identity_is_of_the_content(tmp_path: Path) -> None:
    """Not of the files' names."""
    one = load(str(write(tmp_path / "a", w=partial_weights(), r=recorded_attention())))
    (tmp_path / "b").mkdir()
    for name, other in (("w", "z"), ("r", "y")):
        shutil.copy(tmp_path / "a" / f"{name}.safetensors", tmp_path / "b" / f"{other}.safetensors")
    assert load(str(tmp_path / "b")).identity == one.identity
    (tmp_path / "b" / "y.safetensors").unlink()
    assert load(str(tmp_path / "b")).identity != one.identity


def test_an_audit_of_a_bundle_is_what_audits_of_its_files_say(tmp_path: Path) -> None:
    """Every claim that some file can tell of is assessed, with the same outcome, and the record names the files."""
    folder = write(tmp_path / "all", weights=partial_weights(), attention=recorded_attention())
    together = audit(SET, ["--checkpoint", str(folder), "--no-cache", "--verdicts-only"])
    assert departures(together) == []
    assessed: dict[str, Any] = {}
    for name in ("weights", "attention"):
        path = folder / f"{name}.safetensors"
        claims = audit(SET, ["--checkpoint", str(path), "--no-cache", "--verdicts-only"])["claims"]
        assessed |= {claim["id"]: claim for claim in claims if claim["verdict"] != "not assessable"}
    assert len(assessed) == 12
    for claim in together["claims"]:
        alone = assessed.get(claim["id"])
        assert (alone is None) == (claim["verdict"] == "not assessable"), claim["id"]
        if alone is not None:
            for key in ("verdict", "flags", "interval"):
                assert claim[key] == alone[key], claim["id"]
            assert claim["measured"] == pytest.approx(alone["measured"], rel=1e-9), claim["id"]
    assert [one["file"] for one in together["checkpoint"]["files"]] == ["attention.safetensors", "weights.safetensors"]


@needs_both
def test_real_gpt2_small_in_one_folder() -> None:
    """Both category prompts of layer 1 are one recording, and the sentences, without BOS, another."""
    bundle = load(str(FOLDER))
    assert set(bundle.capabilities) == {*CAPABILITIES, Capability.OV}
    assert [len(prompt) for prompt in bundle.recorded_tokens or []] == [128, 64]
    assert bundle.attention_layers() == [1]
    views = [(view.attention_layers(), [len(p) for p in view.recorded_tokens or []]) for view in bundle.recordings]
    assert views == [([1], [128, 64]), (list(range(12)), [12, 17])]
    sources = {one.file: one for one in bundle.sources or ()}
    assert sources["recorded-qk-sentence.safetensors"].left_out == "no kind in its header"
    assert sources["token-frequencies.csv"].left_out == "no .safetensors file"
    assert float(bundle.recorded_patterns(1)[0, 5].diagonal()[1:].mean()) == pytest.approx(0.094, abs=5e-4)


@needs_both
def test_all_that_is_known_of_real_gpt2_small_is_in_one_record() -> None:
    """Four claims by its weights, eight by its category prompts, two by its graph."""
    record = audit(SET, ["--checkpoint", str(FOLDER), "--no-cache", "--verdicts-only"])
    assert departures(record) == []
    assessed = {claim["id"]: claim["measured"] for claim in record["claims"] if claim["verdict"] != "not assessable"}
    assert len(assessed) == 14
    assert record["evidence_of"] == "discovery"
    assert assessed["half-the-eigenvalues-negative"]["count"] == 33
    assert assessed["communities-are-semantic"]["own_in_top_four"] == pytest.approx(0.021, abs=5e-4)
    # Of the rows of both prompts together: 0.575 nats over 64 rows, and what the other gives over 128.
    rows = [row for path in (ATTENTION, ATTENTION_128) for row in recorded_rows(path, 5)]
    score = sum(row.score for row in rows) / len(rows)
    assert len(rows) == 192
    assert assessed["category-score-lowest"]["score"] == pytest.approx(score, abs=1e-5)
