"""Names the plugins that wire the claims to pytest, and has their assertions rewritten."""

import pytest

PLUGINS = ("options", "evidence", "circuits", "nulls", "ablations", "steering", "ledger")
pytest_plugins = [f"fixtures.{name}" for name in PLUGINS]
pytest.register_assert_rewrite(*pytest_plugins)
