"""Homology: the heads of a checkpoint ranked by how much they are like a head of another.

Three independent accounts: what heads attend to on category prompts (behaviour), the spectrum of W_sym with the scatter
of group tokens in its eigenspaces (weights), and how they score words that are one token in both models (map). Nothing
in them depends on the models' widths or bases. Axes: `head` of the ranked checkpoint, `feature`, `word` shared ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats

from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.effective_embedding import AblatedTerms
from headclaims.circuit.eigenspectrum import HeadSpectra
from headclaims.circuit.qk_circuit import QKCircuit, Rotation
from headclaims.measures.category_score import Survey
from headclaims.vocabulary.scores import TokenScores

SMALLEST_SHARE = 1e-6


def behaviour(survey: Survey) -> Float[np.ndarray, "head feature"]:
    """Of each head, in logs: attention per kin over its uniform share; that to itself, to copies, over that per kin;
    and attention to BOS where there is kin, and where there is none.
    """
    kin, alone = survey.has_kin, ~survey.has_kin
    per_kin = survey.kin_mass[:, kin].sum(axis=1) / survey.n_kin[kin].sum()
    uniform = survey.uniform_share[kin].sum() / survey.n_kin[kin].sum()
    copies = kin & (survey.n_copies > 0)
    per_copy = survey.copy_mass[:, copies].sum(axis=1) / max(1.0, float(survey.n_copies[copies].sum()))
    own = survey.own[:, kin].mean(axis=1)
    shares = (per_kin / uniform, _over(own, per_kin), _over(per_copy, per_kin))
    bos = (survey.bos[:, kin].mean(axis=1), survey.bos[:, alone].mean(axis=1))
    return np.stack([np.log(np.maximum(of, SMALLEST_SHARE)) for of in (*shares, *bos)], axis=1)


def _over(above: Float[np.ndarray, " head"], below: Float[np.ndarray, " head"]) -> Float[np.ndarray, " head"]:
    return np.asarray((above + SMALLEST_SHARE) / (below + SMALLEST_SHARE))


def weights(spectra: HeadSpectra, plane: Mapping[str, np.ndarray] | None) -> Float[np.ndarray, "head feature"]:
    """Of each head: the share of negative eigenvalues among the leading ones, skew over symmetric part by largest
    singular value and by Frobenius norm, and where it could be taken scatter within and between groups.
    """
    norms = spectra.norms
    features = [
        spectra.negative_count.double().numpy() / spectra.d_head,
        norms.ratio.double().numpy(),
        (norms.skew_frobenius / norms.symmetric_frobenius.clamp_min(1e-300)).double().numpy(),
    ]
    if plane is not None:
        features += [plane["within"], plane["between"]]
    return np.stack(features, axis=1)


def word_maps(
    checkpoint: Checkpoint, heads: Sequence[Head], words: Sequence[str], terms: AblatedTerms, turn: Rotation | None
) -> Float[np.ndarray, "head word word"]:
    """Scores among words, each one token with a leading space, by heads on their own layer's E."""
    layers = sorted({head.layer for head in heads})
    ids = [checkpoint.single_token(" " + word) for word in words]
    embedded = dict(zip(layers, checkpoint.embed_alone_at(torch.tensor(ids), layers, *terms), strict=True))
    found = []
    for head in heads:
        circuit, x = QKCircuit.of(checkpoint.qk_weights(head.layer), head.index), embedded[head.layer]
        found.append(TokenScores.of(circuit, x, x, turn).matrix().numpy())
    return np.stack(found)


def map_agreement(
    target: Float[np.ndarray, "word word"], others: Float[np.ndarray, "head word word"]
) -> Float[np.ndarray, " head"]:
    """Spearman's correlation of the scores of all pairs of words, a word with itself among them, row means taken off: a
    softmax over keys takes no notice of them.
    """
    wanted = stats.rankdata(target - target.mean(axis=1, keepdims=True))
    ranks = [stats.rankdata(of - of.mean(axis=1, keepdims=True)) for of in others]
    return np.array([np.corrcoef(wanted, of)[0, 1] if np.ptp(of) > 0 else 0.0 for of in ranks])


def distance(
    target: Float[np.ndarray, " feature"], others: Float[np.ndarray, "head feature"]
) -> Float[np.ndarray, " head"]:
    """Root mean square difference of features, each in standard deviations over the ranked heads."""
    spread = others.std(axis=0)
    scaled = (others - target) / np.where(spread > 0, spread, 1.0)
    return np.asarray(np.sqrt(np.square(scaled).mean(axis=1)))


@dataclass(frozen=True)
class Ranking:
    """Heads with their distance by behaviour and by weights and their agreement of maps; None where it can't be had."""

    heads: list[Head]
    behaviour: Float[np.ndarray, " head"] | None
    weights: Float[np.ndarray, " head"] | None
    agreement: Float[np.ndarray, " head"] | None

    @property
    def mean_rank(self) -> Float[np.ndarray, " head"]:
        """The mean of the ranks by each account, 1 the most alike."""
        away = [self.behaviour, self.weights, None if self.agreement is None else -self.agreement]
        return np.asarray(np.mean([stats.rankdata(of) for of in away if of is not None], axis=0))

    def rows(self, most: int) -> list[list[str]]:
        """The heads most alike, with what each account says."""
        order = np.argsort(self.mean_rank, kind="stable")[:most]
        accounts = (self.behaviour, self.weights, self.agreement)
        return [
            [
                self.heads[i].label,
                f"{self.mean_rank[i]:.1f}",
                *("–" if of is None else f"{of[i]:.3f}" for of in accounts),
            ]
            for i in order
        ]


COLUMNS = ["head", "mean rank", "behaviour (distance)", "weights (distance)", "map (correlation)"]
