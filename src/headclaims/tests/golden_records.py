"""Records of the first edition that later steps must reproduce: which audits, and how to compare them.

`python -m headclaims.tests.golden_records` writes them anew; that is done once, before anything moves.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headclaims.tests.real_gpt2 import ATTENTION, WEIGHTS
from headclaims.tests.small_models import WORDS, build

FOLDER = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[3]
TOLERANCE = 1e-9
SCRATCH = re.compile(r"/[^\" ]*/(?=llama|small\.toml)")


def llama(folder: Path) -> list[str]:
    """Options for a small random Llama and a word list that it has as tokens."""
    build("llama", folder / "llama")
    lists = [f"{name} = {json.dumps(list(words))}" for name, words in WORDS.categories.items()]
    (folder / "small.toml").write_text("\n".join(["[categories]", *lists]), encoding="utf-8")
    assert tomllib.loads((folder / "small.toml").read_text(encoding="utf-8"))["categories"]
    return ["--checkpoint", str(folder / "llama"), "--words", str(folder / "small.toml"), "--head", "L1H3"]


def audits(folder: Path) -> dict[str, list[str]]:
    """The options of each golden audit; `folder` is scratch space for a model."""
    return {
        "planted": ["--checkpoint", "planted"],
        "planted-held-out": ["--checkpoint", "planted", "--words", "held-out"],
        "recorded-attention": ["--checkpoint", str(ATTENTION)],
        "attention-weights": ["--checkpoint", str(WEIGHTS)],
        "counterfeit": ["--checkpoint", "planted:self-attending"],
        "llama": llama(folder),
    }


def essence(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each claim what must not change: verdict, flags, numbers, intervals, nulls, variants."""
    keys = ("id", "verdict", "flags", "measured", "interval", "reported", "nulls", "variants", "reason")
    claims = json.dumps([{key: claim[key] for key in keys} for claim in record["claims"]])
    kept: list[dict[str, Any]] = json.loads(SCRATCH.sub("", claims))
    return kept


def differences(expected: Any, measured: Any, where: str = "") -> Iterator[str]:
    """Where two records differ: numbers by more than 1e-9 (relative above 1), anything else at all."""
    if isinstance(expected, dict) and isinstance(measured, dict):
        for key in expected.keys() | measured.keys():
            yield from differences(expected.get(key), measured.get(key), f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(measured, list) and len(expected) == len(measured):
        for number, pair in enumerate(zip(expected, measured, strict=True)):
            yield from differences(*pair, f"{where}[{number}]")
    elif isinstance(expected, float | int) and isinstance(measured, float | int):
        if abs(expected - measured) > TOLERANCE * max(1.0, abs(expected)):
            yield f"{where}: {expected!r} was expected, {measured!r} came"
    elif expected != measured:
        yield f"{where}: {expected!r} was expected, {measured!r} came"


def main() -> None:
    """Write every golden record."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, options in audits(Path(scratch)).items():
            reports = Path(scratch) / name
            command = [sys.executable, "-m", "pytest", "claims/", "-q", "--report-dir", str(reports), *options]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            (path,) = reports.rglob("claims.json")
            record = json.loads(path.read_text(encoding="utf-8"))
            print(name, done.returncode, record["counts"], flush=True)
            text = json.dumps(essence(record), ensure_ascii=False, separators=(",", ":"), indent=None)
            (FOLDER / f"{name}.json").write_text(text.replace('{"id"', '\n{"id"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
