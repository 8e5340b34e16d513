"""Executable claims about one attention head."""

from importlib.metadata import version

__version__ = version("headclaims")
