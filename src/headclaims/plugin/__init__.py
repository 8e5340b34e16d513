"""The pytest plugin: a run over a claim set is an audit.

It wakes only where an argument of the run lies in a claim set, or above one, and imports nothing heavy before: other
runs of pytest pay nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext

import pytest

from headclaims.plugin.folders import set_folders
from headclaims.uncollected import uncollected

RUNS_NOTHING = ("help", "version", "collectonly", "showfixtures", "show_fixtures_per_test", "markers", "setupplan")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Add the options, once all other plugins have added theirs; and ini keys wherever a configuration has some."""
    paths = [arg for arg in args if not arg.startswith("-")] or early_config.getini("testpaths")
    covered = set_folders(paths or ["."], early_config.invocation_params.dir)
    with uncollected() if covered else nullcontext():
        result = yield
    if covered or _has_our_keys(early_config):
        from headclaims.plugin.options import add_ini_keys, add_named_heads, add_options

        add_ini_keys(parser)
        if covered:
            add_options(parser, early_config)
            add_named_heads(parser, early_config, covered)
    return result


def _has_our_keys(config: pytest.Config) -> bool:
    """Return whether the run's configuration names a setting: a key that nobody declares is warned of."""
    try:
        return config.inipath is not None and b"headclaims_" in config.inipath.read_bytes()
    except OSError:
        return False


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Load the checkpoint before anything else; what can't be audited ends the run with one line and status 2."""
    folders = set_folders(config.args, config.invocation_params.dir)
    if not folders:
        return None
    from headclaims.plugin import begin, fixtures

    config.pluginmanager.register(fixtures, "headclaims-fixtures")
    if any(config.getoption(name, False) for name in RUNS_NOTHING):
        return None
    return begin.begin(config, folders)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark of claims."""
    config.addinivalue_line("markers", "claim(id): the test asserts the claim of that id in the set's findings.toml")
