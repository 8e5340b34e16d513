"""A claim set: a folder with `findings.toml`, `thresholds.toml` and tests, one set a write-up.

    my_claims/
      findings.toml      [write_up], and one table [claims.<id>] a claim
      thresholds.toml    one table [<id>] a claim, one line a statistic
      test_*.py          one test a claim, marked @pytest.mark.claim("<id>")

Word lists (`words/*.toml`) and tokens in groups (`groups.toml`) are optional.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from headclaims.audit.heads import HEAD_SCORES
from headclaims.audit.prepare import Defaults
from headclaims.audit.settings import Settings
from headclaims.checkpoint.interface import Head
from headclaims.checkpoint.planted import CONSTRUCTIONS
from headclaims.claim.shipped import FINDINGS_FILE
from headclaims.errors import BadInput
from headclaims.files import is_passed_over
from headclaims.prompts.words import WordLists
from headclaims.statistics.verdict import Relation, Threshold

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
THRESHOLDS_FILE, WORDS_FOLDER, GROUPS_FILE = "thresholds.toml", "words", "groups.toml"
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@checked(config=STRICT)
class Reported:
    """A number of the write-up: within an absolute tolerance, whose kind says what it covers."""

    value: float
    tolerance: float
    kind: str = ""


@checked(config=STRICT)
class Statement:
    """What a claim says, how it is defined, where it stands in the write-up, and what was reported there.

    One that is true `by_construction`, of any weights or given another claim, checks arithmetic and is counted apart.
    `needs` names the least evidence that assesses it, `nulls` the populations it is compared with, for the catalogue.
    """

    statement: str
    group: str = "Claims"
    definition: str = ""
    source: str = ""
    reported: dict[str, Reported] = field(default_factory=dict)
    published: dict[str, list[str]] = field(default_factory=dict)
    by_construction: bool = False
    needs: str = ""
    nulls: list[str] = field(default_factory=list)


@checked(config=STRICT)
class Sentence:
    """A sentence of the write-up in words of the set's own, and the ids of the claims that it rests on."""

    says: str
    claims: list[str]


@checked(config=STRICT)
class Homologous:
    """Which heads do what the write-up's head does: `claims` must be supported as far as they can be assessed.

    Those of `needed` must be assessable; `rule` says it in words: "attends to kin, …".
    """

    claims: list[str]
    needed: list[str]
    rule: str


@checked(config=STRICT)
class Planted:
    """What `--checkpoint planted` is for the set: the name of a construction, and the head that is planted there."""

    construction: str
    head: str


@checked(config=STRICT)
class WriteUp:
    """The write-up, its model and head; where nothing else is asked for these are audited.

    `fingerprint` is that of the head's layer: reported numbers apply where it is met. `auto` says what `--head auto`
    looks for, as {lowest = "category score"}. `named_heads` are names of further heads that an auditor may give, each
    an option: {"other-head" = "what it is"} is `--other-head LxHy`. `sentences` are what a record's scorecard answers.
    """

    title: str
    head: str
    model: str = "gpt2"
    authors: str = ""
    year: int | None = None
    version: int = 1
    fingerprint: str | None = None
    words: str | None = None
    auto: dict[Literal["lowest", "highest"], str] = field(default_factory=lambda: {"lowest": "category score"})
    homologous: Homologous | None = None
    planted: Planted | None = None
    named_heads: dict[str, str] = field(default_factory=dict)
    sentences: list[Sentence] = field(default_factory=list)


@checked(config=STRICT)
class Findings:
    """`findings.toml`."""

    write_up: WriteUp
    claims: dict[str, Statement]


@checked(config=STRICT)
class Limit:
    """A line of `thresholds.toml`."""

    relation: Relation
    value: float


@dataclass(frozen=True)
class ClaimSet:
    """The claims of one write-up, as its folder states them."""

    folder: Path
    write_up: WriteUp
    claims: Mapping[str, Statement]
    limits: Mapping[str, Mapping[str, Limit]]
    digest: str
    """sha256 over findings and thresholds: what was claimed, and what each statistic had to be."""

    @classmethod
    def read(cls, folder: Path) -> ClaimSet:
        """Read a folder; raises BadInput, in one line, for what is missing or not of this form."""
        findings_text, thresholds_text = (_text(folder / name) for name in (FINDINGS_FILE, THRESHOLDS_FILE))
        findings: Findings = _parsed(folder / FINDINGS_FILE, findings_text, Findings)
        limits: dict[str, dict[str, Limit]] = _parsed(
            folder / THRESHOLDS_FILE, thresholds_text, dict[str, dict[str, Limit]]
        )
        digest = hashlib.sha256(findings_text + b"\0" + thresholds_text).hexdigest()
        made = cls(folder.resolve(), findings.write_up, findings.claims, limits, digest)
        made._check()
        return made

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def defaults(self) -> Defaults:
        """What the set decides where the settings of an audit don't."""
        stated = self.write_up
        if stated.planted is None:
            return Defaults(stated.model, stated.head, stated.auto)
        return Defaults(stated.model, stated.head, stated.auto, stated.planted.construction, stated.planted.head)

    def threshold(self, claim_id: str, statistic: str) -> Threshold:
        """Return the threshold of a claim's statistic; raises BadInput where `thresholds.toml` has none."""
        limit = self.limits[claim_id].get(statistic)
        if limit is None:
            stated = ", ".join(self.limits[claim_id]) or "none"
            raise BadInput(
                f"{self.folder / THRESHOLDS_FILE}: no threshold of {statistic!r} in [{claim_id}], which has {stated}"
            )
        return Threshold(limit.relation, limit.value)

    def discovered_on(self, head: Head, fingerprint: str | None) -> bool:
        """Return whether this is the head, of the checkpoint, that the write-up reports on."""
        return head.label == self.write_up.head and fingerprint is not None and fingerprint == self.write_up.fingerprint

    @cached_property
    def word_lists(self) -> WordLists:
        """The lists of the folder, or the engine's own where it has none."""
        return WordLists.read(self.folder / WORDS_FOLDER, self.folder / GROUPS_FILE, self.write_up.words)

    def _check(self) -> None:
        where, findings = self.folder / THRESHOLDS_FILE, self.folder / FINDINGS_FILE
        for claim_id in self.claims:
            if not self.limits.get(claim_id):
                raise BadInput(f"{where}: no threshold of claim {claim_id!r}; wanted a table [{claim_id}]")
        for claim_id in self.limits:
            if claim_id not in self.claims:
                raise BadInput(f"{where}: [{claim_id}] is no claim of {FINDINGS_FILE}")
        planted = self.write_up.planted
        for label in (self.write_up.head, *([planted.head] if planted else [])):
            if Head.parse(label) is None:
                raise BadInput(f"{findings}: head {label!r}; wanted one head, as L1H5")
        if planted is not None and planted.construction not in CONSTRUCTIONS:
            there = ", ".join(CONSTRUCTIONS)
            raise BadInput(f"{findings}: planted construction {planted.construction!r}; wanted one of {there}")
        for name in self.write_up.named_heads:
            if not NAME.fullmatch(name) or name.replace("-", "_") in Settings.model_fields:
                raise BadInput(f"{findings}: named_heads {name!r}; wanted a new option's name, as other-head")
        (score,) = self.write_up.auto.values() if len(self.write_up.auto) == 1 else ("",)
        if score not in HEAD_SCORES:
            raise BadInput(
                f"{findings}: auto {self.write_up.auto}; wanted lowest or highest of one of {', '.join(HEAD_SCORES)}"
            )
        self._check_homologous()
        self._check_sentences()
        marked = dict(_marked(self.folder))
        if not marked:
            raise BadInput(f"{self.folder}: a claim set without tests; wanted one marked @pytest.mark.claim(…)")
        for claim_id, path in marked.items():
            if claim_id not in self.claims:
                raise BadInput(f"{path}: claim {claim_id!r} is not in {findings}")

    def _check_homologous(self) -> None:
        rule, findings = self.write_up.homologous, self.folder / FINDINGS_FILE
        if rule is None:
            return
        for claim_id in (*rule.claims, *rule.needed):
            if claim_id not in self.claims:
                raise BadInput(f"{findings}: homologous names {claim_id!r}; wanted claims of the set")
            if claim_id not in rule.claims:
                raise BadInput(f"{findings}: homologous needs {claim_id!r}, which is not among its claims")

    def _check_sentences(self) -> None:
        findings = self.folder / FINDINGS_FILE
        for sentence in self.write_up.sentences:
            if not sentence.says.strip() or not sentence.claims:
                raise BadInput(
                    f"{findings}: a sentence that says {sentence.says!r}; wanted words, and one claim or more"
                )
            for claim_id in sentence.claims:
                if claim_id not in self.claims:
                    raise BadInput(
                        f"{findings}: the sentence {sentence.says!r} names {claim_id!r}; wanted claims of the set"
                    )


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; wanted a file of a claim set") from error


def _parsed(path: Path, text: bytes, form: Any) -> Any:
    try:
        content = tomllib.loads(text.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: not a TOML file: {error}") from error
    try:
        # As JSON, since a strict check of Python's own types takes no table for a dataclass.
        return TypeAdapter(form).validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{path}: {where}: {first['msg']}") from error


def _python_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        yield from (Path(place, name) for name in sorted(names) if name.endswith(".py"))


def _marked(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the ids that tests of a folder are marked with, read from their text, with their files."""
    for path in _python_files(folder):
        yield from ((claim_id, path) for claim_id in _ids_in(path.read_bytes()))


@lru_cache
def _ids_in(text: bytes) -> tuple[str, ...]:
    """Return the ids that tests in a file's text are marked with; a process of many audits reads them once."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return ()  # pytest says what is wrong with it
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    first = [node.args[0] for node in calls if node.args and ast.unparse(node.func).endswith("mark.claim")]
    return tuple(one.value for one in first if isinstance(one, ast.Constant) and isinstance(one.value, str))
