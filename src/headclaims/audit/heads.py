"""Scores by which `--head auto` looks for a head; a claim set names one, a claim author can add one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from headclaims.checkpoint.interface import Head

if TYPE_CHECKING:
    from headclaims.audit.workspace import Workspace
    from headclaims.prompts.category import CategoryPrompts

HeadScore = Callable[["Workspace", "CategoryPrompts"], tuple[Sequence[Head], np.ndarray]]
Made = TypeVar("Made", bound=HeadScore)
HEAD_SCORES: dict[str, HeadScore] = {}


def head_score(name: str) -> Callable[[Made], Made]:
    """Register a score of heads under a name that `auto` in `findings.toml` can give.

    The function takes a workspace and prompts, and returns heads with one number each. A claim set registers its own in
    its `conftest.py`.
    """

    def register(score: Made) -> Made:
        HEAD_SCORES[name] = score
        return score

    return register


@head_score("category score")
def category_scores(workspace: Workspace, prompts: CategoryPrompts) -> tuple[Sequence[Head], np.ndarray]:
    """Return the category score of every head, in nats."""
    survey = workspace.survey(prompts)
    return survey.heads, survey.scores
