"""From settings to audits: the checkpoint is loaded, the prompts are checked, the target heads are chosen."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from headclaims.audit.audit import Audit
from headclaims.audit.heads import HEAD_SCORES, SCORED_ON
from headclaims.audit.repeats import marked
from headclaims.audit.settings import Settings
from headclaims.audit.workspace import Workspace
from headclaims.cache import Cache, cache_folder
from headclaims.checkpoint import CATEGORIES, default_spec, load
from headclaims.checkpoint.held import held_or
from headclaims.checkpoint.interface import Capability, Checkpoint, Head, in_words
from headclaims.errors import BadCheckpoint, BadInput, NotAssessable, OfAnotherSet
from headclaims.prompts.words import WordLists
from headclaims.vocabulary.where import walk_on

MOST_AHEAD = 1e-3
"""Of a row of attention that may go to later positions, in arithmetic of any type."""

Auto = Mapping[Literal["lowest", "highest"], str]
"""Which end of which score of heads `--head auto` looks for: one entry."""


@dataclass(frozen=True)
class Defaults:
    """What a claim set decides where the settings don't: model, head, what `auto` looks for, what `planted` is."""

    model: str
    head: str
    auto: Auto
    construction: str = CATEGORIES
    planted_head: str | None = None

    def head_on(self, checkpoint: Checkpoint) -> str:
        """Return the head that is audited where none is asked for."""
        return (self.planted_head if checkpoint.kind == "planted" else None) or self.head


def open_workspace(
    settings: Settings,
    lists: WordLists,
    defaults: Defaults,
    checkpoint: Checkpoint | None = None,
    settled: tuple[str, str | None] | None = None,
    named_heads: Mapping[str, Head] | None = None,
) -> Workspace:
    """Load what the settings name and check that prompts can be made of it; raises BadInput, in one line.

    `checkpoint` is given where another set of the same run has loaded it, `settled` (spec, why) where another process
    has settled the default; `named_heads` are those of the set's names that the auditor gave a head for.
    """
    spec, why = (
        (settings.checkpoint, None) if settings.checkpoint is not None else settled or default_spec(defaults.model)
    )
    fits = checkpoint is not None and checkpoint.spec == spec
    if checkpoint is None or not fits or checkpoint.construction not in (None, defaults.construction):
        dtype = None if settings.dtype == "stored" else getattr(torch, settings.dtype)
        arguments = settings.revision, check_device(settings.device), dtype, defaults.construction
        # A mutation changes the weights in place: what it changes is nobody else's.
        checkpoint = held_or(load, spec, *arguments) if settings.mutate is None else load(spec, *arguments)
    walk_on(_tiles_device(settings.device))
    if checkpoint.attends_ahead > MOST_AHEAD:
        raise BadCheckpoint(
            f"{spec}: it attends to later positions, which get up to {checkpoint.attends_ahead:.2g} of a row; wanted a "
            "causal decoder"
        )
    for name, head in (named_heads or {}).items():
        _check_heads(f"--{name} {head.label}", checkpoint, [head])
    cache = checkpoint.cache = Cache(None if settings.no_cache else cache_folder())
    auto_on = SCORED_ON[next(iter(defaults.auto.values()))]
    workspace = Workspace(settings, checkpoint, lists, cache, why, auto_on, named_heads or {})
    _ = workspace.word_list
    _check_prompts(workspace)
    return workspace.about()


def audits(workspace: Workspace, defaults: Defaults, targets: Sequence[Head] | None = None) -> list[Audit]:
    """Return an audit of each target head; raises BadInput where there is none such.

    Raises OfAnotherSet where the set's own head is not there, or none can be chosen by its score: beside other sets
    this one is then left out.

    `targets` are given where another process has chosen them.
    """
    asked = workspace.settings.head
    chosen_by = "auto" if asked == "auto" else "option" if asked is not None else "default"
    if targets is not None:
        heads = list(targets)
    elif asked is not None:
        heads = choose_heads(workspace, asked, defaults.auto)
    else:
        try:
            heads = choose_heads(workspace, defaults.head_on(workspace.checkpoint), defaults.auto)
        except BadInput as error:
            raise OfAnotherSet(str(error)) from error
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
    heads = [head for label in asked.split(",") if (head := Head.parse(label)) is not None]
    _check_recorded(f"--head {asked}", workspace, heads)
    _check_heads(f"--head {asked}", workspace.checkpoint, heads)
    return list(dict.fromkeys(heads))


def _check_recorded(option: str, workspace: Workspace, heads: Sequence[Head]) -> None:
    """Raise BadInput where the evidence is recorded attention alone, and one of the heads was not recorded."""
    checkpoint = workspace.checkpoint
    given = set(checkpoint.capabilities)
    if Capability.ATTENTION in given and given <= {Capability.TOKENS, Capability.ATTENTION}:
        recorded = workspace.heads
        if not heads or not set(heads).issubset(recorded):
            layers = in_words(sorted({head.layer for head in recorded}))
            raise BadInput(
                f"{option}: {checkpoint.spec} holds attention of {layers} alone, with heads 0 to "
                f"{checkpoint.sizes.n_heads - 1}"
            )


def _check_heads(option: str, checkpoint: Checkpoint, heads: Sequence[Head]) -> None:
    """Raise BadInput where the model lacks one of the heads, or there is none."""
    sizes, others = checkpoint.sizes, checkpoint.layers_without_heads
    if not heads or any(head not in sizes for head in heads):
        raise BadInput(
            f"{option}: {checkpoint.spec} has layers 0 to {sizes.n_layers - 1} with heads 0 to {sizes.n_heads - 1}"
        )
    headless = next((head.layer for head in heads if head.layer in others), None)
    if headless is not None:
        layers = in_words(sorted({head.layer for head in checkpoint.model_heads}))
        raise BadInput(
            f"{option}: layer {headless} of {checkpoint.spec} has no softmax attention ({others[headless]}); wanted a "
            f"head of {layers}"
        )


def auto_head(workspace: Workspace, auto: Auto) -> Head:
    """Return the head with the lowest or highest score on prompts of other words than the run's.

    Raises OfAnotherSet where the evidence does not give the score.
    """
    ((end, name),) = auto.items()
    pick: Callable[[np.ndarray], np.intp] = np.argmin if end == "lowest" else np.argmax
    try:
        prompts: Any = marked(workspace, "choosing") if workspace.on_repeats else workspace.choosing_prompts
        heads, scores = HEAD_SCORES[name](workspace, prompts)
    except NotAssessable as error:
        # No log: the line says all there is.
        raise OfAnotherSet(f"--head auto: cannot be chosen on this evidence: {error}") from None
    return heads[int(pick(np.asarray(scores)))]


def check_device(name: str) -> str:
    """Return a device's name, or `auto` for all there are; raises BadInput where torch can't use it."""
    if name == "auto":
        if importlib.util.find_spec("accelerate") is None:
            raise BadInput(
                "--device auto: accelerate is not installed, which spreads a model; wanted it, or one device"
            )
        return name
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadInput(f"--device {name}: {str(error).splitlines()[0]}") from error
    return name


def _tiles_device(name: str) -> torch.device:
    """Return the device that tiles of scores are walked on: the first accelerator where a model is spread."""
    if name != "auto":
        return torch.device(name)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _check_prompts(workspace: Workspace) -> None:
    """Raise BadInput where prompts can't be made of this length, or, where heads are looked for by words, of these."""
    checkpoint, settings = workspace.checkpoint, workspace.settings
    if Capability.INTERVENTIONS in checkpoint.lacks:
        return  # prompts were recorded, or there are none
    if checkpoint.sizes.n_ctx is not None and settings.seq_len > checkpoint.sizes.n_ctx:
        raise BadInput(
            f"--seq-len {settings.seq_len}: the context of {checkpoint.spec} is {checkpoint.sizes.n_ctx} tokens"
        )
    try:
        _ = workspace.on_repeats or workspace.words
    except NotAssessable as error:
        words = settings.words or workspace.lists.default
        raise BadInput(f"--words {words}: {error}") from error
    _ = checkpoint.bos
