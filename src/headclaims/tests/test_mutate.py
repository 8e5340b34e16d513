"""Weight-level mutants: what becomes of weights, patterns and outputs, by dense matrices of the unchanged model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headclaims.audit.settings import MUTATIONS
from headclaims.cache import Cache
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Checkpoint, Head, patterns_of
from headclaims.checkpoint.mutate import mutate
from headclaims.checkpoint.weights import QKWeights
from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.errors import BadInput
from headclaims.tests.evidence_files import recorded_attention
from headclaims.tests.small_models import TOKEN_IDS, VOCABULARY, build

LAYER, HEAD, SEED = 1, 2, 3
TARGET = Head(LAYER, HEAD)
TOKENS = torch.randint(0, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module", params=["gpt2", "gpt-neo", "opt", "neox"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model with a key a head, with learned or rotary positions."""
    path = tmp_path_factory.mktemp(request.param)
    build(request.param, path)
    return path


@pytest.fixture(scope="module")
def clean(folder: Path) -> Checkpoint:
    """The model unchanged."""
    return load(str(folder))


def mutant(folder: Path, mutation: str) -> Checkpoint:
    checkpoint = load(str(folder))
    mutate(checkpoint, mutation, target_of(checkpoint), SEED)
    return checkpoint


def target_of(checkpoint: Checkpoint) -> Head:
    return Head(LAYER, min(HEAD, checkpoint.sizes.n_heads - 1))


def scores_of(weights: QKWeights, head: int, x: torch.Tensor) -> torch.Tensor:
    return QKCircuit.of(weights, head).scores(x, x)


def parts(weights: QKWeights, head: int) -> tuple[np.ndarray, np.ndarray]:
    """W_sym and W_skew of a head, dense."""
    W_QK = weights.W_Q[head].double().numpy() @ weights.W_K[head].double().numpy().T
    return (W_QK + W_QK.T) / 2, (W_QK - W_QK.T) / 2


def test_transposed(folder: Path, clean: Checkpoint) -> None:
    """The transpose: the symmetric part as it was, the skew part with its sign turned, scores exchanged."""
    changed, head = mutant(folder, "transpose-qk"), target_of(clean).index
    before, after = clean.qk_weights(LAYER), changed.qk_weights(LAYER)
    for found, wanted in ((after.W_Q, before.W_K), (after.W_K, before.W_Q), (after.b_Q, before.b_K)):
        assert torch.allclose(found[head], wanted[head], atol=1e-6)
    for found, wanted, sign in zip(parts(after, head), parts(before, head), (1, -1), strict=True):
        assert np.abs(found - sign * wanted).max() < 1e-5
    x = torch.randn(7, clean.sizes.d_model, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(scores_of(after, head, x), scores_of(before, head, x).T, atol=1e-4)
    others = [h for h in range(clean.sizes.n_heads) if h != head]
    assert torch.equal(after.W_Q[others], before.W_Q[others])
    ours, theirs = changed.attention_patterns(TOKENS), clean.attention_patterns(TOKENS)
    assert torch.allclose(ours[LAYER, :, others], theirs[LAYER, :, others], atol=1e-5)
    assert not torch.allclose(ours[LAYER, :, head], theirs[LAYER, :, head], atol=1e-2)


def test_flipped(folder: Path, clean: Checkpoint) -> None:
    """Σ |λ| v vᵀ over the d_head − 1 largest |λ| of the dense W_sym, and the same key bias."""
    changed, head = mutant(folder, "flip-negative"), target_of(clean).index
    before, after = clean.qk_weights(LAYER), changed.qk_weights(LAYER)
    values, vectors = np.linalg.eigh(parts(before, head)[0])
    kept = np.argsort(-np.abs(values))[: clean.sizes.d_head - 1]
    wanted = (vectors[:, kept] * np.abs(values[kept])) @ vectors[:, kept].T
    symmetric, skew = parts(after, head)
    assert np.abs(symmetric - wanted).max() < 1e-5 * np.abs(wanted).max() + 1e-6
    assert np.abs(skew).max() < 1e-6
    assert np.linalg.eigvalsh(symmetric).min() > -1e-5
    key_bias = before.W_K[head] @ before.b_Q[head]
    assert torch.allclose(after.W_K[head] @ after.b_Q[head], key_bias, atol=1e-4)
    # The model runs on what its weights say.
    assert after.scale == before.scale


def test_shuffled(folder: Path, clean: Checkpoint) -> None:
    """The same rows, dealt anew; BOS keeps its own."""
    changed = mutant(folder, "shuffle-embedding")
    before, after = (c.bridge.embed.weight.detach() for c in (clean, changed))  # type: ignore[attr-defined]
    bos = TOKEN_IDS["<start>"]
    assert torch.equal(before[bos], after[bos])
    assert int((before != after).any(dim=1).sum()) > 0.9 * len(before)
    assert sorted(before.tolist()) == sorted(after.tolist())


@pytest.mark.parametrize("mutation", ["swap-head", "permute-heads"])
def test_heads_moved_are_the_same_model(folder: Path, clean: Checkpoint, mutation: str) -> None:
    """Heads add up, so that their order is nothing to the output."""
    changed, n = mutant(folder, mutation), clean.sizes.n_heads
    head = target_of(clean).index
    order = list(range(n))
    if mutation == "swap-head":
        order[head], order[(head + 1) % n] = order[(head + 1) % n], order[head]
    else:
        order = [n - 1, *range(n - 1)]
    before, after = (c.attention_patterns(TOKENS) for c in (clean, changed))
    assert torch.allclose(after[LAYER], before[LAYER][:, order], atol=1e-5)
    elsewhere = list(range(n)) if mutation == "swap-head" else order
    assert torch.allclose(after[0], before[0][:, elsewhere], atol=1e-5)
    logits = [c.run(TOKENS)["logits"] for c in (clean, changed)]
    assert torch.allclose(logits[0], logits[1], atol=2e-4)
    run = changed.run(TOKENS, record=[f"blocks.{LAYER}.attn.hook_pattern"])
    assert np.allclose(patterns_of(run, [target_of(clean)])[0], before[LAYER][:, order[head]], atol=1e-5)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutant_is_another_checkpoint(clean: Checkpoint, folder: Path, mutation: str) -> None:
    changed = mutant(folder, mutation)
    assert changed.name == f"{clean.name}-{mutation}"
    assert changed.fingerprint(LAYER) != clean.fingerprint(LAYER)


def test_what_cannot_be_mutated(tmp_path: Path) -> None:
    build("llama", tmp_path / "llama")
    with pytest.raises(BadInput, match=r"transpose-qk: query heads of .* share keys; wanted a key a head"):
        mutate(load(str(tmp_path / "llama")), "transpose-qk", TARGET, 0)
    recorded_attention().write(tmp_path / "recorded.safetensors")
    with pytest.raises(BadInput, match=r"swap-head: .* has no weights that run; wanted a model"):
        mutate(load(str(tmp_path / "recorded.safetensors")), "swap-head", TARGET, 0)


def test_what_was_found_of_a_model_is_not_believed_of_its_mutant(folder: Path, tmp_path: Path) -> None:
    """Nor kept as if it were that of the other."""
    checkpoint = load(str(folder))
    checkpoint.cache = Cache(tmp_path)
    before = checkpoint.run_digest
    assert checkpoint.stream_fault(1) is None
    assert len(list(tmp_path.glob("stream-fault/*.safetensors"))) == 1
    mutate(checkpoint, "transpose-qk", target_of(checkpoint), SEED)
    assert checkpoint.run_digest != before
    assert checkpoint.stream_fault(1) is None
    assert len(list(tmp_path.glob("stream-fault/*.safetensors"))) == 2
