"""The settings of an audit as options and ini keys of pytest."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headclaims.audit.settings import Settings, description, is_switch, kind_of, metavar, option
from headclaims.claim.shipped import declared_heads
from headclaims.errors import BadInput

if TYPE_CHECKING:
    from headclaims.checkpoint.interface import Head

TAKEN = pytest.StashKey[list[str]]()


def add_options(parser: pytest.Parser, config: pytest.Config) -> None:
    """Add every setting as an option, unless another plugin took its name."""
    group = parser.getgroup("headclaims", "audit a checkpoint (headclaims)")
    taken = config.stash[TAKEN] = []
    for name in Settings.model_fields:
        form: dict[str, Any] = {"action": "store_true"} if is_switch(name) else {"metavar": metavar(name)}
        try:
            group.addoption(option(name), dest=_key(name), default=None, help=description(name), **form)
        except (ValueError, argparse.ArgumentError):
            taken.append(name)


def add_named_heads(parser: pytest.Parser, config: pytest.Config, folders: Sequence[Path]) -> None:
    """Add an option and an ini key for each head that claim sets let an auditor name, unless its name is taken."""
    group = parser.getgroup("headclaims")
    for name, what in declared_heads(folders).items():
        parser.addini(_key(name.replace("-", "_")), f"as --{name}", default=None)
        try:
            group.addoption(f"--{name}", dest=_key(name), default=None, metavar="LxHy", help=what)
        except (ValueError, argparse.ArgumentError):
            config.stash[TAKEN].append(name)


def read_named_heads(config: pytest.Config, names: Iterable[str]) -> dict[str, Head]:
    """Return the heads that were given for a set's names; raises BadInput for what is no head's label."""
    from headclaims.checkpoint.interface import Head  # not before a run is an audit: it imports torch

    heads = {}
    for name in names:
        given = config.getoption(_key(name), None)
        label = given if given is not None else _from_ini(config, name.replace("-", "_"))
        if label is not None:
            head = Head.parse(str(label))
            if head is None:
                raise BadInput(f"--{name} {label}: wanted L<layer>H<head>, as L1H5")
            heads[name] = head
    return heads


def add_ini_keys(parser: pytest.Parser) -> None:
    """Declare every setting as an ini key `headclaims_<name>`."""
    for name in Settings.model_fields:
        parser.addini(_key(name), f"as {option(name)}", type=kind_of(name), default=None)


def _key(name: str) -> str:
    """Return a setting's name among those of other plugins: its ini key, and where its option is kept."""
    return f"headclaims_{name}"


def read_settings(config: pytest.Config) -> Settings:
    """Return the settings of a run, an option before its ini key; raises BadInput for one that can't be."""
    values: dict[str, Any] = {}
    for name in Settings.model_fields:
        given = config.getoption(_key(name), None)
        values[name] = given if given is not None else _from_ini(config, name)
    settings = Settings.of(values)
    settings.check_report_dir()
    return settings


def _from_ini(config: pytest.Config, name: str) -> Any:
    try:
        return config.getini(_key(name))
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise BadInput(f"{_key(name)} in {config.inipath}: {' '.join(str(error).split())}") from error


def left_out(config: pytest.Config) -> list[str]:
    """Return a line on the options that other plugins took, for the top of a run; none where there are none."""
    taken = config.stash.get(TAKEN, [])
    if not taken:
        return []
    options, keys = ", ".join(map(option, taken)), ", ".join(map(_key, taken))
    return [f"headclaims: {options} is another plugin's; set {keys} in the ini file, or by -o"]
