"""Scatter of grouped tokens within and between groups, in the eigenspaces of W_sym.

For tokens x_i of a group of n with mean x̄, and any matrix M with symmetric part B:

    mean off-diagonal score − mean diagonal score = −Σ_i (x_i − x̄)ᵀ B (x_i − x̄)/(n − 1).

Proof. Let T = Σ_ij x_iᵀ M x_j = n² x̄ᵀ M x̄ and d = Σ_i x_iᵀ M x_i. Then (T − d)/(n(n − 1)) − d/n = (T − n d)/(n(n − 1))
= −(d − n x̄ᵀ M x̄)/(n − 1), and d − n x̄ᵀ M x̄ = Σ_i (x_i − x̄)ᵀ M (x_i − x̄), where yᵀ M y = yᵀ B y. A bias of the query or
the key adds u_i + v_j to each score, whose mean off the diagonal is that on it. So with D the mean over groups of the
difference and S_w the mean over groups of Σ (x − x̄)(x − x̄)ᵀ/(n − 1): **D = −tr(B S_w)**, for any sizes of groups. □

Hence D splits over eigenvectors of B: D = −Σ_k λ_k s_k with s_k = v_kᵀ S_w v_k ≥ 0; negative eigenvalues add D₋ ≥ 0,
positive ones D₊ ≤ 0, and scaling the negative ones by α gives D(α) = α D₋ + D₊, which is 0 at α* = −D₊/D₋.

Axes: `token` the tokens of all groups, `group`, `span` the at most 2·d_head eigenvectors of W_sym on the span of W_QK.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.circuit.qk_circuit import QKCircuit, symmetric_part
from headclaims.statistics.resampling import OverUnits, Within


@dataclass(frozen=True)
class Eigenspace:
    """The eigenvalues of W_sym on the span of W_QK (ascending, after the scale), and their eigenvectors."""

    values: Float[Tensor, " span"]
    vectors: Float[Tensor, "d_model span"]

    @classmethod
    def of(cls, circuit: QKCircuit) -> Eigenspace:
        """Decompose a head's W_sym, in float64, on the span of [W_Q W_K]."""
        Q, R = torch.linalg.qr(torch.cat([circuit.W_Q, circuit.W_K], dim=1).double())
        d_head = circuit.W_Q.shape[1]
        values, vectors = torch.linalg.eigh(symmetric_part(R[:, :d_head] @ R[:, d_head:].T) * circuit.scale)
        return cls(values, Q @ vectors)

    def largest(self, n: int) -> Eigenspace:
        """Return the n eigenvalues largest in magnitude with their eigenvectors, as the write-up keeps d_head."""
        kept = self.values.abs().topk(min(n, len(self.values))).indices.sort().values
        return Eigenspace(self.values[kept], self.vectors[:, kept])

    def coordinates(self, tokens: Float[Tensor, "token d_model"]) -> Float[np.ndarray, "token span"]:
        """Return the coordinates of tokens along the eigenvectors."""
        return (tokens.double() @ self.vectors).numpy()


@dataclass(frozen=True)
class Scatter:
    """Scatter along eigenvectors, of each group's tokens and of the groups' means; `values` are the eigenvalues.

    `within[g, k]` is Σ_i (v_kᵀ(x_i − x̄))²/(n − 1) over the n tokens of group g, and `means[g, k]` is v_kᵀx̄.
    """

    values: Float[np.ndarray, " span"]
    within: Float[np.ndarray, "group span"]
    means: Float[np.ndarray, "group span"]

    @property
    def mean_within(self) -> Float[np.ndarray, " span"]:
        """v_kᵀ S_w v_k, the mean over groups of their scatter."""
        return np.asarray(self.within.mean(axis=0))

    @property
    def between(self) -> Float[np.ndarray, " span"]:
        """v_kᵀ S_b v_k = Σ_g (v_kᵀ(x̄_g − x̄))²/(G − 1) over the G group means."""
        return np.asarray(self.means.var(axis=0, ddof=1))

    @property
    def D(self) -> float:
        """−tr(W_sym S_w), by how much diagonal scores lie below the others of their group, in nats."""
        return float(-self.values @ self.mean_within)

    @property
    def D_negative(self) -> float:
        """Contribution of negative eigenvalues to D, in nats: 0 or more."""
        return float(-np.minimum(self.values, 0) @ self.mean_within)

    @property
    def D_positive(self) -> float:
        """Contribution of positive eigenvalues to D, in nats: 0 or less."""
        return float(-np.maximum(self.values, 0) @ self.mean_within)

    @property
    def crossing(self) -> float:
        """α* = −D₊/D₋, the factor on negative eigenvalues that makes D vanish; infinite where D₋ is 0."""
        return -self.D_positive / self.D_negative if self.D_negative > 0 else float("inf")

    def b(self) -> Within:
        """Return tr(W_sym S_b)/tr(|W_sym| S_b), in [−1, 1], with an interval over groups.

        It is 1 where groups differ along positive eigenvectors alone.
        """
        return Within(OverUnits("groups", *self._jackknifed(self._b)), -1.0, 1.0)

    def w(self) -> Within:
        """Return tr(W_sym S_w)/tr(|W_sym| S_w), in [−1, 1], with an interval over groups.

        It is −1 where tokens of a group differ along negative eigenvectors alone.
        """
        return Within(OverUnits("groups", *self._jackknifed(self._w)), -1.0, 1.0)

    def contrast(self) -> Within:
        """Return the contrast b − w, in [−2, 2], with an interval over groups."""
        contrast = self._jackknifed(lambda groups: self._b(groups) - self._w(groups))
        return Within(OverUnits("groups", *contrast), -2.0, 2.0)

    def _b(self, groups: Int[np.ndarray, " chosen"]) -> float:
        return _signed_share(self.values, self.means[groups].var(axis=0, ddof=1)) if len(groups) > 1 else float("nan")

    def _w(self, groups: Int[np.ndarray, " chosen"]) -> float:
        return _signed_share(self.values, self.within[groups].mean(axis=0))

    def _jackknifed(
        self, statistic: Callable[[Int[np.ndarray, " chosen"]], float]
    ) -> tuple[float, Float[np.ndarray, " group"]]:
        """Return a statistic of all groups, and of all but each."""
        groups = np.arange(len(self.means))
        return statistic(groups), np.array([statistic(np.delete(groups, g)) for g in groups])


def _signed_share(values: Float[np.ndarray, " span"], scatter: Float[np.ndarray, " span"]) -> float:
    total = np.abs(values) @ scatter
    return float(values @ scatter / total) if total > 0 else 0.0


def scatter(
    values: Float[np.ndarray, " span"],
    coordinates: Float[np.ndarray, "token span"],
    group: Int[np.ndarray, " token"],
) -> Scatter:
    """Compute the scatter of grouped tokens from their coordinates along eigenvectors.

    Raises ValueError for fewer than two groups, or a group of one token.
    """
    labels, sizes = np.unique(group, return_counts=True)
    if len(labels) < 2 or sizes.min() < 2:
        raise ValueError(f"groups of {sizes.tolist()} tokens; wanted two or more groups of two or more")
    member = np.equal.outer(labels, group).astype(float)
    means = member @ coordinates / sizes[:, None]
    within = member @ np.square(coordinates - means[np.searchsorted(labels, group)]) / (sizes[:, None] - 1)
    return Scatter(values, within, means)


def contrasts(
    values: Float[np.ndarray, "*#many span"],
    coordinates: Float[np.ndarray, "*#many token span"],
    member: Float[np.ndarray, "*#many group token"],
) -> Float[np.ndarray, "*_"]:
    """Compute the contrast b − w of many heads or many groupings; `member` is 1 where a token is of a group, else 0."""
    n = member.sum(axis=-1, keepdims=True)
    means = member @ coordinates / n
    squares = member @ np.square(coordinates) - n * np.square(means)
    within = (squares / (n - 1)).mean(axis=-2).clip(min=0)
    between = means.var(axis=-2, ddof=1)

    def signed_share(scatter: Float[np.ndarray, "*_ span"]) -> Float[np.ndarray, "*_"]:
        total = (np.abs(values) * scatter).sum(axis=-1)
        return np.asarray(np.where(total > 0, (values * scatter).sum(axis=-1) / np.where(total > 0, total, 1), 0.0))

    return signed_share(between) - signed_share(within)


def permuted_contrasts(
    values: Float[np.ndarray, " span"],
    coordinates: Float[np.ndarray, "token span"],
    group: Int[np.ndarray, " token"],
    n: int,
    seed: int,
) -> Float[np.ndarray, " permutation"]:
    """Compute the contrast b − w for n random permutations of the tokens among the groups, whose sizes stay."""
    generator = np.random.default_rng([seed, 4])
    dealt = np.stack([generator.permutation(group) for _ in range(n)])
    return contrasts(values, coordinates, np.equal(np.unique(group)[:, None], dealt[:, None, :]).astype(float))
