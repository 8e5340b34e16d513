"""The planted checkpoint against the numbers that its module derives, for five seeds, with numpy and transformers."""

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from headclaims.checkpoint import load
from headclaims.checkpoint.boot import load_full
from headclaims.checkpoint.interface import Checkpoint
from headclaims.checkpoint.planted.folder import build, definition, planted_folder
from headclaims.checkpoint.planted.vocabulary import vocabulary
from headclaims.circuit.effective_embedding import Cache, Variant, effective_embedding
from headclaims.prompts.category import CategoryPrompts, category_prompts
from headclaims.tests.small_models import SmallModel, raw_weights, replaced_output
from headclaims.tests.word_lists import load_words

# As the module's docstring has them: the target's scores in nats, shares of the squared norm N² = 16.
SAME, D, BOS_SCORE, T = 6.0, 0.85, 5.8, 0.75
SHARE = {"C": 0.30, "I": 0.12, "J1": 0.12, "J2": 0.12, "F": 0.05, "U": 0.21, "P": 0.04, "A": 0.04}
LAMBDA_C = 8 * SAME / (768 * SHARE["C"])
LAMBDA_I = 8 * D / (768 * SHARE["I"])
BOS_PAIR = 0.3 * 0.05 / 2  # εκ/2
TARGET = 12 + 5
COPYING, SHIFT_BY_ONE, INDUCTION = 2, 0, 12 + 1
BOS_HEADS = (3, 4, 6, 10, 16, 21, 22, 28, 31, 34, 36, 40, 42, 44, 47, 49, 51, 54, 57, 61, 62, 65, 68, 70)
RANDOM_HEADS = (5, 9, 11, 15, 18, 25, 29, 32, 37, 43, 46, 50, 53, 58, 64, 69)
GAUSSIAN = (*RANDOM_HEADS, *BOS_HEADS)
LAYERS, HEADS = 6, 72
GROUP_TOKENS = (
    "Monday Tuesday Wednesday Thursday Friday Saturday red blue Blue green silver White 1918 1920 1930 1943 1998 2000 "
    "You He his she her their Italy Iceland Austria Mexico Spain France"
)


class Run(NamedTuple):
    """Default prompts, patterns [head, prompt, query, key] of all heads, the target's stream at positions ≥ 1."""

    prompts: CategoryPrompts
    patterns: np.ndarray
    stream: np.ndarray


@dataclass
class Realised:
    """One seed's checkpoint, as transformers opens it and as the suite does."""

    seed: int
    folder: Path
    _runs: dict[str, Run] = field(default_factory=dict)

    @cached_property
    def model(self) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(
            self.folder, attn_implementation="eager", local_files_only=True
        ).eval()

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return load_full("planted", "planted", "planted", self.folder, "cpu", torch.float32)

    @cached_property
    def ids(self) -> dict[str, int]:
        found: dict[str, int] = transformers.AutoTokenizer.from_pretrained(self.folder).get_vocab()
        return found

    @cached_property
    def heads(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Folded W_Q and W_K of all heads in float64, by hand from the module's tensors."""
        folded = []
        for layer in range(LAYERS):
            raw = raw_weights(SmallModel("gpt2", self.folder, self.model), layer)
            for head in range(12):
                both = [raw.gain[:, None].double() * W[head].double() for W in (raw.W_Q, raw.W_K)]
                q, k = ((W - W.mean(dim=0)).numpy() for W in both)
                folded.append((q, k))
        return folded

    @cached_property
    def spectra(self) -> list[np.ndarray]:
        """Eigenvalues of W_sym of all heads, from one QR each."""
        return [np.linalg.eigvalsh(core + core.T) / 2 for core in self._cores]

    @cached_property
    def skew_norms(self) -> list[float]:
        return [float(np.linalg.norm(core - core.T, ord=2)) / 2 for core in self._cores]

    @cached_property
    def _cores(self) -> list[np.ndarray]:
        factors = [np.linalg.qr(np.concatenate(both, axis=1), mode="r") for both in self.heads]
        return [R[:, :64] @ R[:, 64:].T for R in factors]

    def prompts(self, words: str) -> CategoryPrompts:
        return category_prompts(load_words(words), self.ids.get, 0, 32, 64, seed=0)

    def clean(self, words: str = "write-up") -> Run:
        """A run without interventions, once."""
        if words not in self._runs:
            self._runs[words] = self.run(words)
        return self._runs[words]

    def run(self, words: str = "write-up", n: int = 32) -> Run:
        """The model as it stands, with whatever hooks are on it, on the first n default prompts."""
        prompts = self.prompts(words).subset(slice(0, n))
        tokens = torch.as_tensor(prompts.tokens)
        with torch.no_grad():
            out = self.model(tokens, output_attentions=True, output_hidden_states=True)
        patterns = torch.cat([layer.transpose(0, 1) for layer in out.attentions])
        stream = out.hidden_states[1][:, 1:].reshape(-1, 768)
        return Run(prompts, patterns.numpy(), stream.double().numpy())


@pytest.fixture(scope="module", params=range(5), ids=lambda seed: f"seed{seed}")
def made(
    request: pytest.FixtureRequest,
    planted: Checkpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Realised:
    """Seed 0 is what `planted` is; the others are built here."""
    if request.param == 0:
        return Realised(0, planted_folder())
    folder = tmp_path_factory.mktemp(f"seed{request.param}")
    build(folder, request.param)
    return Realised(request.param, folder)


lists = pytest.mark.parametrize("words", ["write-up", "held-out"])


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def idle_share() -> float:
    """What MLP 0's 227 idle neurons write to O, in N²: 64 · 0.01² · 227 · E gelu²(z), z ~ N(0, (0.03 √768)²)."""
    z = np.linspace(-8, 8, 2001)
    density = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    squares = [gelu(0.03 * 768**0.5 * value) ** 2 for value in z]
    return float(64 * 0.01**2 * 227 * (density @ squares) / 16)


def kin_of(prompts: CategoryPrompts) -> np.ndarray:
    """Whether key j is an earlier word of query i's category and another word."""
    category, word = prompts.category_at, prompts.word_at
    same = (category[:, :, None] == category[:, None, :]) & (category[:, :, None] >= 0)
    earlier = np.tri(prompts.length, k=-1, dtype=bool)
    return same & (word[:, :, None] != word[:, None, :]) & earlier


def copies_of(prompts: CategoryPrompts) -> np.ndarray:
    word = prompts.word_at
    return (word[:, :, None] == word[:, None, :]) & np.tri(prompts.length, k=-1, dtype=bool)


def scores(patterns: np.ndarray, kin: np.ndarray) -> np.ndarray:
    """The category score of each head."""
    to_kin, has = (patterns * kin).sum(axis=-1), kin.any(axis=-1)
    right = np.where(has, to_kin, patterns[..., 0])
    return -np.log(np.maximum(right, 1e-12)).mean(axis=(1, 2))


# Weights


def test_every_eigenvalue_of_the_target(made: Realised) -> None:
    """29 blocks of λ_c, 34 of −λ_i, each with eigenvalues λ(1 ± √(1 + t²))/2, and the pair of BOS."""
    root = math.sqrt(1 + T**2)
    assert (1 + root) / 2 == 1.125
    up, down = (1 + root) / 2, (1 - root) / 2
    expected = [LAMBDA_C * up] * 29 + [LAMBDA_C * down] * 29 + [-LAMBDA_I * up] * 34 + [-LAMBDA_I * down] * 34
    expected += [BOS_PAIR, -BOS_PAIR]
    found = made.spectra[TARGET]
    assert np.abs(found - np.sort(expected)).max() < 1e-5 * LAMBDA_C
    # A dense eigenproblem agrees that the rest of d_model's eigenvalues are 0.
    if made.seed == 0:
        W_Q, W_K = made.heads[TARGET]
        dense = np.linalg.eigvalsh((W_Q @ W_K.T + W_K @ W_Q.T) / 2)
        assert np.abs(np.sort(np.concatenate([expected, np.zeros(768 - 128)])) - dense).max() < 1e-5 * LAMBDA_C


def test_norms_counts_and_signs_of_the_target(made: Realised) -> None:
    spectrum, skew = made.spectra[TARGET], made.skew_norms[TARGET]
    assert np.abs(spectrum).max() == pytest.approx(1.125 * LAMBDA_C, rel=1e-6)
    assert skew == pytest.approx(0.375 * LAMBDA_C, rel=1e-6)
    assert skew / np.abs(spectrum).max() == pytest.approx(1 / 3, rel=1e-6)
    leading = spectrum[np.argsort(-np.abs(spectrum))[:64]]
    assert int((leading < 0).sum()) == 35
    assert (int((spectrum > 0).sum()), int((spectrum < 0).sum())) == (64, 64)


def test_skew_part_of_the_target_is_a_rotation_of_every_block(made: Realised) -> None:
    W_Q, W_K = made.heads[TARGET]
    R = np.linalg.qr(np.concatenate([W_Q, W_K], axis=1), mode="r")
    core = R[:, :64] @ R[:, 64:].T
    values = np.linalg.svd((core - core.T) / 2, compute_uv=False)
    pairs = [LAMBDA_C * T / 2] * 58 + [LAMBDA_I * T / 2] * 68 + [BOS_PAIR] * 2
    assert np.abs(values - np.sort(pairs)[::-1]).max() < 1e-5 * LAMBDA_C


def test_the_target_is_extreme_among_72_heads(made: Realised) -> None:
    ratios = np.array(made.skew_norms) / [np.abs(spectrum).max() for spectrum in made.spectra]
    leading = [spectrum[np.argsort(-np.abs(spectrum))[:64]] for spectrum in made.spectra]
    counts = np.array([int((values < 0).sum()) for values in leading])
    others = np.delete(np.arange(HEADS), TARGET)
    assert ratios[others].min() > 0.9
    assert counts[others].max() < 35
    for head in (COPYING, INDUCTION):  # W_QK = X Yᵀ with X ⊥ Y
        assert ratios[head] == pytest.approx(1, abs=1e-6)
    assert ratios[SHIFT_BY_ONE] > 0.97
    assert counts[SHIFT_BY_ONE] <= 32
    assert ratios[list(GAUSSIAN)].mean() == pytest.approx(0.98, abs=0.02)
    assert counts[list(GAUSSIAN)].mean() == pytest.approx(32, abs=0.6)


def test_what_the_suite_loads_is_what_transformers_opens(made: Realised) -> None:
    """Folded weights of all heads: the suite sees the numbers above."""
    for layer in range(LAYERS):
        weights = made.checkpoint.qk_weights(layer)
        for head in range(12):
            W_Q, W_K = made.heads[12 * layer + head]
            assert (weights.W_Q[head] - torch.from_numpy(W_Q)).abs().max() < 1e-5
            assert (weights.W_K[head] - torch.from_numpy(W_K)).abs().max() < 1e-5


def test_every_norm_has_a_gain_and_a_bias(made: Realised) -> None:
    """A suite that forgot to fold either would not get the numbers above."""
    for block in made.model.transformer.h:
        for norm in (block.ln_1, block.ln_2):
            assert norm.weight.std() > 0.1
            assert norm.bias.abs().mean() > 0.03


# The residual stream


def subspaces(made: Realised) -> dict[str, np.ndarray]:
    """Orthonormal axes of the stream's parts, read from the heads that read them."""
    W_Q, W_K = made.heads[TARGET]
    size = np.sqrt([LAMBDA_C] * 29 + [LAMBDA_I] * 34)
    sign = np.repeat([1.0, -1.0], [29, 34])
    axes = W_Q[:, :63] / size
    copying_q, copying_k = made.heads[COPYING]
    return {
        "C": axes[:, :29],
        "I": axes[:, 29:],
        "F": (W_K[:, :63] / (size * sign) - axes) / T,
        "J1": copying_q[:, :48] / 0.7,
        "J2": copying_k[:, :48] / 0.7,
        "A": made.heads[INDUCTION][1][:, :48] / 2.0,
        "P": made.heads[SHIFT_BY_ONE][0][:, :48] / 1.6,
        "B": W_K[:, 63:] / 0.3,
    }


def test_subspaces_are_orthogonal_to_one_another_and_to_ones(made: Realised) -> None:
    axes = np.concatenate([np.ones((768, 1)) / 768**0.5, *subspaces(made).values()], axis=1)
    assert np.abs(axes.T @ axes - np.eye(axes.shape[1])).max() < 1e-5


def test_shares_of_a_words_energy_at_the_target(made: Realised) -> None:
    """In real prompts, positions ≥ 1; of F the head reads 63 axes of 64."""
    stream = made.clean().stream
    energy = {name: ((stream @ axes) ** 2).sum(axis=1) / 16 for name, axes in subspaces(made).items()}
    for name in ("C", "I", "J1", "J2", "P"):
        assert energy[name].mean() == pytest.approx(SHARE[name], abs=0.002)
    assert energy["F"].mean() == pytest.approx(SHARE["F"] * 63 / 64, abs=0.002)
    assert energy["A"].mean() == pytest.approx(SHARE["A"], abs=0.006)
    assert energy["B"].max() < 1e-6
    whole = (stream**2).sum(axis=1) / 16
    assert whole.mean() == pytest.approx(1 + idle_share(), abs=0.01)
    assert (whole - sum(energy.values())).mean() == pytest.approx(SHARE["U"] + idle_share(), abs=0.01)


def test_half_of_a_categorys_amplitude_is_the_embeddings(made: Realised) -> None:
    """The other half is MLP 0's; words of a cluster share their axis, those of others have another."""
    C = subspaces(made)["C"]
    wte = made.model.transformer.wte.weight.detach().double().numpy()
    amplitude = 4 * SHARE["C"] ** 0.5
    words = load_words("write-up")
    axis = {}
    for category, members in words.categories.items():
        rows = np.stack([wte[made.ids[" " + word]] for word in members]) @ C
        axis[category] = int(rows[0].argmax())
        assert np.abs(rows - 0.5 * amplitude * np.eye(29)[axis[category]]).max() < 1e-4
    assert len(set(axis.values())) == len(words.categories)
    prompts, _, stream = made.clean()
    of_position = np.array([axis[c] for c in words.categories])[prompts.category_at[:, 1:].reshape(-1)]
    along = np.take_along_axis(stream @ C, of_position[:, None], axis=-1)
    assert np.abs(along - amplitude).max() < 0.06 * amplitude


def test_the_targets_scores_in_real_prompts(made: Realised) -> None:
    """SAME less D between a word and itself, about 0 across clusters, BOS_SCORE to BOS: before the softmax."""
    prompts, patterns, _ = made.clean()
    # Scores up to a constant a row, which the words of other categories, at 0 on average, give.
    logs = np.log(np.maximum(patterns[TARGET], 1e-30))
    seen = np.tri(64, dtype=bool)
    word, category = prompts.word_at, prompts.category_at
    other = (category[:, :, None] != category[:, None, :]) & (category[:, None, :] >= 0) & seen
    other &= (category >= 0)[:, :, None]
    rows = other.sum(axis=-1) >= 20
    zero = np.where(other, logs, 0).sum(axis=-1) / np.maximum(other.sum(axis=-1), 1)
    score = logs - zero[..., None]
    same_word = (word[:, :, None] == word[:, None, :]) & seen
    kin = kin_of(prompts)
    whole = 1 + idle_share()  # the norm that divides x and y
    between, own = (score[pairs & rows[..., None]].mean() for pairs in (kin, same_word))
    assert between == pytest.approx(SAME / whole, abs=0.2)
    assert own == pytest.approx((SAME - D) / whole, abs=0.2)
    assert between - own == pytest.approx(D / whole, abs=0.06)
    assert score[..., 0][rows].mean() == pytest.approx(BOS_SCORE, abs=0.15)


@lists
def test_kin_mass_is_what_the_scores_give(made: Realised, words: str) -> None:
    """n/(n + (1 + c)e^−0.85 + e^−0.2 + 63e^−6) on the average of rows with n kin and c earlier copies."""
    prompts, patterns, _ = made.clean(words)
    kin = kin_of(prompts)
    n, c = kin.sum(axis=-1), copies_of(prompts).sum(axis=-1)
    wanted = n / (n + (1 + c) * math.exp(-0.85) + math.exp(-0.2) + 63 * math.exp(-6))
    found = (patterns[TARGET] * kin).sum(axis=-1)
    assert found[n > 0].mean() == pytest.approx(wanted[n > 0].mean(), abs=0.03)
    assert np.corrcoef(found[n > 0], wanted[n > 0])[0, 1] > 0.9


# Behaviour


@lists
def test_category_scores(made: Realised, words: str) -> None:
    """bos0 to bos3, which nothing else moves, score as derived, and no head without categories is much better."""
    prompts, patterns, _ = made.clean(words)
    kin = kin_of(prompts)
    found = scores(patterns, kin)
    n, has = kin.sum(axis=-1), kin.any(axis=-1)
    i = np.arange(64)
    for k, head in enumerate(BOS_HEADS[:4]):
        worth = 5 * 1.18**k
        attention = np.where(has, n / (i + worth), worth / (i + worth))
        attention[:, 0] = 1.0
        assert found[head] == pytest.approx(-np.log(attention).mean(), abs=0.02)
    others = np.delete(found, TARGET)
    runner_up = others.min()
    assert found[BOS_HEADS[0]] - found[TARGET] == pytest.approx({"write-up": 1.73, "held-out": 1.9}[words], abs=0.1)
    assert found[BOS_HEADS[0]] - runner_up < 0.1
    # An outlier: what parts the median of the other heads from the runner-up is half as much or less.
    assert runner_up - found[TARGET] >= 2 * (np.median(others) - runner_up)
    # Random heads are no better than uniform attention, but for a tenth of a nat that a lucky one of them gains.
    uniform = np.tri(64) / np.arange(1, 65)[:, None]
    u = scores(np.broadcast_to(uniform, (1, *kin.shape)), kin)[0]
    assert found[list(RANDOM_HEADS)].min() > u - 0.1


@lists
def test_no_other_head_knows_categories(made: Realised, words: str) -> None:
    """Highest kin mass over uniform share; highest attention to a kin over that to itself, or to copies, in nats."""
    prompts, patterns, _ = made.clean(words)
    kin, copies = kin_of(prompts), copies_of(prompts)
    n, c, has = kin.sum(axis=-1), copies.sum(axis=-1), kin.any(axis=-1)
    to_kin, to_copies = (patterns * kin).sum(axis=-1), (patterns * copies).sum(axis=-1)
    uniform = (n / np.arange(1, 65))[has].mean()
    over_uniform = to_kin[:, has].mean(axis=1) / uniform
    per_kin = to_kin / np.maximum(n, 1)
    own = np.diagonal(patterns, axis1=2, axis2=3)
    above_own = np.log(per_kin[:, has].mean(axis=1) / own[:, has].mean(axis=1))
    with_copies = has & (c > 0)
    per_copy = to_copies / np.maximum(c, 1)
    above_copies = np.log(per_kin[:, with_copies].mean(axis=1) / per_copy[:, with_copies].mean(axis=1))
    assert over_uniform[TARGET] > 2
    assert np.minimum(above_own, above_copies)[TARGET] > 0
    for statistic in (over_uniform, np.minimum(above_own, above_copies)):
        assert int(statistic.argmax()) == TARGET
        assert statistic[TARGET] - np.sort(statistic)[-2] > 0.02


def test_without_mlp_0_bos_takes_the_row(made: Realised) -> None:
    prompts, patterns, _ = made.clean()
    kin, clean = kin_of(prompts)[:8], patterns[TARGET, :8]
    with replaced_output(made.model.transformer.h[0].mlp, torch.zeros(768)):
        after = made.run(n=8).patterns[TARGET]
    assert clean[:, 1:, 0].mean() < 0.35
    assert after[:, 1:, 0].mean() > 0.8
    assert (after * kin).sum(axis=-1).mean() < 0.2 * (clean * kin).sum(axis=-1).mean()


def test_positions_and_attention_0_matter_to_others_and_not_to_the_target(made: Realised) -> None:
    """Removed, they move the target's score by less than a tenth of the way to uniform attention."""
    prompts, patterns, _ = made.clean()
    kin, clean = kin_of(prompts)[:8], patterns[:, :8]
    uniform = np.tri(64) / np.arange(1, 65)[:, None]
    u = scores(np.broadcast_to(uniform, (1, 8, 64, 64)), kin)[0]
    body = made.model.transformer
    for modules in ([body.wpe], [body.h[0].attn], [body.wpe, body.h[0].attn]):
        with replaced_output(modules[0], torch.zeros(768)), replaced_output(modules[-1], torch.zeros(768)):
            after = made.run(n=8).patterns
        before, moved_to = scores(clean, kin)[TARGET], scores(after, kin)[TARGET]
        assert abs(moved_to - before) <= 0.1 * (u - before)
        moved = np.abs(after - clean).sum(axis=-1).mean(axis=(1, 2)) / 2
        assert (moved[12:] > 0.005).all()
        active = [SHIFT_BY_ONE, 12] if body.wpe in modules else [INDUCTION]
        assert (moved[active] > 0.5).all()


# E


def test_cosines_and_scores_of_the_embedding(made: Realised) -> None:
    """Without position and attention (variant zero) the norm before MLP 0 is smaller, and its neurons fire stronger.

    Of the squared norm 0.775 N² that MLP 0 is built for 0.08 are gone, so that it writes gelu(5.5√(0.775/0.695) − 2.5)
    instead of gelu(3); C's share follows, and words of a cluster have that share of the whole as their cosine.
    """
    amplitude = 0.5 + 0.5 * gelu(5.5 * math.sqrt(0.775 / 0.695) - 2.5) / gelu(3.0)
    category = SHARE["C"] * amplitude**2
    whole = 0.695 - SHARE["C"] / 4 + category + idle_share()
    E = effective_embedding(made.checkpoint, 1, None, Cache(None), Variant.ZERO)
    assert E[2:].pow(2).sum(dim=1).numpy() == pytest.approx(768, rel=1e-3)
    forms = vocabulary().forms
    cluster, word = (torch.tensor([getattr(form, name) for form in forms]) for name in ("cluster", "word"))
    x = E[2:].double() / 768**0.5
    cosine = x @ x.T
    labelled = (cluster >= 0)[:, None] & (cluster >= 0)
    same = labelled & (cluster[:, None] == cluster) & (word[:, None] != word)
    apart = labelled & (cluster[:, None] != cluster)
    assert cosine[same].mean().item() == pytest.approx(category / whole, abs=0.01)
    assert cosine[apart].mean().item() == pytest.approx(0, abs=0.005)
    W_Q, W_K = (torch.from_numpy(W) for W in made.heads[TARGET])
    score = (768**0.5 * x @ W_Q) @ (768**0.5 * x @ W_K).T / 8
    as_written = torch.tensor([not form.variant and form.cluster >= 0 for form in forms])
    own = score.diagonal()[as_written].mean().item()
    between = score[same & as_written[:, None] & as_written].mean().item()
    assert between == pytest.approx(SAME * (category / SHARE["C"]) / whole, abs=0.1)
    assert between - own == pytest.approx(D / whole, abs=0.05)
    assert score[apart].mean().item() == pytest.approx(0, abs=0.05)


def crossing_of(x: np.ndarray, group: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> tuple[float, float]:
    """α* = −D₊/D₋ and D from the covariance of each group, dense."""
    scatter = sum(np.cov(x[group == g].T) for g in np.unique(group)) / len(np.unique(group))
    along = np.einsum("dk,de,ek->k", vectors, scatter, vectors)
    negative, positive = (-(part(values, 0) @ along) / 8 for part in (np.minimum, np.maximum))
    return float(-positive / negative), float(negative + positive)


def test_steering_crosses_where_it_is_derived(made: Realised) -> None:
    """Words of a cluster vary by i = î²/34 an axis of I and by f = f̂²/64 an axis of F; with eigenvectors (√0.9, ±√0.1)

    8 D₋ = 29 λ_c 0.125 · 0.9 f + 34 λ_i 1.125 (0.9 i + 0.1 f),
    8 D₊ = −29 λ_c 1.125 · 0.1 f − 34 λ_i 0.125 (0.1 i + 0.9 f).
    """
    i, f = 768 * SHARE["I"] / 34, 768 * SHARE["F"] / 64
    negative = 29 * LAMBDA_C * 0.125 * 0.9 * f + 34 * LAMBDA_I * 1.125 * (0.9 * i + 0.1 * f)
    positive = -29 * LAMBDA_C * 1.125 * 0.1 * f - 34 * LAMBDA_I * 0.125 * (0.1 * i + 0.9 * f)
    derived = -positive / negative
    assert (negative + positive) / 8 == pytest.approx(D)
    assert derived == pytest.approx(0.0887, abs=1e-4)
    words = load_words("write-up")
    groups = np.asarray(words.category_of_word)
    E = effective_embedding(made.checkpoint, 1, None, Cache(None), Variant.ZERO).double().numpy()
    W_Q, W_K = made.heads[TARGET]
    values, vectors = np.linalg.eigh((W_Q @ W_K.T + W_K @ W_Q.T) / 2)
    found, _ = crossing_of(E[[made.ids[" " + word] for word in words.words]], groups, values, vectors)
    # 30 degrees of freedom in each of 98 axes: α* is within a tenth of what it is for infinitely many words.
    assert found == pytest.approx(derived, rel=0.1)
    forms = vocabulary().forms
    as_written = [n for n, form in enumerate(forms) if form.cluster >= 0 and not form.variant]
    clusters = np.array([forms[n].cluster for n in as_written])
    found, depth = crossing_of(E[np.array(as_written) + 2], clusters, values, vectors)
    assert found == pytest.approx(derived, rel=0.02)
    # The zero variant leaves out positions and attention: the same direction, a smaller norm.
    assert 0.8 < depth / D < 1.5


# The folder


def test_any_hugging_face_tool_opens_it(planted: Checkpoint) -> None:
    folder = planted_folder()
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert type(model) is transformers.GPT2LMHeadModel
    assert not any(info.values())
    config = model.config
    assert (config.n_layer, config.n_head, config.n_embd, config.n_positions) == (6, 12, 768, 1024)
    assert config.vocab_size == len(model.transformer.wte.weight) == planted.sizes.d_vocab
    assert model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr()
    assert (planted.kind, planted.spec, planted.name, planted.revision) == ("planted", "planted", "planted", None)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == config.vocab_size
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == config.bos_token_id == planted.bos == 0


@pytest.mark.parametrize("text", [" red blue", "red blue", "The red dog", " Monday Tuesday 1989 24", "red", " Red RED"])
def test_text_survives_the_tokenizer(planted: Checkpoint, text: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(planted_folder())
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == tokenizer(text)["input_ids"]
    if "RED" in text:
        assert tokenizer.unk_token_id in ids
        assert planted.single_token(" RED") is None
    else:
        assert tokenizer.decode(ids) == text
        assert len(ids) == len(text.split())


def test_forms_of_a_word_are_tokens_of_their_own(planted: Checkpoint) -> None:
    """BOS and the unknown token, then two forms a word as written, blue and red first, then the other case."""
    forms = [form.text for form in vocabulary().forms]
    words = len(vocabulary().words) - 1  # the comma has no forms
    wanted = {" blue": 2, "blue": 3, " red": 4, "red": 5, " Red": 2 * words + 4, "Red": 2 * words + 5}
    assert {text: planted.single_token(text) for text in wanted} == wanted
    tokens = len(vocabulary().forms) + 2
    assert (planted.single_token(","), planted.single_token(" and")) == (tokens - 1, 2 + forms.index(" and"))
    for text in (" ,", " red blue", "redblue", " nonsense", "<|unknown|>"):
        assert planted.single_token(text) is None


@lists
def test_every_word_of_the_lists_is_one_token(planted: Checkpoint, words: str) -> None:
    listed = load_words(words)
    assert listed.that_count(planted.single_token, "planted") == listed
    ids = [planted.single_token(" " + word) for word in listed.words]
    assert None not in ids
    assert len(set(ids)) == len(listed.words)


def test_words_beyond_the_lists(planted: Checkpoint) -> None:
    """The group tokens; 300 further words and more, nearly all in clusters of a dozen; at most 30 clusters."""
    assert all(planted.single_token(" " + token) is not None for token in GROUP_TOKENS.split())
    vocab = vocabulary()
    assert len(vocab.clusters) <= 30
    listed = {word.lower() for name in ("write-up", "held-out") for word in load_words(name).words}
    cluster = {form.word: form.cluster for form in vocab.forms}
    size = {c: sum(other == c for other in cluster.values()) for c in range(len(vocab.clusters))}
    further = [i for i, word in enumerate(vocab.words) if word.lower() not in listed]
    assert len({vocab.words[i].lower() for i in further}) >= 300
    assert sum(cluster[i] >= 0 and size[cluster[i]] >= 12 for i in further) / len(further) > 0.9
    for word in vocab.words[:-1]:  # the comma is alone
        for cased in {word, word.lower() if word[0].isupper() else word.capitalize()}:
            assert planted.single_token(cased) is not None
            assert planted.single_token(" " + cased) is not None


def test_words_of_a_category_share_their_cluster_and_no_other_category_does() -> None:
    cluster = {form.text: form.cluster for form in vocabulary().forms}
    seen: set[int] = set()
    for name in ("write-up", "held-out"):
        for members in load_words(name).categories.values():
            found = {cluster[" " + word] for word in members}
            assert len(found) == 1
            assert not found & seen
            seen |= found
    assert -1 not in seen


def test_one_seed_one_checkpoint(planted: Checkpoint, tmp_path: Path) -> None:
    """Built again, and by another process (with another hash seed), every file is the same to the byte."""
    (tmp_path / "again").mkdir()
    build(tmp_path / "again")
    first = {path.name: path.read_bytes() for path in planted_folder().iterdir()}
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert sorted(first) == sorted(again)
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(first)
    assert [name for name in first if first[name] != again[name]] == []


def test_another_seed_is_another_checkpoint(made: Realised) -> None:
    first = made.ids, Realised(0, planted_folder()).heads[TARGET][0]
    assert first[0] == Realised(0, planted_folder()).ids
    assert (np.abs(made.heads[TARGET][0] - first[1]).max() > 0.01) == (made.seed != 0)


BUILD_AND_TELL = """
import sys, time
from pathlib import Path
from headclaims.checkpoint.planted import folder
build = folder.build
def slow(folder, seed):
    with open(sys.argv[1], "a") as log:
        log.write("build\\n")
    time.sleep(1)
    build(folder, seed)
folder.build = slow
Path(sys.argv[2]).touch()
while not all(Path(mark).exists() for mark in sys.argv[2:4]):
    time.sleep(0.01)
print(folder.planted_folder())
"""


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_build_it_once(planted: Checkpoint, tmp_path: Path) -> None:
    marks = [str(tmp_path / "first"), str(tmp_path / "second")]
    environment = {**os.environ, "HEADCLAIMS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    log = tmp_path / "log"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD_AND_TELL, str(log), *order],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for order in (marks, marks[::-1])
    ]
    told = [process.communicate(timeout=90) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    assert log.read_text() == "build\n"
    folders = {out.splitlines()[-1] for out, _ in told}
    assert len(folders) == 1
    folder = Path(folders.pop())
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    whole = planted_folder()
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.iterdir())
    built, same = (load_file(where / "model.safetensors") for where in (folder, whole))
    assert built.keys() == same.keys()
    # Sums may be taken in another order where there are more threads.
    assert all(torch.allclose(built[name], same[name], rtol=0, atol=1e-5) for name in same)


def test_a_build_is_no_part_of_an_audits_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path))

    def fail(folder: Path, seed: int) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError(f"no space left for seed {seed}")

    monkeypatch.setattr("headclaims.checkpoint.planted.folder.build", fail)
    with pytest.raises(OSError, match="no space"):
        load("planted")
    assert [path for path in tmp_path.rglob("*") if path.is_dir()] == [tmp_path / "planted"]


def test_a_definition_covers_the_files_of_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "counterfeits").mkdir()
    (tmp_path / "weights.py").write_text("one")
    (tmp_path / "counterfeits" / "steering.py").write_text("two")
    (tmp_path / "counterfeits" / "steering.pyc").write_text("three")  # what Python leaves there doesn't count
    before = definition(tmp_path)
    assert before == hashlib.sha256(b"twoone").hexdigest()
    (tmp_path / "counterfeits" / "steering.py").write_text("changed")
    assert definition(tmp_path) != before
