"""The null populations that claims name, drawn once an audit, their statistics kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from headclaims.cache import kept
from headclaims.checkpoint.interface import Capability, Head
from headclaims.circuit.effective_embedding import Variant
from headclaims.circuit.eigenspectrum import HeadSpectra, head_spectra, spectra_from, spectra_tensors
from headclaims.circuit.gaussian_heads import entry_size, gaussian_spans
from headclaims.errors import BadInput, NotAssessable
from headclaims.measures.category_score import Survey
from headclaims.measures.gaussian_map import (
    GAUSSIAN_STATISTICS,
    own_statistics_of_gaussian_heads,
    statistics_of_gaussian_heads,
)
from headclaims.measures.gaussian_patterns import PromptTokens
from headclaims.measures.gaussian_survey import SURVEYS, gaussian_scores
from headclaims.measures.layer_map import LayerMap
from headclaims.measures.map_statistics import statistics_of_heads
from headclaims.measures.other_heads import MOST_OTHER_HEADS, MOST_WITH_ALL_MAPS
from headclaims.measures.permuted_labels import best_of_all_heads, permuted_label_scores
from headclaims.statistics.nulls import DRAWS, Null

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit

DRAWS_A_CHOICE, FIRST_DRAWS = 20, 199
OTHER_HEADS, GAUSSIAN_HEADS, PERMUTED_LABELS = "other heads", "Gaussian heads", "permuted labels"
GAUSSIAN_SURVEY = "Gaussian survey"


class HasValue(Protocol):
    """A statistic with an interval: its value is compared with nulls."""

    @property
    def value(self) -> float:
        """The statistic on all rows."""
        ...


HeadStatistic = Callable[[Head], "float | HasValue"]
SpectralStatistic = Callable[[HeadSpectra], Tensor]
ScoreStatistic = Callable[..., np.ndarray]


class Nulls:
    """Null populations for the statistics of a claim; under `--verdicts-only` each is missing, and says so."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self._spectra_drawn: dict[range, HeadSpectra] = {}
        self._maps_drawn: dict[tuple[range | str, ...], Mapping[str, np.ndarray]] = {}

    def draw(
        self, population: str, values: Callable[[], np.ndarray], chosen_among: int = 1, heads: Sequence[Head] = ()
    ) -> Null:
        """Return a population of what `values` gives, one number a member.

        `chosen_among` is the number of heads that the target was looked for among, where members were not. `heads` are
        the members where these are heads: p among those of the target's layer is then recorded as well. Raises
        ValueError where they are not one for each value.
        """
        if self.audit.settings.verdicts_only:
            return Null(population, None, missing="--verdicts-only")
        members = values()
        if heads and len(heads) != len(members):
            raise ValueError(f"{population}: {len(members)} values of {len(heads)} heads; wanted one of each")
        mates = np.array([head.layer == self.audit.target.layer for head in heads]) if heads else None
        return Null(population, members, chosen_among=chosen_among, layer_mates=mates)

    def other_heads(self, statistic: HeadStatistic) -> Null:
        """Return a statistic of single heads over all other heads that the evidence can tell of.

        `statistic` takes a head and returns a number, or a statistic with an interval, whose value counts. Heads of
        which it can't be taken are left out.
        """
        try:
            heads = self.audit.beside(self.audit.heads, most=None)
        except BadInput as error:
            return Null(OTHER_HEADS, None, missing=str(error))
        value_of = {head: value for head in heads for value in _value(statistic, head)}
        return self.draw(OTHER_HEADS, lambda: np.array(list(value_of.values())), heads=list(value_of))

    def permuted_labels(self, statistic: ScoreStatistic) -> Null:
        """Return a statistic of all heads' category scores, for whichever head is best, the list's labels dealt anew.

        There are 999 permutations; `statistic` takes scores [permutation, head], sorted, and the place of the best, 0.
        """
        return self.draw(PERMUTED_LABELS, lambda: best_of_all_heads(self._permuted_scores, statistic))

    @cached_property
    def _permuted_scores(self) -> np.ndarray:
        audit = self.audit
        return audit.cached(permuted_score_arrays, audit.survey, DRAWS, audit.settings.seed)["scores"]

    def gaussian_survey(self, statistic: ScoreStatistic) -> Null:
        """Return a statistic of all heads' category scores, for whichever head is best, every head being Gaussian.

        The heads have their own scale and biases and read their own layer's effective embedding, on the same prompts.
        There are 199 draws; `statistic` is as for `permuted_labels`. Missing where the evidence has no embedding, no
        weights, or prompts that were recorded elsewhere.
        """
        try:
            return self.draw(GAUSSIAN_SURVEY, lambda: best_of_all_heads(self._gaussian_scores, statistic))
        except NotAssessable as error:
            return Null(GAUSSIAN_SURVEY, None, missing=str(error))

    @cached_property
    def _gaussian_scores(self) -> np.ndarray:
        audit, checkpoint = self.audit, self.audit.checkpoint
        for capability in (Capability.INTERVENTIONS, Capability.EMBEDDING, Capability.SCORES):
            checkpoint.require(capability)
        heads = audit.survey.heads
        prompts, tokens = PromptTokens.of(audit.prompts)
        terms = audit.workspace.ablated_terms(max(head.layer for head in heads))
        seed = audit.settings.seed
        return audit.cached(gaussian_scores, checkpoint, heads, tokens, terms, prompts, SURVEYS, seed)["scores"]

    @property
    def _gaussian_draws(self) -> tuple[int, int]:
        """How many Gaussian heads are drawn at first, and in all.

        These are 999, all at once; or, where the target was chosen among m > 49, 199 and 20 m, which let p fall to
        0.049. Most of them are drawn where the first leave p open (`Null.enough_for`).
        """
        n = DRAWS_A_CHOICE * self.audit.workspace.chosen_among
        return (FIRST_DRAWS, n) if n > DRAWS else (DRAWS, DRAWS)

    def _gaussian(self, values: Callable[[range], np.ndarray]) -> Null:
        """Return a statistic over Gaussian heads; `values` takes numbers of heads and returns one value for each."""
        first, every = self._gaussian_draws
        null = self.draw(GAUSSIAN_HEADS, lambda: values(range(first)), self.audit.workspace.chosen_among)
        return null if null.values is None or first == every else replace(null, more=values, at_most=every)

    def spectral(self, statistic: SpectralStatistic) -> list[Null]:
        """Return a statistic of spectra over all other heads, and over Gaussian heads of the target's scale.

        Under `--head auto` or `all` the target is compared with the extreme of as many Gaussian draws as there were
        heads to choose among.
        """
        every = self.audit.spectra
        others = [head for head in every.heads if head != self.audit.target]

        def beside() -> np.ndarray:
            return np.delete(statistic(every.spectra).double().numpy(), every.position(self.audit.target))

        return [
            self.draw(OTHER_HEADS, beside, heads=others),
            self._gaussian(lambda members: statistic(self._gaussian_spectra(members)).double().numpy()),
        ]

    def _gaussian_spectra(self, members: range) -> HeadSpectra:
        if members not in self._spectra_drawn:
            audit, circuit = self.audit, self.audit.qk
            free, seed, d_head = audit.checkpoint.free_dimensions, audit.settings.seed, circuit.W_Q.shape[1]
            arrays = audit.cached(gaussian_spectra_arrays, d_head, members, free, seed)
            of = spectra_from({name: torch.from_numpy(values) for name, values in arrays.items()}, d_head)
            self._spectra_drawn[members] = of.scaled(entry_size(circuit.W_Q, free) * entry_size(circuit.W_K, free))
        return self._spectra_drawn[members]

    def other_maps(self, *statistics: str) -> Null:
        """Return a map statistic over other heads, each on its own layer's E; of several the smallest.

        These are all heads of a model of up to 200, of a larger one 48 drawn by seed.
        """
        if self.audit.settings.verdicts_only:
            return self.draw(OTHER_HEADS, lambda: np.empty(0))
        maps = self.maps_of_others
        if any(name not in maps for name in statistics):
            return Null(OTHER_HEADS, None, missing="no member has the statistic")
        smallest = np.stack([maps[name] for name in statistics]).min(axis=0)
        known = ~np.isnan(smallest)
        members = [head for head, has_value in zip(self._map_heads, known, strict=True) if has_value]
        return self.draw(OTHER_HEADS, lambda: smallest[known], heads=members)

    def gaussian_maps(self, *statistics: str) -> Null:
        """Return a map statistic over Gaussian heads on the target's E; of several the smallest.

        Where queries and keys are normalised or scores capped, norms, cap and biases are the target's own.
        """
        if self.audit.settings.verdicts_only:
            return self.draw(GAUSSIAN_HEADS, lambda: np.empty(0))
        first = self._gaussian_maps(range(self._gaussian_draws[0]), GAUSSIAN_STATISTICS)
        if any(name not in first for name in statistics):
            return Null(GAUSSIAN_HEADS, None, missing="no member has the statistic")

        def smallest(members: range) -> np.ndarray:
            arrays = self._gaussian_maps(members, statistics) if members.start else first
            return np.stack([arrays[name] for name in statistics]).min(axis=0)

        return self._gaussian(smallest)

    @property
    def _layer(self) -> LayerMap:
        return self.audit.maps[Variant.MEAN].layer

    @cached_property
    def _map_heads(self) -> list[Head]:
        heads = self.audit.workspace.model_heads
        return self.audit.beside(heads, None if len(heads) <= MOST_WITH_ALL_MAPS else MOST_OTHER_HEADS)

    @cached_property
    def maps_of_others(self) -> dict[str, np.ndarray]:
        """Map statistics of `_map_heads`, by name; of all heads they are taken once, whichever of them is the target.

        Whoever asks for them before `Audit.maps` has the tokens embedded once for both.
        """
        audit, others, every = self.audit, self._map_heads, self.audit.workspace.model_heads
        _ = audit.score  # says why where the weights are lacking
        sets = audit.sets.tokens
        heads = every if len(others) == len(every) - 1 else others
        terms = audit.workspace.ablated_terms(max(head.layer for head in heads))
        length, seed = audit.settings.seq_len, audit.settings.seed
        maps = audit.cached(statistics_of_heads, audit.checkpoint, heads, sets, terms, length, seed, audit.met)
        of_others = [head != audit.target for head in heads]
        return {name: values[of_others] for name, values in maps.items()}

    def _gaussian_maps(self, members: range, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Map statistics of some Gaussian heads; all that there are, of the first, or those that a claim is about."""
        audit, seed = self.audit, self.audit.settings.seed
        if not audit.score.bilinear:
            names = ()  # they have all scores of pairs in common
        if (members, *names) not in self._maps_drawn:
            if audit.score.bilinear:
                d_head = audit.qk.W_Q.shape[1]
                of = audit.cached(statistics_of_gaussian_heads, self._layer, members, d_head, seed, names)
            else:
                free = audit.checkpoint.free_dimensions
                of = audit.cached(own_statistics_of_gaussian_heads, self._layer, audit.score, members, free, seed)
            self._maps_drawn[members, *names] = of
        return self._maps_drawn[members, *names]


def _value(statistic: HeadStatistic, head: Head) -> list[float]:
    """Return a head's value, or nothing where it can't be taken."""
    try:
        value = statistic(head)
    except NotAssessable:
        return []
    return [float(value if isinstance(value, int | float) else value.value)]


@kept("permuted-label-scores", version=5)
def permuted_score_arrays(survey: Survey, n: int, seed: int) -> dict[str, np.ndarray]:
    """Return category scores of all heads [permutation, head] with the list's labels dealt anew."""
    return {"scores": permuted_label_scores(survey, n, seed)}


@kept("gaussian-spectra", version=6)
def gaussian_spectra_arrays(d_head: int, members: range, free: int, seed: int) -> dict[str, Tensor]:
    """Return spectra of heads with standard Gaussian weights, with `free` dimensions a column.

    W_QK of heads of another scale is these heads', times a factor, so that they are drawn once for all. `members` are
    the heads' numbers: those from another number on are drawn by another seed.
    """
    of_members = int(np.random.default_rng([seed, members.start]).integers(2**63)) if members.start else seed
    return spectra_tensors(head_spectra(gaussian_spans(len(members), free, d_head, of_members)))
