"""Models of the Hugging Face hub: what the local cache holds, and what a hub gives."""

from headclaims.checkpoint.hub.snapshot import cached, fetch, reachable

__all__ = ["cached", "fetch", "reachable"]
