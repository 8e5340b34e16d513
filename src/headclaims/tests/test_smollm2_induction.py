"""Induction heads of a complete real model, SmolLM2-135M: what `--head auto` finds, against transformers alone.

The audit is a whole one, nulls included. Its prompts are made by the suite, from a tokenizer that transformers opened;
attention, and what heads copy, are computed here from transformers' modules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from headclaims.claim.claim_set import ClaimSet
from headclaims.prompts.category import category_prompts
from headclaims.prompts.repeated import RepeatedPrompts, plain_tokens, repeated_prompts
from headclaims.tests.claims_run import ROOT, ClaimsRun, run_claims
from headclaims.tests.test_smollm2 import gguf, hooked, keep  # noqa: F401  # gguf is a fixture

pytestmark = [pytest.mark.slow, pytest.mark.long]

SET = ROOT / "claims" / "induction_heads"
ROTARY = {"k-composition"}
R = 32


@dataclass(frozen=True)
class Reference:
    """Transformers' model, and its attention on the prompts that claims are judged on, [layer, prompt, head, …]."""

    model: Any
    prompts: RepeatedPrompts
    prefix_matching: np.ndarray
    previous: np.ndarray
    plain: np.ndarray
    single_token: Callable[[str], int | None]


@pytest.fixture(scope="module")
def audit(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> ClaimsRun:  # noqa: F811
    reports = tmp_path_factory.mktemp("audit") / "reports"
    return run_claims("--checkpoint", gguf, "--head", "auto", reports=reports, of="claims/induction_heads")


@pytest.fixture(scope="module")
def reference(gguf: Path) -> Reference:  # noqa: F811
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, attn_implementation="eager", dtype=torch.float32
    ).eval()

    def single_token(text: str) -> int | None:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids[0] if len(ids) == 1 else None

    vocabulary = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    plain = plain_tokens(single_token, vocabulary, "SmolLM2")
    _, judged = repeated_prompts(plain.tolist(), tokenizer.bos_token_id, 32, R, seed=0).halves()
    tokens = np.concatenate([np.full((16, 1), tokenizer.bos_token_id), judged.words, judged.words], axis=1)
    matching, previous = [], []
    for prompt in torch.from_numpy(tokens).split(4):
        with torch.no_grad():
            attentions = model.model(prompt, output_attentions=True).attentions
        pattern = torch.stack(attentions).double().numpy()  # layer, prompt, head, query, key
        matching.append(pattern[..., R + 1 + np.arange(R), 2 + np.arange(R)].mean(axis=-1))
        previous.append(pattern[..., 2 + np.arange(R - 1), 1 + np.arange(R - 1)].mean(axis=-1))
    by_mark = [np.concatenate(parts, axis=1).mean(axis=1) for parts in (matching, previous)]
    return Reference(model, judged, by_mark[0], by_mark[1], plain, single_token)


def test_a_head_is_found_by_what_it_attends_to(audit: ClaimsRun, reference: Reference) -> None:
    target = audit.record["target"]
    assert target["chosen_by"] == "auto"
    measured = audit.claims["prefix-matching"]["measured"]
    own = reference.prefix_matching[target["layer"], target["head"]]
    assert measured["score"] == pytest.approx(own, abs=1e-3)
    assert own > 0.4
    # Chosen on the other half of the prompts: the highest there is among the highest here.
    assert own > 0.9 * reference.prefix_matching.max()
    assert audit.verdicts["prefix-matching"][0] == "supported"


def test_its_previous_token_head(audit: ClaimsRun, reference: Reference) -> None:
    measured = audit.claims["previous-token-head-exists"]["measured"]
    before = reference.previous[: audit.record["target"]["layer"]]
    assert (measured["layer"], measured["head"]) == np.unravel_index(before.argmax(), before.shape)
    assert measured["score"] == pytest.approx(before.max(), abs=1e-3)


def test_what_it_copies(audit: ClaimsRun, reference: Reference) -> None:
    """Streams of plain tokens with every earlier attention's mean, then W_V, W_O and the unembedding."""
    layer, head = (audit.record["target"][name] for name in ("layer", "head"))
    body, plain = reference.model.model, torch.from_numpy(reference.plain[:1000])
    counted = ClaimSet.read(SET).word_lists.load(None).that_count(reference.single_token, "SmolLM2")
    bos = int(reference.prompts.bos)
    default = category_prompts(counted, reference.single_token, bos, 32, 64, seed=0)
    seen: dict[str, torch.Tensor] = {}
    handles = [hooked(body.layers[n].self_attn, partial(keep, seen, str(n))) for n in range(layer)]
    with torch.no_grad():
        body(torch.as_tensor(np.asarray(default.tokens)))
        for handle in handles:
            handle.remove()
        x = body.embed_tokens.weight[plain]
        for n in range(layer):
            x = x + seen[str(n)][:, 1:].double().mean(dim=(0, 1)).float()
            x = x + body.layers[n].mlp(body.layers[n].post_attention_layernorm(x))
        attention = body.layers[layer].self_attn
        value = attention.v_proj(body.layers[layer].input_layernorm(x))[:, 64 * (head // 3) :][:, :64]
        written = value @ attention.o_proj.weight[:, 64 * head :][:, :64].T
        logits = (written * body.norm.weight) @ reference.model.lm_head.weight.T
        ranks = (logits > logits.gather(1, plain[:, None])).sum(dim=1)
    share = float((ranks < 10).double().mean())
    assert audit.claims["copies"]["measured"]["share"] == pytest.approx(share, abs=2e-3)


def test_what_rotary_positions_leave_undefined_says_so(audit: ClaimsRun) -> None:
    lapsed = {name for name, (verdict, _) in audit.verdicts.items() if verdict == "not assessable"}
    assert lapsed == ROTARY
    assert "not defined with rotary positions" in audit.claims["k-composition"]["reason"]
    assert list(audit.claims) == list(ClaimSet.read(SET).claims)
