"""`figures.json`: the numbers of a page's figures, from which the page can be made anew without an audit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headclaims.record.reading import Record, content_of, validated
from headclaims.report.claim_figures import ClaimFigures

FIGURES_FILE, PAGE_FILE = "figures.json", "index.html"
SCHEMA = 2
FIRST_FORMS = {
    "head_scores": ("head_scores", "head-scores"),
    "pattern": ("pattern", "attention-pattern"),
    "effects": ("effects", "effects"),
    "blocks": ("blocks", "blocks"),
    "spectrum": ("spectrum", "spectrum"),
    "scatter": ("scatter", "scatter-plane"),
    "similarity": ("similarity", "similarity-curve"),
    "steered_blocks": ("steered_blocks", "steered-blocks"),
    "steered_attention": ("steered_attention", "steered-attention"),
    "token_graph": ("token_map", "token-map"),
}
"""The fields of schema 1, which had a closed list of figures: the name and the form of each today."""


@dataclass
class FiguresFile:
    """`figures.json`, schema 2."""

    schema: Literal[2]
    record: tuple[str, float, str, str]
    claims: dict[str, ClaimFigures]


def figures_json(record: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Return `figures.json` for a record and its claims' figures by id, each in JSON's own types.

    Raises ValueError for a number that is not finite.
    """
    content = {"schema": SCHEMA, "record": record_key(record), "claims": claims}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def record_key(record: Mapping[str, Any]) -> list[Any]:
    """Return what tells the record that figures belong to from one that was written over it."""
    return [record["started"], record["seconds"], record["checkpoint"]["spec"], record["target"]["label"]]


def read_figures(folder: Path, record: Record) -> tuple[dict[str, ClaimFigures], str | None]:
    """Return what the record's claims draw, by id; where there is nothing, or it is another record's, the reason.

    Reads schemas 1 and 2. Raises BadInput, in one line, for a file that is neither.
    """
    path = folder / FIGURES_FILE
    if not path.is_file():
        return {}, f"There is no {FIGURES_FILE} beside the record: a run with --page keeps the numbers of figures."
    what = "the figures of a record"
    content = content_of(path, what)
    if isinstance(content, dict) and content.get("schema") == 1:
        content = _upgraded(content)
    file = validated(content, FiguresFile, path, what)
    if list(file.record) != _key(record):
        return {}, f"{FIGURES_FILE} is of another run than the record: its figures are left out."
    return file.claims, None


def _key(record: Record) -> list[Any]:
    return [record.started, record.seconds, record.checkpoint.spec, record.target.label]


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 as schema 2; what is of no schema stays as it is, to be refused."""
    claims = content.get("claims")
    if not isinstance(claims, dict):
        return content
    return content | {"schema": SCHEMA, "claims": {name: _upgraded_claim(claim) for name, claim in claims.items()}}


def _upgraded_claim(claim: Any) -> Any:
    if not isinstance(claim, dict) or not isinstance(claim.get("drawn"), dict):
        return claim
    drawn = {}
    for field, data in claim["drawn"].items():
        if data is not None:
            name, form = FIRST_FORMS.get(field, (field, field))
            drawn[name] = {"form": form, "data": {"effects": data} if form == "effects" else data}
    return claim | {"drawn": drawn}
