"""Induction heads of complete real models, SmolLM2-135M and Gemma 3 270M: what `--head auto` finds, and transformers.

The audits are whole ones, nulls included. Its prompts are made by the suite, from a tokenizer that transformers opened;
attention, and what heads copy, are computed here from transformers' modules.
"""

import re
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
from headclaims.tests.test_gemma3 import gguf as gemma  # noqa: F401  # fixtures
from headclaims.tests.test_smollm2 import gguf, hooked, keep  # noqa: F401

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


@pytest.fixture(scope="module", params=["smollm2", "gemma3"])
def model_file(request: pytest.FixtureRequest) -> Path:
    """The GGUF file of a model."""
    path: Path = request.getfixturevalue("gguf" if request.param == "smollm2" else "gemma")
    return path


@pytest.fixture(scope="module")
def audit(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> ClaimsRun:
    reports = tmp_path_factory.mktemp("audit") / "reports"
    return run_claims("--checkpoint", model_file, "--head", "auto", reports=reports, of="claims/induction_heads")


@pytest.fixture(scope="module")
def reference(model_file: Path) -> Reference:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_file.parent, gguf_file=model_file.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        model_file.parent, gguf_file=model_file.name, attn_implementation="eager", dtype=torch.float32
    ).eval()

    def single_token(text: str) -> int | None:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids[0] if len(ids) == 1 else None

    vocabulary = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    plain = plain_tokens(single_token, vocabulary, model_file.name)
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
    """Streams of plain tokens with every earlier attention's mean, then W_V, W_O and the unembedding.

    Gemma has norms after attention and MLP as well; their positive scale changes no rank, their gain does.
    """
    layer, head = (audit.record["target"][name] for name in ("layer", "head"))
    body, plain = reference.model.model, torch.from_numpy(reference.plain[:1000])
    sandwiched = hasattr(body.layers[0], "post_feedforward_layernorm")
    counted = ClaimSet.read(SET).word_lists.load(None).that_count(reference.single_token, "the model")
    bos = int(reference.prompts.bos)
    default = category_prompts(counted, reference.single_token, bos, 32, 64, seed=0)
    seen: dict[str, torch.Tensor] = {}
    written_by = [of.post_attention_layernorm if sandwiched else of.self_attn for of in body.layers[:layer]]
    handles = [hooked(module, partial(keep, seen, str(n))) for n, module in enumerate(written_by)]
    with torch.no_grad():
        body(torch.as_tensor(np.asarray(default.tokens)))
        for handle in handles:
            handle.remove()
        x = body.embed_tokens(plain)
        for n, of in enumerate(body.layers[:layer]):
            x = x + seen[str(n)][:, 1:].double().mean(dim=(0, 1)).float()
            if sandwiched:
                x = x + of.post_feedforward_layernorm(of.mlp(of.pre_feedforward_layernorm(x)))
            else:
                x = x + of.mlp(of.post_attention_layernorm(x))
        target, final = body.layers[layer], body.norm.weight + sandwiched
        width = target.self_attn.head_dim
        key_head = head // target.self_attn.num_key_value_groups
        value = target.self_attn.v_proj(target.input_layernorm(x))[:, width * key_head :][:, :width]
        written = value @ target.self_attn.o_proj.weight[:, width * head :][:, :width].T
        if sandwiched:
            written = written * (1 + target.post_attention_layernorm.weight)
        logits = (written * final) @ reference.model.lm_head.weight.T
        ranks = (logits > logits.gather(1, plain[:, None])).sum(dim=1)
    share = float((ranks < 10).double().mean())
    assert audit.claims["copies"]["measured"]["share"] == pytest.approx(share, abs=2e-3)


def test_what_rotary_positions_leave_undefined_says_so(audit: ClaimsRun) -> None:
    lapsed = {name for name, (verdict, _) in audit.verdicts.items() if verdict == "not assessable"}
    assert lapsed == ROTARY
    assert re.search("not defined with rotary positions|needs qk", audit.claims["k-composition"]["reason"])
    assert list(audit.claims) == list(ClaimSet.read(SET).claims)
