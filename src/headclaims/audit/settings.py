"""The settings of an audit: declared once, for pytest's options and ini keys, plans, the command line and records."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from headclaims.errors import BadInput

DType = Literal["stored", "float32", "bfloat16", "float16"]
DTYPES: tuple[str, ...] = get_args(DType)
Mutation = Literal["transpose-qk", "flip-negative", "shuffle-embedding", "swap-head", "permute-heads"]
MUTATIONS: tuple[str, ...] = get_args(Mutation)
SHORTEST_PROMPT = 3
SEARCHED = ("auto", "all")
HEADS = re.compile(r"L\d{1,6}H\d{1,6}(,L\d{1,6}H\d{1,6})*", re.ASCII)
WHOLE = re.compile(r"-?\d{1,9}", re.ASCII)


def _setting(default: Any, metavar: str | None, description: str, wanted: str = "", **limits: Any) -> Any:
    """Declare a setting: `metavar` is None for a switch, `wanted` completes the line that refuses a value."""
    return Field(default, description=description, json_schema_extra={"metavar": metavar, "wanted": wanted}, **limits)


class Settings(BaseModel):
    """Every setting of an audit, as given or by default; None where the claim set decides."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    checkpoint: str | None = _setting(
        None,
        "C",
        "hub id, local folder, .gguf, .safetensors evidence, or planted; default: the set's model if it is to be had, "
        "else planted",
    )
    revision: str | None = _setting(None, "R", "branch, tag or commit of a hub id; default: its main branch")
    head: str | None = _setting(
        None,
        "LxHy",
        "target head by layer and index from 0, or several with commas; auto: looked for on the words of another list, "
        "or without one on one half of the prompts, and judged on the run's; all: every head, each with a record; "
        "default: the set's",
        "L<layer>H<head>, as L1H5, auto or all",
    )
    words: str | None = _setting(
        None, "W", "word list: write-up, held-out, or a TOML file of categories; default: the set's"
    )
    prompts: int = _setting(32, "N", "category prompts", "a whole number, 1 or more", ge=1)
    seq_len: int = _setting(
        64,
        "S",
        "tokens a prompt, BOS among them",
        f"a whole number, {SHORTEST_PROMPT} or more",
        ge=SHORTEST_PROMPT,
    )
    seed: int = _setting(0, "K", "of prompts, resamples and nulls", "a whole number, 0 or more", ge=0)
    device: str = _setting("cpu", "D", "what the model runs on: cpu, cuda, mps or auto, all accelerators there are")
    dtype: DType = _setting(
        "stored",
        "T",
        f"{', '.join(DTYPES)}: what the model runs in; weights that claims read are folded in float32",
        f"one of {', '.join(DTYPES)}",
    )
    report_dir: str = _setting("reports", "DIR", "folder of <checkpoint>-<identity>/<set>/<head>/")
    page: bool = _setting(False, None, "also write index.html, a page with figures, and figures.json, their numbers")
    no_cache: bool = _setting(False, None, "compute everything anew and keep nothing on disk")
    verdicts_only: bool = _setting(
        False, None, "neither nulls nor variants, several times as fast: nothing is found then"
    )
    mutate: Mutation | None = _setting(
        None,
        "M",
        f"change the weights before the audit: {', '.join(MUTATIONS)}",
        f"one of {', '.join(MUTATIONS)}",
    )

    @field_validator("head")
    @classmethod
    def _head_is_one(cls, value: str | None) -> str | None:
        if value is not None and value not in SEARCHED and not HEADS.fullmatch(value):
            raise ValueError
        return value

    @model_validator(mode="after")
    def _settings_agree(self) -> Settings:
        if self.revision is not None and self.checkpoint is None:
            raise BadInput(f"--revision {self.revision}: no --checkpoint; wanted the hub id it is a revision of")
        if self.mutate is not None and self.head in SEARCHED:
            raise BadInput(
                f"--mutate {self.mutate}: with --head {self.head} there is no head to change; wanted one named"
            )
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings with these values, whole numbers as text or as numbers; a value of None is the default.

        Raises BadInput, in one line, for a value that can't be.
        """
        given = {name: _typed(name, value) for name, value in values.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            refused = first.get("ctx", {}).get("error")
            if isinstance(refused, BadInput):
                raise refused from None
            name = str(first["loc"][0]) if first["loc"] else ""
            if name not in cls.model_fields:
                raise BadInput(
                    f"{name}: no setting of an audit; wanted some of {', '.join(cls.model_fields)}"
                ) from error
            raise BadInput(f"{option(name)} {values[name]}: wanted {wanted(name)}") from error

    def check_report_dir(self) -> None:
        """Raise BadInput where no record could be written, rather than after the audit."""
        folder = self.report_folder
        ancestors = (folder, *folder.absolute().parents)
        there = next((path for path in ancestors if os.path.lexists(path)), Path("/"))
        if not os.path.isdir(there):
            raise BadInput(f"{option('report_dir')} {folder}: {there} is no folder; wanted one to write into")
        if not os.access(there, os.W_OK):
            raise BadInput(f"{option('report_dir')} {folder}: {there} cannot be written")

    @property
    def report_folder(self) -> Path:
        """The folder that records go to, `~` standing for the user's own."""
        return Path(os.path.expanduser(self.report_dir))

    @property
    def searched(self) -> bool:
        """Whether the target is looked for among all heads."""
        return self.head in SEARCHED


def _typed(name: str, value: Any) -> Any:
    """Return a whole number given as text as a number; what is none stays as it is, to be refused."""
    field = Settings.model_fields.get(name)
    if field is None or field.annotation is not int or not isinstance(value, str):
        return value
    return int(value) if WHOLE.fullmatch(value) else value


def option(name: str) -> str:
    """Return a setting's option on the command line: `--seq-len` of `seq_len`."""
    return f"--{name.replace('_', '-')}"


def kind_of(name: str) -> type:
    """Return the type of a setting's values: bool, int or str."""
    annotation = Settings.model_fields[name].annotation
    return annotation if annotation in (bool, int) else str  # type: ignore[return-value]


def is_switch(name: str) -> bool:
    """Return whether a setting is on or off."""
    return kind_of(name) is bool


def metavar(name: str) -> str | None:
    """Return the letter that stands for a setting's value in help."""
    letter: str | None = _extra(name)["metavar"]
    return letter


def wanted(name: str) -> str:
    """Return what a setting's value must be, in words."""
    return _extra(name)["wanted"] or ("true or false" if is_switch(name) else "text")


def _extra(name: str) -> dict[str, Any]:
    extra = Settings.model_fields[name].json_schema_extra
    return extra if isinstance(extra, dict) else {}


def description(name: str) -> str:
    """Return a setting's help, with its default where that is a value."""
    field = Settings.model_fields[name]
    said = "" if field.default is None or is_switch(name) else f"; default: {field.default}"
    return f"{field.description}{said}"


def as_arguments(values: Mapping[str, Any]) -> list[str]:
    """Return settings as a command line has them; those that are None or off are left out."""
    arguments: list[str] = []
    for name, value in values.items():
        if is_switch(name):
            arguments += [option(name)] if value else []
        elif str(value).startswith("-"):
            arguments.append(f"{option(name)}={value}")  # apart it would be taken for an option
        elif value is not None:
            arguments += [option(name), str(value)]
    return arguments
