"""From settings to audits: the checkpoint is loaded, the prompts are checked, the target heads are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from headclaims.audit.audit import Audit
from headclaims.audit.heads import HEAD_SCORES
from headclaims.audit.settings import Settings
from headclaims.audit.workspace import Workspace
from headclaims.cache import Cache, cache_folder
from headclaims.checkpoint import default_spec, load
from headclaims.checkpoint.interface import Capability, Checkpoint, Head, in_words
from headclaims.errors import BadCheckpoint, BadInput, NotAssessable
from headclaims.prompts.words import WordLists

MOST_AHEAD = 1e-3
"""Of a row of attention that may go to later positions, in arithmetic of any type."""

Auto = Mapping[Literal["lowest", "highest"], str]
"""Which end of which score of heads `--head auto` looks for: one entry."""


@dataclass(frozen=True)
class Defaults:
    """What a claim set decides where the settings don't: model, head, and what `auto` looks for."""

    model: str
    head: str
    auto: Auto


def open_workspace(
    settings: Settings,
    lists: WordLists,
    defaults: Defaults,
    checkpoint: Checkpoint | None = None,
    settled: tuple[str, str | None] | None = None,
) -> Workspace:
    """Load what the settings name and check that prompts can be made of it; raises BadInput, in one line.

    `checkpoint` is given where another set of the same run has loaded it, `settled` (spec, why) where another process
    has settled the default.
    """
    spec, why = (
        (settings.checkpoint, None) if settings.checkpoint is not None else settled or default_spec(defaults.model)
    )
    if checkpoint is None or checkpoint.spec != spec:
        checkpoint = load(spec, settings.revision, check_device(settings.device), getattr(torch, settings.dtype))
    if checkpoint.attends_ahead > MOST_AHEAD:
        raise BadCheckpoint(
            f"{spec}: it attends to later positions, which get up to {checkpoint.attends_ahead:.2g} of a row; wanted a "
            "causal decoder"
        )
    workspace = Workspace(settings, checkpoint, lists, Cache(None if settings.no_cache else cache_folder()), why)
    _ = workspace.word_list
    _check_prompts(workspace)
    return workspace.about()


def audits(workspace: Workspace, defaults: Defaults, targets: Sequence[Head] | None = None) -> list[Audit]:
    """Return an audit of each target head; raises BadInput where there is none such.

    `targets` are given where another process has chosen them.
    """
    asked = workspace.settings.head
    chosen_by = "auto" if asked == "auto" else "option" if asked is not None else "default"
    heads = list(targets) if targets is not None else choose_heads(workspace, asked or defaults.head, defaults.auto)
    if workspace.settings.mutate is not None:
        from headclaims.checkpoint.mutate import mutate

        if len(heads) > 1:
            raise BadInput(f"--mutate {workspace.settings.mutate}: {len(heads)} heads; wanted one named")
        mutate(workspace.checkpoint, workspace.settings.mutate, heads[0], workspace.settings.seed)
    return [Audit(workspace.about(head), head, chosen_by) for head in heads]


def choose_heads(workspace: Workspace, asked: str, auto: Auto) -> list[Head]:
    """Return the heads that were asked for: by label, every one, or the best by the score that `auto` names."""
    if asked == "all":
        return workspace.heads
    if asked == "auto":
        return [auto_head(workspace, auto)]
    sizes = workspace.checkpoint.sizes
    heads = [head for label in asked.split(",") if (head := Head.parse(label)) is not None]
    if not heads or any(head.layer >= sizes.n_layers or head.index >= sizes.n_heads for head in heads):
        raise BadInput(
            f"--head {asked}: {workspace.checkpoint.spec} has layers 0 to {sizes.n_layers - 1} "
            f"with heads 0 to {sizes.n_heads - 1}"
        )
    others = workspace.checkpoint.layers_without_heads
    headless = next((head.layer for head in heads if head.layer in others), None)
    if headless is not None:
        layers = in_words(sorted({head.layer for head in workspace.model_heads}))
        raise BadInput(
            f"--head {asked}: layer {headless} of {workspace.checkpoint.spec} has no softmax attention "
            f"({others[headless]}); wanted a head of {layers}"
        )
    return list(dict.fromkeys(heads))


def auto_head(workspace: Workspace, auto: Auto) -> Head:
    """Return the head with the lowest or highest score on prompts of other words than the run's."""
    ((end, name),) = auto.items()
    pick: Callable[[np.ndarray], np.intp] = np.argmin if end == "lowest" else np.argmax
    try:
        heads, scores = HEAD_SCORES[name](workspace, workspace.choosing_prompts)
    except NotAssessable as error:
        raise BadInput(f"--head auto: cannot be chosen on this evidence: {error}") from error
    return heads[int(pick(np.asarray(scores)))]


def check_device(name: str) -> str:
    """Return a device's name; raises BadInput where torch can't use it."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadInput(f"--device {name}: {str(error).splitlines()[0]}") from error
    return name


def _check_prompts(workspace: Workspace) -> None:
    """Raise BadInput where prompts of this length or of these words can't be made."""
    checkpoint, settings = workspace.checkpoint, workspace.settings
    if Capability.INTERVENTIONS in checkpoint.lacks:
        return  # prompts were recorded, or there are none
    if checkpoint.sizes.n_ctx is not None and settings.seq_len > checkpoint.sizes.n_ctx:
        raise BadInput(
            f"--seq-len {settings.seq_len}: the context of {checkpoint.spec} is {checkpoint.sizes.n_ctx} tokens"
        )
    try:
        _ = workspace.words, checkpoint.bos
    except NotAssessable as error:
        words = settings.words or workspace.lists.default
        raise BadInput(f"--words {words}: {error}") from error
