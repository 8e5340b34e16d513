"""How far token identity foretells each head's scores, on the prompts that claims are judged on."""

from __future__ import annotations

from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch

from headclaims.audit.attention import Patterns
from headclaims.cache import kept
from headclaims.checkpoint.interface import Head
from headclaims.errors import NotAssessable
from headclaims.measures.token_identity import IdentityShare, TokenPairs, identity_share
from headclaims.prompts.category import CategoryPrompts

if TYPE_CHECKING:
    from headclaims.audit.workspace import Workspace


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
        return identity_share(pairs, workspace.pattern(workspace.prompts, head))

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
        return workspace.cached(identity_shares, workspace.patterns, workspace.prompts, heads)["share"]


@kept("identity-shares", version=1)
def identity_shares(patterns: Patterns, prompts: CategoryPrompts, heads: tuple[Head, ...]) -> dict[str, np.ndarray]:
    """Return the share of each head, NaN where its scores do not vary."""
    pairs, tokens, values = TokenPairs.of(prompts), torch.as_tensor(prompts.tokens), []
    by_layer = (patterns.of(tokens, list(members)) for _, members in groupby(heads, lambda head: head.layer))
    for together in [patterns.of_all(tokens)] if patterns.fit(tokens) else by_layer:
        for pattern in together:
            try:
                values.append(identity_share(pairs, pattern).value)
            except NotAssessable:
                values.append(np.nan)
    return {"share": np.array(values)}
