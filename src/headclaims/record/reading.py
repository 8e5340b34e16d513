"""A record read back, and the figures beside it: checked, since both may come from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from headclaims.errors import BadInput
from headclaims.record.entries import RECORD_FILE, ClaimEntry, counts
from headclaims.report.drawn import FIGURES_FILE, ClaimFigures, FiguresFile, record_key
from headclaims.statistics.verdict import Verdict

LARGEST = 1e300
STRICT = ConfigDict(allow_inf_nan=False, extra="forbid")
Content = TypeVar("Content")


@dataclass
class SuiteEntry:
    """What made a record."""

    name: str
    version: str
    commit: str | None


@dataclass
class CheckpointEntry:
    """What was audited."""

    spec: str
    kind: str
    name: str
    revision: str | None
    fingerprint: str | None
    capabilities: list[str]
    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_vocab: int | None


@dataclass
class TargetEntry:
    """The target head."""

    layer: int
    head: int
    label: str
    chosen_by: str


@dataclass
class CountsEntry:
    """The headline's numbers."""

    assessed: int
    supported: int
    found: int


@dataclass
class Record:
    """`claims.json`, schema 1."""

    schema: Literal[1]
    complete: bool
    suite: SuiteEntry
    started: str
    seconds: float
    checkpoint: CheckpointEntry
    target: TargetEntry
    counts: CountsEntry
    settings: dict[str, str | int | bool | None]
    environment: dict[str, str | int]
    claims: list[ClaimEntry]

    def of_verdict(self, *verdicts: Verdict | None) -> list[ClaimEntry]:
        """The claims with one of these verdicts; None is that of a claim that ended in an error."""
        return [claim for claim in self.claims if claim.verdict in verdicts]


def _read(path: Path, form: type[Content], what: str) -> Content:
    """A file by its form; raises BadInput, in one line, for one that isn't of it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; wanted {what}") from error
    # The dataclasses are the library's own; what comes from elsewhere is held to them here alone.
    form.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    try:
        return TypeAdapter(form).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = " ".join(f"{where}: {first['msg']}".split())
        raise BadInput(f"{path}: {said.removeprefix(': ')}; wanted {what}") from error


def read_record(folder: Path) -> Record:
    """The record in a report folder; raises BadInput, in one line, where there is none or it isn't whole."""
    path = folder / RECORD_FILE
    record = _read(path, Record, "a record of schema 1")
    ids = [claim.id for claim in record.claims]
    if len(set(ids)) < len(ids):
        raise BadInput(f"{path}: {max(ids, key=ids.count)} stands there twice; wanted each claim once")
    large = [
        c.id
        for c in record.claims
        if any(abs(v) > LARGEST for v in (*c.measured.values(), *(c.reported or {}).values()))
    ]
    if large:
        raise BadInput(f"{path}: {large[0]} has a number beyond those of a float; wanted measured ones")
    if vars(record.counts) != counts(record.claims):
        raise BadInput(f"{path}: counts {vars(record.counts)}; wanted those of its claims, {counts(record.claims)}")
    return record


def read_figures(folder: Path, record: Record) -> tuple[dict[str, ClaimFigures], str | None]:
    """What the record's claims draw; and where there is nothing, or it is another record's, why."""
    path = folder / FIGURES_FILE
    if not path.is_file():
        return {}, f"There is no {FIGURES_FILE} beside the record: a run with --html keeps the numbers of figures."
    found = _read(path, FiguresFile, "the figures of a record")
    if list(found.record) != record_key(_keyed(record)):
        return {}, f"{FIGURES_FILE} is of another run than the record: its figures are left out."
    return found.claims, None


def _keyed(record: Record) -> dict[str, Any]:
    return {
        "started": record.started,
        "seconds": record.seconds,
        "checkpoint": vars(record.checkpoint),
        "target": vars(record.target),
    }
