"""How far token identity foretells each head's scores, on the prompts that claims are judged on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from headclaims.audit.templates import pattern_arrays
from headclaims.cache import kept
from headclaims.checkpoint.interface import Checkpoint, Head, pattern_name, patterns_of
from headclaims.errors import NotAssessable
from headclaims.measures.token_identity import IdentityShare, TokenPairs, identity_share
from headclaims.progress import track
from headclaims.prompts.category import CategoryPrompts

if TYPE_CHECKING:
    from headclaims.audit.workspace import Workspace

FEWEST_AT_ONCE = 8
MOST_AT_ONCE = 2**28
"""Numbers of patterns that are held in memory for all layers at once; beyond, one layer at a time."""


class Identity:
    """The share of the variance of heads' scores that token identity foretells; kept on disk but for recordings."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @cached_property
    def pairs(self) -> TokenPairs:
        """The pairs of words seen twice or more; raises NotAssessable where there are too few."""
        return TokenPairs.of(self._workspace.prompts)

    def share(self, head: Head) -> IdentityShare:
        """Return a head's share and what its interval is taken from; raises NotAssessable where the head is lacking."""
        workspace, pairs = self._workspace, self.pairs
        workspace.surveyed.position(head)  # raises where the evidence lacks the head
        if workspace.prompts.tokens is None:
            return identity_share(pairs, workspace.attention(head))
        arrays = workspace.cached(pattern_arrays, workspace.checkpoint, workspace.prompts, head)
        return identity_share(pairs, arrays["pattern"])

    def value(self, head: Head) -> float:
        """Return a head's share alone; raises NotAssessable where its scores do not vary."""
        if self._workspace.prompts.tokens is None:
            return self.share(head).value
        value = float(self._values[self._workspace.surveyed.position(head)])
        if np.isnan(value):
            raise NotAssessable("the head's scores do not vary")
        return value

    @cached_property
    def _values(self) -> np.ndarray:
        workspace, heads = self._workspace, tuple(self._workspace.attention_heads)
        return workspace.cached(identity_shares, workspace.checkpoint, workspace.prompts, heads)["share"]


@kept("identity-shares", version=1)
def identity_shares(checkpoint: Checkpoint, prompts: CategoryPrompts, heads: tuple[Head, ...]) -> dict[str, np.ndarray]:
    """Return the share of each head, NaN where its scores do not vary."""
    pairs, values = TokenPairs.of(prompts), []
    for patterns in _by_layer(checkpoint, prompts, heads):
        for pattern in patterns:
            try:
                values.append(identity_share(pairs, pattern).value)
            except NotAssessable:
                values.append(np.nan)
    return {"share": np.array(values)}


def _by_layer(checkpoint: Checkpoint, prompts: CategoryPrompts, heads: Sequence[Head]) -> Iterator[np.ndarray]:
    """Yield patterns [head, prompt, query, key] of heads, ordered by layer, those of one layer at a time."""
    tokens = torch.as_tensor(prompts.tokens).split(checkpoint.sizes.prompts_at_once(prompts.length, FEWEST_AT_ONCE))
    by_layer = {head.layer: [other for other in heads if other.layer == head.layer] for head in heads}
    together = len(heads) * prompts.word_at.size * prompts.length <= MOST_AT_ONCE
    for layers in [list(by_layer)] if together else [[layer] for layer in by_layer]:
        names = [pattern_name(layer) for layer in layers]
        runs = [checkpoint.run(some, record=names) for some in track(tokens, "attention")]
        for layer in layers:
            yield np.concatenate([patterns_of(run, by_layer[layer]) for run in runs], axis=1)
