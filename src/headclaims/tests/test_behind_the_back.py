"""Nothing behind the user's back: which processes an audit starts, whom it asks, and what it writes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import transformers

from headclaims.tests.claims_run import ROOT
from headclaims.tests.small_configs import saved_model, saved_small
from headclaims.tests.small_models import DEFAULTS, WORDS, build, cut_partial, tokenizer, write_gguf
from headclaims.tests.spied_run import NETWORK, PROCESSES


@dataclass(frozen=True)
class Spied:
    """How a run ended, what it said, and what it did."""

    status: int
    output: str
    events: Sequence[Sequence[str]]

    def of(self, kinds: Sequence[str]) -> list[Sequence[str]]:
        """Events of these kinds."""
        return [event for event in self.events if event[0] in kinds]


def spied(folder: Path, *options: str, **more: str) -> Spied:
    """Run the claims with a home, a folder for scratch files, reports and a cache below one folder; nothing else."""
    home, log = folder / "home", folder / "log"
    (home / "scratch").mkdir(parents=True)
    words = folder / "words.toml"
    lists = "\n".join(f"{name} = {json.dumps(list(members))}" for name, members in WORDS.categories.items())
    words.write_text(f"[categories]\n{lists}\n", encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home / "scratch"),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"],
        "HEADCLAIMS_CACHE": str(folder / "cache"),
        **more,
    }
    command = [sys.executable, str(Path(__file__).with_name("spied_run.py")), str(log), "claims/self_hating_head"]
    command += [*options, "--report-dir", str(folder / "reports"), "--words", str(words)]
    command += ["--prompts", "4", "--seq-len", "16", "--verdicts-only", "-q", "--tb=no"]
    command += ["-p", "no:cacheprovider", "-p", "no:benchmark", "-k", "test_category_score or test_eigenspectrum"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return Spied(done.returncode, done.stdout + done.stderr, events)


def check(run: Spied, folder: Path) -> None:
    """No process but git, which is asked for the commit; no network; no write but below reports and cache."""
    assert "Traceback" not in run.output
    assert {event[1] for event in run.of(PROCESSES)} <= {"git"}
    assert run.of(NETWORK) == []
    allowed = (str(folder / "reports"), str(folder / "cache"), os.environ["NUMBA_CACHE_DIR"])
    scratch = str(folder / "home" / "scratch")
    written = [event for event in run.events if event[0] not in (*PROCESSES, *NETWORK)]
    strangers = [event for event in written if not all(path.startswith((*allowed, scratch)) for path in event[1:])]
    assert strangers == []
    # What is beside the log: Python tries whether the folder for scratch files can be written, and leaves nothing.
    assert [path for path in (folder / "home").rglob("*") if path != folder / "home" / "scratch"] == []


def multimodal(folder: Path) -> str:
    """A Gemma 3 with a vision tower, for which TransformerLens would install torchvision."""
    text: dict[str, Any] = {
        **DEFAULTS,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def image_reader(folder: Path) -> str:
    """A Llava, which is no causal model of transformers."""
    text = transformers.LlamaConfig(
        **DEFAULTS, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = transformers.LlavaConfig(text_config=text, vision_config=vision, image_token_index=3)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


CHECKPOINTS = {
    "folder": lambda folder: str(build("gpt2", folder).folder),
    "gguf": lambda folder: str(write_gguf(build("llama", folder), folder.with_suffix(".gguf"))),
    "hybrid": lambda folder: str((saved_small("lfm2", folder), folder)[1]),
    "multimodal": multimodal,
    "partial": lambda folder: str(cut_partial(build("gpt2", folder), folder.with_suffix(".safetensors"))),
}
REFUSED = {
    "image-reader": image_reader,
    "no-heads": lambda folder: str((saved_small("mamba", folder), folder)[1]),
    "no-adapter": lambda folder: str(
        (
            saved_model(
                transformers.BioGptConfig(
                    **DEFAULTS, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48
                ),
                folder,
            ),
            folder,
        )[1]
    ),
    "no-such-model": lambda folder: "nobody/nothing",  # noqa: ARG005
}


IN_CI = ("multimodal",)


def each(names: Iterable[str]) -> list[Any]:
    """Return parameters, of which all but one take too long together for continuous integration."""
    return [pytest.param(name, marks=() if name in IN_CI else pytest.mark.long) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("name", each(CHECKPOINTS))
def test_an_audit_starts_nothing_asks_nobody_and_writes_where_it_was_told(name: str, tmp_path: Path) -> None:
    """Whether or not the network is forbidden: what lies here needs none."""
    checkpoint = CHECKPOINTS[name](tmp_path / "model")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    run = spied(tmp_path, "--checkpoint", checkpoint, "--head", "L1H1", "--page")
    # The small GGUF file knows too few words to make prompts of, and is refused once it was read.
    assert run.status in ((2,) if name == "gguf" else (0, 1)), run.output
    check(run, tmp_path)
    assert bool(list((tmp_path / "reports").rglob("claims.json"))) is (name != "gguf")
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("name", each(REFUSED))
def test_a_refusal_too(name: str, tmp_path: Path) -> None:
    switch = "TRANSFORMERS_OFFLINE" if name == "no-such-model" else "HF_HUB_OFFLINE"
    run = spied(tmp_path, "--checkpoint", REFUSED[name](tmp_path / "model"), **{switch: "1"})
    assert run.status == 2, run.output
    (line,) = run.output.splitlines()
    assert line.startswith("headclaims: ")
    assert len(line) <= 400
    check(run, tmp_path)
    assert not (tmp_path / "reports").exists()
