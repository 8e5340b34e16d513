"""Steering: the negative eigenvalues of W_sym scaled by α, in the vocabulary map and in the model.

W(α) = W_sym + (α − 1) W₋, where W₋ is the part of the negative eigenvalues. Its rank can be 2·d_head, more than factors
W_Q and W_K can hold, so the scores are changed rather than the weights. The write-up (`author`) keeps only the d_head
eigenvalues of W_sym that are largest in magnitude, and adds W_skew. Axes: `prompt`, `query` and `key` positions,
`pair` all (query, key ≤ query) of a prompt, `eigenvalue` the at most 2·d_head of W_sym, ascending, `change` ways of
weighting them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.checkpoint.interface import Head
from headclaims.circuit.qk_circuit import QKCircuit, Rotation, RotationAt, symmetric_part
from headclaims.circuit.scatter import Eigenspace
from headclaims.circuit.symmetric_scores import QKPart, part_scores
from headclaims.measures.category_blocks import block_auc
from headclaims.measures.category_score import Survey
from headclaims.prompts.category import CategoryPrompts, kin
from headclaims.statistics.resampling import Resampled, Smallest

ALPHAS = (1.1, 1.0, 0.5, 0.0, -0.5, -1.0)
STEERED = (0.0, -0.5, -1.0)
HALVES = 99
Weights = Float[np.ndarray, "change eigenvalue"]


class Eigenvalues(StrEnum):
    """Which eigenvalues of W_sym can be scaled on prompts."""

    ALL = "all"
    NEGATIVE = "negative"
    """Those negative at offset 0, as many at every offset: the lowest."""
    AUTHOR = "author"
    """The d_head largest in magnitude, the others left out and W_skew added, as in the write-up."""


def negative_part(values: Float[np.ndarray, " eigenvalue"]) -> Float[np.ndarray, " eigenvalue"]:
    """Return the weights of eigenvalues in W₋: 1 for negative ones, 0 for others."""
    return (values < 0).astype(float)


def positive_control(values: Float[np.ndarray, " eigenvalue"]) -> Float[np.ndarray, " eigenvalue"]:
    """Return control weights that select the positive eigenvalues, scaled to the Σλ² of the negative ones."""
    positive = (values > 0).astype(float)
    energy = positive @ np.square(values)
    negative_energy = negative_part(values) @ np.square(values)
    return np.asarray(positive * np.sqrt(negative_energy / energy) if energy > 0 else positive)


def random_halves(values: Float[np.ndarray, " eigenvalue"], n: int, seed: int) -> Weights:
    """Draw n control weights that each select a random half of the eigenvalues, scaled to the Σλ² of negative ones."""
    generator = np.random.default_rng([seed, 5])
    halves = np.zeros((n, len(values)))
    for half in halves:
        half[generator.permutation(len(values))[: len(values) // 2]] = 1.0
    energy = halves @ np.square(values)
    negative_energy = negative_part(values) @ np.square(values)
    return halves * np.sqrt(negative_energy / np.maximum(energy, 1e-300))[:, None]


@dataclass(frozen=True)
class SteeredMap:
    """Scores among tokens under W(α), in float64.

    `start` are the scores at α = 1; eigenvalue λ = `values[k]` contributes λ y_k y_kᵀ, y being `coordinates`.
    """

    values: Float[np.ndarray, " eigenvalue"]
    coordinates: Float[np.ndarray, "token eigenvalue"]
    start: Float[np.ndarray, "token token"]

    @classmethod
    def of(
        cls, circuit: QKCircuit, x: Float[Tensor, "token d_model"], biased: bool = True, author: bool = False
    ) -> SteeredMap:
        """Compute a head's scores among tokens x (rows of E) at offset 0, with or without both biases."""
        space = Eigenspace.of(circuit)
        space = space.largest(circuit.W_Q.shape[1]) if author else space
        values, y = space.values.numpy(), space.coordinates(x)
        scores = (y * values) @ y.T
        if author:
            whole = (
                (x.double() @ circuit.W_Q.double()) @ (x.double() @ circuit.W_K.double()).T
            ).numpy() * circuit.scale
            scores = scores + (whole - whole.T) / 2
        if biased:
            x = x.double()
            of_query = (x @ circuit.W_Q.double() @ circuit.b_K.double()).numpy() * circuit.scale
            of_key = (x @ circuit.W_K.double() @ circuit.b_Q.double()).numpy() * circuit.scale
            scores = scores + of_query[:, None] + of_key[None, :]
        return cls(values, y, scores)

    def at(
        self, alpha: float, part: Float[np.ndarray, " eigenvalue"] | None = None
    ) -> Float[np.ndarray, "token token"]:
        """Return the scores with a part of the eigenvalues (by default the negative ones) scaled by α."""
        part = negative_part(self.values) if part is None else part
        return self.start + (alpha - 1) * (self.coordinates * (self.values * part)) @ self.coordinates.T

    def kept_blocks(self, group: np.ndarray, part: Float[np.ndarray, " eigenvalue"] | None = None) -> float:
        """Return the lowest `block_auc` at α = 0, −0.5 and −1 over that at α = 1."""
        before = block_auc(self.at(1.0), group)
        return min(block_auc(self.at(alpha, part), group) for alpha in STEERED) / before


@dataclass(frozen=True)
class SteeredScores:
    """A head's scores on prompts: `start` at α = 1, and in `parts` each eigenvalue's contribution to every pair.

    `rows` are the pairs' query and key positions. With rotary positions the contributions are those of W_sym at the
    pair's offset, while `values` are the eigenvalues at offset 0.
    """

    start: Float[Tensor, "prompt query key"]
    parts: Float[Tensor, "prompt pair eigenvalue"]
    values: Float[np.ndarray, " eigenvalue"]
    rows: tuple[Tensor, Tensor]

    @classmethod
    def of(
        cls,
        circuit: QKCircuit,
        x: Float[Tensor, "prompt position d_model"],
        rotation: RotationAt,
        scaled: Eigenvalues = Eigenvalues.ALL,
        window: int | None = None,
    ) -> SteeredScores:
        """Compute them from x, the residual stream that the head reads: after its norm, without gain.

        `rows` are those pairs that a `window` shows, `values` the eigenvalues that can be `scaled`.
        """
        length, d_head = x.shape[1], circuit.W_Q.shape[1]
        circuit, basis = circuit.on_span()
        x = x @ basis
        author, n = scaled is Eigenvalues.AUTHOR, None
        if scaled is Eigenvalues.NEGATIVE:
            n = int((torch.linalg.eigvalsh(_symmetric(circuit, rotation(0))) < 0).sum())

        def parts(turn: Rotation | None, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
            values, vectors = torch.linalg.eigh(_symmetric(circuit, turn))
            values, vectors = values[:n], vectors[:, :n]
            size = values.abs()
            if author:  # what is dropped counts nothing, and columns stay those of all eigenvalues
                size = torch.where(size >= size.topk(min(d_head, len(size))).values[-1], size, 0.0)
            y = x @ (vectors.float() * size.sqrt().float())
            return values, y[:, query] * (y * values.sign().float())[:, key]

        seen = min(length, window or length)
        turns = [R for R in (rotation(offset) for offset in range(seen)) if R is not None]
        if turns:
            rows = [torch.arange(offset, length) for offset in range(seen)]
            query, key = torch.cat(rows), torch.cat([row - offset for offset, row in enumerate(rows)])
            each = [parts(R, row, row - d) for d, (R, row) in enumerate(zip(turns, rows, strict=True))]
            values, contributions = each[0][0].numpy(), torch.cat([of for _, of in each], dim=1)
        else:  # all pairs have the same eigenvectors
            query, key = torch.tril_indices(length, length)
            near = query - key < seen
            query, key = query[near], key[near]
            of_all, contributions = parts(None, query, key)
            values = of_all.numpy()
        scores = part_scores(circuit, x, rotation, QKPart.SYMMETRIC, window)
        if author:
            scores = part_scores(circuit, x, rotation, QKPart.SKEW, window)
            scores[:, query, key] += contributions.sum(dim=-1)
        return cls(scores, contributions, values, (query, key))

    def patterns(self, alpha: float, changes: Weights) -> Iterator[Float[Tensor, "prompt query key"]]:
        """Yield the attention pattern under each change: eigenvalue k times 1 + (α − 1) · `changes[change, k]`."""
        added = self.parts @ torch.from_numpy((alpha - 1) * changes).float().T
        for number in range(len(changes)):
            scores = self.start.clone()
            scores[:, self.rows[0], self.rows[1]] += added[..., number]
            yield scores.softmax(dim=-1)


def _symmetric(circuit: QKCircuit, turn: Rotation | None) -> Float[Tensor, "span span"]:
    """Return W_sym of a circuit on its span, which is small: its eigenvectors need no basis of their own."""
    turned = circuit if turn is None else circuit.at_offset(turn)
    return symmetric_part(turned.W_Q.double() @ turned.W_K.double().T * turned.scale)


def self_preference(survey: Survey, head: Head) -> np.ndarray:
    """Return for each row the attention to itself and its copies minus that per kin; meant for rows with kin."""
    position = survey.position(head)
    per_kin = survey.kin_mass[position] / np.maximum(survey.n_kin, 1)
    return np.asarray(survey.own[position] + survey.copy_mass[position] - per_kin)


@dataclass(frozen=True)
class MeanSelfPreference:
    """The mean of `self_preference` over rows with kin, which is linear in a pattern: Σ A[i,j] · `weights`[i,j]."""

    weights: Float[Tensor, "prompt query key"]

    @classmethod
    def on(cls, prompts: CategoryPrompts) -> MeanSelfPreference:
        """Return it on some prompts; NaN where no row has kin."""
        words, length = prompts.word_at, prompts.length
        earlier = np.tri(length, k=-1, dtype=bool)
        is_kin = np.pad(kin(prompts.words), (0, 1))[words[:, :, None], words[:, None, :]] & earlier
        is_copy = (words[:, :, None] == words[:, None, :]) & (words >= 0)[:, None, :] & earlier
        n_kin = is_kin.sum(axis=2, keepdims=True)
        of_row = np.eye(length) + is_copy - is_kin / np.maximum(n_kin, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return cls(torch.from_numpy(of_row * (n_kin > 0) / np.float64((n_kin > 0).sum())))

    def __call__(self, pattern: Float[Tensor, "prompt query key"]) -> float:
        """Return the mean under a pattern."""
        return float(torch.dot(pattern.double().flatten(), self.weights.flatten()))


@dataclass(frozen=True)
class Steered:
    """Surveys of the head at each of `ALPHAS`, and of the clean run."""

    clean: Survey
    at: dict[float, Survey]
    head: Head

    def _means(self, values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack(values), self.clean.has_kin[None]

    def swing(self) -> Resampled:
        """Return the mean `self_preference` at α = −1 minus that at 1, over rows with kin."""
        values = [self_preference(self.at[alpha], self.head) for alpha in (-1.0, 1.0)]
        return Resampled(self.clean.grouped(*self._means(values)), lambda means: means[:, 0] - means[:, 1])

    def preference(self) -> Resampled:
        """Return the mean `self_preference` at α = −1, over rows with kin."""
        values = [self_preference(self.at[-1.0], self.head)]
        return Resampled(self.clean.grouped(*self._means(values)), lambda means: means[:, 0])

    def smallest_rise(self) -> Smallest:
        """Return the smallest rise of own attention plus copies from one α to the next lower one: > 0 iff monotone."""
        values = [s.own[s.position(self.head)] + s.copy_mass[s.position(self.head)] for s in self._falling]
        rows = self.clean.grouped(*self._means(values))
        return Smallest(rows, lambda means: np.diff(means, axis=1))

    def kept_kin(self) -> Smallest:
        """Return the lowest kin mass at any α over that of the clean run: means over rows with kin."""
        values = [s.kin_mass[s.position(self.head)] for s in (self.clean, *self._falling)]
        rows = self.clean.grouped(*self._means(values))
        return Smallest(rows, lambda means: means[:, 1:] / means[:, :1])

    def kin_of_the_rest(self, alpha: float) -> float:
        """Return kin mass at an α over the attention that own position and copies leave: means over rows with kin."""
        s = self.at[alpha]
        position, rows = s.position(self.head), s.has_kin
        rest = 1 - s.own[position, rows] - s.copy_mass[position, rows]
        return float(s.kin_mass[position, rows].mean() / rest.mean())

    @property
    def _falling(self) -> list[Survey]:
        return [self.at[alpha] for alpha in ALPHAS]
