"""Runs without one head, direct effects and copying, against transformers alone or products written out."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from headclaims.checkpoint.interface import Head
from headclaims.circuit.ov_circuit import OVCircuit
from headclaims.measures.copying import copied, copying
from headclaims.measures.head_runs import HeadRuns, direct_effects
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import VOCABULARY

TOKENS = torch.randint(0, VOCABULARY, (10, 9), generator=torch.Generator().manual_seed(1))


def entering(model: Any, projection: Any) -> Tensor:
    """What enters an output projection, [prompt, position, all heads' dimensions]."""
    seen: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    with torch.no_grad():
        model(TOKENS)
    handle.remove()
    return seen[0]


def run_without(model: Any, projection: Any, index: int, d_head: int) -> Any:
    """Transformers' run with one head's output at positions ≥ 1 replaced by its mean there."""
    own = slice(index * d_head, (index + 1) * d_head)
    mean = entering(model, projection)[:, 1:, own].mean(dim=(0, 1))

    def ablate(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = inputs[0].clone()
        changed[:, 1:, own] = mean
        return (changed, *inputs[1:])

    handle = projection.register_forward_pre_hook(ablate)
    with torch.no_grad():
        output = model(TOKENS, output_attentions=True)
    handle.remove()
    return output


def projection_of(models: Models, name: str, layer: int) -> Any:
    attention = models(name).attention(layer)
    return attention.c_proj if name == "gpt2" else attention.o_proj


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_losses_without_a_head_are_transformers_own(models: Models, name: str) -> None:
    small, runs = models(name), HeadRuns(models.checkpoint(name), TOKENS)
    with torch.no_grad():
        clean = small.model(TOKENS).logits
    for ablated, logits in (
        (None, clean),
        (Head(1, 2), run_without(small.model, projection_of(models, name, 1), 2, small.d_head).logits),
        (Head(0, 0), run_without(small.model, projection_of(models, name, 0), 0, small.d_head).logits),
    ):
        expected = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), TOKENS[:, 1:], reduction="none")
        assert_allclose(runs.losses(ablated), expected.numpy(), atol=2e-4)


def test_a_change_through_keys_alone_is_computed_from_clean_queries(models: Models) -> None:
    """GPT-2's pattern of layer 2 by hand: q of the clean run, k of the run without L0H1, and the other way round."""
    small, runs = models("gpt2"), HeadRuns(models.checkpoint("gpt2"), TOKENS)

    def queries_and_keys(ablate: bool) -> list[Tensor]:
        seen: list[Tensor] = []
        handle = small.attention(2).c_attn.register_forward_hook(lambda *given: seen.append(given[2].detach()))
        if ablate:
            run_without(small.model, projection_of(models, "gpt2", 0), 1, 12)
            seen.pop(0)  # of the clean run, which the mean is taken from
        else:
            with torch.no_grad():
                small.model(TOKENS)
        handle.remove()
        q, k, _ = seen[0].view(10, 9, 3, 4, 12).unbind(2)
        return [q.transpose(1, 2), k.transpose(1, 2)]

    def pattern(q: Tensor, k: Tensor) -> Tensor:
        scores = q @ k.mT / 12**0.5
        return scores.masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf).softmax(dim=-1)

    (q, k), (q_without, k_without) = queries_and_keys(False), queries_and_keys(True)
    for index in (0, 3):
        observed = Head(2, index)
        through_keys = runs.pattern_without(Head(0, 1), observed, "keys")
        assert torch.allclose(through_keys, pattern(q, k_without)[:, index], atol=1e-4)
        through_queries = runs.pattern_without(Head(0, 1), observed, "queries")
        assert torch.allclose(through_queries, pattern(q_without, k)[:, index], atol=1e-4)
        assert not torch.allclose(through_keys, pattern(q, k)[:, index], atol=1e-3)


@pytest.mark.parametrize(("through", "held"), [("keys", "q_proj"), ("queries", "k_proj")])
def test_with_rotary_positions_what_is_held_is_the_clean_projection(models: Models, through: Any, held: str) -> None:
    """Transformers' run without a head, in which one projection of the observed layer returns what it did before."""
    small, runs = models("llama"), HeadRuns(models.checkpoint("llama"), TOKENS)
    projection = getattr(small.attention(2), held)
    returned: list[Tensor] = []
    handle = projection.register_forward_hook(lambda *given: returned.append(given[2].detach()))
    with torch.no_grad():
        clean = small.model(TOKENS, output_attentions=True).attentions[2][:, 1]
    handle.remove()
    handle = projection.register_forward_hook(lambda *_: returned[0])
    expected = run_without(small.model, projection_of(models, "llama", 0), 4, 12).attentions[2][:, 1]
    handle.remove()
    found = runs.pattern_without(Head(0, 4), Head(2, 1), through)
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, clean, atol=1e-2)


def test_only_earlier_heads_can_be_ablated(models: Models) -> None:
    with pytest.raises(ValueError, match="wanted a head of an earlier layer"):
        HeadRuns(models.checkpoint("gpt2"), TOKENS).pattern_without(Head(1, 0), Head(1, 1), "keys")


def test_direct_effects_are_head_outputs_through_the_final_norm(models: Models) -> None:
    """GPT-2 with transformers' own numbers: z W_O centred, over the residual's deviation, gain and unembedding."""
    small, checkpoint = models("gpt2"), models.checkpoint("gpt2")
    plain = np.array([3, 11, 40, 41])
    targets = np.full(TOKENS.shape, -1)
    targets[:, 5:] = np.random.default_rng(0).integers(VOCABULARY, size=(10, 4))
    heads = [Head(2, 3), Head(0, 1)]
    found = direct_effects(checkpoint, TOKENS, targets, plain, heads)
    final = small.model.transformer.ln_f
    seen: list[Tensor] = []
    handle = final.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        small.model(TOKENS)
    handle.remove()
    sigma = (seen[0].var(dim=-1, unbiased=False) + final.eps).sqrt()
    U = small.model.lm_head.weight.detach()
    for number, head in enumerate(heads):
        attention, own = small.attention(head.layer), slice(12 * head.index, 12 * head.index + 12)
        value_bias = attention.c_attn.bias.detach()[96:][own]
        norm = small.norm(head.layer)
        value_bias = value_bias + (norm.bias @ attention.c_attn.weight[:, 96:]).detach()[own]
        z = entering(small.model, attention.c_proj)[:, :, own] - value_bias
        out = z @ attention.c_proj.weight.detach()[own]
        out = (out - out.mean(dim=-1, keepdim=True)) / sigma[..., None] * final.weight.detach()
        for prompt in range(10):
            rows = [float(out[prompt, i] @ (U[targets[prompt, i]] - U[plain].mean(dim=0))) for i in range(5, 9)]
            assert found[number, prompt] == pytest.approx(np.mean(rows), abs=2e-4)


def test_copied_tokens_are_those_of_the_matrix_written_out() -> None:
    draw = np.random.default_rng(6).standard_normal
    W_V, W_O, W_U = draw((8, 3)), draw((3, 8)), draw((8, 60))
    plain = np.array([5, 17, 30, 59])
    E = W_U.T[plain] + 0.3 * draw((4, 8))
    pairs = (W_V, W_O), (W_V, W_V.T), (W_V, -W_V.T)
    circuits = [OVCircuit(*(torch.from_numpy(W).float() for W in pair)) for pair in pairs]
    found = copied(circuits, torch.from_numpy(E).float(), torch.from_numpy(W_U).float(), plain)
    for row, product in zip(found, pairs, strict=True):
        logits = E @ product[0] @ product[1] @ W_U
        ranks = [(logits[i] > logits[i, token]).sum() for i, token in enumerate(plain)]
        assert row.tolist() == [rank < 10 for rank in ranks]
    assert found[1].sum() > found[2].sum()


def test_copying_is_asked_at_each_head_s_own_layer(models: Models) -> None:
    checkpoint = models.checkpoint("gpt2")
    plain = np.arange(5, 45)
    terms = torch.zeros(48), torch.zeros(2, 48)
    heads = [Head(2, 1), Head(0, 3), Head(2, 0)]
    together = copying(checkpoint, heads, plain, terms)
    assert together["copied"].shape == (3, 40)
    for number, head in enumerate(heads):
        alone = copying(checkpoint, [head], plain, (terms[0], terms[1][: head.layer]))
        for name, values in alone.items():
            assert_allclose(values[0], together[name][number], atol=1e-9)
        E = checkpoint.embed_alone(torch.from_numpy(plain), head.layer, terms[0], terms[1][: head.layer])
        circuit = OVCircuit.of(checkpoint.ov_weights(head.layer), head.index)
        logits = (E @ circuit.W_V @ circuit.W_O @ checkpoint.W_U).double().numpy()
        values = np.linalg.eigvals(logits[:, plain])
        assert together["positive"][number] == pytest.approx(values.real.sum() / np.abs(values).sum(), abs=1e-3)
