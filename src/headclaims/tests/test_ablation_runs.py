"""Ablated runs against transformers' own modules under hooks."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Head
from headclaims.measures.ablation import AblationRuns, Component, Kind, Part, attentions
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import VOCABULARY, SmallModel, replaced_output

TOLERANCE = 1e-5  # float32: two orders of the same sums on weights of order one
PROMPTS, LENGTH = 5, 12
EMBEDDING, POSITION, DIRECT = (Component(part) for part in (Part.EMBEDDING, Part.POSITION, Part.DIRECT_PATH))
ATTENTION_0, ATTENTION_1 = attentions(2)
MLP_0, MLP_1 = Component(Part.MLP, 0), Component(Part.MLP, 1)


def instead(values: Tensor, kind: Kind) -> Tensor:
    """What takes the place of an output, position by position."""
    changed, d_model = values.clone(), values.shape[-1]
    for i in range(values.shape[1]):
        if kind is Kind.AUTHOR:
            changed[:, i] = values.reshape(-1, d_model).mean(dim=0)
        elif i > 0:
            mean = values[:, 1:].reshape(-1, d_model).mean(dim=0)
            here = values[:, i].mean(dim=0)
            changed[:, i] = {Kind.MEAN: mean, Kind.ZERO: torch.zeros(d_model), Kind.POSITION_MEAN: here}[kind]
    return changed


def module_of(small: SmallModel, component: Component) -> Any:
    """The module whose output a component is; the token embedding for the direct path."""
    block, opt = small.block(component.layer), small.name == "opt"
    if component.part is Part.POSITION:
        return small.model.model.decoder.embed_positions if opt else small.model.transformer.wpe
    if component.part is Part.ATTENTION:
        return small.attention(component.layer)
    if component.part is Part.MLP:
        return block.fc2 if opt else block.mlp
    return small.model.get_input_embeddings()


@contextmanager
def without_rotation(small: SmallModel) -> Iterator[None]:
    """Every cosine 1 and every sine 0."""
    rotary = small.model.get_submodule(f"{small.architecture.body}.rotary_emb")
    handle = rotary.register_forward_hook(lambda *call: (torch.ones_like(call[2][0]), torch.zeros_like(call[2][1])))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def added_before(block: Any, change: Tensor) -> Iterator[None]:
    """`change` added to what a block reads, by its residual stream too."""
    handle = block.register_forward_pre_hook(lambda _, inputs: (inputs[0] + change, *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


def by_transformers(
    small: SmallModel, tokens: Tensor, heads: Sequence[Head], components: Sequence[Component], kind: Kind
) -> np.ndarray:
    """Patterns [head, prompt, query, key] as transformers gives them, with components' outputs replaced by hooks."""
    learned = [c for c in components if not (c.part is Part.POSITION and small.architecture.rotary)]
    clean: dict[Component, list[Tensor]] = {component: [] for component in learned}
    with torch.no_grad(), ExitStack() as hooks:
        for component, seen in clean.items():
            hooks.enter_context(replaced_output(module_of(small, component), None, seen))
        small.model(tokens)
    with torch.no_grad(), ExitStack() as hooks:
        if len(learned) < len(components):
            hooks.enter_context(without_rotation(small))
        for component, (output,) in clean.items():
            # OPT's MLP has positions of all prompts in one axis.
            term = instead(output.view(-1, LENGTH, output.shape[-1]), kind).view_as(output)
            if component.part is Part.DIRECT_PATH:
                hooks.enter_context(added_before(small.block(1), term - output))
            else:
                hooks.enter_context(replaced_output(module_of(small, component), term))
        patterns = small.model(tokens, output_attentions=True).attentions
    return np.stack([patterns[head.layer][:, head.index].numpy() for head in heads])


def tokens() -> Tensor:
    """Random tokens, the first among them: what is left as it is at position 0 is each prompt's own."""
    return torch.randint(1, VOCABULARY, (PROMPTS, LENGTH), generator=torch.Generator().manual_seed(7))


def runs_of(models: Models, name: str, layer: int, **more: int) -> AblationRuns:
    """Runs for all heads from a layer on, two prompts at once and so three batches."""
    heads = [Head(after, index) for after in range(layer, 3) for index in range(models(name).n_heads)]
    return AblationRuns(models.checkpoint(name), tokens(), heads, layer, **{"at_once": 2, **more})


TARGET_1 = [[EMBEDDING], [POSITION], [ATTENTION_0], [MLP_0], [DIRECT], [POSITION, ATTENTION_0]]
TARGET_2 = [[DIRECT], [ATTENTION_1], [MLP_1], [ATTENTION_0, ATTENTION_1], [POSITION, ATTENTION_0, ATTENTION_1]]
TARGET_2 += [[MLP_1, EMBEDDING], [DIRECT, MLP_0, ATTENTION_1], [EMBEDDING, POSITION]]
CASES = [(1, joint) for joint in TARGET_1] + [(2, joint) for joint in TARGET_2]


@pytest.mark.parametrize(("layer", "components"), CASES, ids=str)
@pytest.mark.parametrize("name", ["gpt2", "gpt-neo", "opt", "llama", "neox", "ernie"])
def test_mean_ablation_is_transformers_with_hooks(
    models: Models, name: str, layer: int, components: list[Component]
) -> None:
    runs = runs_of(models, name, layer)
    expected = by_transformers(models(name), tokens(), runs.heads, components, Kind.MEAN)
    clean = by_transformers(models(name), tokens(), runs.heads, [], Kind.MEAN)
    assert np.abs(runs.clean - clean).max() < TOLERANCE
    assert np.abs(expected - clean).max() > 100 * TOLERANCE
    assert np.abs(runs.ablated(components) - expected).max() < TOLERANCE


@pytest.mark.parametrize("kind", [Kind.AUTHOR, Kind.ZERO, Kind.POSITION_MEAN])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_other_kinds_are_transformers_with_hooks(models: Models, name: str, kind: Kind) -> None:
    runs, small = runs_of(models, name, 2), models(name)
    for components in ([EMBEDDING], [MLP_0], [ATTENTION_0, ATTENTION_1], [DIRECT]):
        expected, mean = (by_transformers(small, tokens(), runs.heads, components, k) for k in (kind, Kind.MEAN))
        assert np.abs(expected - mean).max() > 100 * TOLERANCE
        assert np.abs(runs.ablated(components, kind) - expected).max() < TOLERANCE


def test_a_scaled_embedding_is_ablated_with_its_scale(models: Models) -> None:
    """Gemma multiplies embeddings by √d_model before the first layer."""
    runs = runs_of(models, "gemma", 1)
    expected = by_transformers(models("gemma"), tokens(), runs.heads, [EMBEDDING], Kind.MEAN)
    assert np.abs(runs.ablated([EMBEDDING]) - expected).max() < TOLERANCE


def test_learned_positions_are_the_same_for_all_prompts(models: Models) -> None:
    runs = runs_of(models, "gpt2", 1)
    for kind in (Kind.AUTHOR, Kind.ZERO):
        expected = by_transformers(models("gpt2"), tokens(), runs.heads, [POSITION], kind)
        assert np.abs(runs.ablated([POSITION], kind) - expected).max() < TOLERANCE
    # Their mean over prompts is what they are.
    assert np.abs(runs.ablated([POSITION], Kind.POSITION_MEAN) - runs.clean).max() < TOLERANCE


def test_rotation_goes_whatever_the_kind(models: Models) -> None:
    runs = runs_of(models, "llama", 1)
    assert np.array_equal(runs.ablated([POSITION], Kind.ZERO), runs.ablated([POSITION]))


def test_resampling_in_a_run_goes_by_the_seed(models: Models) -> None:
    one, same, other = (runs_of(models, "gpt2", 1, seed=seed).ablated([MLP_0], Kind.RESAMPLE) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_heads_can_be_chosen_and_batches_make_no_difference(models: Models) -> None:
    runs = runs_of(models, "llama", 1)
    whole = runs_of(models, "llama", 1, at_once=16).ablated([MLP_0])
    chosen = [Head(2, 4), Head(1, 3)]
    some = runs.ablated([MLP_0], heads=chosen)
    assert np.abs(some - whole[[runs.heads.index(head) for head in chosen]]).max() < TOLERANCE


def test_layers_before_the_ablation_are_not_run_again(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = models.checkpoint("gpt2")
    runs = AblationRuns(checkpoint, tokens(), [Head(2, 1), Head(2, 3)], 2, at_once=3)
    whole, ran = checkpoint.run, []

    def run(some: Tensor, edits: Any = None, record: Any = (), **more: Any) -> dict[str, Tensor]:
        names = [f"blocks.{layer}.hook_mlp_out" for layer in range(3)]
        missed = []
        for layer, name in enumerate(names):
            try:
                whole(some, edits, [*record, name], **more)
            except ValueError as error:
                assert "does not occur" in str(error)  # noqa: PT017
                missed.append(layer)
        ran.append([layer for layer in range(3) if layer not in missed])
        return whole(some, edits, record, **more)

    monkeypatch.setattr(checkpoint, "run", run)
    batches = 2  # of 5 prompts, 3 at once
    for components, layers in (([MLP_1], [1, 2]), ([DIRECT], [1, 2]), ([ATTENTION_1, MLP_0], [0, 1, 2])):
        runs.clean  # noqa: B018
        ran.clear()
        runs.ablated(components)
        assert ran == [layers] * batches
    ran.clear()
    runs.clean  # noqa: B018
    assert ran == []


@pytest.mark.parametrize("components", [[MLP_1], [ATTENTION_1], [Component(Part.MLP, 2)], [ATTENTION_0, ATTENTION_1]])
def test_components_at_or_after_the_layer_are_refused(models: Models, components: list[Component]) -> None:
    with pytest.raises(ValueError, match="wanted a component before layer 1"):
        runs_of(models, "gpt2", 1).ablated(components)


def test_what_a_first_layer_has_before_it(models: Models) -> None:
    runs = runs_of(models, "gpt2", 0)
    for component in (DIRECT, ATTENTION_0, MLP_0):
        with pytest.raises(ValueError, match="wanted a component before layer 0"):
            runs.ablated([component])
    expected = by_transformers(models("gpt2"), tokens(), runs.heads, [EMBEDDING], Kind.MEAN)
    assert np.abs(runs.ablated([EMBEDDING]) - expected).max() < TOLERANCE


def test_heads_before_the_layer_are_refused(models: Models) -> None:
    with pytest.raises(ValueError, match=r"heads \['L2H0', 'L0H1'\]; wanted some, all of layer 1 or later"):
        AblationRuns(models.checkpoint("gpt2"), tokens(), [Head(2, 0), Head(0, 1)], 1)


@pytest.mark.parametrize(
    "components",
    [
        [],
        [Component(Part.EMBEDDING), Component(Part.DIRECT_PATH)],
        [Component(Part.MLP), Component(Part.MLP)],
    ],
    ids=["none", "in-another", "twice"],
)
def test_sets_that_overlap_are_refused(models: Models, components: list[Component]) -> None:
    """The embedding's change would be added twice."""
    runs = AblationRuns(models.checkpoint("gpt2"), torch.arange(12).view(2, 6), [Head(2, 0)], 2)
    with pytest.raises(ValueError, match="none twice or in another"):
        runs.ablated(components)


def test_a_layer_is_for_attention_and_mlp() -> None:
    with pytest.raises(ValueError, match="position of layer 1"):
        Component(Part.POSITION, 1)


def test_what_a_run_depends_on_has_the_config(models: Models, tmp_path: Path) -> None:
    """The base of the rotation is no parameter."""
    first = models("llama")
    shutil.copytree(first.folder, tmp_path / "turned")
    config = tmp_path / "turned" / "config.json"
    theta = re.search(r'"rope_theta": ([\d.]+)', config.read_text())
    assert theta
    config.write_text(config.read_text().replace(theta[0], f'"rope_theta": {float(theta[1]) * 10}'))
    assert models.checkpoint("llama").run_digest == load(str(first.folder)).run_digest
    assert models.checkpoint("llama").run_digest != load(str(tmp_path / "turned")).run_digest
