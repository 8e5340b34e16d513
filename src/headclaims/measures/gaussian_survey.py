"""Category scores of all heads, each with Gaussian weights in place of its own: the null of claims about all heads.

Every head is replaced by a Gaussian head of its own scale that reads its own layer's effective embedding E, on the same
prompts. Unlike permuted labels this keeps what any trained embedding has: kin are close in it, whatever a head does.

The prompts hold few distinct tokens. For a d_model × d_head matrix W of independent Gaussian entries, X W is
distributed as L Z, where X are the rows of E of these tokens, L Lᵀ = X Xᵀ, and Z has independent standard normal
entries: no weights of the size of d_model are drawn.

Axes: `head` all heads of the survey, `draw` members of the null population, `token` the distinct tokens of the prompts,
`rank` the columns of L (at most one a token), `prompt`, `query` and `key` positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.cache import kept
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.circuit.effective_embedding import AblatedTerms
from headclaims.circuit.gaussian_heads import entry_size
from headclaims.circuit.head_score import HeadNorm, HeadScore, capped
from headclaims.measures.category_score import SCORE_FLOOR
from headclaims.measures.gaussian_patterns import PromptTokens, Turns, scores_by_patterns
from headclaims.threads import each_in_one_thread

SURVEYS = 199


@dataclass(frozen=True)
class DrawnNorm:
    """A head's own norm for queries, or keys, of Gaussian weights; of all heads together, `mean` and `size` stay."""

    norm: HeadNorm
    mean: Float[Tensor, "token 1"] | None
    size: Float[Tensor, "token 1"] | None

    @classmethod
    def of(cls, norm: HeadNorm | None, E: Float[Tensor, "token d_model"]) -> DrawnNorm | None:
        """Take a head's norm on the tokens of its layer."""
        if norm is None:
            return None
        moments = (None, None) if norm.W_all is None else norm.moments(E, E)
        return cls(replace(norm, W_all=None, b_all=None), *moments)

    def __call__(self, z: Float[Tensor, "draw token d_head"]) -> Float[Tensor, "draw token d_head"]:
        """Normalise queries or keys."""
        if self.mean is None or self.size is None:
            return self.norm(z, z)
        return (z - self.mean) / self.size * self.norm.gain + self.norm.bias


@dataclass(frozen=True)
class GaussianHeads:
    """What the scores of Gaussian heads depend on: their layers' tokens, their scales, and the heads' own biases.

    `sizes` are the root mean squares of a head's W_Q and W_K over the free dimensions of their columns. `norms` are
    each head's own for queries and for keys, `caps` and `windows` those of the layers; None where there is none.
    """

    factors: Float[Tensor, "layer token rank"]
    layer: Int[np.ndarray, " head"]
    sizes: Float[Tensor, "head 2"]
    b_Q: Float[Tensor, "head d_head"]
    b_K: Float[Tensor, "head d_head"]
    scale: Float[Tensor, " layer"]
    norms: tuple[tuple[DrawnNorm | None, DrawnNorm | None], ...] = ()
    caps: tuple[float | None, ...] = ()
    windows: tuple[int | None, ...] = ()

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, heads: Sequence[Head], tokens: Int[Tensor, " token"], terms: AblatedTerms
    ) -> GaussianHeads:
        """Take the heads of a checkpoint; `terms` are the ablated terms of the deepest layer.

        Raises NotAssessable where the evidence has no embedding, or lacks the weights of a layer.
        """
        layers = sorted({head.layer for head in heads})
        free = checkpoint.free_dimensions
        embedded = checkpoint.embed_by_layer(tokens, layers, *terms)
        factors, scales, caps = [], [], []
        of_head: dict[Head, tuple[list[float], Tensor, Tensor, tuple[DrawnNorm | None, DrawnNorm | None]]] = {}
        for layer, E in zip(layers, embedded, strict=True):  # weights of one layer are in memory
            score = checkpoint.score_weights(layer)
            factors.append(factor(E, free < E.shape[-1]))
            scales.append(float(score.qk.scale))
            caps.append(score.cap)
            for head in (head for head in heads if head.layer == layer):
                own = HeadScore.of(score, head.index)
                norms = DrawnNorm.of(own.query_norm, E), DrawnNorm.of(own.key_norm, E)
                sizes = [entry_size(W, free) for W in (own.circuit.W_Q, own.circuit.W_K)]
                of_head[head] = sizes, own.circuit.b_Q, own.circuit.b_K, norms
        every_size, b_Q, b_K, every_norm = zip(*(of_head[head] for head in heads), strict=True)
        return cls(
            torch.stack(factors),
            np.array([layers.index(head.layer) for head in heads]),
            torch.tensor(every_size),
            torch.stack(b_Q),
            torch.stack(b_K),
            torch.tensor(scales),
            every_norm,
            tuple(caps),
            tuple(checkpoint.window(layer) for layer in layers),
        )

    def draw(
        self, head: int, n: int, seed: int
    ) -> tuple[Float[Tensor, "draw token d_head"], Float[Tensor, "draw token d_head"]]:
        """Draw n Gaussian heads in place of one: tokens' queries and keys, with biases and norms, before rotation."""
        Z = normal_draws(head, n, self.factors.shape[-1], self.b_Q.shape[-1], seed)
        L = self.factors[self.layer[head]]
        q, k = (self.sizes[head, side] * (L @ Z[side]) for side in (0, 1))
        q, k = q + self.b_Q[head], k + self.b_K[head]
        query_norm, key_norm = self.norms[head] if self.norms else (None, None)
        return q if query_norm is None else query_norm(q), k if key_norm is None else key_norm(k)


def normal_draws(head: int, n: int, rank: int, d_head: int, seed: int) -> Float[Tensor, "2 draw rank d_head"]:
    """Return the standard normal Z of the queries and of the keys of n heads in place of a head."""
    generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, head]).integers(2**63)))
    return torch.randn(2, n, rank, d_head, generator=generator)


def factor(E: Float[Tensor, "token d_model"], centred: bool) -> Float[Tensor, "token rank"]:
    """Return L with L Lᵀ = X Xᵀ, where X are the rows of E, or, for columns that a norm has `centred`, E less its mean.

    A column w of mean 0 reads x w = (x − mean of x) w.
    """
    X = E.double()
    if centred:
        X = X - X.mean(dim=1, keepdim=True)
    return torch.linalg.qr(X.mT, mode="r").R.mT.to(E)


@kept("gaussian-survey", version=4)
def gaussian_scores(
    checkpoint: Checkpoint,
    heads: Sequence[Head],
    tokens: Int[Tensor, " token"],
    terms: AblatedTerms,
    prompts: PromptTokens,
    n: int,
    seed: int,
) -> dict[str, Float[np.ndarray, "draw head"]]:
    """Compute the category scores of all heads of a checkpoint with Gaussian weights drawn n times.

    `tokens` and `prompts` are those of `PromptTokens.of`; what is raised is as for `GaussianHeads.of`.
    """
    layers, length = sorted({head.layer for head in heads}), prompts.token_at.shape[1]
    gaussian = GaussianHeads.of(checkpoint, heads, tokens, terms)
    turns = [Turns.of(checkpoint.rotation_at(layer), length) for layer in layers]
    return gaussian_survey_arrays(gaussian, prompts, turns, n, seed)


def gaussian_survey_arrays(
    heads: GaussianHeads, prompts: PromptTokens, turns: Sequence[Turns | None], n: int, seed: int
) -> dict[str, Float[np.ndarray, "draw head"]]:
    """Compute the category scores of all heads, in nats, with Gaussian weights drawn n times; `turns` is by layer."""
    by_counts = _ByCounts.of(prompts) if any(turn is None for turn in turns) else None
    length = prompts.token_at.shape[1]

    def of_head(head: int) -> Float[Tensor, " draw"]:
        q, k = heads.draw(head, n, seed)
        layer = int(heads.layer[head])
        scale, cap = float(heads.scale[layer]), heads.caps[layer] if heads.caps else None
        window = heads.windows[layer] if heads.windows else None
        if turns[layer] is None and by_counts is not None and (window is None or window >= length):
            return by_counts(q, k, scale, cap)
        return scores_by_patterns(q, k, scale, prompts, turns[layer], cap, window)

    scores = each_in_one_thread(of_head, range(len(heads.sizes)), "Gaussian survey")
    return {"scores": torch.stack(scores, dim=1).double().numpy()}


@dataclass(frozen=True)
class _ByCounts:
    """Prompts by query token: how often each row sees each token, and how often at a position of its target.

    Without positions a row's attention depends on these counts alone. For each query token there are the tokens that
    any of its rows see, and the counts of these: `seen` of all rows, then `target` of all rows.
    """

    rows: Sequence[tuple[int, Int[Tensor, " _"], Float[Tensor, "_ _"]]]
    n_rows: int

    @classmethod
    def of(cls, prompts: PromptTokens) -> _ByCounts:
        token_at = prompts.token_at
        n_tokens, length = int(token_at.max()) + 1, token_at.shape[1]
        one_hot = np.eye(n_tokens)[token_at]
        seen = (np.tri(length) @ one_hot).reshape(-1, n_tokens)
        target = (prompts.target.astype(float) @ one_hot).reshape(-1, n_tokens)
        query = token_at.reshape(-1)
        rows = []
        for token in np.unique(query).tolist():
            both = np.concatenate([seen[query == token], target[query == token]])
            (columns,) = np.nonzero(both.any(axis=0))
            rows.append((token, torch.from_numpy(columns), torch.from_numpy(both[:, columns])))
        return cls(rows, len(query))

    def __call__(
        self,
        q: Float[Tensor, "draw token d_head"],
        k: Float[Tensor, "draw token d_head"],
        scale: float,
        cap: float | None,
    ) -> Float[Tensor, " draw"]:
        """Return each draw's category score: −ln of the target's share of exp(score), the mean over rows."""
        scores = q @ k.mT
        total = torch.zeros(len(q), dtype=torch.float64)
        for token, columns, counts in self.rows:
            of_key = capped(scores[:, token].index_select(1, columns).double().mul_(scale), cap)
            weights = of_key.sub_(of_key.amax(dim=1, keepdim=True)).exp_()
            seen, target = (weights @ counts.T).chunk(2, dim=1)
            total -= (target / seen).clamp_min_(SCORE_FLOOR).log_().sum(dim=1)
        return total / self.n_rows
