"""What this repository asks of its own tests: a warning is an error. Claims have filters of their own."""

from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "src"
# Deprecations inside the libraries we call are theirs to mend.
THEIRS = ("transformer_lens", "transformers", "huggingface_hub")
FILTERS = ("error", *(f"ignore::DeprecationWarning:{name}" for name in THEIRS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Turn warnings of the library's tests into errors."""
    for item in items:
        if SOURCE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(*FILTERS), append=False)
