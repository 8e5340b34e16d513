"""Evidence that is written: what is audited from the file is what is audited from the model."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformer_lens import ActivationCache

from headclaims import cli, save_attention
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Capability, Head
from headclaims.checkpoint.partial import PartialWeights
from headclaims.errors import BadInput
from headclaims.fleet.workers import audit
from headclaims.prompts.category import category_prompts
from headclaims.tests.claims_run import SET
from headclaims.tests.evidence_files import CATEGORY_OF, tiny_gpt2
from headclaims.tests.test_full import Models
from headclaims.tests.word_lists import load_words

ATTENTION_ALONE = (
    "category-score-lowest",
    "category-score-outlier",
    "attends-within-category",
    "suppresses-self",
    "self-above-unrelated",
    "kin-above-nearest-category",
    "kin-evenly",
    "identity-explains-scores",
)
SPECTRA = ("skew-is-weaker", "half-the-eigenvalues-negative", "inertia")


def causal(*shape: int, seed: int = 0) -> Tensor:
    """Attention [..., query, key] of random scores."""
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return scores.masked_fill(torch.ones(shape[-2:]).triu(1).bool(), -torch.inf).softmax(-1)


NAMES = ("blocks.0.attn.hook_pattern", "blocks.3.attn.hook_pattern")
TOKENS = ["<s>", " red", " dog", " blue"]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_a_cache_of_one_prompt_is_read_as_it_was(tmp_path: Path, batch: bool, nested: bool) -> None:
    """With the batch's axis or without, tokens as a list or as a list of one."""
    cache = {name: causal(2, 4, 4, seed=seed) for seed, name in enumerate(NAMES)}
    given = {name: pattern[None] if batch else pattern for name, pattern in cache.items()}
    given["blocks.0.hook_resid_pre"] = torch.zeros(1, 4, 8)
    path = save_attention(given, [TOKENS] if nested else TOKENS, tmp_path / "new" / "a.safetensors")
    assert [found.name for found in path.parent.iterdir()] == ["a.safetensors"]
    checkpoint = load(str(path))
    assert (checkpoint.recorded_tokens, checkpoint.attention_layers()) == ([TOKENS], [0, 3])
    assert torch.equal(checkpoint.recorded_patterns(0), torch.stack(list(cache.values())))
    assert checkpoint.n_model_heads is None


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_padded_prompts_are_cut_to_their_length_in_their_own_type(tmp_path: Path, kind: torch.dtype) -> None:
    pattern = causal(3, 2, 5, 5).to(kind)
    tokens = [["<s>", " red", " dog"], ["<s>", " red", " dog", " a", " b"], ["<s>", " cat", " dog", " a"]]
    path = save_attention({NAMES[0]: pattern}, tokens, tmp_path / "a.safetensors")
    checkpoint = load(str(path))
    for n, prompt in enumerate(tokens):
        assert torch.equal(checkpoint.recorded_patterns(n)[0], pattern[n, :, : len(prompt), : len(prompt)].float())
    with safe_open(path, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {kind}  # noqa: SIM118


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_arrays_are_as_good_as_tensors(tmp_path: Path, kind: type) -> None:
    """Also where an array can't be written to, or runs backwards through memory."""
    pattern = causal(2, 2, 4, 4).numpy().astype(kind)
    backwards = pattern[:, ::-1].copy()[:, ::-1]
    backwards.flags.writeable = False
    path = save_attention({NAMES[0]: backwards}, [TOKENS, TOKENS], tmp_path / "a.safetensors")
    checkpoint = load(str(path))
    for n in range(2):
        assert torch.equal(checkpoint.recorded_patterns(n)[0], torch.from_numpy(pattern[n]).float())


def test_an_activation_cache_gives_its_models_sizes(tmp_path: Path) -> None:
    cfg = SimpleNamespace(n_layers=6, n_heads=2, d_model=16, d_head=8, d_vocab=90, model_name="some-model")
    cache = ActivationCache({NAMES[1]: causal(1, 2, 4, 4)}, SimpleNamespace(cfg=cfg))
    checkpoint = load(str(save_attention(cache, TOKENS, tmp_path / "a.safetensors")))
    s = checkpoint.sizes
    assert (s.n_layers, s.n_heads, s.d_model, s.d_head, s.d_vocab) == (6, 2, 16, 8, 90)
    assert checkpoint.n_model_heads == 12
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["name"] == "some-model"


BAD: dict[str, tuple[Callable[[], tuple[Any, Any]], str]] = {
    "no patterns": (lambda: ({"hook_embed": torch.zeros(1, 4, 8)}, TOKENS), "no activation blocks"),
    "an array": (lambda: (causal(1, 2, 4, 4).numpy(), TOKENS), "a cache of type ndarray; wanted"),
    "names of another kind": (lambda: ({0: causal(1, 2, 4, 4)}, TOKENS), "no activation blocks"),
    "no array": (lambda: ({NAMES[0]: None}, TOKENS), "is a NoneType; wanted a tensor or an array"),
    "rows of their own length": (lambda: ({NAMES[0]: [[1.0], [0.5, 0.5]]}, TOKENS), "is a list; wanted a tensor"),
    "another length": (lambda: ({NAMES[0]: causal(1, 2, 3, 3)}, TOKENS), r"\[1, 2, 3, 3\]; wanted"),
    "another batch": (lambda: ({NAMES[0]: causal(2, 2, 4, 4)}, TOKENS), "of 1 prompts"),
    "one string": (lambda: ({NAMES[0]: causal(1, 2, 4, 4)}, "<s> red"), "tokens are no strings"),
    "numbers": (lambda: ({NAMES[0]: causal(1, 2, 4, 4)}, [[1, 2, 3, 4]]), "tokens are no strings"),
    "scores": (lambda: ({NAMES[0]: causal(1, 2, 4, 4) + 1}, TOKENS), "attends to later positions"),
    # What a row of padding in front of a prompt attends to.
    "padded in front": (
        lambda: ({NAMES[0]: torch.cat([torch.full((1, 2, 1, 4), 0.25), causal(1, 2, 4, 4)[:, :, 1:]], 2)}, TOKENS[1:]),
        "attends to later positions",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_attention_is_refused_and_leaves_no_file(tmp_path: Path, what: str) -> None:
    make, match = BAD[what]
    with pytest.raises(BadInput, match=match) as caught:
        save_attention(*make(), tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers that knows the words."""
    return tiny_gpt2(tmp_path_factory.mktemp("small") / "model", list(CATEGORY_OF))


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def claims_of(checkpoint: object, *names: str) -> dict[str, Any]:
    options = ["--checkpoint", str(checkpoint), "--prompts", "12", "--seq-len", "24", "--verdicts-only", "--no-cache"]
    record = audit(SET, options, list(names))
    return {claim["id"]: claim for claim in record["claims"]}


def test_an_audit_of_a_recording_is_that_of_the_model(small: Path, tmp_path: Path) -> None:
    """On the prompts that the audit of the model makes, written down as a text."""
    model = load(str(small))
    words = load_words("write-up").that_count(model.single_token, "small")
    prompts = category_prompts(words, model.single_token, model.bos, 12, 24, 0)
    lines = ["".join(" " + words.words[word] for word in row[1:]) for row in prompts.word_at]
    (tmp_path / "text.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "out.safetensors"
    assert run("record", small, "--text", tmp_path / "text.txt", "--output", out) == 0
    recorded = load(str(out))
    assert recorded.fingerprint(1) == model.fingerprint(1)
    of_model, of_recording = (claims_of(path, *ATTENTION_ALONE) for path in (small, out))
    assert set(of_recording) == set(ATTENTION_ALONE)
    for name, claim in of_recording.items():
        assert claim["verdict"] == of_model[name]["verdict"] != "not assessable"
        assert claim["measured"] == pytest.approx(of_model[name]["measured"], abs=1e-4)
        assert claim["interval"] == pytest.approx(of_model[name]["interval"], abs=1e-3)


def test_some_layers_in_half_precision_without_bos(small: Path, tmp_path: Path) -> None:
    """Lines of different lengths; a line's attention is that of its tokens alone."""
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbf red dog\r\n\r\n blue cat blue dog\r\n")
    out = tmp_path / "out.safetensors"
    options = ("--output", out, "--layers", "1", "--dtype", "bfloat16", "--no-bos")
    assert run("record", small, "--text", tmp_path / "text.txt", *options) == 0
    recorded, model = load(str(out)), load(str(small))
    assert recorded.recorded_tokens == [[" red", " dog"], [" blue", " cat", " blue", " dog"]]
    assert recorded.attention_layers() == [1]
    assert recorded.n_model_heads == 12
    for n, prompt in enumerate(recorded.recorded_tokens):
        ids = torch.tensor([[model.single_token(token) for token in prompt]])
        expected = model.attention_patterns(ids)[1, 0]
        assert (recorded.recorded_patterns(n)[0] - expected).abs().max() < 2**-8


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", [], "empty; wanted a prompt a line"),
        (" red" * 40, [], "line 1: 41 tokens; the context of .* is 32"),
        (" red dog", ["--layers", "2"], r"layers \[2\]; wanted some of \[0, 1\]"),
    ],
)
def test_what_cannot_be_recorded(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, options: list[str], said: str
) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    assert run("record", small, "--text", tmp_path / "text.txt", "--output", tmp_path / "o.safetensors", *options) == 2
    line = capsys.readouterr().err
    assert line.startswith("headclaims: ")
    assert line.count("\n") == 1
    assert re.search(said, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_evidence_that_does_not_run_cannot_be_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_attention({NAMES[0]: causal(1, 2, 4, 4)}, TOKENS, tmp_path / "a.safetensors")
    (tmp_path / "text.txt").write_text(" red", encoding="utf-8")
    assert run("record", path, "--text", tmp_path / "text.txt") == 2
    assert "recorded attention only; wanted a model that runs" in capsys.readouterr().err


def test_spectra_of_extracted_weights_are_those_of_the_model(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert run("extract", small, "--layers", "0,1", "--output", out) == 0
    weights, model = load(str(out)), load(str(small))
    assert isinstance(weights, PartialWeights)
    assert [weights.fingerprint(layer) for layer in (0, 1)] == [model.fingerprint(layer) for layer in (0, 1)]
    of_model, of_weights = (claims_of(path, *SPECTRA) for path in (small, out))
    for name in SPECTRA:
        assert of_weights[name]["verdict"] == of_model[name]["verdict"] != "not assessable"
        assert of_weights[name]["measured"] == pytest.approx(of_model[name]["measured"], rel=1e-4)


def test_one_layer_with_what_its_embedding_is_made_of(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert run("extract", small, "--layers", "1", "--embedding", "--output", out) == 0
    weights, model = load(str(out)), load(str(small))
    assert weights.qk_layers() == [1]
    assert Capability.EMBEDDING not in weights.lacks
    terms = torch.zeros(48), torch.zeros(1, 48)
    tokens = torch.arange(12)
    ours, theirs = (checkpoint.embed_alone(tokens, 1, *terms) for checkpoint in (weights, model))
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_weights_of_other_architectures(models: Models, name: str, tmp_path: Path) -> None:
    """With key heads shared, and in Qwen2 biases; stored in bfloat16 they stay so."""
    small = models(name)
    half = tmp_path / "half"
    rounded = copy.deepcopy(small.model).to(torch.bfloat16)
    rounded.save_pretrained(half)
    out = tmp_path / "out.safetensors"
    assert run("extract", half, "--layers", "2", "--output", out) == 0
    with safe_open(out, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state = rounded.state_dict()
    assert len(tensors) == (5 if name == "qwen2" else 3)
    for key, tensor in tensors.items():
        assert torch.equal(tensor, state[key])
    assert load(str(out)).qk_layers() == [2]


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("small", ["--layers", "2"], "--layers 2: .* has layers 0 to 1"),
        ("nowhere.bin", ["--layers", "0"], "no model to extract from"),
        ("empty", ["--layers", "0"], "no readable model"),
    ],
)
def test_what_cannot_be_extracted(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, options: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    spec = small if model == "small" else tmp_path / model
    assert run("extract", spec, "--output", tmp_path / "o.safetensors", *options) == 2
    line = capsys.readouterr().err
    assert line.startswith("headclaims: ")
    assert line.count("\n") == 1
    assert re.search(said, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_heads_of_a_recording_are_those_of_its_model(small: Path, tmp_path: Path) -> None:
    """The header states the model's sizes and fingerprints, so that a bundle can hold them against its other files."""
    (tmp_path / "text.txt").write_text(" red dog blue", encoding="utf-8")
    assert run("record", small, "--text", tmp_path / "text.txt", "--output", tmp_path / "o.safetensors") == 0
    with safe_open(tmp_path / "o.safetensors", framework="pt") as file:
        header = file.metadata()
    assert json.loads(header["config"]) == {"n_layer": 2, "n_head": 6, "n_embd": 48, "head_dim": 8, "vocab_size": 22}
    assert sorted(json.loads(header["fingerprints"])) == ["0", "1"]
    assert Head(1, 5).layer in load(str(tmp_path / "o.safetensors")).attention_layers()
