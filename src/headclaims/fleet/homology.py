"""Homology: the heads of a checkpoint ranked by how much they are like a head of another.

Three independent accounts: what heads attend to on category prompts (behaviour), the spectrum of W_sym with the scatter
of group tokens in its eigenspaces (weights), and how they score words that are one token in both models (map). Nothing
in them depends on the models' widths or bases. Axes: `head` of the ranked checkpoint, `feature`, `word` shared ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats

from headclaims.audit.audit import Audit
from headclaims.audit.prepare import audits, open_workspace
from headclaims.audit.settings import Settings
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.effective_embedding import AblatedTerms
from headclaims.circuit.eigenspectrum import HeadSpectra
from headclaims.circuit.head_score import HeadScore
from headclaims.claim.claim_set import ClaimSet
from headclaims.errors import BadInput, NotAssessable
from headclaims.measures.category_score import Survey
from headclaims.vocabulary.token_scores import TokenScores, layer_turn

SMALLEST_SHARE = 1e-6
FEWEST_SHARED = 20
Made = TypeVar("Made")


def behaviour(survey: Survey) -> Float[np.ndarray, "head feature"]:
    """Return features of each head, in logs, of its attention on category prompts.

    They are attention per kin over its uniform share; attention to itself, and per copy, over that per kin; and
    attention to BOS on rows with kin, and on rows without.
    """
    kin, alone = survey.has_kin, ~survey.has_kin
    per_kin = survey.kin_mass[:, kin].sum(axis=1) / survey.n_kin[kin].sum()
    uniform = survey.uniform_share[kin].sum() / survey.n_kin[kin].sum()
    copies = kin & (survey.n_copies > 0)
    per_copy = survey.copy_mass[:, copies].sum(axis=1) / max(1.0, float(survey.n_copies[copies].sum()))
    own = survey.own[:, kin].mean(axis=1)
    shares = (per_kin / uniform, _over(own, per_kin), _over(per_copy, per_kin))
    bos = (survey.first[:, kin].mean(axis=1), survey.first[:, alone].mean(axis=1))
    return np.stack([np.log(np.maximum(of, SMALLEST_SHARE)) for of in (*shares, *bos)], axis=1)


def _over(above: Float[np.ndarray, " head"], below: Float[np.ndarray, " head"]) -> Float[np.ndarray, " head"]:
    return np.asarray((above + SMALLEST_SHARE) / (below + SMALLEST_SHARE))


def weights(spectra: HeadSpectra, plane: Mapping[str, np.ndarray] | None) -> Float[np.ndarray, "head feature"]:
    """Return features of each head, of its W_QK.

    They are the share of negative eigenvalues among the leading ones; skew over symmetric part by largest singular
    value, and by Frobenius norm; and, where `plane` is given, scatter within and between groups.
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
    checkpoint: Checkpoint, heads: Sequence[Head], words: Sequence[str], terms: AblatedTerms, length: int
) -> Float[np.ndarray, "head word word"]:
    """Return scores among words, each one token with a leading space, by heads on their own layer's E.

    `length` is that of the prompts, over whose offsets rotary scores are averaged.
    """
    layers = sorted({head.layer for head in heads})
    ids = [checkpoint.single_token(" " + word) for word in words]
    embedded = dict(zip(layers, checkpoint.embed_alone_at(torch.tensor(ids), layers, *terms), strict=True))
    found = []
    for head in heads:
        score, x = HeadScore.of(checkpoint.score_weights(head.layer), head.index), embedded[head.layer]
        found.append(TokenScores.of(score, x, x, layer_turn(checkpoint, head.layer, length)).matrix().numpy())
    return np.stack(found)


def map_agreement(
    target: Float[np.ndarray, "word word"], others: Float[np.ndarray, "head word word"]
) -> Float[np.ndarray, " head"]:
    """Return Spearman's correlation of two heads' scores over all pairs of words, a word with itself included.

    Row means are subtracted, since softmax over keys is invariant to them.
    """
    target_ranks = stats.rankdata(target - target.mean(axis=1, keepdims=True))
    ranks = [stats.rankdata(of - of.mean(axis=1, keepdims=True)) for of in others]
    return np.array([np.corrcoef(target_ranks, of)[0, 1] if np.ptp(of) > 0 else 0.0 for of in ranks])


def distance(
    target: Float[np.ndarray, " feature"], others: Float[np.ndarray, "head feature"]
) -> Float[np.ndarray, " head"]:
    """Return the root mean square difference of features, each in standard deviations over the ranked heads."""
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
        """Return the rows of the most similar heads: label, mean rank, and each account's number."""
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


@dataclass(frozen=True)
class Accounts:
    """Features of every head of one checkpoint, by behaviour and by weights; None where the evidence lacks them."""

    audit: Audit
    behaviour: dict[Head, np.ndarray] | None
    weights: dict[Head, np.ndarray] | None

    @classmethod
    def of(cls, settings: Settings, claim_set: ClaimSet, head: Head | None = None) -> Accounts:
        """Open a checkpoint by the settings of an audit, with the words of a claim set.

        `head` is given where none is asked for: any will do, whether or not the evidence tells of it.
        """
        workspace = open_workspace(settings, claim_set.word_lists, claim_set.defaults)
        audit = audits(workspace, claim_set.defaults, None if head is None else [head])[0]

        def by_behaviour() -> dict[Head, np.ndarray]:
            survey = audit.survey
            return dict(zip(survey.heads, behaviour(survey), strict=True))

        def by_weights() -> dict[Head, np.ndarray]:
            every = audit.spectra
            plane = if_assessable(audit.scatter_plane)
            scatter = plane[1] if plane is not None and plane[0] == list(every.heads) else None
            return dict(zip(every.heads, weights(every.spectra, scatter), strict=True))

        return cls(audit, if_assessable(by_behaviour), if_assessable(by_weights))

    def maps(self, heads: Sequence[Head], words: Sequence[str]) -> Float[np.ndarray, "head word word"]:
        """Return the scores of heads among words."""
        checkpoint, workspace = self.audit.checkpoint, self.audit.workspace
        terms = workspace.ablated_terms(max(head.layer for head in heads))
        return word_maps(checkpoint, heads, words, terms, workspace.settings.seq_len)


def if_assessable(make: Callable[[], Made]) -> Made | None:
    """Return what is made, or None where the evidence lacks what it takes."""
    try:
        return make()
    except NotAssessable:
        return None


def shared_words(one: Accounts, other: Accounts, claim_set: ClaimSet) -> list[str]:
    """Return words of the set's lists that are one token in both; raises NotAssessable for fewer than twenty."""
    words = dict.fromkeys(word for words in claim_set.word_lists.every for word in words.words)
    singles = [of.audit.checkpoint.single_token for of in (one, other)]
    shared = [word for word in words if all(single(" " + word) is not None for single in singles)]
    if len(shared) < FEWEST_SHARED:
        raise NotAssessable(f"{len(shared)} words are one token in both; wanted {FEWEST_SHARED}")
    return shared


def ranking(target: Settings, other: Settings, claim_set: ClaimSet) -> Ranking:
    """Return the heads of the checkpoint of `other` by likeness to the target head of `target`.

    Raises BadInput where the two have no account in common.
    """
    one, two = Accounts.of(target, claim_set), Accounts.of(other, claim_set, Head(0, 0))
    head = one.audit.target

    def apart(
        of_target: dict[Head, np.ndarray] | None, of_others: dict[Head, np.ndarray] | None
    ) -> dict[Head, float] | None:
        if of_target is None or of_others is None or head not in of_target:
            return None
        features, rest = of_target[head], np.stack(list(of_others.values()))
        common = min(len(features), rest.shape[1])
        return dict(zip(of_others, distance(features[:common], rest[:, :common]).tolist(), strict=True))

    accounts = [apart(one.behaviour, two.behaviour), apart(one.weights, two.weights)]
    heads = next((list(distances) for distances in accounts if distances is not None), None)
    if heads is None:
        raise BadInput(
            f"{one.audit.checkpoint.spec} and {two.audit.checkpoint.spec} have neither attention nor weights in common"
        )

    def agreements() -> np.ndarray:
        words = shared_words(one, two, claim_set)
        return map_agreement(one.maps([head], words)[0], two.maps(heads, words))

    by_behaviour, by_weights = (None if of is None else np.array([of[one] for one in heads]) for of in accounts)
    return Ranking(heads, by_behaviour, by_weights, if_assessable(agreements))


COLUMNS = ["head", "mean rank", "behaviour (distance)", "weights (distance)", "map (correlation)"]
