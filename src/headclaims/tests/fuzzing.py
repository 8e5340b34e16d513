"""Files spoilt at random, of every kind that the suite reads: bytes, headers, and the JSON or TOML inside.

`python -m headclaims.tests.fuzzing KIND N [SEED]` spoils N files of a kind and reads each as a run would.
"""

import json
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headclaims import checkpoint
from headclaims.audit.prepare import audits, open_workspace
from headclaims.audit.settings import Settings, as_arguments
from headclaims.claim.claim_set import ClaimSet
from headclaims.errors import BadInput
from headclaims.fleet.compare import as_text, load
from headclaims.fleet.plan import Plan
from headclaims.fleet.workers import audit
from headclaims.plugin.folders import set_around
from headclaims.report.page import write_page
from headclaims.tests.claims_run import SET, snapshot
from headclaims.tests.evidence_files import (
    CATEGORY_OF,
    partial_weights,
    recorded_attention,
    recorded_graph,
    texts,
    tiny_gpt2,
)
from headclaims.tests.report_folders import write_folder
from headclaims.tests.small_models import build, write_gguf

LONGEST = 10.0
STRANGE: list[Any] = [
    None, True, -1, 0, 1, 2, 3.5, 1e308, -(2**63), 2**64, "", "x", "../../etc/passwd", "\x00", "é" * 50, "</script>",
    [], {}, [[]], [None], {"": 1}, [1] * 1000, float("inf"), "nan", "planted", {"a": {"b": {"c": [1, "d"]}}},
]  # fmt: skip


def strange_json(value: Any, draw: random.Random) -> Any:
    """A JSON value with something in it replaced, dropped, doubled or named otherwise."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        way = draw.random()
        changed = dict(value)
        if way < 0.1:
            del changed[key]
        elif way < 0.15:
            changed[draw.choice(["", "../x", "\x00", "kind", "config", "é"])] = changed.pop(key)
        else:
            changed[key] = strange_json(value[key], draw)
        return changed
    if isinstance(value, list) and value and draw.random() < 0.7:
        place, changed = draw.randrange(len(value)), list(value)
        if draw.random() < 0.2:
            del changed[place]
        else:
            changed[place] = strange_json(value[place], draw)
        return changed
    if isinstance(value, int | float) and not isinstance(value, bool) and draw.random() < 0.5:
        return draw.choice([value + 1, value - 1, -value, value * 1000, value / 2, value * 2**40])
    return draw.choice(STRANGE)


def spoilt_bytes(whole: bytes, draw: random.Random) -> bytes:
    """Bytes cut short, flipped, put in, taken out or put in another's place."""
    at, found = draw.randrange(len(whole)), bytearray(whole)
    match draw.randrange(5):
        case 0:
            return whole[:at]
        case 1:
            for _ in range(draw.choice([1, 1, 3, 50])):
                found[draw.randrange(len(found))] = draw.randrange(256)
        case 2:
            found[at:at] = draw.randbytes(draw.choice([1, 8, 1000]))
        case 3:
            del found[at : at + draw.choice([1, 8, 1000])]
        case _:
            found[: min(at, 64)] = draw.randbytes(min(at, 64))
    return bytes(found)


def spoilt_safetensors(whole: bytes, draw: random.Random) -> bytes:
    """A safetensors file whose bytes, header, or metadata within the header are spoilt."""
    if draw.random() < 0.3:
        return spoilt_bytes(whole, draw)
    (n,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + n])
    metadata = header.get("__metadata__", {})
    nested = [key for key in ("config", "tokens", "fingerprints") if key in metadata]
    if nested and draw.random() < 0.6:
        key = draw.choice(nested)
        metadata[key] = json.dumps(strange_json(json.loads(metadata[key]), draw))
    else:
        header = strange_json(header, draw)
    text = json.dumps(header).encode()
    size = draw.choice([len(text)] * 8 + [0, 2**40, len(text) + 1])
    return struct.pack("<Q", size) + text + whole[8 + n :]


def spoilt_text(whole: bytes, draw: random.Random) -> bytes:
    """Text whose bytes are spoilt or, where it is JSON, something in it."""
    if draw.random() < 0.3:
        return spoilt_bytes(whole, draw)
    try:
        return json.dumps(strange_json(json.loads(whole), draw)).encode()
    except ValueError:
        lines = whole.decode().splitlines()
        place = draw.randrange(len(lines))
        lines[place] = draw.choice(
            ["", "[x", "x = 3", lines[place] + "]", "seed = -1", 'checkpoint = ["a", 3]', "[[rule]]"]
        )
        return "\n".join(lines).encode()


SETTINGS = {"no_cache": True, "prompts": 4, "seq_len": 12, "verdicts_only": True}


def audited(**settings: str) -> None:
    """Open an audit as a run does, and run it whole where it opens; raises RuntimeError where a claim ends in an error.

    Opened here first, what is wrong in the engine is raised as it is: pytest would make a line of it.
    """
    claim_set, given = ClaimSet.read(SET), SETTINGS | settings
    audits(open_workspace(Settings.of(given), claim_set.word_lists, claim_set.defaults), claim_set.defaults)
    audit(SET, as_arguments(given))


def audit_of(path: Path) -> None:
    """Audit a file or a folder."""
    audited(checkpoint=str(path))


def audit_by(path: Path) -> None:
    """Audit recorded attention by a word file."""
    audited(checkpoint=str(path.parent / "recorded.safetensors"), words=str(path))


def _ragged(folder: Path) -> list[Path]:
    return [texts().write(folder / "texts.safetensors")]


def _bundle(folder: Path) -> list[Path]:
    made = folder / "bundle"
    made.mkdir()
    weights, text = partial_weights(), texts()
    text.metadata["fingerprints"] = json.dumps({"1": "0" * 64})
    weights.tensors = {name: tensor for name, tensor in weights.tensors.items() if ".h.1." not in name}
    parts = {"weights": weights, "attention": recorded_attention(4, 16), "text": text, "graph": recorded_graph()}
    return [part.write(made / f"{name}.safetensors") for name, part in parts.items()]


class Kind:
    """A kind of file: how a good one is made, how it is spoilt, and how it is read."""

    def __init__(
        self,
        make: Callable[[Path], list[Path]],
        spoil: Callable[[bytes, random.Random], bytes],
        read: Callable[[Path], object],
    ) -> None:
        self.make, self.spoil, self.read = make, spoil, read


def _words(folder: Path) -> list[Path]:
    recorded_attention(4, 16).write(folder / "recorded.safetensors")
    text = 'ordered = ["colours"]\n[categories]\ncolours = ["blue", "red", "green", "yellow", "purple"]\n'
    text += (
        'animals = ["dog", "cat", "mouse", "horse", "sheep"]\nfruits = ["apple", "banana", "grape", "peach", "lemon"]\n'
    )
    text += 'emotions = ["happy", "sad", "angry", "scared", "proud"]\n'
    (folder / "words.toml").write_text(text, encoding="utf-8")
    return [folder / "words.toml"]


def _plan(folder: Path) -> list[Path]:
    text = '[settings]\nprompts = 3\n[[audit]]\ncheckpoint = "a"\n[[rule]]\ncheckpoint = ["a", "b"]\nseed = [0, 1]\n'
    (folder / "plan.toml").write_text(text, encoding="utf-8")
    return [folder / "plan.toml"]


def _model(folder: Path) -> list[Path]:
    made = tiny_gpt2(folder / "model", list(CATEGORY_OF))
    return [path for path in sorted(made.iterdir()) if path.suffix in (".json", ".safetensors")]


def _gguf(folder: Path) -> list[Path]:
    return [write_gguf(build("llama", folder / "small"), folder / "model.gguf")]


def _report(folder: Path) -> list[Path]:
    return [write_folder(folder / "report") / name for name in ("claims.json", "figures.json")]


def _compared(folder: Path) -> list[Path]:
    write_folder(folder / "one", with_figures=False)
    return [write_folder(folder / "two", with_figures=False) / "claims.json"]


def _claim_set(folder: Path) -> list[Path]:
    made = folder / "spoilt_set"
    shutil.copytree(SET, made, ignore=shutil.ignore_patterns("__pycache__"))
    names = ("findings.toml", "thresholds.toml", "groups.toml")
    return [*(made / name for name in names), *sorted(made.glob("words/*.toml"))]


def read_claim_set(path: Path) -> None:
    """Read the claim set around a file, as a run does before it loads the checkpoint."""
    folder = set_around(path)
    assert folder is not None
    claim_set = ClaimSet.read(folder)
    _ = claim_set.defaults, claim_set.word_lists.every


KINDS = {
    "partial-weights": Kind(
        lambda folder: [partial_weights().write(folder / "partial.safetensors")], spoilt_safetensors, audit_of
    ),
    "recorded-attention": Kind(
        lambda folder: [recorded_attention(4, 16).write(folder / "recorded.safetensors")], spoilt_safetensors, audit_of
    ),
    "recorded-graph": Kind(
        lambda folder: [recorded_graph().write(folder / "graph.safetensors")], spoilt_safetensors, audit_of
    ),
    "recorded-texts": Kind(_ragged, spoilt_safetensors, audit_of),
    "bundle": Kind(_bundle, spoilt_safetensors, lambda path: audit_of(path.parent)),
    "folder": Kind(
        _model,
        lambda whole, draw: (spoilt_text if whole[:1] in b"{[" else spoilt_safetensors)(whole, draw),
        lambda path: audit_of(path.parent),
    ),
    "gguf": Kind(_gguf, spoilt_bytes, lambda path: checkpoint.load(str(path))),
    "claim-set": Kind(_claim_set, spoilt_text, read_claim_set),
    "words": Kind(_words, spoilt_text, audit_by),
    "plan": Kind(_plan, spoilt_text, Plan.read),
    "report": Kind(_report, spoilt_text, lambda path: write_page(path.parent)),
    "compare": Kind(
        _compared, spoilt_text, lambda path: as_text(load([path.parents[1] / "one", path.parent], mixed=True))
    ),
}


def fuzz(kind: str, n: int, seed: int = 0) -> list[str]:
    """What was wrong with how spoilt files of a kind were read, a line each: a traceback, a hang, a write outside."""
    draw, complaints, refused = random.Random(seed), [], 0

    def too_long(*_: object) -> None:
        raise TimeoutError(f"more than {LONGEST} s")

    signal.signal(signal.SIGALRM, too_long)
    with tempfile.TemporaryDirectory() as outside:
        folder = Path(outside) / "inside"
        folder.mkdir()
        files = KINDS[kind].make(folder)
        good = {path: path.read_bytes() for path in files}
        around = {name for name in snapshot(Path(outside)) if not name.startswith("inside/")}
        KINDS[kind].read(files[0])
        for number in range(n):
            path = draw.choice(files)
            spoilt = KINDS[kind].spoil(good[path], draw)
            path.write_bytes(spoilt)
            start = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, LONGEST)
            try:
                KINDS[kind].read(path)
            except BadInput as error:
                refused += 1
                if "\n" in str(error) or not str(error).strip():
                    complaints.append(f"{kind} {number}: {str(error)!r} is no line")
            except BaseException as error:
                trace = traceback.format_tb(error.__traceback__)[-1].splitlines()[0].strip()
                complaints.append(f"{kind} {number}: {type(error).__name__}: {str(error)[:200]!r} ({trace})")
                (Path(tempfile.gettempdir()) / f"fuzzed-{kind}-{number}-{path.name}").write_bytes(spoilt)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if time.monotonic() - start > LONGEST:
                complaints.append(f"{kind} {number}: took {time.monotonic() - start:.1f} s")
            path.write_bytes(good[path])
        written = {name for name in snapshot(Path(outside)) if not name.startswith("inside/")} - around
        complaints += [f"{kind}: wrote {name}" for name in sorted(written)]
    if not 0 < refused < n:
        complaints.append(f"{kind}: {refused} of {n} refused: nothing is told by that")
    return complaints


if __name__ == "__main__":
    found = fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    print("\n".join([*found, f"{sys.argv[1]}: {len(found)} complaints"]))
    sys.exit(bool(found))
