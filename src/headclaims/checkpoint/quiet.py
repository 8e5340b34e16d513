"""Silence for the libraries below, whose progress bars and advice do not belong into an audit's output."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress progress bars, warnings and advice in the `with` block; exceptions pass.

    Standard error is redirected as well, as no setting turns off some bars of `transformers`.
    """
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    loud = verbosity < logging.ERROR  # setting it takes a millisecond, as Python then forgets every logger's level
    if loud:
        logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        if loud:
            logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def quiet_for_good() -> None:
    """Suppress warnings and advice of `transformers` in this process, which is the engine's own."""
    transformers.utils.logging.set_verbosity_error()
