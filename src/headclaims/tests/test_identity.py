"""How far token identity foretells each head's scores in an audit: from transformers' attention, and kept on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from headclaims.audit import attention, identity
from headclaims.audit.prepare import open_workspace
from headclaims.audit.settings import Settings
from headclaims.audit.workspace import Workspace
from headclaims.checkpoint.interface import Head
from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.claim.claim_set import ClaimSet
from headclaims.errors import NotAssessable
from headclaims.measures.token_identity import TokenPairs, identity_share
from headclaims.tests.claims_run import SET


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("HEADCLAIMS_CACHE", str(tmp_path / "cache"))
    about = ClaimSet.read(SET)
    settings = Settings(checkpoint=str(random_folder(0)), prompts=6, seq_len=40)
    return open_workspace(settings, about.word_lists, about.defaults)


def by_transformers(workspace: Workspace) -> dict[Head, float]:
    """The share of every head, from attention that transformers alone computed."""
    model = transformers.AutoModelForCausalLM.from_pretrained(random_folder(0), attn_implementation="eager")
    tokens = torch.from_numpy(np.asarray(workspace.prompts.tokens))
    with torch.no_grad():
        layers = model(tokens, output_attentions=True).attentions
    pairs = TokenPairs.of(workspace.prompts)
    heads = workspace.attention_heads
    return {head: identity_share(pairs, layers[head.layer][:, head.index].numpy()).value for head in heads}


@pytest.mark.parametrize("most", [None, 1], ids=["all layers at once", "layer by layer"])
def test_every_head_s_share_is_that_of_its_attention(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    expected = by_transformers(workspace)
    if most is not None:
        monkeypatch.setattr(attention, "MOST_AT_ONCE", most)
    assert len(expected) > 3
    for head, share in expected.items():
        assert workspace.identity.value(head) == pytest.approx(share, abs=1e-5), head
        assert workspace.identity.share(head).value == pytest.approx(share, abs=1e-5), head
    assert len(set(expected.values())) == len(expected)


def test_what_was_kept_is_not_run_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    head = workspace.attention_heads[1]
    before = workspace.identity.value(head), workspace.identity.share(head).value

    def no_run(*_: object, **__: object) -> None:
        raise AssertionError("the model is run again")

    _ = workspace.surveyed  # which is kept by itself
    monkeypatch.setattr(type(workspace.checkpoint), "run", no_run)
    again = identity.Identity(workspace)
    assert (again.value(head), again.share(head).value) == before


def test_a_head_whose_scores_do_not_vary_is_not_assessable(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = workspace.attention_heads[:2]
    monkeypatch.setattr(identity.Identity, "_values", np.array([np.nan, 0.5]))
    assert workspace.identity.value(second) == 0.5
    with pytest.raises(NotAssessable, match="do not vary"):
        workspace.identity.value(first)
