"""Scores by which `--head auto` looks for a head; a claim set names one, a claim author can add one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from headclaims.audit.repeats import attention_to_marks
from headclaims.checkpoint.interface import Capability, Head
from headclaims.prompts.repeated import TARGET, MarkedPrompts

if TYPE_CHECKING:
    from headclaims.audit.workspace import Workspace
    from headclaims.prompts.category import CategoryPrompts

HeadScore = Callable[["Workspace", Any], tuple[Sequence[Head], np.ndarray]]
Made = TypeVar("Made", bound=HeadScore)
Prompts = Literal["category prompts", "repeated prompts"]
HEAD_SCORES: dict[str, HeadScore] = {}
SCORED_ON: dict[str, Prompts] = {}
"""What kind of prompts each score is taken on, where not category prompts."""


def head_score(name: str, on: Prompts = "category prompts") -> Callable[[Made], Made]:
    """Register a score of heads under a name that `auto` in `findings.toml` can give.

    The function takes a workspace and prompts of the kind named, and returns heads with one number each. A claim set
    registers its own in its `conftest.py`.
    """

    def register(score: Made) -> Made:
        HEAD_SCORES[name], SCORED_ON[name] = score, on
        return score

    return register


@head_score("category score")
def category_scores(workspace: Workspace, prompts: CategoryPrompts) -> tuple[Sequence[Head], np.ndarray]:
    """Return the category score of every head, in nats."""
    survey = workspace.survey(prompts)
    return survey.heads, survey.scores


@head_score("prefix matching", on="repeated prompts")
def prefix_matching(workspace: Workspace, prompts: MarkedPrompts) -> tuple[Sequence[Head], np.ndarray]:
    """Return every head's mean attention to what followed the row's token before."""
    workspace.checkpoint.require(Capability.ATTENTION)
    found = attention_to_marks(workspace, prompts, workspace.attention_heads)
    return found.heads, found.means(TARGET)
