"""The fixtures that this set shares with others."""

from headclaims.fixtures import *  # noqa: F403
