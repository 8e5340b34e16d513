"""The record of an audit: one entry a claim, and all that another person needs to check it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from headclaims import __version__
from headclaims.statistics.multiplicity import adjusted
from headclaims.statistics.verdict import Flag, Judgement, Measurement, Verdict, is_found

SCHEMA = 1
RECORD_FILE, MARKDOWN_FILE = "claims.json", "claims.md"


@dataclass
class NullEntry:
    """A null population in a record; n and p are None where the evidence could not give it."""

    population: str
    n: int | None
    p: float | None
    p_adjusted: float | None = None


@dataclass
class VariantEntry:
    """A variant in a record."""

    name: str
    measured: float
    holds: bool


@dataclass
class ClaimEntry:
    """A claim in a record. `verdict` is None where its test ended in an error: the record is then incomplete."""

    id: str
    group: str
    statement: str
    source: str
    verdict: Verdict | None
    flags: list[Flag] = field(default_factory=list)
    measured: dict[str, float | int] = field(default_factory=dict)
    interval: list[float] | None = None
    reported: dict[str, float | int] | None = None
    nulls: list[NullEntry] = field(default_factory=list)
    variants: list[VariantEntry] = field(default_factory=list)
    reason: str | None = None
    seconds: float = 0.0

    def conclude(self, measurement: Measurement, judgement: Judgement, measured: Mapping[str, float | int]) -> None:
        """Enter a measurement (its statistic first, then what else was measured) and its judgement."""
        interval = measurement.interval
        self.verdict, self.flags, self.reason = judgement.verdict, list(judgement.flags), judgement.reason
        self.measured = {measurement.statistic: measurement.value, **measured}
        self.interval = None if interval is None else [interval.low, interval.high]
        self.nulls = [
            NullEntry(null.population, None if p is None else null.n, p)
            for null, p in zip(measurement.nulls, judgement.p_values, strict=True)
        ]
        self.variants = [VariantEntry(v.name, v.measured, v.holds) for v in measurement.variants]

    @property
    def statistic(self) -> tuple[str, float | int] | None:
        """The name and value of the claim's statistic."""
        return next(iter(self.measured.items()), None)

    @property
    def found(self) -> bool:
        """Whether the headline counts it."""
        return is_found(self.verdict, self.flags)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> ClaimEntry:
        """An entry out of its JSON form."""
        return cls(
            **entry
            | {
                "verdict": None if entry["verdict"] is None else Verdict(entry["verdict"]),
                "flags": [Flag(flag) for flag in entry["flags"]],
                "nulls": [NullEntry(**null) for null in entry["nulls"]],
                "variants": [VariantEntry(**variant) for variant in entry["variants"]],
            }
        )


def adjust(claims: Sequence[ClaimEntry]) -> None:
    """Fill in p_adjusted: Benjamini–Hochberg over all p-values of the record's empirical claims."""
    entries = [
        null
        for claim in claims
        if Flag.BY_CONSTRUCTION not in claim.flags
        for null in claim.nulls
        if null.p is not None
    ]
    for null, p in zip(entries, adjusted([null.p for null in entries if null.p is not None]), strict=True):
        null.p_adjusted = p


def counts(claims: Sequence[ClaimEntry]) -> dict[str, int]:
    """How many claims were assessed, supported and found."""
    assessed = [c for c in claims if c.verdict not in (None, Verdict.NOT_ASSESSABLE)]
    return {
        "assessed": len(assessed),
        "supported": sum(c.verdict is Verdict.SUPPORTED for c in assessed),
        "found": sum(c.found for c in assessed),
    }


def record(
    *,
    complete: bool,
    started: str,
    seconds: float,
    checkpoint: dict[str, Any],
    target: dict[str, Any],
    settings: dict[str, Any],
    claims: Sequence[ClaimEntry],
    root: Path,
) -> dict[str, Any]:
    """An audit as JSON (schema 1); `root` is the folder of the suite, whose commit is recorded."""
    return {
        "schema": SCHEMA,
        "complete": complete,
        "suite": {"name": "headclaims", "version": __version__, "commit": _commit(root)},
        "started": started,
        "seconds": round(seconds, 3),
        "checkpoint": checkpoint,
        "target": target,
        "counts": counts(claims),
        "settings": settings,
        "environment": environment(settings["device"]),
        "claims": [asdict(claim) for claim in claims],
    }


def environment(device: str) -> dict[str, Any]:
    """What the audit ran on and with."""
    return {
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformer_lens": version("transformer_lens"),
        "numpy": version("numpy"),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "device": device,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit(root: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
