"""The pattern from the effective embedding: by plain loops, and where it is the model's own attention."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.circuit.effective_pattern import effective_pattern
from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import VOCABULARY, norm_eps, replaced_output, rotation, without_gain

TOLERANCE = 1e-5  # float32: two orders of the same sums on weights of order one


@pytest.mark.parametrize("rotary", [True, False])
def test_plain_loops(rotary: bool) -> None:
    draw = np.random.default_rng(3)
    W_Q, W_K, E = (draw.normal(size=shape) for shape in ((5, 4), (5, 4), (6, 5)))
    b_Q, b_K = draw.normal(size=4), draw.normal(size=4)
    at = draw.integers(6, size=(3, 7))
    expected = np.zeros((3, 7, 7))
    for prompt in range(3):
        for i in range(7):
            weight = []
            for j in range(i + 1):
                R = rotation(i - j).double().numpy() if rotary else np.eye(4)
                query, key = E[at[prompt, i]] @ W_Q + b_Q, E[at[prompt, j]] @ W_K + b_K
                weight.append(math.exp(0.3 * float((query @ R) @ key)))
            expected[prompt, i, : i + 1] = np.array(weight) / sum(weight)
    weights = [torch.from_numpy(x).float() for x in (W_Q, W_K, b_Q, b_K)]
    circuit = QKCircuit(weights[0], weights[1], weights[2], weights[3], scale=0.3)
    found = effective_pattern(circuit, torch.from_numpy(E).float(), at, rotation if rotary else lambda _: None)
    assert found == pytest.approx(expected, abs=TOLERANCE)
    assert (np.triu(found, 1) == 0).all()


def test_two_tokens_by_hand() -> None:
    # One dimension, W_Q = 2, W_K = 3, biases 1 and −1, scale ½; tokens are 1 and −1. Queries 3 and −1, keys 2 and −4:
    # scores 3 and −6 of token 0, −1 and 2 of token 1. The prompt is token 0, token 1, token 0.
    one = torch.ones(1)
    circuit = QKCircuit(2 * one[None], 3 * one[None], one, -one, scale=0.5)
    found = effective_pattern(circuit, torch.tensor([[1.0], [-1.0]]), np.array([[0, 1, 0]]), lambda _: None)
    e = math.exp
    last = np.array([e(3), e(-6), e(3)])
    expected = [[1, 0, 0], np.array([e(-1), e(2), 0]) / (e(-1) + e(2)), last / last.sum()]
    assert found[0] == pytest.approx(np.array(expected), abs=1e-6)


def drawn_tokens() -> Tensor:
    """Three prompts of 17 random tokens."""
    return torch.randint(0, VOCABULARY, (3, 17), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", ["llama", "neox", "qwen2", "ernie"])
def test_first_layer_of_a_rotary_model_is_its_own_attention(models: Models, name: str) -> None:
    """Nothing is before layer 0 but the embedding: what E ablates isn't there."""
    small, checkpoint = models(name), models.checkpoint(name)
    with torch.no_grad():
        expected = small.model(drawn_tokens(), output_attentions=True).attentions[0].numpy()
    embedding = small.model.get_input_embeddings().weight.detach()
    E = without_gain(embedding, small.architecture.centres, norm_eps(small, 0))
    for head in range(small.n_heads):
        circuit = QKCircuit.of(checkpoint.qk_weights(0), head)
        found = effective_pattern(circuit, E, drawn_tokens().numpy(), checkpoint.rotation_at(0))
        assert np.abs(found - expected[:, head]).max() < TOLERANCE
        # Lest the rotation made no difference, or all heads were alike.
        unturned = effective_pattern(circuit, E, drawn_tokens().numpy(), lambda _: None)
        assert np.abs(unturned - expected[:, head]).max() > 100 * TOLERANCE
        assert np.abs(found - expected[:, (head + 1) % small.n_heads]).max() > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["gpt2", "gpt-neo"])
def test_first_layer_with_one_position_embedding_for_all(models: Models, name: str) -> None:
    """With learned positions: E with a constant is the attention of a model whose position embedding is that."""
    small, checkpoint = models(name), models.checkpoint(name)
    constant = torch.randn(48, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), replaced_output(small.model.transformer.wpe, constant):
        expected = small.model(drawn_tokens(), output_attentions=True).attentions[0].numpy()
    E = without_gain(small.model.transformer.wte.weight.detach() + constant, True, norm_eps(small, 0))
    for head in range(small.n_heads):
        circuit = QKCircuit.of(checkpoint.qk_weights(0), head)
        found = effective_pattern(circuit, E, drawn_tokens().numpy(), checkpoint.rotation_at(0))
        assert np.abs(found - expected[:, head]).max() < TOLERANCE
