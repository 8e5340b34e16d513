"""What a run says that cannot begin: one line of at most 400 characters, and the whole text in a log if it says more.

The log lies in the cache folder as `refused/<hash of the message>.log`: the same refusal writes the same file.
"""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path

from headclaims.errors import BadCheckpoint, BadInput
from headclaims.files import write_atomically

LONGEST = 400
PREFIX = "headclaims: "
SHORTEST_MESSAGE = 120
"""Characters of a message that are shown however long the path of its log is."""


def refusal(error: BaseException) -> str:
    """Return the line for an error, of at most 400 printable characters, and write its log where it needs one.

    A log is written for a message that had to be cut, an error of a library behind it, and one that nobody foresaw.
    """
    message = _printable(str(error) if isinstance(error, BadInput | OSError) else _unforeseen(error))
    has_more = isinstance(error, BadCheckpoint) and error.__cause__ is not None
    if len(PREFIX + message) <= LONGEST and not has_more and isinstance(error, BadInput | OSError):
        return PREFIX + message
    log = _log(error, message)
    named = "" if log is None else f" (whole text: {log})"
    if log is not None and len(PREFIX + named) + SHORTEST_MESSAGE > LONGEST:
        named = f" (whole text: {log.parent.name}/{log.name} in the cache folder)"
    return PREFIX + shortened(message, LONGEST - len(PREFIX + named)) + named


def shortened(text: str, longest: int) -> str:
    """Return a text with its middle left out where it is longer: what is wrong begins it, what was wanted ends it."""
    if len(text) <= longest:
        return text
    kept = longest - len(" … ")
    end = kept // 3
    return f"{text[: kept - end]} … {text[len(text) - end :]}"


def _unforeseen(error: BaseException) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _printable(message: str) -> str:
    """Return a message in one line, with escapes for what a terminal would not show."""
    joined = " ".join(message.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in joined)


def _log(error: BaseException, message: str) -> Path | None:
    """Write the whole text of an error, with where it came from; return its path, None where it can't be written."""
    from headclaims.cache import cache_folder

    path = cache_folder().absolute() / "refused" / f"{hashlib.sha256(message.encode()).hexdigest()[:12]}.log"
    text = "".join(traceback.format_exception(error))
    try:
        write_atomically(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))
    except OSError:
        return None
    return path
