"""The claims on induction heads: on the planted checkpoint and some counterfeits, and on real evidence in part."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Head
from headclaims.checkpoint.planted.constructions import constructions
from headclaims.checkpoint.planted.induction.counterfeits import COUNTERFEITS, folder
from headclaims.checkpoint.planted.induction.weights import CONTEXT, frequencies
from headclaims.checkpoint.planted.vocabulary import vocabulary
from headclaims.claim.claim_set import ClaimSet
from headclaims.prompts.repeated import plain_tokens, repeated_prompts
from headclaims.tests.claims_run import ROOT, ClaimsRun, complaint, read_record, run_claims
from headclaims.tests.evidence_files import recorded_attention, tiny_gpt2
from headclaims.tests.real_gpt2 import FOLDER, WEIGHTS, needs_weights
from headclaims.tests.word_lists import load_words
from headclaims.trials.counterfeits import COUNTERFEITS_FILE, Expected, options, outcomes, unexpected

SET = ROOT / "claims" / "induction_heads"
SENTENCE = FOLDER / "recorded-sentence-dog-on-the-ship.safetensors"
CLAIMS = list(ClaimSet.read(SET).claims)


def by_set(tmp_path: Path, *more: str | Path) -> ClaimsRun:
    """`pytest claims/induction_heads …`."""
    return run_claims(*more, reports=tmp_path / "reports", of="claims/induction_heads")


def by_name(reports: Path) -> dict[str, dict[str, Any]]:
    """The records of a folder by their claim set."""
    found = [read_record(path) for path in reports.rglob("claims.json")]
    assert len({record["claim_set"]["name"] for record in found}) == len(found)
    return {record["claim_set"]["name"]: record for record in found}


def test_expected_cells_name_every_counterfeit_and_claim() -> None:
    expected = Expected.read(SET / COUNTERFEITS_FILE, CLAIMS)
    assert set(expected.cells) == {"planted", *constructions()["induction"].names}
    assert expected.most == 3
    for claim in CLAIMS:
        fewest = min(
            sum(outcome != "stands" for outcome in row.values()) - 1
            for row in expected.cells.values()
            if row[claim] == "falls"
        )
        assert fewest <= 3, claim


def test_no_two_positions_of_the_planted_context_look_alike() -> None:
    apart = np.arange(1, CONTEXT)
    assert np.cos(np.outer(frequencies(), apart)).mean(axis=0).max() < 7 / 24


@pytest.mark.slow
def test_the_planted_head_attends_as_derived_by_transformers_alone() -> None:
    """On repeated prompts, without the suite: L1H4 to targets, L0H7 to previous tokens, BOS in first halves."""
    planted = load("planted", construction="induction")
    plain = plain_tokens(planted.single_token, planted.vocabulary, planted.spec)
    draw = repeated_prompts(plain.tolist(), planted.bos, 4, 32, seed=5)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder("planted"), attn_implementation="eager").eval()
    with torch.no_grad():
        output = model(torch.from_numpy(draw.gapped.tokens), output_attentions=True)
    first, second = (pattern.numpy() for pattern in output.attentions)
    for prompt, gap in enumerate(draw.gap_length.tolist()):
        rows = np.arange(33 + gap, 65 + gap)
        assert second[prompt, 4, rows, np.arange(2, 34)].mean() == pytest.approx(0.98, abs=0.02)
        assert second[prompt, 4, 2:33, 0].mean() == pytest.approx(0.97, abs=0.02)
        assert first[prompt, 7, np.arange(2, 33), np.arange(1, 32)].min() > 0.99
    predicted = output.logits[0, int(33 + draw.gap_length[0]) : int(64 + draw.gap_length[0])].softmax(dim=-1)
    following = torch.from_numpy(draw.words[0, 1:])
    # e^10 against the word's three variants, e^9.5 each, and 2,199 tokens of e^(10²/60) on average.
    beside = 3 * np.exp(9.54) + 2199 * np.exp(100 / 60)
    assert float(predicted.gather(1, following[:, None]).mean()) == pytest.approx(
        np.exp(10) / (np.exp(10) + beside), abs=0.08
    )
    of_word = torch.tensor([-1, -1, *(form.word for form in vocabulary().forms)])
    forms = (of_word[following][:, None] == of_word[None, :]).float()
    assert float((predicted * forms).sum(dim=1).mean()) == pytest.approx(0.85, abs=0.08)
    with pytest.raises(KeyError):
        folder("made-up")
    assert set(COUNTERFEITS) < set(constructions()["induction"].names)


def test_a_run_of_all_sets_leaves_out_one_whose_head_is_not_there(tmp_path: Path) -> None:
    """Where no head was asked for; a head that was is audited by both."""
    recorded_attention().write(tmp_path / "some.safetensors")
    options = ("--verdicts-only", "-k", "prefix_matching or lowest")
    some = ("--checkpoint", tmp_path / "some.safetensors", *options)
    made = run_claims(*some, reports=tmp_path / "none", of="claims/")
    assert made.first_line.endswith(
        f"induction_heads left out: --head L5H5: {some[1]} holds attention of layers 0 to 2 alone, with heads 0 to 7"
    )
    assert made.record["claim_set"]["name"] == "self_hating_head"
    made = run_claims(*some, "--head", "L1H6", reports=tmp_path / "a", of="claims/")
    records = by_name(tmp_path / "a")
    assert records.keys() == {"induction_heads", "self_hating_head"}
    assert {record["target"]["label"] for record in records.values()} == {"L1H6"}
    # No token occurs twice, by which a head would be looked for: with the set alone that is a refusal.
    once = recorded_attention()
    words = [f" {word}" for word in load_words("write-up").words[:23]]
    once.metadata["tokens"] = json.dumps([["<bos>", *words]] * 12)
    some = ("--checkpoint", once.write(tmp_path / "once.safetensors"), *options)
    made = run_claims(*some, "--head", "auto", reports=tmp_path / "b", of="claims/")
    why = "--head auto: cannot be chosen on this evidence: recorded prompts: no token occurs twice within a prompt"
    assert f"induction_heads left out: {why}" in made.first_line
    assert by_name(tmp_path / "b").keys() == {"self_hating_head"}
    refused = run_claims(*some, "--head", "auto", reports=tmp_path / "d", of="claims/induction_heads")
    assert (refused.status, complaint(refused)) == (2, f"{why}; wanted some that do")
    listed = run_claims("--checkpoint", "planted:list", reports=tmp_path / "c", of="claims/").stdout
    for name in ("skew-driven", "copy-too"):
        assert f"planted:{name} " in listed


@pytest.mark.slow
@pytest.mark.long
def test_in_a_run_of_all_sets_planted_is_each_set_s_own(tmp_path: Path) -> None:
    made = run_claims("--checkpoint", "planted", "--verdicts-only", reports=tmp_path / "b", of="claims/")
    records = by_name(tmp_path / "b")
    assert made.status == 0, made.output
    assert {name: record["target"]["label"] for name, record in records.items()} == {
        "induction_heads": "L1H4",
        "self_hating_head": "L1H5",
    }
    assert len({record["checkpoint"]["identity"] for record in records.values()}) == 2
    made = run_claims("--checkpoint", "planted:copy-too", "--verdicts-only", reports=tmp_path / "c", of="claims/")
    assert "self_hating_head left out: planted:copy-too: no such counterfeit" in made.output
    assert made.record["claim_set"]["name"] == "induction_heads"


@pytest.mark.slow
@pytest.mark.long
def test_a_model_without_words_of_categories_is_audited_by_what_needs_none(tmp_path: Path) -> None:
    """260 common words, none of a category: repeated prompts can be made, but not E, whose terms are of categories."""
    import wordfreq

    of_categories = {word.lower() for name in ("write-up", "held-out") for word in load_words(name).words}
    words = [word for word in wordfreq.top_n_list("en", 2000) if word.isalpha() and word not in of_categories][:260]
    model = tiny_gpt2(tmp_path / "tiny", words, context=96)
    made = by_set(tmp_path, "--checkpoint", model, "--head", "L1H1", "--verdicts-only")
    lapsed = {name: claim["reason"] for name, claim in made.claims.items() if claim["verdict"] == "not assessable"}
    assert set(lapsed) == {"copies", "copying-eigenvalues"}
    assert all("categories" in reason for reason in lapsed.values())
    refused = run_claims("--checkpoint", model, reports=tmp_path / "other")
    assert refused.status == 2
    assert complaint(refused).startswith("--words")


@pytest.mark.slow
@pytest.mark.long
def test_all_claims_are_supported_on_the_planted_checkpoint_and_found_where_derived(tmp_path: Path) -> None:
    """Every claim with a null is distinctive; the previous-token head is the one that was planted."""
    made = by_set(tmp_path, "--checkpoint", "planted")
    assert {name: verdict for name, (verdict, _) in made.verdicts.items()} == dict.fromkeys(CLAIMS, "supported")
    assert made.status == 0
    assert made.record["target"]["label"] == "L1H4"
    without_null = {"not-by-lag", "order-matters", "queries-do-not"}
    for name, (_, flags) in made.verdicts.items():
        assert flags == ([] if name in without_null else ["distinctive"]), name
    measured = {name: claim["measured"] for name, claim in made.claims.items()}
    assert (measured["k-composition"]["layer"], measured["k-composition"]["head"]) == (0, 7)
    assert measured["prefix-matching"]["score"] == pytest.approx(0.98, abs=0.02)
    assert measured["k-composition"]["composition"] == pytest.approx(30**-0.5, abs=0.002)
    assert measured["k-composition"]["ratio"] == pytest.approx(5, abs=0.6)
    assert measured["writes-the-target"]["effect"] == pytest.approx(9.8, abs=0.8)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", constructions()["induction"].names)
def test_each_counterfeit_does_what_was_derived(name: str, tmp_path: Path) -> None:
    made = by_set(tmp_path, *options(name))
    found = {name: outcomes(made.record)}
    assert unexpected(Expected.read(SET / COUNTERFEITS_FILE, CLAIMS), found) == []


@pytest.mark.slow
@needs_weights
def test_from_weights_alone_k_composition_is_found_with_the_previous_token_head_named(tmp_path: Path) -> None:
    made = by_set(tmp_path, "--checkpoint", WEIGHTS, "--previous-token-head", "L4H11")
    verdicts = dict(made.verdicts)
    assert verdicts.pop("k-composition") == ("supported", ["distinctive"])
    assert {verdict for verdict, _ in verdicts.values()} == {"not assessable"}
    claim = made.claims["k-composition"]
    assert claim["measured"]["ratio"] == pytest.approx(1.078, abs=6e-4)
    assert claim["measured"]["composition"] == pytest.approx(0.0972, abs=5e-5)
    (null,) = claim["nulls"]
    assert (null["n"], null["p"]) == (83, pytest.approx(3 / 84))
    assert made.record["settings"]["previous_token_head"] == "L4H11"
    assert made.record["evidence_of"] == "discovery"
    assert "needs attention" in made.claims["prefix-matching"]["reason"]


@pytest.mark.slow
@needs_weights
def test_without_a_previous_token_head_composition_is_not_assessable_and_one_that_is_not_there_is_refused(
    tmp_path: Path,
) -> None:
    made = by_set(tmp_path, "--checkpoint", WEIGHTS, "-k", "k_composition")
    assert "or a head named by an option" in made.claims["k-composition"]["reason"]
    for given, line in (
        ("L12H0", f"--previous-token-head L12H0: {WEIGHTS} has layers 0 to 11 with heads 0 to 11"),
        ("4.11", "--previous-token-head 4.11: wanted L<layer>H<head>, as L1H5"),
    ):
        refused = by_set(tmp_path, "--checkpoint", WEIGHTS, "--previous-token-head", given)
        assert (refused.status, complaint(refused)) == (2, line)


@pytest.mark.skipif(not SENTENCE.is_file(), reason=f"{SENTENCE} is not there")
def test_a_recorded_sentence_tells_of_attention_without_intervals(tmp_path: Path) -> None:
    """Three rows of one prompt decide nothing: no interval."""
    made = by_set(tmp_path, "--checkpoint", SENTENCE)
    assert made.verdicts["prefix-matching"][0] == "not supported"
    assert made.claims["prefix-matching"]["measured"]["score"] == pytest.approx(0.331, abs=6e-4)
    previous = made.claims["previous-token-head-exists"]["measured"]
    assert (previous["layer"], previous["head"]) == (4, 11)
    assert previous["score"] == pytest.approx(0.9998, abs=6e-5)
    for name in ("prefix-matching", "not-the-copy", "previous-token-head-exists"):
        assert "no interval" in made.verdicts[name][1]
    lapsed = {name for name, (verdict, _) in made.verdicts.items() if verdict == "not assessable"}
    assert lapsed == set(CLAIMS) - {"prefix-matching", "not-the-copy", "previous-token-head-exists"}
    assert Head.parse(made.record["target"]["label"]) == Head(5, 5)
