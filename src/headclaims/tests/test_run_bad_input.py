"""Runs that cannot begin: exit status 2, one line that says what came and what was wanted, nothing written over."""

import os
import shlex
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from headclaims.tests.claims_run import SET, ClaimsRun, complaint, run_claims, snapshot
from headclaims.tests.evidence_files import (
    CATEGORY_OF,
    D_HEAD,
    D_MODEL,
    EvidenceParts,
    partial_weights,
    recorded_attention,
    recorded_graph,
    tiny_gpt2,
)

LN, ATTENTION, PATTERN = (
    "transformer.h.{}.ln_1.weight",
    "transformer.h.{}.attn.c_attn.weight",
    "blocks.{}.attn.hook_pattern",
)


@dataclass(frozen=True)
class Case:
    """Options, with the folder of bad files as {bad}, and what the line must say."""

    name: str
    options: str
    says: tuple[str, ...]


CASES = [
    # Options, which are read before anything is loaded.
    Case("head-as-number", "--head 1.5", ("--head 1.5", "L1H5", "auto")),
    Case("head-without-layer", "--head H5", ("--head H5", "L1H5")),
    Case("no-prompts", "--prompts 0", ("--prompts 0", "whole number", "1 or more")),
    Case("prompts-no-number", "--prompts x", ("--prompts x", "whole number")),
    Case("prompts-no-number-n2", "--prompts x -n 2", ("--prompts x", "whole number")),
    Case("prompts-a-fraction", "--prompts 2.5", ("--prompts 2.5", "whole number")),
    Case("seq-len-2", "--seq-len 2", ("--seq-len 2", "3 or more")),
    Case("seed-negative", "--seed -1", ("--seed -1", "0 or more")),
    Case("dtype", "--dtype int8", ("--dtype int8", "float32", "bfloat16")),
    Case("device", "--device nonsense", ("--device nonsense", "cpu")),
    Case("revision-alone", "--revision main", ("--revision main", "hub id")),
    Case("report-dir-a-file", "--report-dir {bad}/file", ("--report-dir", "{bad}/file", "folder")),
    Case(
        "report-dir-below-a-file",
        "--checkpoint {bad}/partial.safetensors --report-dir {bad}/file/reports",
        ("--report-dir", "{bad}/file", "folder"),
    ),
    Case("words-missing", "--words {bad}/nothing.toml", ("{bad}/nothing.toml", "no such file", "held-out")),
    Case("words-a-folder", "--words {bad}", ("--words {bad}", "file")),
    Case("words-no-toml", "--words {bad}/no-toml.toml", ("{bad}/no-toml.toml", "TOML")),
    Case("words-no-text", "--words {bad}/binary.safetensors", ("{bad}/binary.safetensors", "text")),
    Case("words-without-categories", "--words {bad}/no-categories.toml", ("no-categories.toml", "[categories]")),
    Case("words-no-lists", "--words {bad}/no-lists.toml", ("no-lists.toml", "'colours'", "list of words")),
    Case("words-twice", "--words {bad}/twice.toml", ("twice.toml", "'red'", "'colours'", "'moods'")),
    Case("words-ordered", "--words {bad}/ordered.toml", ("ordered.toml", "'months'")),
    # What is named and is not there, or is of no kind.
    Case("missing-file", "--checkpoint {bad}/nothing.safetensors", ("{bad}/nothing.safetensors", "no such file")),
    Case("missing-gguf", "--checkpoint {bad}/nothing.gguf", ("{bad}/nothing.gguf", "no such file")),
    Case("missing-path", "--checkpoint {bad}/not/there", ("{bad}/not/there", "no such file or folder")),
    Case(
        "unknown-hub-id", "--checkpoint nobody/nothing", ("nobody/nothing", "not in the local cache", "HF_HUB_OFFLINE")
    ),
    Case("nothing-named", "--checkpoint ''", ("--checkpoint",)),
    Case("counterfeit", "--checkpoint planted:nonsense", ("planted:nonsense", "planted")),
    Case("no-kind", "--checkpoint {bad}/twice.toml", ("{bad}/twice.toml", ".safetensors")),
    Case("folder-of-spoilt-evidence", "--checkpoint {bad}", ("{bad}", "c-attn-shape.safetensors")),
    Case("revision-of-planted", "--checkpoint planted --revision main", ("--revision main", "planted", "hub id")),
    Case(
        "revision-of-a-file",
        "--checkpoint {bad}/partial.safetensors --revision main",
        ("--revision main", "partial.safetensors", "hub id"),
    ),
    # Files that are damaged or do not say what they are.
    Case("truncated", "--checkpoint {bad}/truncated.safetensors", ("truncated.safetensors", "safetensors")),
    Case("no-safetensors", "--checkpoint {bad}/text.safetensors", ("text.safetensors", "safetensors")),
    Case("empty", "--checkpoint {bad}/empty.safetensors", ("empty.safetensors", "safetensors")),
    Case("no-metadata", "--checkpoint {bad}/binary.safetensors", ("binary.safetensors", "'kind'", "partial-weights")),
    Case("unknown-kind", "--checkpoint {bad}/unknown-kind.safetensors", ("'rumour'", "recorded-attention")),
    Case("config-no-json", "--checkpoint {bad}/config-no-json.safetensors", ("'config'", "JSON")),
    Case("config-without-sizes", "--checkpoint {bad}/config-without-sizes.safetensors", ("config", "n_head")),
    Case("other-architecture", "--checkpoint {bad}/other-architecture.safetensors", ("'mamba'", "gpt2")),
    # Tensors.
    Case("c-attn-shape", "--checkpoint {bad}/c-attn-shape.safetensors", ("c_attn.weight", "[64, 191]", "[64, 192]")),
    Case("norm-shape", "--checkpoint {bad}/norm-shape.safetensors", ("ln_1.weight", "[63]", "[64]")),
    Case("shape-elsewhere", "--checkpoint {bad}/shape-elsewhere.safetensors", ("h.2.attn.c_attn.weight", "[64, 192]")),
    Case("nan", "--checkpoint {bad}/nan.safetensors", ("h.1.attn.c_attn.weight", "NaN", "finite")),
    Case("infinity", "--checkpoint {bad}/infinity.safetensors", ("h.1.attn.c_attn.weight", "infinite", "finite")),
    Case("nan-in-norm", "--checkpoint {bad}/nan-in-norm.safetensors", ("h.1.ln_1.weight", "NaN", "finite")),
    Case("nan-elsewhere", "--checkpoint {bad}/nan-elsewhere.safetensors", ("h.2.attn.c_attn.weight", "NaN", "finite")),
    Case(
        "pattern-shape",
        "--checkpoint {bad}/pattern-shape.safetensors",
        ("blocks.1", "[12, 8, 24, 23]", "[12, 8, 24, 24]"),
    ),
    Case("pattern-nan", "--checkpoint {bad}/pattern-nan.safetensors", ("blocks.1", "NaN", "finite")),
    Case("pattern-sums", "--checkpoint {bad}/pattern-sums.safetensors", ("blocks.1", "0.1 from 1", "sums of 1")),
    Case("pattern-ahead", "--checkpoint {bad}/pattern-ahead.safetensors", ("blocks.1", "later positions", "0.2")),
    Case("pattern-negative", "--checkpoint {bad}/pattern-negative.safetensors", ("blocks.1", "negative")),
    Case("patterns-missing", "--checkpoint {bad}/patterns-missing.safetensors", ("blocks.{{L}}.attn.hook_pattern",)),
    Case("tokens-missing", "--checkpoint {bad}/tokens-missing.safetensors", ("'tokens'",)),
    Case("tokens-uneven", "--checkpoint {bad}/tokens-uneven.safetensors", ("prompts of 3 to 4", "one a prompt")),
    Case("graph-edges", "--checkpoint {bad}/graph-edges.safetensors", ("edges", "0 to 3")),
    Case("graph-scores", "--checkpoint {bad}/graph-scores.safetensors", ("score", "[3]", "[4]")),
    # The head.
    Case("head-beyond", "--checkpoint {bad}/partial.safetensors --head L9H99", ("--head L9H99", "0 to 2", "0 to 7")),
    Case("head-beyond-n2", "--checkpoint {bad}/partial.safetensors --head L3H0 -n 2", ("--head L3H0", "0 to 2")),
    Case("head-not-recorded", "--checkpoint {bad}/of-layer-1.safetensors --head L0H3", ("attention of layer 1 alone",)),
    Case("head-beyond-recorded", "--checkpoint {bad}/of-layer-1.safetensors --head L9H5", ("layer 1 alone", "0 to 7")),
    Case("default-head-beyond", "--checkpoint {bad}/one-layer.safetensors", ("L1H5", "0 to 0", "0 to 7")),
    Case("auto-on-one-prompt", "--checkpoint {bad}/one-prompt.safetensors --head auto", ("--head auto", "1 prompt")),
    # Whole models.
    Case("context", "--checkpoint {bad}/tiny --seq-len 33", ("--seq-len 33", "tiny", "32 tokens")),
    Case("head-beyond-model", "--checkpoint {bad}/tiny --seq-len 32 --head L1H6", ("--head L1H6", "0 to 1", "0 to 5")),
    Case("no-category", "--checkpoint {bad}/no-words --seq-len 32", ("'write-up'", "0 of 8 categories", "no-words")),
    Case(
        "no-category-of-a-file",
        "--checkpoint {bad}/tiny --seq-len 32 --words {bad}/strange.toml",
        ("strange.toml", "0 of 2 categories", "tiny"),
    ),
    Case(
        "auto-on-one-drawn-prompt", "--checkpoint {bad}/tiny --seq-len 32 --prompts 1 --head auto", ("auto", "1 prompt")
    ),
    Case("model-truncated", "--checkpoint {bad}/model-truncated", ("model-truncated",)),
    Case("model-nan", "--checkpoint {bad}/model-nan", ("model-nan", "NaN", "finite")),
    Case(
        "model-lacks-tensors", "--checkpoint {bad}/model-lacks-tensors", ("model-lacks-tensors", "without", "tensors")
    ),
    Case("model-without-tokenizer", "--checkpoint {bad}/no-tokenizer", ("no-tokenizer",)),
    Case("model-of-no-known-type", "--checkpoint {bad}/no-type", ("no-type", "nonsense")),
    Case("no-gguf", "--checkpoint {bad}/text.gguf", ("text.gguf",)),
]
NAMES = [case.name for case in CASES]


def spoil(parts: EvidenceParts, name: str, change: Callable[[torch.Tensor], object]) -> EvidenceParts:
    """Change one tensor in place."""
    change(parts.tensors[name])
    return parts


def put(value: float, *index: int) -> Callable[[torch.Tensor], object]:
    """Write a value at an index."""
    return lambda tensor: tensor.__setitem__(index, value)


def with_tensors(parts: EvidenceParts, **tensors: torch.Tensor | None) -> EvidenceParts:
    """Change tensors for others, or leave them out."""
    parts.tensors = {name: t for name, t in (parts.tensors | tensors).items() if t is not None}
    return parts


def with_metadata(parts: EvidenceParts, **metadata: str | None) -> EvidenceParts:
    """Change entries of the header, or leave them out."""
    parts.metadata = {name: text for name, text in (parts.metadata | metadata).items() if text is not None}
    return parts


def with_config(parts: EvidenceParts, **config: object) -> EvidenceParts:
    """Change entries of the config, or leave them out."""
    parts.config = {key: value for key, value in (parts.config | config).items() if value is not None}
    return parts


def without_some(folder: Path) -> None:
    """Take a tensor out of a saved model."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.1.attn.c_attn.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def with_nan(folder: Path) -> None:
    """Put NaN into a saved model."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.1.mlp.c_fc.weight"][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_files(folder: Path) -> None:
    """Every bad file, and good ones that bad options go with."""
    recorded, whole = recorded_attention(), partial_weights().write(folder / "partial.safetensors")
    uneven = [["<bos>", " red", " blue"], ["<bos>", " red", " blue", " red"]]
    evidence = {
        "binary": with_metadata(EvidenceParts({"x": torch.arange(300.0)}, {}), config=None),
        "unknown-kind": with_metadata(partial_weights(), kind="rumour"),
        "config-no-json": with_metadata(partial_weights(), config="{n_layer"),
        "config-without-sizes": with_config(partial_weights(), n_head=None),
        "other-architecture": with_config(partial_weights(), model_type="mamba"),
        "c-attn-shape": with_tensors(partial_weights(), **{ATTENTION.format(1): torch.zeros(D_MODEL, 3 * D_MODEL - 1)}),
        "norm-shape": with_tensors(partial_weights(), **{LN.format(1): torch.ones(D_MODEL - 1)}),
        "shape-elsewhere": with_tensors(partial_weights(), **{ATTENTION.format(2): torch.zeros(D_MODEL, D_HEAD)}),
        "nan": spoil(partial_weights(), ATTENTION.format(1), put(torch.nan, 3, 3)),
        "infinity": spoil(partial_weights(), ATTENTION.format(1), put(-torch.inf, 3, 3)),
        "nan-in-norm": spoil(partial_weights(), LN.format(1), put(torch.nan, 3)),
        "nan-elsewhere": spoil(partial_weights(), ATTENTION.format(2), put(torch.nan, 3, 3)),
        "pattern-shape": with_tensors(
            recorded_attention(), **{PATTERN.format(1): recorded.tensors[PATTERN.format(1)][..., :23].contiguous()}
        ),
        "pattern-nan": spoil(recorded_attention(), PATTERN.format(1), put(torch.nan, 0, 5, 3, 0)),
        "pattern-sums": spoil(recorded_attention(), PATTERN.format(1), lambda t: t[3, 5, 0].mul_(1.1)),
        "pattern-ahead": spoil(
            recorded_attention(), PATTERN.format(1), lambda t: t[3, 5, 0, :2].copy_(torch.tensor([0.8, 0.2]))
        ),
        "pattern-negative": spoil(
            recorded_attention(), PATTERN.format(1), lambda t: t[3, 5, 1, :2].copy_(torch.tensor([1.2, -0.2]))
        ),
        "patterns-missing": with_tensors(
            recorded_attention(layers=(1,)), **{PATTERN.format(1): None, "blocks.1.attn": torch.zeros(3)}
        ),
        "tokens-missing": with_metadata(recorded_attention(), tokens=None),
        "tokens-uneven": with_metadata(recorded_attention(), tokens=str(uneven).replace("'", '"')),
        "graph-edges": spoil(recorded_graph(), "edges", put(4.0, 0, 0)),
        "graph-scores": with_tensors(recorded_graph(), score=torch.zeros(3)),
        "one-layer": with_config(partial_weights(layers=(0,)), n_layer=1),
        "one-prompt": recorded_attention(prompts=1),
        "of-layer-1": recorded_attention(layers=(1,)),
    }
    for name, parts in evidence.items():
        parts.write(folder / f"{name}.safetensors")
    texts = {
        "file": "",
        "empty.safetensors": "",
        "text.safetensors": "these are no tensors\n" * 100,
        "text.gguf": "this is no model\n" * 100,
        "no-toml.toml": "categories = [",
        "no-categories.toml": "ordered = []\n",
        "no-lists.toml": '[categories]\ncolours = "red"\n',
        "twice.toml": '[categories]\ncolours = ["red", "blue", "green"]\nmoods = ["sad", "red", "glad"]\n',
        "ordered.toml": 'ordered = ["months"]\n[categories]\ncolours = ["red", "blue", "green"]\n',
        "strange.toml": '[categories]\na = ["qa", "qb", "qc"]\nb = ["qd", "qe", "qf"]\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "truncated.safetensors").write_bytes(whole.read_bytes()[:-1000])
    write_models(folder)


def write_models(folder: Path) -> None:
    """Folders of small models, good and bad."""
    words = list(CATEGORY_OF)
    tiny_gpt2(folder / "tiny", words)
    tiny_gpt2(folder / "no-words", [f"nonsense{i}" for i in range(30)])
    truncated = tiny_gpt2(folder / "model-truncated", words) / "model.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:-1000])
    with_nan(tiny_gpt2(folder / "model-nan", words))
    without_some(tiny_gpt2(folder / "model-lacks-tensors", words))
    for tokenizer in tiny_gpt2(folder / "no-tokenizer", words).glob("tokenizer*"):
        tokenizer.unlink()
    config = tiny_gpt2(folder / "no-type", words) / "config.json"
    config.write_text('{"model_type": "nonsense"}', encoding="utf-8")


@dataclass(frozen=True)
class Outcome:
    """A run that was to be refused, and what stood in its report folder before it."""

    run: ClaimsRun
    before: dict[str, bytes]


class Outcomes:
    """The cases that were selected, run side by side as far as there are processors."""

    def __init__(self, selected: list[Case], bad: Path, scratch: Path) -> None:
        self.bad, self.scratch = bad, scratch
        self.pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
        self.futures: dict[str, Future[Outcome]] = {case.name: self.pool.submit(self.refuse, case) for case in selected}

    def refuse(self, case: Case) -> Outcome:
        """Run a case into a report folder that holds a record under every name that is in it."""
        reports = self.scratch / case.name / "reports"
        options = [option.format(bad=self.bad) for option in shlex.split(case.options)]
        names = {Path(option).stem for option in options} | {"planted", "nobody--nothing"}
        for name in filter(None, names):
            folder = reports / f"{name}-00000000" / SET.name / "L1H5"
            folder.mkdir(parents=True)
            (folder / "claims.json").write_text('{"an": "earlier record"}')
            (folder / "claims.md").write_text("# An earlier record")
        before = snapshot(reports)
        return Outcome(run_claims(*options, reports=reports), before)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """The runs of all cases that this session tests, under way."""
    bad = tmp_path_factory.mktemp("bad")
    write_files(bad)
    chosen = {item.name for item in request.session.items if item.path == request.path}
    selected = [case for case in CASES if any(name.endswith(f"[{case.name}]") for name in chosen)]
    outcomes = Outcomes(selected, bad, tmp_path_factory.mktemp("refused"))
    # Run-time type checks hide from pytest that a fixture yields.
    request.addfinalizer(lambda: outcomes.pool.shutdown(cancel_futures=True))  # noqa: PT021
    return outcomes


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_bad_input(case: Case, outcomes: Outcomes) -> None:
    outcome = outcomes.futures[case.name].result()
    run = outcome.run
    assert run.status == 2, run.output
    line = complaint(run)
    for part in case.says:
        assert part.format(bad=outcomes.bad) in line
    assert snapshot(run.reports) == outcome.before
    assert not [path for path in outcomes.bad.rglob("*") if path.suffix in (".md", ".lock")]


def test_the_line_is_said_once(tmp_path: Path) -> None:
    run = run_claims("--head", "1.5", reports=tmp_path / "reports")
    (line,) = (line for line in run.output.splitlines() if line.strip())
    assert line == "headclaims: --head 1.5: wanted L<layer>H<head>, as L1H5, auto or all"
    assert not run.reports.exists()
