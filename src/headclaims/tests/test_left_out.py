"""Runs that begin at a layer: what comes out is that of the whole run, and blocks before the layer are not run."""

from typing import Any

import pytest
import torch

from headclaims.checkpoint.left_out import left_out
from headclaims.tests.conftest import Models
from headclaims.tests.small_models import VOCABULARY

TOKENS = torch.randint(0, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(4))


def counted(block: Any, runs: list[int]) -> Any:
    """Count the runs of a block, by what it hands to TransformerLens."""
    return block.hook_in.register_forward_hook(lambda *_: runs.append(1))


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox", "qwen2", "gemma", "opt", "gpt-neo"])
def test_a_run_from_a_layer_on_leaves_out_what_is_before(models: Models, name: str) -> None:
    checkpoint = models.checkpoint(name)
    last = checkpoint.sizes.n_layers - 1
    stream = f"blocks.{last}.hook_resid_pre"
    whole = checkpoint.run(TOKENS, record=[stream, f"blocks.{last}.attn.hook_pattern"], stop_at_layer=last + 1)
    first, later = list[int](), list[int]()
    handles = [counted(checkpoint.bridge.blocks[0], first), counted(checkpoint.bridge.blocks[last], later)]
    assert checkpoint._leaves_out
    first.clear(), later.clear()
    again = checkpoint.run(TOKENS, record=[f"blocks.{last}.attn.hook_pattern"], restart=(last, whole[stream]))
    logits = checkpoint.run(TOKENS, restart=(last, whole[stream]))["logits"]
    for handle in handles:
        handle.remove()
    assert torch.equal(*(run[f"blocks.{last}.attn.hook_pattern"] for run in (again, whole)))
    assert (first, len(later)) == ([], 2)
    assert torch.equal(logits, checkpoint.run(TOKENS)["logits"])


def test_blocks_are_as_they_were_afterwards(models: Models) -> None:
    """After an error as well; and a model that does not take it runs all of them."""
    checkpoint = models.checkpoint("gpt2")
    clean = checkpoint.run(TOKENS)["logits"]
    with pytest.raises(KeyError), left_out(checkpoint.bridge.blocks[:1]):
        raise KeyError
    assert torch.equal(checkpoint.run(TOKENS)["logits"], clean)
    stream = checkpoint.run(TOKENS, record=["blocks.1.hook_resid_pre"])["blocks.1.hook_resid_pre"]
    object.__setattr__(checkpoint, "_leaves_out", False)
    runs = list[int]()
    handle = counted(checkpoint.bridge.blocks[0], runs)
    assert torch.equal(checkpoint.run(TOKENS, restart=(1, stream))["logits"], clean)
    handle.remove()
    assert runs
    del checkpoint.__dict__["_leaves_out"]
