"""Steering against dense matrices, plain loops and patterns of known numbers."""

import numpy as np
import pytest
import torch
import transformers

from headclaims.audit.steering import steered_loss_arrays
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Head, pattern_name
from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.measures.category_score import Survey, survey
from headclaims.measures.steering import (
    ALPHAS,
    Eigenvalues,
    MeanSelfPreference,
    Steered,
    SteeredMap,
    SteeredScores,
    negative_part,
    positive_control,
    random_halves,
    self_preference,
)
from headclaims.prompts.category import CategoryPrompts
from headclaims.prompts.words import WordList
from headclaims.tests.plain_loops import categories_of, rows_of
from headclaims.tests.test_symmetric_scores import D_HEAD, LENGTH, ROTATIONS, X, circuit

HEAD = Head(1, 5)


def steered_matrix(offset: int, alpha: float, rotation: str, author: bool = False) -> np.ndarray:
    """W_sym + (α − 1) W₋ at an offset, after the scale, by a dense eigendecomposition.

    The author keeps the d_head eigenvalues that are largest in magnitude, and adds W_skew.
    """
    head, R = circuit(0), ROTATIONS[rotation](offset)
    W = (head.W_Q @ (torch.eye(D_HEAD) if R is None else R) @ head.W_K.T).double().numpy() * 0.5
    values, vectors = np.linalg.eigh((W + W.T) / 2)
    if author:
        values[np.argsort(-np.abs(values))[D_HEAD:]] = 0.0
    steered = (vectors * np.where(values < 0, alpha * values, values)) @ vectors.T
    return np.asarray(steered + ((W - W.T) / 2 if author else 0))


@pytest.mark.parametrize("author", [False, True])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_map_is_that_of_the_steered_matrix(alpha: float, author: bool) -> None:
    head, x = circuit(0), X[0].double().numpy()
    found = SteeredMap.of(head, X[0], biased=False, author=author).at(alpha)
    assert found == pytest.approx(x @ steered_matrix(0, alpha, "learned", author) @ x.T, abs=1e-6)
    biased = SteeredMap.of(head, X[0], author=author).at(alpha) - found
    of_query = x @ head.W_Q.double().numpy() @ head.b_K.double().numpy() * 0.5
    of_key = x @ head.W_K.double().numpy() @ head.b_Q.double().numpy() * 0.5
    assert biased == pytest.approx(of_query[:, None] + of_key, abs=1e-6)


def test_random_halves_have_the_energy_of_the_negative_part() -> None:
    values = np.array([-3.0, -2.0, -0.5, 0.1, 1.0, 4.0])
    halves = random_halves(values, 40, seed=0)
    assert halves.shape == (40, 6)
    assert (np.count_nonzero(halves, axis=1) == 3).all()
    assert np.square(halves * values).sum(axis=1) == pytest.approx(np.full(40, 9 + 4 + 0.25))
    assert len({tuple(half > 0) for half in halves}) > 10
    assert np.array_equal(halves, random_halves(values, 40, seed=0))
    assert negative_part(values).tolist() == [1, 1, 1, 0, 0, 0]


def test_the_positive_control_has_the_energy_of_the_negative_part() -> None:
    values = np.array([-3.0, -2.0, -0.5, 0.1, 1.0, 4.0])
    # 9 + 4 + 0.25 of negative ones over 0.01 + 1 + 16 of positive ones.
    scale = np.sqrt(13.25 / 17.01)
    assert np.allclose(positive_control(values), [0, 0, 0, scale, scale, scale], atol=1e-15)
    assert np.array_equal(positive_control(-np.abs(values)), np.zeros(6))
    assert np.array_equal(positive_control(np.abs(values)), np.zeros(6))


def test_blocks_that_live_in_the_negative_part_are_lost() -> None:
    """Bright by a positive eigenvalue: kept; by one whose sign is turned: lost."""
    group = np.repeat([0, 1], 3)
    side = np.where(group == 0, 1.0, -1.0)
    kept = SteeredMap(np.array([-1.0, 1.0]), np.stack([np.zeros(6), side], axis=1), np.outer(side, side))
    assert kept.kept_blocks(group) == 1.0
    # A matrix whose only eigenvalue is negative; blocks are bright by what is added to it.
    lost = SteeredMap(np.array([-1.0]), side[:, None], np.outer(side, side))
    # At α = −1 the scores are s + 2 s sᵀ, brighter still; with the part's sign turned they are s − 2 s sᵀ: AUC 0.
    assert lost.kept_blocks(group) == 1.0
    assert lost.kept_blocks(group, np.array([-1.0])) == 0.0


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("alpha", [1.1, 1.0, 0.0, -1.0])
@pytest.mark.parametrize("scaled", list(Eigenvalues))
def test_scores_in_the_model_by_loops(alpha: float, rotation: str, scaled: Eigenvalues) -> None:
    """The symmetric part at the pair's offset with its negative eigenvalues scaled, and the biases as they are.

    At an offset the skew part is half the difference of the scores before and after the tokens change places.
    """
    head, turn = circuit(0), ROTATIONS[rotation]
    steered = SteeredScores.of(head, X, turn, scaled)
    assert len(steered.values) == steered.parts.shape[-1]
    assert (steered.values < 0).any()
    assert (steered.values < 0).all() == (scaled is Eigenvalues.NEGATIVE)
    (found,) = steered.patterns(alpha, negative_part(steered.values)[None])
    for p in range(2):
        for i in range(LENGTH):
            scores = []
            for j in range(i + 1):
                R = turn(i - j)
                R = torch.eye(D_HEAD) if R is None else R
                biases = (
                    X[p, i] @ head.W_Q @ R @ head.b_K + head.b_Q @ R @ (X[p, j] @ head.W_K) + head.b_Q @ R @ head.b_K
                )
                matrix = steered_matrix(i - j, alpha, rotation, scaled is Eigenvalues.AUTHOR)
                bilinear = X[p, i].double().numpy() @ matrix @ X[p, j].double().numpy()
                scores.append(bilinear + 0.5 * float(biases))
            wanted = np.exp(scores) / np.exp(scores).sum()
            assert found[p, i, : i + 1].numpy() == pytest.approx(wanted, abs=1e-5)
            assert not found[p, i, i + 1 :].any()


WORDS = WordList("two", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "mouse")})


def surveyed(seed: int) -> tuple[Survey, np.ndarray]:
    """A random pattern of one head on three prompts."""
    generator = np.random.default_rng(seed)
    word_at = np.concatenate([np.full((3, 1), -1), np.random.default_rng(0).integers(6, size=(3, 9))], axis=1)
    drawn = np.tril(generator.gamma(0.5, size=(3, 10, 10)) + 1e-3)
    pattern = drawn / drawn.sum(axis=-1, keepdims=True)
    prompts = CategoryPrompts(WORDS, word_at, None, np.arange(3))
    return survey(prompts, (HEAD,), [(slice(None), torch.from_numpy(pattern)[:, None])]), pattern


def test_statistics_by_loops() -> None:
    """Means over rows with kin, position by position."""
    surveys = {alpha: surveyed(seed) for seed, alpha in enumerate(ALPHAS)}
    clean, clean_pattern = surveyed(99)
    steered = Steered(clean, {alpha: one for alpha, (one, _) in surveys.items()}, HEAD)

    def mean(pattern: np.ndarray, of: str) -> float:
        values = []
        for word_at, rows in zip(clean.prompts.word_at, pattern, strict=True):
            prompt = [None if w < 0 else WORDS.words[w] for w in word_at]
            for row in rows_of(prompt, categories_of(WORDS), rows):
                if row.kin:
                    itself = row.own + row.copy_mass
                    values.append({"self": itself, "kin": row.kin_mass, "preference": itself - row.per_kin}[of])
        return float(np.mean(values))

    patterns = {alpha: pattern for alpha, (_, pattern) in surveys.items()}
    last, first = (mean(patterns[alpha], "preference") for alpha in (-1.0, 1.0))
    assert steered.preference().value == pytest.approx(last, abs=1e-6)
    assert steered.swing().value == pytest.approx(last - first, abs=1e-6)
    itself = [mean(patterns[alpha], "self") for alpha in ALPHAS]
    assert steered.smallest_rise().value == pytest.approx(min(np.diff(itself)), abs=1e-6)
    kin = [mean(patterns[alpha], "kin") for alpha in ALPHAS]
    assert steered.kept_kin().value == pytest.approx(min(kin) / mean(clean_pattern, "kin"), abs=1e-6)
    rest = mean(patterns[-1.0], "kin") / (1 - mean(patterns[-1.0], "self"))
    assert steered.kin_of_the_rest(-1.0) == pytest.approx(rest, abs=1e-6)
    one = steered.at[-1.0]
    assert self_preference(one, HEAD)[one.has_kin].mean() == pytest.approx(last, abs=1e-6)
    assert MeanSelfPreference.on(clean.prompts)(torch.from_numpy(patterns[-1.0])) == pytest.approx(last, abs=1e-12)


def test_the_loss_with_a_pattern_replaced_is_that_of_the_whole_model() -> None:
    """Of its own pattern it is the loss that transformers computes; of another it is the same from the stream on."""
    folder, tokens = random_folder(0), torch.randint(2, 900, (9, 12), generator=torch.Generator().manual_seed(0))
    checkpoint, head = load(str(folder)), Head(1, 2)
    names = [pattern_name(head.layer), f"blocks.{head.layer}.hook_resid_pre"]
    recorded = checkpoint.run(tokens, record=names)
    own, stream = recorded[names[0]][:, head.index], recorded[names[1]]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad():
        expected = float(model(tokens, labels=tokens).loss)

    def loss(pattern: torch.Tensor, start: torch.Tensor | None) -> float:
        return float(steered_loss_arrays(checkpoint, tokens, head, pattern, start)["loss"][0])

    assert loss(own, stream) == pytest.approx(expected, abs=1e-5)
    assert loss(own, None) == pytest.approx(expected, abs=1e-5)
    even = (torch.ones(12, 12).tril() / torch.arange(1, 13)[:, None]).expand(9, 12, 12)
    assert loss(even, stream) == pytest.approx(loss(even, None), abs=1e-6)
    assert abs(loss(even, stream) - expected) > 1e-4
