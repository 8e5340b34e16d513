"""Scores of common words with similar words, compared with those with themselves, dissimilar words and variants.

Axes: `word` the common words (as queries and as keys), `varied` those with case or space variants, `head` heads on the
same E. Scores as in `vocabulary.scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from headclaims.circuit.head_score import HeadScore, Scorer, capped
from headclaims.circuit.qk_circuit import Rotation
from headclaims.measures.head_batch import HeadBatch, Projected, project
from headclaims.statistics.resampling import Within, mean_over
from headclaims.vocabulary.token_scores import TokenScores

NEAREST, RANDOM = 10, 100
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class WordSpace:
    """Common words as rows of one layer's E, and for each the mean vectors of the words it is compared with.

    `similar` is the mean of its ten nearest by cosine, `dissimilar` of a hundred drawn at random from the rest,
    `variants` of its case and space variants, for the words of index `varied`. As a bilinear score is linear in the
    key, the score with a mean is the mean score. For other scores `nearest` and `random` are the words' indices, and
    `each_variant` the variants' rows, the variants of the word of index `variant_of`.
    """

    words: Float[Tensor, "word d_model"]
    similar: Float[Tensor, "word d_model"]
    dissimilar: Float[Tensor, "word d_model"]
    varied: Int[Tensor, " varied"]
    variants: Float[Tensor, "varied d_model"]
    nearest: Int[Tensor, "word 10"]
    random: Int[Tensor, "word random"]
    each_variant: Float[Tensor, "variant d_model"]
    variant_of: Int[Tensor, " variant"]


def word_space(
    words: Float[Tensor, "word d_model"], variants: Sequence[Float[Tensor, "_ d_model"]], seed: int
) -> WordSpace:
    """Build the space of common words; `variants[i]` are the rows of E of word i's variants, none for most words.

    Raises ValueError for fewer than twelve words.
    """
    nearest, random = neighbours(words, seed)
    varied = torch.tensor([i for i, rows in enumerate(variants) if len(rows)], dtype=torch.int64)
    means = [rows.mean(dim=0) for rows in variants if len(rows)]
    sizes = torch.tensor([len(rows) for rows in variants])
    return WordSpace(
        words,
        _means(words, nearest),
        _means(words, random),
        varied,
        torch.stack(means) if means else words[:0],
        nearest,
        random,
        torch.cat(list(variants)),
        torch.arange(len(words)).repeat_interleave(sizes),
    )


def _means(rows: Float[Tensor, "word d_model"], sets: Int[Tensor, "word member"]) -> Float[Tensor, "word d_model"]:
    """Return the mean of the rows in each set."""
    n, size = sets.shape
    pointers = np.arange(0, n * size + 1, size)
    average = sparse.csr_array(
        (np.full(n * size, 1 / size, np.float32), sets.numpy().ravel(), pointers), (n, len(rows))
    )
    return torch.from_numpy(average @ rows.numpy())


def neighbours(
    words: Float[Tensor, "word d_model"], seed: int
) -> tuple[Int[Tensor, "word 10"], Int[Tensor, "word random"]]:
    """Return for each word its ten nearest by cosine, and a hundred others drawn at random (all if there are fewer).

    Raises ValueError for fewer than twelve words.
    """
    n = len(words)
    if n < NEAREST + 2:
        raise ValueError(f"{n} words; wanted {NEAREST + 2} or more")
    unit, lots = torch.nn.functional.normalize(words, dim=1), _lots(n, seed)
    nearest, random = [], []
    for rows in torch.arange(n).split(ROWS_AT_ONCE):
        cosine = unit[rows] @ unit.T
        cosine[torch.arange(len(rows)), rows] = -torch.inf
        nearest.append(cosine.topk(NEAREST, dim=1).indices)
        drawn = lots[rows]
        left_out = (drawn == rows[:, None]) | (drawn[:, :, None] == nearest[-1][:, None]).any(dim=2)
        first = left_out.byte().argsort(dim=1, stable=True)[:, : min(RANDOM, n - NEAREST - 1)]
        random.append(drawn.gather(1, first))
    return torch.cat(nearest), torch.cat(random)


@lru_cache(maxsize=4)
def _lots(n: int, seed: int) -> Int[Tensor, "word drawn"]:
    """Draw for each of n words a hundred words, and as many more as may be itself or nearest, in a random order.

    They are those of the smallest of uniform numbers, the same in every layer.
    """
    generator, drawn = np.random.default_rng([seed, 3]), min(RANDOM + NEAREST + 1, n)
    blocks = (len(rows) for rows in torch.arange(n).split(ROWS_AT_ONCE))
    lots = (torch.from_numpy(generator.random((size, n))) for size in blocks)
    return torch.cat([lot.topk(drawn, dim=1, largest=False).indices for lot in lots])


MARGINS = ("similar_above_self", "similar_above_dissimilar", "similar_above_variants")
"""Differences of two mean scores of a word: positive where the claim holds of it."""


def margins(
    space: WordSpace, heads: HeadBatch, words: Projected, names: Sequence[str] = MARGINS
) -> dict[str, Float[Tensor, "head _"]]:
    """Compute those of `MARGINS` that are named, for each head and word, the last for each varied word.

    They are taken before the scale, which does not change their sign. As a score is linear in the key, a difference of
    scores is the score of the difference, without the keys' bias.
    """

    def own_below(queries: Tensor) -> Tensor:
        similar = project(space.similar, heads.W_K, heads.b_K).mul_(queries).sum(dim=-1)
        return (similar - (words.own * words.keys).sum(dim=-1)).T

    def below(queries: Tensor, similar: Tensor, others: Tensor) -> Tensor:
        return project(similar - others, heads.W_K, torch.zeros_like(heads.b_K)).mul_(queries).sum(dim=-1).T

    of_name = {
        "similar_above_self": lambda: own_below(words.queries),
        "similar_above_dissimilar": lambda: below(words.queries, space.similar, space.dissimilar),
        "similar_above_variants": lambda: below(
            words.queries[space.varied], space.similar[space.varied], space.variants
        ),
    }
    return {name: margin() for name, margin in of_name.items() if name in names}


def head_margins(space: WordSpace, head: Scorer, turn: Rotation | None) -> dict[str, Float[Tensor, " word"]]:
    """Compute the `margins` of one head, by name."""
    if isinstance(head, HeadScore) and not head.bilinear:
        scores = TokenScores.of(head, space.words, space.words, turn)
        return margins_by_pairs(space, scores.matrix(), scores.queries, head)
    circuit = head.circuit if isinstance(head, HeadScore) else head
    batch = HeadBatch(circuit.W_Q[None], circuit.W_K[None], circuit.b_Q[None], circuit.b_K[None], turn)
    return {name: margin[0] for name, margin in margins(space, batch, Projected(space.words, batch)).items()}


def margins_by_pairs(
    space: WordSpace,
    scores: Float[Tensor, "word word"],
    queries: Float[Tensor, "word d_head"],
    head: HeadScore,
) -> dict[str, Float[Tensor, " word"]]:
    """Compute the same from a head's scores of single pairs of words, and its `queries` as they meet other tokens."""
    similar, itself = scores.gather(1, space.nearest).mean(dim=1), scores.diagonal()
    products = (queries[space.variant_of] * head.keys(space.each_variant)).sum(dim=1)
    by_word = torch.zeros(len(scores)).index_add(0, space.variant_of, capped(products, head.cap))
    variants = (by_word / torch.bincount(space.variant_of, minlength=len(scores)))[space.varied]
    return {
        "similar_above_self": similar - itself,
        "similar_above_dissimilar": similar - scores.gather(1, space.random).mean(dim=1),
        "similar_above_variants": similar[space.varied] - variants,
    }


def share_above(margin: Float[Tensor, " word"]) -> Within:
    """Return the share of words whose margin is above 0, with an interval over words."""
    return Within(mean_over("words", (margin > 0).double().numpy()), 0.0, 1.0)


def shares_above(
    space: WordSpace, heads: HeadBatch, words: Projected, names: Sequence[str] = MARGINS
) -> dict[str, Float[np.ndarray, " head"]]:
    """Return {margin: share of words for which it is above 0, of each head}; a margin without words is left out."""
    by_name = margins(space, heads, words, names)
    return {name: (margin > 0).double().mean(dim=1).numpy() for name, margin in by_name.items() if margin.numel()}
