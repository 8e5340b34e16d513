"""The settings of an audit as options and ini keys of pytest."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from headclaims.audit.settings import Settings, description, is_switch, kind_of, metavar, option
from headclaims.errors import BadInput

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
