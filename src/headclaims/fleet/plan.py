"""A plan of many audits, from TOML: a list, or a rule whose lists are multiplied out.

    report_dir = "reports/seeds"       # default: reports/<name of the plan>

    [settings]                         # for every audit, where it says nothing else
    prompts = 16

    [[audit]]
    checkpoint = "planted"
    head = "L1H5"

    [[rule]]
    checkpoint = ["EleutherAI/pythia-70m", "EleutherAI/pythia-160m"]
    step = [0, 512, 143000]            # or "published"
    head = ["auto"]
    seed = [0, 1]

Keys are the settings of an audit, as pytest's options have them (`seq_len` for `--seq-len`), with the heads that its
claim sets let an auditor name, and `set`: a claim set that ships, by name, or the folder of one; without it all that
ship. `step` stands for the revision of a training run
with published steps, or for `{step}` in the path of a local checkpoint.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from headclaims.audit.settings import Settings, as_arguments, kind_of
from headclaims.claim.shipped import declared_heads, find_sets
from headclaims.errors import BadInput

KEYS: dict[str, type] = {"set": str, "step": int} | {
    name: kind_of(name) for name in Settings.model_fields if name != "report_dir"
}
OURS = ("set", "step", "run")
"""Keys that are no options of an audit."""
MOST_AUDITS = 100_000
PYTHIA = [0, *(2**k for k in range(10)), *range(1000, 144_000, 1000)]
"""EleutherAI/pythia-*: initial, powers of two up to 512, then every thousand steps."""
MISTRAL = [*range(10, 100, 10), *range(100, 2000, 50), *range(2000, 20_000, 100), *range(20_000, 400_001, 1000)]
"""stanford-crfm/*-gpt2-*: every 10 steps up to 100, every 50 up to 2,000, every 100 up to 20,000, then every 1,000."""
PUBLISHED = {
    re.compile(r"EleutherAI/pythia-.+"): (PYTHIA, "step{}"),
    re.compile(r"stanford-crfm/.+-gpt2-.+"): (MISTRAL, "checkpoint-{}"),
}


@dataclass(frozen=True)
class Job:
    """One audit of a plan: its keys and values, and the name of its folder; `run` names the training run of a step."""

    about: Mapping[str, Any]
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _name(self.about))

    @property
    def options(self) -> list[str]:
        """The audit's settings, as pytest's options."""
        settings = {key: value for key, value in self.about.items() if key in KEYS and key not in OURS}
        heads = {key: value for key, value in self.about.items() if key not in KEYS and key not in OURS}
        return as_arguments(settings) + [f"--{key.replace('_', '-')}={value}" for key, value in heads.items()]

    @property
    def claim_sets(self) -> list[Path]:
        """The folders of the audit's claim sets; raises BadInput where there is none such."""
        return find_sets([self.about["set"]] if "set" in self.about else [])


def _name(about: Mapping[str, Any]) -> str:
    """Return a folder's name that can be read and differs for audits that differ."""
    parts = [str(about[key]) for key in ("set", "checkpoint", "revision", "step", "head", "seed") if key in about]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-")[-60:].strip("-")
    return f"{readable}-{hashlib.sha256(repr(sorted(about.items())).encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Plan:
    """Audits, each once, and the folder that their records go to."""

    name: str
    report_dir: Path
    jobs: tuple[Job, ...]

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan; raises BadInput, in one line, for a file that is none."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: {getattr(error, 'strerror', None) or error}; wanted a plan") from error
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise BadInput(f"{path}: not a TOML file: {error}") from error
        unknown = sorted(set(content) - {"report_dir", "settings", "audit", "rule"})
        if unknown:
            raise BadInput(f"{path}: unknown key {unknown[0]!r}; wanted report_dir, [settings], [[audit]] and [[rule]]")
        report_dir = content.get("report_dir", f"reports/{path.stem}")
        if not isinstance(report_dir, str) or not report_dir:
            raise BadInput(f"{path}: report_dir {report_dir!r}; wanted the path of a folder")
        keys = KEYS | _named_heads(content)
        settings = _table(path, "[settings]", content.get("settings", {}), keys)
        jobs: dict[str, Job] = {}
        for kind in ("audit", "rule"):
            listed = content.get(kind, [])
            if not isinstance(listed, list):
                raise BadInput(f"{path}: {kind}; wanted tables [[{kind}]]")
            for number, entry in enumerate(listed, start=1):
                where = f"[[{kind}]] {number}"
                for about in _multiplied(path, where, settings | _table(path, where, entry, keys, kind == "rule")):
                    job = Job(about)
                    jobs[job.name] = job
                    if len(jobs) > MOST_AUDITS:
                        raise BadInput(f"{path}: more than {MOST_AUDITS:,} audits; wanted fewer")
        for name in {job.about.get("set"): None for job in jobs.values()}:
            _check_set(path, name)
        if not jobs:
            raise BadInput(f"{path}: no audit; wanted [[audit]] or [[rule]]")
        return cls(path.stem, Path(report_dir), tuple(jobs.values()))


def _check_set(path: Path, name: str | None) -> None:
    """Raise BadInput where a plan names a claim set that there isn't."""
    try:
        find_sets([name] if name is not None else [])
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def _named_heads(content: Mapping[str, Any]) -> dict[str, type]:
    """Return a key for each head that an auditor may name by some set that ships, or that the plan is of."""
    listed = [content.get(kind) for kind in ("settings", "audit", "rule")]
    tables = [one for some in listed for one in (some if isinstance(some, list) else [some]) if isinstance(one, dict)]
    given = [table["set"] for table in tables if "set" in table]
    folders = find_sets()
    for name in (one for some in given for one in (some if isinstance(some, list) else [some])):
        try:
            folders += find_sets([str(name)])
        except BadInput:
            continue  # it is refused below
    return {name.replace("-", "_"): str for name in declared_heads(folders)}


def _table(path: Path, where: str, given: Any, keys: Mapping[str, type], lists: bool = False) -> dict[str, Any]:
    """Return a table of the plan, each value checked for its type; in a rule a value may be a list."""
    if not isinstance(given, dict):
        raise BadInput(f"{path}: {where}: {given!r}; wanted a table")
    for key, value in given.items():
        if key not in keys:
            raise BadInput(f"{path}: {where}: unknown key {key!r}; wanted some of {', '.join(keys)}")
        if key == "step" and value == "published" and lists:
            continue
        values = value if lists and isinstance(value, list) else [value]
        if not values or not all(type(one) is keys[key] for one in values):
            raise BadInput(
                f"{path}: {where}: {key} {value!r}; wanted {keys[key].__name__}{' or a list' if lists else ''}"
            )
    return given


def _multiplied(path: Path, where: str, entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the audits of a table: every combination of the values that it lists."""
    if "checkpoint" not in entry:
        raise BadInput(f"{path}: {where}: no checkpoint; wanted one")
    if "step" in entry and "revision" in entry:
        raise BadInput(f"{path}: {where}: step and revision; wanted one of them")
    rest = {key: value if isinstance(value, list) else [value] for key, value in entry.items() if key != "step"}
    for values in product(*rest.values()):
        about = dict(zip(rest, values, strict=True))
        for step in _steps(path, where, about["checkpoint"], entry.get("step")):
            yield about | _at_step(path, where, about["checkpoint"], step)


def _steps(path: Path, where: str, checkpoint: str, given: Any) -> list[int | None]:
    if given != "published":
        return given if isinstance(given, list) else [given]
    for pattern, (steps, _) in PUBLISHED.items():
        if pattern.fullmatch(checkpoint):
            return list(steps)
    raise BadInput(f"{path}: {where}: the published steps of {checkpoint} are not known; wanted a list of steps")


def _at_step(path: Path, where: str, checkpoint: str, step: int | None) -> dict[str, Any]:
    """Return the keys that a step changes: the revision of a hub id, or the path."""
    if step is None:
        return {}
    if "{step}" in checkpoint:
        return {"step": step, "run": checkpoint, "checkpoint": checkpoint.replace("{step}", str(step))}
    for pattern, (steps, revision) in PUBLISHED.items():
        if pattern.fullmatch(checkpoint):
            if step not in steps:
                near = min(steps, key=lambda one: abs(one - step))
                raise BadInput(f"{path}: {where}: {checkpoint} has no step {step}; the nearest published is {near}")
            return {"step": step, "run": checkpoint, "revision": revision.format(step)}
    raise BadInput(
        f"{path}: {where}: step {step} of {checkpoint}; wanted a training run with published steps, or {{step}}"
    )
