"""The Gaussian survey: against weights of the size of d_model, patterns and the survey of them, draw by draw."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from headclaims.checkpoint.interface import Head
from headclaims.circuit.effective_pattern import effective_pattern
from headclaims.circuit.qk_circuit import QKCircuit, RotationAt
from headclaims.measures.category_score import SCORE_FLOOR, survey
from headclaims.measures.gaussian_patterns import PromptTokens, Turns, scores_by_patterns
from headclaims.measures.gaussian_survey import GaussianHeads, factor, gaussian_survey_arrays, normal_draws
from headclaims.prompts.category import CategoryPrompts, category_prompts
from headclaims.prompts.words import WordList
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import rotation

WORDS = WordList("small", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse", "sheep")})
IDS = {f" {word}": 10 + 3 * i for i, word in enumerate(WORDS.words)}
D_MODEL, D_HEAD, SCALE = 12, 4, 0.7
LAYER_OF = [0, 0, 1]
HEADS = tuple(Head(layer, index) for index, layer in enumerate(LAYER_OF))


def one_plane(offset: int) -> Tensor:
    """The planes of `rotation`, of which (1, 3) is not turned."""
    R = rotation(offset)
    R[[1, 3]] = R[:, [1, 3]] = 0.0
    R[1, 1] = R[3, 3] = 1.0
    return R


ROTATIONS: dict[str, RotationAt] = {"learned": lambda _: None, "rotary": rotation, "partly rotary": one_plane}


def prompts_of(n: int = 3, length: int = 9) -> CategoryPrompts:
    """Prompts of seven words; BOS is token 2."""
    return category_prompts(WORDS, IDS.get, 2, n_prompts=n, length=length, seed=5)


def case(n_tokens: int, d_model: int = D_MODEL, centred: bool = False) -> tuple[list[Tensor], GaussianHeads]:
    """E of two layers at so many tokens, and three heads on them, whose sizes and biases all differ."""
    generator = torch.Generator().manual_seed(1)
    E = [torch.randn(n_tokens, d_model, generator=generator) + 0.5 for _ in range(2)]
    b_Q, b_K = torch.randn(2, 3, D_HEAD, generator=generator)
    sizes = torch.tensor([[0.2, 0.4], [0.6, 0.3], [0.5, 0.5]])
    factors = torch.stack([factor(of, centred) for of in E])
    return E, GaussianHeads(factors, np.array(LAYER_OF), sizes, b_Q, b_K, torch.tensor([SCALE, SCALE / 2]))


@pytest.mark.parametrize("where", ROTATIONS)
@pytest.mark.parametrize("centred", [False, True])
def test_scores_are_those_of_weights_patterns_and_their_survey(where: str, centred: bool) -> None:
    """For each Z there are weights W with X W = L Z: those of the least norm. The rest is the slow way."""
    prompts = prompts_of()
    places, tokens = PromptTokens.of(prompts)
    E, heads = case(len(tokens), centred=centred)
    turns = Turns.of(ROTATIONS[where], prompts.length)
    scores = gaussian_survey_arrays(heads, places, [turns, turns], 5, 3)["scores"]
    assert scores.shape == (5, 3)
    for head, layer in enumerate(LAYER_OF):
        Z = normal_draws(head, 5, heads.factors.shape[2], D_HEAD, 3).double()
        X = E[layer].double() - (E[layer].double().mean(dim=1, keepdim=True) if centred else 0.0)
        W_Q, W_K = (
            heads.sizes[head, side] * torch.linalg.pinv(X) @ heads.factors[layer].double() @ Z[side] for side in (0, 1)
        )
        for draw in range(5):
            circuit = QKCircuit(
                W_Q[draw].float(), W_K[draw].float(), heads.b_Q[head], heads.b_K[head], float(heads.scale[layer])
            )
            pattern = effective_pattern(circuit, X.float(), places.token_at, ROTATIONS[where])
            slow = survey(prompts, (Head(0, 0),), [(slice(None), torch.from_numpy(pattern)[:, None])]).scores
            assert scores[draw, head] == pytest.approx(slow[0], abs=1e-4)
    assert len(np.unique(scores.round(3))) == 15


@pytest.mark.parametrize("size", [1.0, 40.0])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("window", [None, 1, 4, 20])
@pytest.mark.parametrize("where", ROTATIONS)
def test_patterns_have_the_cap_and_the_window(where: str, window: int | None, cap: float | None, size: float) -> None:
    """Scores of single pairs in float64, one by one; scores of hundreds leave a row one key, and the floor counts."""
    places, tokens = PromptTokens.of(prompts_of(length=21))
    generator = torch.Generator().manual_seed(4)
    q, k = size * torch.randn(2, 3, len(tokens), D_HEAD, generator=generator)
    turns = Turns.of(ROTATIONS[where], 21)
    scores = scores_by_patterns(q, k, SCALE, places, turns, cap, window)
    for draw in range(3):
        rows = []
        for prompt, target in zip(places.token_at, places.target, strict=True):
            for i in range(21):
                seen = range(0 if window is None else max(0, i + 1 - window), i + 1)
                R = ROTATIONS[where](i)
                turned = q[draw, prompt[i]].double() if R is None else q[draw, prompt[i]].double() @ R.double()
                weights = []
                for j in seen:
                    R = ROTATIONS[where](j)
                    key = k[draw, prompt[j]].double() if R is None else k[draw, prompt[j]].double() @ R.double()
                    score = SCALE * float(turned @ key)
                    weights.append(score if cap is None else cap * math.tanh(score / cap))
                of_target = [w for w, j in zip(weights, seen, strict=True) if target[i, j]]
                share = sum(math.exp(w - max(weights)) for w in of_target) / sum(
                    math.exp(w - max(weights)) for w in weights
                )
                rows.append(-math.log(max(share, SCORE_FLOOR)))
        assert float(scores[draw]) == pytest.approx(sum(rows) / len(rows), rel=1e-4, abs=1e-5)


def test_positions_make_a_difference() -> None:
    prompts = prompts_of()
    places, tokens = PromptTokens.of(prompts)
    _, heads = case(len(tokens))
    of = {
        name: gaussian_survey_arrays(heads, places, [Turns.of(R, 9)] * 2, 4, 0)["scores"]
        for name, R in ROTATIONS.items()
    }
    assert np.abs(of["learned"] - of["rotary"]).max() > 0.05
    assert np.abs(of["partly rotary"] - of["rotary"]).max() > 0.05


def test_a_turn_is_a_rotation_matrix_s() -> None:
    turns = Turns.of(rotation, 6)
    assert turns is not None
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    for position in range(6):
        turned = x * turns.cos[position] + x[:, turns.partner] * turns.sin[position]
        assert turned.flatten().tolist() == pytest.approx((x @ rotation(position)).flatten().tolist(), abs=1e-6)
    assert Turns.of(lambda _: None, 6) is None
    with pytest.raises(ValueError, match="mixes three dimensions or more"):
        Turns.of(lambda _: torch.ones(3, 3), 2)


@pytest.mark.parametrize(("n_tokens", "d_model"), [(5, 12), (9, 6)])
@pytest.mark.parametrize("centred", [False, True])
def test_a_factor_has_the_tokens_gram_matrix(n_tokens: int, d_model: int, centred: bool) -> None:
    E = torch.randn(n_tokens, d_model, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1.0
    L = factor(E, centred).numpy()
    assert L.shape == (n_tokens, min(n_tokens, d_model))
    gram = [
        [
            sum(
                (a - (x.mean() if centred else 0)) * (b - (y.mean() if centred else 0))
                for a, b in zip(x, y, strict=True)
            )
            for y in E.numpy()
        ]
        for x in E.numpy()
    ]
    assert pytest.approx(np.array(gram), abs=1e-9) == L @ L.T


def test_draws_are_distributed_as_those_of_whole_weights() -> None:
    """Columns of W centred over twelve dimensions, of the sizes' root mean square over the eleven free ones."""
    prompts = prompts_of()
    places, tokens = PromptTokens.of(prompts)
    E, heads = case(len(tokens), centred=True)
    drawn = gaussian_survey_arrays(heads, places, [None, None], 400, 0)["scores"]
    generator = torch.Generator().manual_seed(8)
    for head, layer in enumerate(LAYER_OF):
        whole = []
        for _ in range(400):
            W = torch.randn(2, D_MODEL, D_HEAD, generator=generator)
            W_Q, W_K = (W - W.mean(dim=1, keepdim=True)) * heads.sizes[head, :, None, None]
            circuit = QKCircuit(W_Q, W_K, heads.b_Q[head], heads.b_K[head], float(heads.scale[layer]))
            pattern = effective_pattern(circuit, E[layer], places.token_at, lambda _: None)
            whole.append(survey(prompts, (Head(0, 0),), [(slice(None), torch.from_numpy(pattern)[:, None])]).scores[0])
        assert stats.ks_2samp(drawn[:, head], whole).pvalue > 0.01
        # Lest the comparison could not tell: scores half a nat higher are others.
        assert stats.ks_2samp(drawn[:, head] + 0.5, whole).pvalue < 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_heads_of_a_checkpoint_have_their_own_scale_biases_and_embedding(models: Models, name: str) -> None:
    """Key heads that several heads share count for each; where the norm centres a column has a dimension fewer."""
    checkpoint, tokens = models.checkpoint(name), torch.tensor([3, 5, 9])
    heads = [Head(layer, index) for layer in range(2) for index in range(checkpoint.sizes.n_heads)]
    terms = torch.zeros(checkpoint.sizes.d_model), torch.zeros(1, checkpoint.sizes.d_model)
    made = GaussianHeads.of(checkpoint, heads, tokens, terms)
    centres = name == "gpt2"
    assert checkpoint.sizes.d_model - centres == checkpoint.free_dimensions
    for i, head in enumerate(heads):
        weights = checkpoint.qk_weights(head.layer)
        for side, W in enumerate((weights.W_Q, weights.W_K)):
            square = float(W[head.index].square().sum()) / (checkpoint.free_dimensions * checkpoint.sizes.d_head)
            assert float(made.sizes[i, side]) == pytest.approx(math.sqrt(square), rel=1e-5)
        assert torch.equal(made.b_Q[i], weights.b_Q[head.index])
        assert torch.equal(made.b_K[i], weights.b_K[head.index])
        E = checkpoint.embed_alone(tokens, head.layer, *terms)
        L = made.factors[made.layer[i]]
        assert torch.allclose(L @ L.T, E @ E.T, rtol=1e-4, atol=1e-3)
        assert float(made.scale[made.layer[i]]) == pytest.approx(weights.scale)


def test_draws_come_by_seed_and_head() -> None:
    prompts = prompts_of()
    places, tokens = PromptTokens.of(prompts)
    _, heads = case(len(tokens))
    first, again, other = (gaussian_survey_arrays(heads, places, [None, None], 6, seed)["scores"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()
    assert not torch.equal(normal_draws(0, 2, 3, 4, 0), normal_draws(1, 2, 3, 4, 0))
