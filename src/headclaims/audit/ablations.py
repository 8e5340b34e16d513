"""Ablated runs on the prompts that claims are judged on, and the null of what other heads make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.audit.attention import Patterns
from headclaims.audit.nulls import OTHER_HEADS
from headclaims.cache import kept
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.effective_embedding import Variant
from headclaims.circuit.effective_pattern import effective_pattern
from headclaims.circuit.head_score import HeadScore
from headclaims.measures.ablation import AblationRuns, Component, Kind, Part
from headclaims.measures.ablation_effects import (
    effect,
    mean_variation,
    median_prompt_score,
    relative_variation,
    row_variation,
    total_variation,
)
from headclaims.measures.category_score import Survey, survey
from headclaims.statistics.nulls import Null
from headclaims.statistics.resampling import Resampled

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit

FEWEST_AT_ONCE = 16


@dataclass(frozen=True)
class Ablated:
    """The target's survey under a change, and how far each of its rows moved (total variation, 0 to 1)."""

    survey: Survey
    clean: Survey
    target: Head
    row_variation: Float[np.ndarray, "prompt query"]

    @property
    def effect(self) -> Resampled:
        """The ablation's effect on the target's category score."""
        return effect(self.clean, self.survey, self.target)

    @property
    def moved(self) -> Resampled:
        """How far rows moved in the mean, with an interval."""
        return mean_variation(self.clean, self.row_variation)

    @property
    def variation(self) -> float:
        """How far rows moved in the mean."""
        return self.moved.value

    @property
    def median_score(self) -> float:
        """The median over prompts of the category score, in nats."""
        return median_prompt_score(self.survey, self.target)


class Ablations:
    """What ablations do to the target and to heads beside and after it; each is run once an audit.

    `heads` are the target, first, and the heads of its null population: of its layer and later ones.
    """

    def __init__(self, audit: Audit) -> None:
        self.audit, self.prompts, self.tokens = audit, audit.prompts, audit.workspace.tokens
        later = [head for head in audit.workspace.model_heads if head.layer >= audit.target.layer]
        self.heads = (audit.target, *audit.beside(later))
        at_once = audit.checkpoint.sizes.prompts_at_once(self.tokens.shape[1], FEWEST_AT_ONCE)
        self.runs = AblationRuns(
            audit.checkpoint, self.tokens, self.heads, audit.target.layer, audit.settings.seed, at_once
        )
        self._ablated: dict[tuple[frozenset[Component], Kind], Ablated] = {}
        self._variations: dict[frozenset[Component], np.ndarray] = {}

    @cached_property
    def clean(self) -> Survey:
        """The target on the prompts, without ablation."""
        return self._survey(self.clean_pattern)

    @cached_property
    def clean_pattern(self) -> np.ndarray:
        """The target's pattern [prompt, query, key], without ablation."""
        return self.audit.workspace.pattern(self.prompts, self.audit.target)

    @cached_property
    def clean_patterns(self) -> np.ndarray:
        """Patterns [head, prompt, query, key] of `heads`, without ablation."""
        patterns = self.audit.workspace.patterns
        return self.audit.cached(clean_pattern_arrays, patterns, self.tokens, self.heads)["patterns"]

    def target_under(self, components: Sequence[Component], kind: Kind = Kind.MEAN) -> Ablated:
        """Return the target under an ablation of all these components; layers after it are not run."""
        key = frozenset(components), kind
        if key not in self._ablated:
            arrays = self.audit.cached(ablated_pattern_arrays, self.runs, list(components), kind, self.heads[:1])
            self._ablated[key] = self.of_pattern(arrays["patterns"][0])
        return self._ablated[key]

    def of_pattern(self, pattern: np.ndarray) -> Ablated:
        """Return the target as it would be with this pattern [prompt, query, key] in place of its own."""
        moved = row_variation(self.clean_pattern, pattern)
        return Ablated(self._survey(pattern), self.clean, self.audit.target, moved)

    def relative(self, components: Sequence[Component]) -> np.ndarray:
        """Return the total variation of each of `heads` over that under ablation of the embedding."""
        return relative_variation(self._variation(components), self._variation([Component(Part.EMBEDDING)]))

    def relative_of(self, patterns: np.ndarray) -> np.ndarray:
        """Return the same for patterns [head, prompt, query, key] that were computed otherwise."""
        moved = total_variation(self.clean_patterns, patterns)
        return relative_variation(moved, self._variation([Component(Part.EMBEDDING)]))

    def null(self, relative: np.ndarray) -> Null:
        """Return other heads' relative variation as a null population."""
        return self.audit.nulls.draw(OTHER_HEADS, lambda: relative[1:], heads=self.heads[1:])

    def _variation(self, components: Sequence[Component]) -> np.ndarray:
        key = frozenset(components)
        if key not in self._variations:
            arrays = self.audit.cached(ablation_variation_arrays, self.runs, sorted(components), self.heads)
            self._variations[key] = arrays["variation"]
        return self._variations[key]

    def _survey(self, pattern: np.ndarray) -> Survey:
        return survey(self.prompts, self.heads[:1], [(slice(None), torch.from_numpy(pattern)[:, None])])

    @cached_property
    def patterns_from_E(self) -> np.ndarray:
        """The patterns [head, prompt, query, key] that `heads` would have if they read E alone."""
        return self.from_E(Variant.MEAN, self.heads)

    def from_E(self, variant: Variant, heads: Sequence[Head]) -> np.ndarray:
        """Return the same under a variant of E, for some heads."""
        checkpoint: Checkpoint = self.audit.checkpoint
        layers = sorted({head.layer for head in heads})
        terms = self.audit.workspace.ablated_terms(layers[-1], variant)
        tokens = self.tokens.numpy()
        distinct, rows = np.unique(tokens, return_inverse=True)
        embedded: Sequence[Tensor] = checkpoint.embed_alone_at(torch.from_numpy(distinct), layers, *terms)  # type: ignore[assignment]
        E = dict(zip(layers, embedded, strict=True))
        at_position = rows.reshape(tokens.shape)
        weights = {layer: checkpoint.score_weights(layer) for layer in layers}
        patterns = [
            effective_pattern(
                HeadScore.of(weights[head.layer], head.index),
                E[head.layer],
                at_position,
                checkpoint.rotation_at(head.layer),
                checkpoint.window(head.layer),
            )
            for head in heads
        ]
        return np.stack(patterns)


@kept("clean-patterns", version=4)
def clean_pattern_arrays(patterns: Patterns, tokens: Tensor, heads: Sequence[Head]) -> dict[str, np.ndarray]:
    """Return the patterns [head, prompt, query, key] of observed heads, without ablation."""
    return {"patterns": patterns.of(tokens, heads)}


@kept("ablated-patterns", version=1)
def ablated_pattern_arrays(
    runs: AblationRuns, components: Sequence[Component], kind: Kind, heads: Sequence[Head]
) -> dict[str, np.ndarray]:
    """Return the patterns of heads with components ablated together."""
    return {"patterns": runs.ablated(components, kind, heads)}


@kept("ablation-variation", version=3)
def ablation_variation_arrays(
    runs: AblationRuns, components: Sequence[Component], heads: Sequence[Head]
) -> dict[str, np.ndarray]:
    """Return by how much each head's rows move with components ablated together (total variation, 0 to 1)."""
    clean = runs.clean[[runs.heads.index(head) for head in heads]]
    return {"variation": total_variation(clean, runs.ablated(components, heads=heads))}
