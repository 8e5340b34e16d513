"""Imports without collections: these go on afterwards; what is kept from them says nothing when the process ends."""

import gc
import subprocess
import sys

import pytest

from headclaims.uncollected import uncollected


def test_collections_stop_and_go_on() -> None:
    frozen = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_collections_go_on_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


@pytest.mark.parametrize("name", ["triton", "torch"])
def test_what_is_kept_from_collections_ends_without_a_word(name: str) -> None:
    """Triton's bindings complain of objects that are there at the end."""
    pytest.importorskip(name)
    script = f"""
import gc, {name}
from headclaims.uncollected import keep_uncollected
keep_uncollected()
print(gc.get_freeze_count() > 10000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")
