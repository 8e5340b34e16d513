"""Imports without collections: these go on afterwards, and nothing is kept from them."""

import gc

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
