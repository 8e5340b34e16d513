"""A record read back: checked, since it may come from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from headclaims.errors import BadInput
from headclaims.record.entries import ClaimEntry, SentenceEntry, counts
from headclaims.record.record import RECORD_FILE
from headclaims.record.settle import settle
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
class SourceEntry:
    """A file of a bundle: what it gives, and why it is left out where it is."""

    file: str
    sha256: str | None
    gives: str | None
    left_out: str | None


@dataclass
class CheckpointEntry:
    """What was audited."""

    spec: str
    kind: str
    name: str
    revision: str | None
    fingerprint: str | None
    identity: str | None
    capabilities: list[str]
    n_layers: int
    n_heads: int
    d_model: int | None
    d_head: int | None
    d_vocab: int | None
    prompts_begin_with: str | None = None
    files: list[SourceEntry] | None = None


@dataclass
class ClaimSetEntry:
    """The claim set: its name, version, and the sha256 of its findings and thresholds."""

    name: str
    version: int
    sha256: str


@dataclass
class TargetEntry:
    """The target head."""

    layer: int
    head: int
    label: str
    chosen_by: str
    chosen_on: str | None = None


@dataclass
class CountsEntry:
    """The headline's numbers."""

    empirical: int
    assessed: int
    supported: int
    found: int
    identities: int
    identities_hold: int


@dataclass
class Record:
    """`claims.json`, schema 2; of one of schema 1 what it lacks is None.

    `earlier_rules` says that it was written when each null decided by itself whether a claim was distinctive:
    distinctive, found and counts were then derived anew from its p-values.
    """

    schema: Literal[2]
    complete: bool
    suite: SuiteEntry
    claim_set: ClaimSetEntry | None
    started: str
    seconds: float
    checkpoint: CheckpointEntry
    target: TargetEntry
    evidence_of: Literal["discovery", "replication"] | None
    counts: CountsEntry
    settings: dict[str, str | int | bool | None]
    environment: dict[str, str | int]
    claims: list[ClaimEntry]
    earlier_rules: bool = False
    scorecard: list[SentenceEntry] = field(default_factory=list)

    def of_verdict(self, *verdicts: Verdict | None) -> list[ClaimEntry]:
        """Return the claims with one of these verdicts; None is that of a claim whose test ended in an error."""
        return [claim for claim in self.claims if claim.verdict in verdicts]


def read_record(folder: Path) -> Record:
    """Return the record in a report folder; raises BadInput, in one line, where there is none or it isn't whole."""
    path = folder / RECORD_FILE
    what = "a record of schema 1 or 2"
    record = validated(_of_today(content_of(path, what)), Record, path, what)
    if record.earlier_rules:
        settle(record.claims, whole=record.complete)
        record.counts = CountsEntry(**counts(record.claims))
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


def _of_today(content: Any) -> Any:
    """Return an earlier record in today's shape; anything else as it is."""
    content = _of_schema_2(content)
    if not isinstance(content, dict) or not isinstance(content.get("counts"), dict):
        return content
    if content.get("schema") != 2 or set(content["counts"]) != {"assessed", "supported", "found"}:
        return content
    zero = dict.fromkeys(("empirical", "identities", "identities_hold"), 0)
    claims = content.get("claims")
    return content | {
        "earlier_rules": True,
        "counts": content["counts"] | zero,
        "claims": [_without_adjusted_nulls(claim) for claim in claims] if isinstance(claims, list) else claims,
    }


def _without_adjusted_nulls(claim: Any) -> Any:
    """Return a claim whose nulls have no adjusted p of their own, as they once had."""
    if not isinstance(claim, dict) or not isinstance(claim.get("nulls"), list):
        return claim
    nulls = [
        {name: value for name, value in null.items() if name != "p_adjusted"} if isinstance(null, dict) else null
        for null in claim["nulls"]
    ]
    return claim | {"nulls": nulls}


def _of_schema_2(content: Any) -> Any:
    """Return a record of schema 1 in the shape of schema 2; anything else as it is."""
    if not isinstance(content, dict) or content.get("schema") != 1:
        return content
    content = content | {"schema": 2, "claim_set": None, "evidence_of": None}
    if isinstance(content.get("checkpoint"), dict):
        content["checkpoint"] = content["checkpoint"] | {"identity": None}
    if isinstance(content.get("settings"), dict):
        content["settings"] = {"page" if name == "html" else name: v for name, v in content["settings"].items()}
    return content


def content_of(path: Path, what: str) -> Any:
    """Return what a JSON file holds; raises BadInput, in one line that ends with `what` was wanted, for no JSON."""
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; wanted {what}") from error
    except ValueError as error:
        raise BadInput(f"{path}: {' '.join(str(error).split())}; wanted {what}") from error


def validated(content: Any, form: type[Content], path: Path, what: str) -> Content:
    """Return the content of a file as a dataclass; raises BadInput, in one line, where it doesn't have that shape."""
    # The dataclasses are the library's own; what comes from elsewhere is held to them here alone.
    form.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    try:
        return TypeAdapter(form).validate_python(content)
    except ValidationError as error:
        raise BadInput(f"{path}: {first_error(error)}; wanted {what}") from error


def first_error(error: ValidationError) -> str:
    """Say in one line where the first mistake is and what it is."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return " ".join((f"{place}: {first['msg']}" if place else first["msg"]).split())
