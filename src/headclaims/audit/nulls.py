"""The null populations that claims name, drawn once an audit, their statistics kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from headclaims.cache import kept
from headclaims.checkpoint.interface import Head
from headclaims.circuit.effective_embedding import Variant
from headclaims.circuit.eigenspectrum import HeadSpectra, head_spectra, spectra_from, spectra_tensors
from headclaims.circuit.gaussian_heads import gaussian_spans
from headclaims.errors import BadInput, NotAssessable
from headclaims.measures.category_score import Survey
from headclaims.measures.gaussian_map import statistics_of_gaussian_heads
from headclaims.measures.layer_map import LayerMap
from headclaims.measures.map_statistics import statistics_of_other_heads
from headclaims.measures.permuted_labels import best_of_all_heads, permuted_label_scores
from headclaims.statistics.nulls import DRAWS, Null

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit

DRAWS_A_CHOICE = 20
OTHER_HEADS, GAUSSIAN_HEADS, PERMUTED_LABELS = "other heads", "Gaussian heads", "permuted labels"


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

    def draw(self, population: str, values: Callable[[], np.ndarray], chosen_among: int = 1) -> Null:
        """Return a population of what `values` gives, one number a member.

        `chosen_among` is the number of heads that the target was looked for among, where members were not.
        """
        if self.audit.settings.verdicts_only:
            return Null(population, None, missing="--verdicts-only")
        return Null(population, values(), chosen_among=chosen_among)

    def other_heads(self, statistic: HeadStatistic) -> Null:
        """Return a statistic of single heads over at most 48 heads beside the target, all of its layer first.

        `statistic` takes a head and returns a number, or a statistic with an interval, whose value counts. Heads of
        which it can't be taken are left out.
        """
        try:
            heads = self.audit.beside(self.audit.heads)
        except BadInput as error:
            return Null(OTHER_HEADS, None, missing=str(error))
        return self.draw(OTHER_HEADS, lambda: np.array([value for head in heads for value in _value(statistic, head)]))

    def permuted_labels(self, statistic: ScoreStatistic) -> Null:
        """Return a statistic of all heads' category scores, for whichever head is best, the list's labels dealt anew.

        There are 999 permutations; `statistic` takes scores [permutation, head], sorted, and the place of the best, 0.
        """
        return self.draw(PERMUTED_LABELS, lambda: best_of_all_heads(self._permuted_scores, statistic))

    @cached_property
    def _permuted_scores(self) -> np.ndarray:
        audit = self.audit
        return audit.cached(permuted_score_arrays, audit.survey, DRAWS, audit.settings.seed)["scores"]

    @property
    def gaussian_draws(self) -> int:
        """How many Gaussian heads are drawn: 20 for each head that the target was chosen among let p fall to 0.049."""
        return max(DRAWS, DRAWS_A_CHOICE * self.audit.workspace.chosen_among)

    def spectral(self, statistic: SpectralStatistic) -> list[Null]:
        """Return a statistic of spectra over all other heads, and over Gaussian heads of the target's scale.

        Under `--head auto` or `all` the target is compared with the extreme of as many Gaussian draws as there were
        heads to choose among.
        """

        def beside() -> np.ndarray:
            every = self.audit.spectra
            return np.delete(statistic(every.spectra).double().numpy(), every.position(self.audit.target))

        return [
            self.draw(OTHER_HEADS, beside),
            self.draw(
                GAUSSIAN_HEADS,
                lambda: statistic(self._gaussian_spectra).double().numpy(),
                self.audit.workspace.chosen_among,
            ),
        ]

    @cached_property
    def _gaussian_spectra(self) -> HeadSpectra:
        audit, circuit = self.audit, self.audit.qk
        arrays = audit.cached(
            gaussian_spectra_arrays,
            circuit.W_Q,
            circuit.W_K,
            self.gaussian_draws,
            audit.checkpoint.free_dimensions,
            audit.settings.seed,
        )
        return spectra_from({name: torch.from_numpy(of) for name, of in arrays.items()}, audit.checkpoint.sizes.d_head)

    def other_maps(self, *statistics: str) -> Null:
        """Return a map statistic over other heads, each on its own layer's E; of several the smallest."""
        return self._of_maps(OTHER_HEADS, lambda: self._other_maps, statistics)

    def gaussian_maps(self, *statistics: str) -> Null:
        """Return a map statistic over Gaussian heads on the target's E; of several the smallest."""
        return self._of_maps(GAUSSIAN_HEADS, lambda: self._gaussian_maps, statistics, self.audit.workspace.chosen_among)

    @property
    def _layer(self) -> LayerMap:
        return self.audit.maps[Variant.MEAN].layer

    @cached_property
    def _other_maps(self) -> dict[str, np.ndarray]:
        audit, layer = self.audit, self._layer
        heads = audit.beside(audit.workspace.model_heads)
        terms = audit.workspace.ablated_terms(max(head.layer for head in heads))
        return audit.cached(
            statistics_of_other_heads, audit.checkpoint, heads, layer.sets, terms, layer.turn, audit.settings.seed
        )

    @cached_property
    def _gaussian_maps(self) -> dict[str, np.ndarray]:
        audit = self.audit
        d_head = audit.qk.W_Q.shape[1]
        return audit.cached(statistics_of_gaussian_heads, self._layer, self.gaussian_draws, d_head, audit.settings.seed)

    def _of_maps(
        self,
        population: str,
        arrays: Callable[[], dict[str, np.ndarray]],
        statistics: Sequence[str],
        chosen_among: int = 1,
    ) -> Null:
        def values() -> np.ndarray:
            smallest = np.stack([arrays()[name] for name in statistics]).min(axis=0)
            return smallest[~np.isnan(smallest)]

        if not self.audit.settings.verdicts_only and any(name not in arrays() for name in statistics):
            return Null(population, None, missing="no member has the statistic")
        return self.draw(population, values, chosen_among)


def _value(statistic: HeadStatistic, head: Head) -> list[float]:
    """Return a head's value, or nothing where it can't be taken."""
    try:
        value = statistic(head)
    except NotAssessable:
        return []
    return [float(value if isinstance(value, int | float) else value.value)]


@kept("permuted-label-scores", version=4)
def permuted_score_arrays(survey: Survey, n: int, seed: int) -> dict[str, np.ndarray]:
    """Return category scores of all heads [permutation, head] with the list's labels dealt anew."""
    return {"scores": permuted_label_scores(survey, n, seed)}


@kept("gaussian-spectra", version=4)
def gaussian_spectra_arrays(W_Q: Tensor, W_K: Tensor, n: int, free: int, seed: int) -> dict[str, Tensor]:
    """Return spectra of n Gaussian heads of a head's scale, with `free` dimensions a column."""
    return spectra_tensors(head_spectra(gaussian_spans(n, free, W_Q, W_K, seed)))
