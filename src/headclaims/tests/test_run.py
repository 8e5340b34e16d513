"""Whole runs: what they say, how they end and what they leave."""

import hashlib
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from headclaims import __version__
from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.plugin.properties import audit_properties
from headclaims.record import reading
from headclaims.tests.claims_run import (
    ROOT,
    SET,
    SHARED,
    ClaimsRun,
    Runs,
    catalogue,
    command,
    comparable,
    complaint,
    environment,
    read_record,
    run_claims,
    shared_runs,
    snapshot,
    start_up,
)
from headclaims.tests.evidence_files import (
    CATEGORY_OF,
    D_HEAD,
    D_MODEL,
    HEADS,
    kin_attention,
    partial_weights,
    recorded_attention,
    recorded_graph,
    signed_head,
    tiny_gpt2,
)
from headclaims.tests.record_schema import departures

COUNTED = ("empirical", "assessed", "supported", "found", "identities", "identities_hold")
SUPPORTED, NOT_SUPPORTED, NOT_ASSESSABLE, UNDECIDED = "supported", "not supported", "not assessable", "undecided"
SPECTRAL = ("skew-adds-no-self-attention", "skew-is-weaker", "half-the-eigenvalues-negative", "inertia")
BEHAVIOUR = (
    "category-score-lowest",
    "category-score-outlier",
    "attends-within-category",
    "suppresses-self",
    "kin-above-nearest-category",
    "identity-explains-scores",
)
# These have no null: they qualify other claims.
QUALIFYING = ("self-above-unrelated", "kin-evenly")
# What only a model that runs can show.
OF_A_MODEL = (
    "falls-back-to-bos",
    "kinship-not-succession",
    "position-embedding-irrelevant",
    "first-attention-irrelevant",
    "position-and-attention-jointly-irrelevant",
    "embedding-essential",
    "direct-path-matters",
    "first-mlp-essential",
    "effective-embedding-sufficient",
    "category-blocks",
    "dark-diagonal",
    "similar-above-self",
    "similar-above-dissimilar",
    "top-attended-are-kin",
    "case-variants-avoided",
    "similarity-peak-below-one",
    "communities-are-semantic",
    "skew-scores-are-weaker",
    "symmetric-part-sufficient",
    "within-scatter-negative-between-positive",
    "suppression-is-in-negative-directions",
    "alpha-moves-the-diagonal",
    "steering-keeps-categories",
    "steering-works-in-the-model",
)
# True of any weights, or given another claim: counted apart, whatever the evidence.
IDENTITIES = (
    "embedding-essential",
    "skew-adds-no-self-attention",
    "inertia",
    "suppression-is-in-negative-directions",
    "alpha-moves-the-diagonal",
)


def lacking(*claims: str) -> dict[str, tuple[str, list[str]]]:
    """The verdict and flags of claims that the evidence can't tell of."""
    return {name: (NOT_ASSESSABLE, ["by construction"] if name in IDENTITIES else []) for name in claims}


# What a recorded file and a partial one lack.
NO_ATTENTION = lacking(*BEHAVIOUR, *QUALIFYING, *OF_A_MODEL)
NO_WEIGHTS = lacking(*SPECTRAL, *OF_A_MODEL)
BY_CONSTRUCTION = dict.fromkeys(("skew-adds-no-self-attention", "inertia"), (SUPPORTED, ["by construction"]))
# By the derivation in the planted module: what other heads of its kinds do as well is no distinction of the target.
NO_RARER_ELSEWHERE = (
    "identity-explains-scores",
    "position-embedding-irrelevant",
    "first-attention-irrelevant",
    "position-and-attention-jointly-irrelevant",
    "direct-path-matters",
    "effective-embedding-sufficient",
    "similar-above-dissimilar",
    "skew-scores-are-weaker",
    "symmetric-part-sufficient",
    "steering-keeps-categories",
    "steering-works-in-the-model",
)
EFFECTS = (*NO_RARER_ELSEWHERE[1:6], "first-mlp-essential", "symmetric-part-sufficient")
BY_RUNS = (*EFFECTS, "falls-back-to-bos", "steering-works-in-the-model")
FOUND_IN_PLANTED = {
    **dict.fromkeys((*BEHAVIOUR, *OF_A_MODEL, *SPECTRAL), (SUPPORTED, ["distinctive"])),
    **dict.fromkeys(NO_RARER_ELSEWHERE, (SUPPORTED, ["not distinctive"])),
    **BY_CONSTRUCTION,
    **dict.fromkeys(IDENTITIES, (SUPPORTED, ["by construction"])),
    **dict.fromkeys((*QUALIFYING, "kinship-not-succession"), (SUPPORTED, [])),
}
DEFAULT_SETTINGS = {
    "checkpoint": None,
    "revision": None,
    "head": "L1H5",
    "words": "write-up",
    "prompts": 32,
    "seq_len": 64,
    "seed": 0,
    "device": "cpu",
    "dtype": "stored",
    "no_cache": False,
    "verdicts_only": False,
    "mutate": None,
    "page": False,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs that the tests of this file share."""
    return shared_runs(tmp_path_factory)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small evidence files: what L1H5 does in each is said in the tests."""
    folder = tmp_path_factory.mktemp("evidence")
    recorded_attention().write(folder / "recorded.safetensors")
    # In every second prompt L1H5 hardly sees kin.
    recorded_attention(rule=lambda number, prompt: kin_attention(prompt, 0.9 if number % 2 else 0.05)).write(
        folder / "half.safetensors"
    )
    heads = {(1, 5): signed_head(D_HEAD), (1, 6): signed_head(D_HEAD // 2 - 1)}
    partial_weights(heads=heads).write(folder / "partial.safetensors")
    recorded_graph().write(folder / "graph.safetensors")
    return folder


@pytest.fixture(scope="module")
def planted(runs: Runs) -> ClaimsRun:
    """No checkpoint, no hub."""
    return runs()


def assert_sound(run: ClaimsRun, complete: bool = True, partial: bool = False) -> None:
    """The record is of the schema, in its folder, and agrees with itself, the catalogue, claims.md and the footer."""
    record = run.record
    assert departures(record) == []
    assert record["complete"] is complete
    ids = [claim["id"] for claim in record["claims"]]
    assert ids == [name for name in catalogue() if name in ids]
    if complete:
        assert ids == list(catalogue())
    for claim in record["claims"]:
        stated = catalogue()[claim["id"]]
        assert {key: claim[key] for key in ("group", "statement", "source")} == {
            key: stated[key] for key in ("group", "statement", "source")
        }
        assert f"## {claim['id']}\n" in run.markdown
        assert claim["statement"] in run.markdown
        if claim["verdict"] in (None, NOT_ASSESSABLE):
            assert claim["reason"], claim["id"]
            assert (claim["measured"], claim["interval"], claim["nulls"]) == ({}, None, []), claim["id"]
        else:
            assert claim["measured"], claim["id"]
        if claim["interval"] is not None:
            low, high = claim["interval"]
            assert low <= next(iter(claim["measured"].values())) <= high, claim["id"]
    found = [
        claim
        for claim in record["claims"]
        if claim["verdict"] == SUPPORTED
        and "distinctive" in claim["flags"]
        and not {"by construction", "conditional", "no interval", "part of the model"} & set(claim["flags"])
    ]
    empirical = [claim["verdict"] for claim in record["claims"] if claim["id"] not in IDENTITIES]
    algebra = [claim["verdict"] for claim in record["claims"] if claim["id"] in IDENTITIES]
    assessed, identities = (sum(v not in (None, NOT_ASSESSABLE) for v in some) for some in (empirical, algebra))
    assert record["counts"] == {
        "empirical": len(empirical),
        "assessed": assessed,
        "supported": empirical.count(SUPPORTED),
        "found": len(found),
        "identities": identities,
        "identities_hold": algebra.count(SUPPORTED),
    }
    word = {"discovery": " (reproduced)", "replication": " (replicated)"}[record["evidence_of"]] if found else ""
    headline = (
        f"{len(catalogue()) - len(IDENTITIES)} empirical: {assessed} assessed, {empirical.count(SUPPORTED)} supported, "
        f"{len(found)} found{word}"
    )
    headline += f"; {algebra.count(SUPPORTED)} of {identities} identities hold" if identities else ""
    lines = run.stdout.splitlines()
    said = lines[lines.index(headline) + 1 :]
    assert said[0].startswith("found: supported")
    assert said[next(i for i, line in enumerate(said) if line.startswith("record in"))] == f"record in {run.folder}"
    assert_adjusted(record)
    assert ("incomplete" in run.markdown.lower()) is not complete
    checkpoint = record["checkpoint"]
    where = f"{checkpoint['name']}-{checkpoint['identity'][:8]}/{SET.name}/{record['target']['label']}"
    where = f"{where}/partial" if partial else where
    assert sorted(snapshot(run.reports)) == [f"{where}/claims.json", f"{where}/claims.md"]


def assert_adjusted(record: dict[str, Any]) -> None:
    """Benjamini and Hochberg by hand, from the largest p down: the smallest p·m/rank so far, and what it decides.

    Of some claims of the set alone no p can be adjusted, and none makes a claim distinctive.
    """
    whole = {claim["id"] for claim in record["claims"]} == set(catalogue())
    p_values = {}
    for claim in record["claims"]:
        deciding = [null["p"] for null in claim["nulls"] if null["p"] is not None and null["n"] >= 19]
        if deciding and claim["id"] not in IDENTITIES:
            p_values[claim["id"]] = max(deciding)
    adjusted, smallest = {}, 1.0
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for rank in range(len(ordered), 0, -1):
        smallest = min(smallest, p_values[ordered[rank - 1]] * len(ordered) / rank)
        adjusted[ordered[rank - 1]] = smallest
    for claim in record["claims"]:
        p = adjusted.get(claim["id"]) if whole else None
        assert claim["p_adjusted"] == (None if p is None else pytest.approx(p)), claim["id"]
        hindered = {"null missing", "null too small"} & set(claim["flags"])
        distinctive = p is not None and p <= 0.05 + 1e-12
        assert ("distinctive" in claim["flags"]) == (distinctive and not hindered), claim["id"]
        p_at_least = p if whole else p_values.get(claim["id"])
        not_distinctive = p_at_least is not None and p_at_least > 0.05 + 1e-12
        assert ("not distinctive" in claim["flags"]) == not_distinctive, claim["id"]


def reported(run: ClaimsRun) -> dict[str, dict[str, float]]:
    """The reported numbers of a record, by claim."""
    return {name: claim["reported"] for name, claim in run.claims.items() if claim["reported"] is not None}


def test_the_default_is_said_on_the_first_line(planted: ClaimsRun) -> None:
    assert planted.first_line.startswith(f"headclaims {__version__}: auditing planted, L1H5 (no --checkpoint given;")
    assert "hub" in planted.first_line
    assert "no --checkpoint given" in planted.markdown


def test_planted(planted: ClaimsRun) -> None:
    assert planted.status == 0
    assert planted.verdicts == FOUND_IN_PLANTED
    assert_sound(planted)
    headline = "31 empirical: 31 assessed, 31 supported, 17 found (replicated); 5 of 5 identities hold"
    assert headline in planted.stdout
    assert f"**{headline}.**" in planted.markdown


def test_planted_measures_what_its_construction_gives(planted: ClaimsRun) -> None:
    """By its derivation σ_max(W_skew)/σ_max(W_sym) = t/(1 + √(1 + t²)) = 1/3 at t = 3/4, and 34 + 1 are negative."""
    claims = planted.claims
    assert claims["skew-is-weaker"]["measured"]["ratio"] == pytest.approx(1 / 3, abs=1e-5)
    assert claims["half-the-eigenvalues-negative"]["measured"] == {"count": 35, "of": 64}
    inertia = claims["inertia"]["measured"]
    assert (inertia["off_balance"], inertia["positive"], inertia["negative"]) == (0, 64, 64)
    # Without kin the word itself is at SAME − D = 5.15: BOS gets e^5.8/(e^5.8 + e^5.15 + 62 tokens at 0).
    assert claims["falls-back-to-bos"]["measured"]["bos_without_kin"] == pytest.approx(0.585, abs=0.03)
    # Identity is a random direction of 34: within a group u_x·u_y is 0 in the mean, give or take 0.17/√70, and D is the
    # diagonal's own 0.85, in E at a squared norm of 1.025 N² less what the means over positions and attention lack of
    # P and A, nearly all of 0.08 N².
    diagonal = claims["dark-diagonal"]["measured"]
    assert diagonal["D_words"] == pytest.approx(0.85 / 0.95, abs=0.06)
    assert diagonal["D_groups"] == pytest.approx(0.85 / 0.95, abs=0.06)
    # Where it is distinctive the target is the extreme of 72 heads (where others' statistics take runs, of 48 and its
    # own), and of all draws.
    sizes = {"random halves": 99, "Gaussian survey": 199}
    for name, claim in claims.items():
        for null in claim["nulls"]:
            n = sizes.get(null["population"], 999)
            if null["population"] == "other heads":
                n = 48 if name in BY_RUNS else 71
            assert null["n"] == n, name
            if claim["flags"] == ["distinctive"]:
                assert null["p"] == pytest.approx(1 / (n + 1)), name


def test_planted_record(planted: ClaimsRun) -> None:
    record = planted.record
    checkpoint = record["checkpoint"]
    for name in ("fingerprint", "identity"):
        assert len(bytes.fromhex(checkpoint.pop(name))) == 32
    assert checkpoint.pop("d_vocab") > 1000
    assert checkpoint == {
        "spec": "planted",
        "kind": "planted",
        "name": "planted",
        "revision": None,
        "capabilities": ["tokens", "attention", "interventions", "scores", "qk", "ov", "embedding", "graph"],
        "n_layers": 6,
        "n_heads": 12,
        "d_model": 768,
        "d_head": 64,
        "prompts_begin_with": "BOS",
        "files": None,
    }
    assert record["target"] == {"layer": 1, "head": 5, "label": "L1H5", "chosen_by": "default", "chosen_on": None}
    assert record["evidence_of"] == "replication"
    stated = b"\0".join((SET / name).read_bytes() for name in ("findings.toml", "thresholds.toml"))
    assert record["claim_set"] == {
        "name": "self_hating_head",
        "version": 1,
        "sha256": hashlib.sha256(stated).hexdigest(),
    }
    assert record["settings"] == DEFAULT_SETTINGS | {"report_dir": str(planted.reports)}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert record["suite"] == {
        "name": "headclaims",
        "version": __version__,
        "commit": commit.stdout.strip() if commit.returncode == 0 else None,
    }
    environs = record["environment"]
    assert environs["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert environs["torch"] == torch.__version__
    assert environs["threads"] >= 1
    assert environs["device"] == "cpu"
    assert 0 < sum(claim["seconds"] for claim in record["claims"]) < record["seconds"] < planted.seconds
    ago = datetime.now().astimezone() - datetime.fromisoformat(record["started"])
    assert timedelta(0) < ago < timedelta(hours=2)
    assert reported(planted) == {}


def test_header_and_footer(planted: ClaimsRun) -> None:
    lines = planted.stdout.splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if line.startswith("collected"))]
    fingerprint = planted.record["checkpoint"]["fingerprint"]
    assert f"checkpoint: planted (planted), fingerprint {fingerprint[:16]}" in header
    assert "target head: L1H5, chosen by default" in header
    assert "evidence: tokens, attention, interventions, scores, qk, ov, embedding, graph" in header
    assert any(line.strip("= ") == "claims of self_hating_head: L1H5" for line in lines)
    (columns,) = [i for i, line in enumerate(lines) if line.startswith("claim ")]
    for title in ("reported", "measured", "null p", "verdict", "flags"):
        assert title in lines[columns]
    table = lines[columns + 2 : next(i for i, line in enumerate(lines) if line.startswith("31 empirical"))]
    assert 100 < max(len(line) for line in table) <= 200
    assert "\x1b" not in planted.output
    headings = [line.removeprefix("-- ") for line in table if line.startswith("-- ")]
    assert headings == list(dict.fromkeys(claim["group"] for claim in planted.record["claims"]))
    rows = [line for line in table if not line.startswith((" ", "-- "))]
    assert [line.split()[0] for line in rows] == list(catalogue())
    for line, claim in zip(rows, planted.record["claims"], strict=True):
        assert claim["verdict"] in line
    said = " ".join(" ".join(table).split())
    for claim in planted.record["claims"]:
        assert ", ".join(claim["flags"]) in said
    gap = planted.claims["category-score-lowest"]
    shown = f"gap {gap['measured']['gap']:.4g} [{gap['interval'][0]:.4g}, {gap['interval'][1]:.4g}]"
    first = rows[0].split(None, 3)
    assert first[:3] == ["category-score-lowest", "supported", "found"]
    assert first[3].startswith(f"{shown}; null p 0.001, 0.005 (adjusted ")
    assert shown in planted.markdown


@pytest.mark.slow
@pytest.mark.long
def test_held_out_words(runs: Runs) -> None:
    run = runs("--words", "held-out")
    assert run.status == 0
    assert run.verdicts == FOUND_IN_PLANTED
    assert run.record["settings"]["words"] == "held-out"
    assert_sound(run)


def test_a_head_that_is_no_category_head_has_no_effects(runs: Runs) -> None:
    """A copying head's score is no better than that of uniform attention: there is nothing to measure effects in."""
    run = runs("--checkpoint", "planted", "--head", "L1H2", "-k", "ablation or symmetric_part")
    for name in (*EFFECTS, "embedding-essential"):
        assert run.claims[name]["verdict"] == NOT_ASSESSABLE
        assert "L1H2 is no category head" in run.claims[name]["reason"]
    assert_sound(run, complete=False, partial=True)


def test_what_a_tokenizer_lacks_is_said(runs: Runs, evidence: Path) -> None:
    """Six words that count: no third group, no common words to speak of, numbers in several tokens."""
    run = runs("--checkpoint", tiny_gpt2(evidence / "tiny", [*CATEGORY_OF]), "--seq-len", "16")
    reasons = {name: claim["reason"] for name, claim in run.claims.items() if claim["verdict"] == NOT_ASSESSABLE}
    assert "groups" in reasons["category-blocks"]
    assert "wanted at least 3" in reasons["dark-diagonal"]
    for name in ("similar-above-self", "case-variants-avoided", "similarity-peak-below-one"):
        assert "wanted at least 300" in reasons[name]
    assert "no ordered category" in reasons["kinship-not-succession"]
    assert "several tokens" in reasons["kinship-not-succession"]
    assert_sound(run)


def shared(name: str) -> Path:
    """A file of real evidence as a user names it, from the root; skips where it is absent."""
    if not (ROOT / SHARED / name).is_file():
        pytest.skip(f"real evidence is absent: {SHARED / name}")
    return SHARED / name


def test_real_attention_weights(runs: Runs) -> None:
    run = runs("--checkpoint", shared("attention-weights.safetensors"))
    assert run.status == 0
    assert run.seconds < 3 * start_up()
    assert run.verdicts == {
        **NO_ATTENTION,
        **BY_CONSTRUCTION,
        "skew-is-weaker": (SUPPORTED, ["not distinctive"]),
        "half-the-eigenvalues-negative": (SUPPORTED, ["not distinctive"]),
    }
    assert_sound(run)
    claims = run.claims
    norms = claims["skew-is-weaker"]["measured"]
    assert norms["sigma_max_sym"] == pytest.approx(1.86104, abs=5e-6)
    assert norms["sigma_max_skew"] == pytest.approx(1.34723, abs=5e-6)
    assert norms["frobenius_sym"] == pytest.approx(9.22976, abs=5e-6)
    assert norms["frobenius_skew"] == pytest.approx(7.64849, abs=5e-6)
    assert norms["ratio"] == pytest.approx(0.724, abs=5e-4)
    others, gaussian = claims["skew-is-weaker"]["nulls"]
    assert (others["n"], others["p"]) == (143, pytest.approx(18 / 144))
    assert (gaussian["n"], gaussian["p"]) == (999, 0.001)
    assert claims["half-the-eigenvalues-negative"]["measured"] == {"count": 33, "of": 64}
    others, gaussian = claims["half-the-eigenvalues-negative"]["nulls"]
    assert others["n"] == 143
    # 0.18 ± 3 standard errors of 999 draws.
    assert gaussian["p"] == pytest.approx(0.18, abs=0.036)
    inertia = claims["inertia"]["measured"]
    assert (inertia["positive"], inertia["negative"]) == (64, 64)
    assert reported(run) == {
        "skew-is-weaker": {"sigma_max_skew": 1.3473, "sigma_max_sym": 1.8611},
        "half-the-eigenvalues-negative": {"count": 33},
    }
    assert run.record["checkpoint"]["capabilities"] == ["qk", "ov"]
    assert run.record["evidence_of"] == "discovery"
    assert "evidence: qk, ov; lacking tokens, attention, interventions" in run.stdout


def test_reported_numbers_are_for_the_head_they_were_reported_for(runs: Runs) -> None:
    run = runs("--checkpoint", shared("attention-weights.safetensors"), "--head", "L1H4")
    assert reported(run) == {}
    assert run.record["evidence_of"] == "replication"
    assert_sound(run)


def test_real_recorded_attention(runs: Runs) -> None:
    run = runs("--checkpoint", shared("recorded-attention.safetensors"))
    assert run.status == 0
    assert run.seconds < 3 * start_up()
    of_some_heads = (SUPPORTED, ["null missing", "no interval", "part of the model"])
    few_heads = (SUPPORTED, ["null too small", "no interval"])
    assert run.verdicts == {
        **NO_WEIGHTS,
        **dict.fromkeys(BEHAVIOUR[:2], of_some_heads),
        **dict.fromkeys(BEHAVIOUR[2:], few_heads),
        **dict.fromkeys(QUALIFYING, (SUPPORTED, ["no interval"])),
    }
    assert_sound(run)
    claims = run.claims
    lowest, outlier = claims["category-score-lowest"], claims["category-score-outlier"]
    assert lowest["measured"]["gap"] == pytest.approx(1.302, abs=5e-4)
    assert lowest["measured"]["score"] == pytest.approx(0.575, abs=5e-4)
    assert outlier["measured"]["ratio"] == pytest.approx(2.164, abs=5e-4)
    assert outlier["measured"]["tukey_ratio"] == pytest.approx(3.858, abs=5e-4)
    nearest = claims["kin-above-nearest-category"]["measured"]
    assert nearest["least"] == nearest["emotions over animals"] == pytest.approx(1.244, abs=5e-4)
    for claim in (lowest, outlier):
        null, survey = claim["nulls"]
        assert (null["population"], null["n"], null["p"]) == ("permuted labels", 999, 0.001)
        assert (survey["population"], survey["p"]) == ("Gaussian survey", None)
        assert "the evidence holds 12 of the model's 144 heads" in claim["reason"]
    (null,) = claims["attends-within-category"]["nulls"]
    assert (null["population"], null["n"], null["p"]) == ("other heads", 11, pytest.approx(1 / 12))
    assert reported(run) == {}
    assert run.record["checkpoint"]["fingerprint"] is None


def test_two_real_recorded_prompts_in_one_file(runs: Runs, tmp_path: Path) -> None:
    """The longer one is cut: a causal pattern of the first tokens is what it would be without the others."""
    tokens, patterns = [], []
    for name in ("recorded-attention.safetensors", "recorded-attention-128.safetensors"):
        with safe_open(shared(name), framework="pt") as file:
            header = file.metadata()
            tokens.append(json.loads(header["tokens"])[0][:64])
            patterns.append(file.get_tensor("blocks.1.attn.hook_pattern")[:, :, :64, :64])
    both = {"blocks.1.attn.hook_pattern": torch.cat(patterns)}
    save_file(both, tmp_path / "both.safetensors", metadata=header | {"tokens": json.dumps(tokens)})
    run = runs("--checkpoint", tmp_path / "both.safetensors")
    assert run.status == 0
    alone = runs("--checkpoint", shared("recorded-attention.safetensors"))
    assert run.verdicts == alone.verdicts
    assert_sound(run)


@pytest.mark.parametrize("name", ["dog-on-the-ship", "at-the-store"])
def test_a_real_recorded_sentence_has_no_kin(runs: Runs, name: str) -> None:
    run = runs("--checkpoint", shared(f"recorded-sentence-{name}.safetensors"))
    assert run.status == 5  # nothing was assessed
    assert {verdict for verdict, _ in run.verdicts.values()} == {NOT_ASSESSABLE}
    assert_sound(run)


def test_recorded_prompts_without_bos(tmp_path: Path) -> None:
    """What needs no BOS is assessed; one word of each prompt is none of the list."""
    parts = recorded_attention()
    tokens = json.loads(parts.metadata["tokens"])
    parts.metadata["tokens"] = json.dumps([["The", *words[:-1], " ,"] for _, *words in tokens])
    parts.write(tmp_path / "text.safetensors")
    run = run_claims("--checkpoint", tmp_path / "text.safetensors", reports=tmp_path / "reports")
    assert_no_traceback(run)
    assert_sound(run)
    for name in ("category-score-lowest", "category-score-outlier"):
        assert run.verdicts[name] == (SUPPORTED, ["null missing"])
        assert "no BOS in front of the prompts: scores are over the" in run.claims[name]["reason"]
    for name in ("falls-back-to-bos", "kinship-not-succession"):
        assert run.verdicts[name] == (NOT_ASSESSABLE, [])
    said = "prompts: 12 x 24, recorded, no BOS in front: category scores are over rows with kin alone"
    assert said in run.stdout
    for name in ("attends-within-category", "suppresses-self", "kin-above-nearest-category"):
        assert run.verdicts[name] == (SUPPORTED, ["distinctive"])


def kin_by_edges() -> tuple[list[float], int]:
    """Ten times the share of kin among the real graph's edges of each category word, and how many have a form of it.

    By loops over categories that three of the graph's tokens are of; two digits are numbers, four are years.
    """
    with safe_open(shared("recorded-graph.safetensors"), framework="np") as file:
        tokens, edges = json.loads(file.metadata()["tokens"]), file.get_tensor("edges").tolist()
    members: dict[str, set[str]] = {}
    for path in (SET / "words").glob("*.toml"):
        for name, words in tomllib.loads(path.read_text(encoding="utf-8"))["categories"].items():
            counted = {word for word in words if f" {word}" in tokens}
            members.setdefault(name, set()).update(counted if len(counted) >= 3 else ())
    shares, itself = [], 0
    for name, words in members.items():
        forms = {word.casefold() for word in words}
        length = {"numbers": 2, "years": 4}.get(name)
        for word in words:
            texts = [tokens[b].strip().casefold() for a, b in edges if tokens[a] == f" {word}"]
            kin = [t for t in texts if t != word.casefold() and (t in forms or (t.isdecimal() and len(t) == length))]
            shares += [10 * len(kin) / len(texts)]
            itself += word.casefold() in texts
    return shares, itself


def test_real_recorded_graph(runs: Runs) -> None:
    """Its communities are categories, and edges lead to kin; what other heads' graphs are is not in the file."""
    run = runs("--checkpoint", shared("recorded-graph.safetensors"))
    assert run.status == 1
    assert run.seconds < 3 * start_up()
    by_edges = {
        "communities-are-semantic": (SUPPORTED, ["null missing"]),
        "top-attended-are-kin": (UNDECIDED, ["null missing"]),
    }
    assessed = {name: verdict for name, verdict in run.verdicts.items() if verdict[0] != NOT_ASSESSABLE}
    assert assessed == by_edges
    measured = run.claims["communities-are-semantic"]["measured"]
    assert measured["own_in_top_four"] == pytest.approx(0.021, abs=5e-4)
    assert measured["lowest_ami"] <= measured["ami"] <= measured["highest_ami"]
    shares, itself = kin_by_edges()
    measured = run.claims["top-attended-are-kin"]["measured"]
    assert measured["probes"] == len(shares)
    assert measured["mean_kin"] == pytest.approx(sum(shares) / len(shares))
    assert measured["share_itself"] == pytest.approx(itself / len(shares))
    assert_sound(run)
    assert reported(run) == {}


def test_recorded_attention_with_intervals(runs: Runs, evidence: Path) -> None:
    """Twelve prompts are enough for intervals, 24 heads for a null; L1H5 gives kin 0.9 of a row, itself none."""
    run = runs("--checkpoint", evidence / "recorded.safetensors")
    assert run.status == 1
    assert run.verdicts == {
        **NO_WEIGHTS,
        **dict.fromkeys(BEHAVIOUR[:2], (SUPPORTED, ["null missing"])),
        **dict.fromkeys(BEHAVIOUR[2:], (SUPPORTED, ["distinctive"])),
        "self-above-unrelated": (NOT_SUPPORTED, []),
        "kin-evenly": (SUPPORTED, []),
    }
    assert_sound(run)
    assert all(run.claims[name]["interval"] for name in BEHAVIOUR)
    assert "prompts: 12 x 24, recorded" in run.stdout
    digest = hashlib.sha256((evidence / "recorded.safetensors").read_bytes()).hexdigest()
    assert run.folder == run.reports / f"recorded-{digest[:8]}" / "self_hating_head" / "L1H5"
    # Of the other heads 23 can be as favourable.
    assert run.claims["suppresses-self"]["nulls"][0]["p"] == pytest.approx(1 / 24)


def test_undecided(runs: Runs, evidence: Path) -> None:
    run = runs("--checkpoint", evidence / "half.safetensors")
    assert run.status == 1
    claim = run.claims["category-score-lowest"]
    assert claim["verdict"] == "undecided"
    low, high = claim["interval"]
    assert low < 0 < high
    assert "prompts would decide, there were 12" in claim["reason"]
    assert claim["reason"] in " ".join(run.stdout.split())
    assert_sound(run)


def assert_says_what_was_found(run: ClaimsRun, name: str, wanted: str) -> None:
    """A failed claim's message has the claim, measured, wanted and checkpoint, and nothing of Python."""
    lines = run.stdout.splitlines()
    start = lines.index(f"{name}: {run.claims[name]['verdict']}")
    message = lines[start + 1 : start + 5]
    statistic, value = next(iter(run.claims[name]["measured"].items()))
    assert message[0] == f"  claim     {run.claims[name]['statement']}"
    assert message[1].startswith(f"  measured  {statistic} {value:.6g}")
    assert message[2] == f"  wanted    {statistic} {wanted}"
    assert message[3] == f"  audited   {run.record['target']['label']} of {run.record['checkpoint']['spec']}"


def assert_no_traceback(run: ClaimsRun) -> None:
    """Nothing of how Python came there."""
    for trace in ("(?i:traceback)", r"\nE  ", r"\n>  ", r"\.py:\d", "INTERNALERROR"):
        assert not re.search(trace, run.output), run.output


def test_a_claim_that_is_not_supported(runs: Runs, evidence: Path) -> None:
    """L1H6 has 3 of its 8 leading eigenvalues negative; 4 are half."""
    run = runs("--checkpoint", evidence / "partial.safetensors", "--head", "L1H6")
    assert run.status == 1
    assert run.claims["half-the-eigenvalues-negative"]["verdict"] == NOT_SUPPORTED
    assert run.claims["half-the-eigenvalues-negative"]["measured"] == {"count": 3, "of": 8}
    assert run.record["target"] == {"layer": 1, "head": 6, "label": "L1H6", "chosen_by": "option", "chosen_on": None}
    assert_says_what_was_found(run, "half-the-eigenvalues-negative", "> 4")
    assert_no_traceback(run)
    assert_sound(run)


def test_partial_weights(runs: Runs, evidence: Path) -> None:
    """All 8 leading eigenvalues are negative, and σ_max(W_skew)/σ_max(W_sym) = t/(1 + √(1 + t²)) at t = 0.3."""
    run = runs("--checkpoint", evidence / "partial.safetensors")
    assert run.status == 0
    assert run.claims["half-the-eigenvalues-negative"]["measured"] == {"count": 8, "of": 8}
    assert run.claims["skew-is-weaker"]["measured"]["ratio"] == pytest.approx(0.3 / (1 + 1.09**0.5), abs=1e-5)
    assert_sound(run)


def test_nothing_assessable(runs: Runs, evidence: Path) -> None:
    run = runs("--checkpoint", evidence / "graph.safetensors")
    assert run.status == 5
    assert run.record["counts"] == {"empirical": 31} | dict.fromkeys(COUNTED[1:], 0)
    for claim in run.record["claims"]:
        # Its twelve tokens are of no category that could be asked for.
        said = "0 categories" if claim["id"] == "top-attended-are-kin" else "graph"
        assert said in claim["reason"], claim["id"]
    assert_sound(run)


def test_auto_judges_on_the_second_half(runs: Runs, evidence: Path, tmp_path: Path) -> None:
    """L1H5 knows kin in the first six of twelve prompts: it is chosen on them, and judged on the rest."""
    parts = recorded_attention(rule=lambda number, prompt: kin_attention(prompt, 0.9 if number < 6 else 0.0))
    parts.write(tmp_path / "first-half.safetensors")
    run = runs("--checkpoint", tmp_path / "first-half.safetensors", "--head", "auto")
    assert run.record["target"]["label"] == "L1H5"
    # −ln 1e-12 on rows with kin, of which there are some; with the first half among them it could not exceed half.
    assert run.claims["category-score-lowest"]["measured"]["score"] > 0.6 * 27.6
    assert run.claims["category-score-lowest"]["verdict"] == NOT_SUPPORTED
    assert "no interval" in run.claims["category-score-lowest"]["flags"]
    whole = runs("--checkpoint", evidence / "recorded.safetensors", "--head", "auto")
    target = whole.record["target"]
    assert (target["chosen_by"], target["chosen_on"]) == ("auto", "one half of the prompts")
    assert whole.claims["category-score-lowest"]["verdict"] == SUPPORTED
    assert "target head: L1H5, chosen by auto, on one half of the prompts" in whole.stdout


@pytest.mark.parametrize("file", ["partial.safetensors", "graph.safetensors"])
def test_auto_without_attention(runs: Runs, evidence: Path, file: str) -> None:
    run = runs("--checkpoint", evidence / file, "--head", "auto")
    assert run.status == 2
    assert "--head auto" in complaint(run)
    assert not run.reports.exists()


def test_a_second_run_is_equal(runs: Runs, planted: ClaimsRun, tmp_path: Path) -> None:
    again = run_claims(reports=tmp_path / "reports")
    assert comparable(again.record) == comparable(planted.record)
    assert again.stderr == planted.stderr == ""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("head", ["L1H4", pytest.param("L1H5", marks=pytest.mark.slow)])
def test_parallel_workers_on_a_file(runs: Runs, evidence: Path, head: str) -> None:
    options = ("--checkpoint", evidence / "recorded.safetensors", "--head", head)
    alone, run = runs(*options), runs(*options, "-n", "2")
    assert run.status == alone.status
    assert comparable(run.record) == comparable(alone.record)
    assert_sound(run)


@pytest.mark.slow
@pytest.mark.long
def test_without_a_cache(runs: Runs, tmp_path: Path) -> None:
    """On a machine that has never run it: nothing is kept, and nothing else is said."""
    options = ("--checkpoint", random_folder(2))
    kept, cache = runs(*options), {"HEADCLAIMS_CACHE": str(tmp_path / "cache")}
    run = run_claims(*options, "--no-cache", reports=tmp_path / "reports", env=cache)
    assert run.record["complete"] is True
    assert comparable(run.record, "no_cache") == comparable(kept.record, "no_cache")
    assert run.record["settings"]["no_cache"] is True
    assert not (tmp_path / "cache").exists()
    assert run.first_line == kept.first_line
    assert run.stderr == ""


def test_some_claims_are_no_complete_record(runs: Runs, evidence: Path) -> None:
    run = runs("--checkpoint", evidence / "partial.safetensors", "-k", "skew")
    assert run.status == 0
    of_the_file = ["skew-scores-are-weaker", "symmetric-part-sufficient"]
    assert list(run.claims) == ["skew-adds-no-self-attention", "skew-is-weaker", *of_the_file]
    assert_sound(run, complete=False, partial=True)


def test_a_run_that_stops_at_the_first_failure(runs: Runs, evidence: Path) -> None:
    run = runs("--checkpoint", evidence / "half.safetensors", "-x")
    assert run.status == 1
    assert list(run.claims) == ["category-score-lowest"]
    assert_sound(run, complete=False)


BROKEN_SURVEY = """
def broken(**fixtures):
    raise RuntimeError("the survey is broken")

def pytest_fixture_setup(fixturedef):
    if fixturedef.argname == "surveyed":
        fixturedef.func = broken
"""
BROKEN_NULLS = """
def broken(nulls, statistic):
    return {}["no such null"]

def pytest_sessionstart():
    from headclaims.audit.nulls import Nulls

    Nulls.other_heads = broken
"""


OF_THE_SURVEY = tuple(name for name in (*BEHAVIOUR, *QUALIFYING) if name != "identity-explains-scores")
"""Claims about what words are given; how scores vary is read from patterns."""


def with_plugin(folder: Path, text: str) -> dict[str, str]:
    """The environment under which `-p injected` is a plugin of this text."""
    (folder / "plugins").mkdir()
    (folder / "plugins" / "injected.py").write_text(text, encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder / "plugins"), *([before] if before else [])])}


@pytest.mark.parametrize(
    ("plugin", "broken", "says"),
    [
        (BROKEN_SURVEY, OF_THE_SURVEY, "RuntimeError: the survey is broken"),
        (BROKEN_NULLS, BEHAVIOUR[2:], "KeyError: 'no such null'"),
    ],
    ids=["in-a-fixture", "in-the-test"],
)
@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["alone", "n2"])
def test_an_error_inside_a_claim(
    evidence: Path, tmp_path: Path, plugin: str, broken: tuple[str, ...], says: str, workers: tuple[str, ...]
) -> None:
    run = run_claims(
        "--checkpoint",
        evidence / "recorded.safetensors",
        "-p",
        "injected",
        *workers,
        reports=tmp_path / "reports",
        env=with_plugin(tmp_path, plugin),
    )
    assert run.status == 1
    assert_sound(run, complete=False)
    assert list(run.claims) == list(catalogue())
    for name, claim in run.claims.items():
        if name in broken:
            assert (claim["verdict"], claim["flags"]) == (None, [])
            assert claim["reason"] == f"error: {says}"
            assert f"{name} error error: {says}" in " ".join(run.stdout.split())
        else:
            # L1H5 of this evidence gives itself nothing.
            expected = (NOT_SUPPORTED,) if name == "self-above-unrelated" else (SUPPORTED, NOT_ASSESSABLE)
            assert claim["verdict"] in expected


SLEEPER = """
import signal, time, pathlib

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may have been told to ignore it

def pytest_runtest_call(item):
    if item.name == {name!r}:
        pathlib.Path({asleep!r}).touch()
        time.sleep({seconds})
"""


def interrupt(checkpoint: Path, name: str, folder: Path, *options: str) -> int:
    """Run the claims, press Ctrl-C while the test of that name is under way, and return the exit status."""
    asleep = folder / "asleep"
    env = with_plugin(folder, SLEEPER.format(name=name, asleep=str(asleep), seconds=60))
    line = command("--checkpoint", checkpoint, "-p", "injected", *options, reports=folder / "reports")
    with subprocess.Popen(
        line,
        cwd=ROOT,
        env=environment(folder, env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not asleep.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert asleep.exists(), "the run did not come to the test it was to be interrupted in"
            process.send_signal(signal.SIGINT)
            return process.wait(timeout=30)
        finally:
            process.kill()


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["alone", "n2"])
def test_an_interrupted_run_leaves_what_it_has(evidence: Path, tmp_path: Path, workers: tuple[str, ...]) -> None:
    status = interrupt(evidence / "partial.safetensors", "test_skew_is_weaker", tmp_path, *workers)
    assert status == 2
    (path,) = (tmp_path / "reports").rglob("claims.json")
    folder, record = path.parent, read_record(path)
    identity = record["checkpoint"]["identity"]
    assert folder == tmp_path / "reports" / f"partial-{identity[:8]}" / SET.name / "L1H5"
    assert departures(record) == []
    assert record["complete"] is False
    done = [claim["id"] for claim in record["claims"]]
    assert done
    assert "skew-is-weaker" not in done
    # What stands before it in the order of files.
    before = {*BEHAVIOUR[:2], *EFFECTS[:-1], "embedding-essential", "similarity-peak-below-one", *SPECTRAL}
    before |= set(OF_A_MODEL[-5:])  # of the spectrum and of steering
    before -= {"skew-is-weaker"}
    assert workers or done == [name for name in catalogue() if name in before]
    assert "incomplete" in (folder / "claims.md").read_text(encoding="utf-8").lower()
    assert sorted(path.name for path in folder.iterdir()) == ["claims.json", "claims.md"]


@pytest.mark.slow
@pytest.mark.long
def test_an_earlier_record_stays_until_a_run_has_something_to_say(evidence: Path, tmp_path: Path) -> None:
    """A run that is interrupted before its first claim is done leaves it, a run that ends takes its place."""
    options = ("--checkpoint", evidence / "recorded.safetensors")
    first = run_claims(*options, reports=tmp_path / "reports")
    before, seed = snapshot(first.reports), first.record["settings"]["seed"]
    assert interrupt(evidence / "recorded.safetensors", "test_category_score_lowest", tmp_path) == 2
    assert snapshot(first.reports) == before
    second = run_claims(*options, "--seed", "1", reports=tmp_path / "reports")
    assert (seed, second.record["settings"]["seed"]) == (0, 1)
    assert_sound(second)


def test_a_pruned_head(tmp_path: Path) -> None:
    """A head whose keys are all 0 has no spectrum to speak of: a record all the same, and no traceback."""
    nothing = torch.zeros(D_MODEL, D_HEAD)
    partial_weights(heads={(1, 5): (signed_head(D_HEAD)[0], nothing)}).write(tmp_path / "pruned.safetensors")
    run = run_claims("--checkpoint", tmp_path / "pruned.safetensors", reports=tmp_path / "reports")
    assert_no_traceback(run)
    assert_sound(run)
    assert run.claims["inertia"]["verdict"] == NOT_ASSESSABLE
    assert run.claims["skew-is-weaker"]["verdict"] in (NOT_SUPPORTED, NOT_ASSESSABLE)


def test_a_single_head(tmp_path: Path) -> None:
    """There is no runner-up: nothing to compare with."""
    parts = recorded_attention(layers=(1,))
    parts.tensors = {"blocks.0.attn.hook_pattern": parts.tensors["blocks.1.attn.hook_pattern"][:, 5:6].contiguous()}
    parts.config |= {"n_layer": 1, "n_head": 1}
    parts.write(tmp_path / "one.safetensors")
    run = run_claims("--checkpoint", tmp_path / "one.safetensors", "--head", "L0H0", reports=tmp_path / "reports")
    assert_no_traceback(run)
    assert_sound(run)
    assert run.verdicts["category-score-lowest"] == (NOT_ASSESSABLE, [])
    assert run.verdicts["category-score-outlier"] == (NOT_ASSESSABLE, [])


def test_heads_that_tie(tmp_path: Path) -> None:
    """All heads but the target attend uniformly: their gaps are 0, and the target's is beyond any multiple of 0."""
    parts = recorded_attention()
    uniform = torch.tril(torch.ones(24, 24)) / torch.arange(1, 25)[:, None]
    for name, patterns in parts.tensors.items():
        for head in range(HEADS):
            if (name, head) != ("blocks.1.attn.hook_pattern", 5):
                patterns[:, head] = uniform
    parts.write(tmp_path / "ties.safetensors")
    run = run_claims("--checkpoint", tmp_path / "ties.safetensors", reports=tmp_path / "reports")
    assert_no_traceback(run)
    assert_sound(run)
    assert run.claims["category-score-lowest"]["verdict"] == SUPPORTED
    assert run.claims["category-score-outlier"]["verdict"] in (SUPPORTED, NOT_ASSESSABLE)


def test_a_head_that_sees_itself_alone(tmp_path: Path) -> None:
    """No kin anywhere: all resamples are alike, and claims are simply not supported."""
    parts = recorded_attention(rule=lambda _, prompt: torch.eye(len(prompt), dtype=torch.float64).numpy())
    parts.write(tmp_path / "selfish.safetensors")
    run = run_claims("--checkpoint", tmp_path / "selfish.safetensors", reports=tmp_path / "reports")
    assert run.status == 1
    assert_no_traceback(run)
    assert_sound(run)
    for name, value in {"attends-within-category": 0.0, "suppresses-self": -12 * math.log(10)}.items():
        claim = run.claims[name]
        assert claim["verdict"] == NOT_SUPPORTED
        assert next(iter(claim["measured"].values())) == pytest.approx(value)
        assert claim["interval"] == pytest.approx([value, value])


def test_collecting_audits_nothing(tmp_path: Path) -> None:
    run = run_claims("--collect-only", "-q", "--checkpoint", "no/such/path", reports=tmp_path / "reports")
    assert run.status == 0
    assert run.stdout.count("::test_") == len(catalogue())
    assert not run.reports.exists()


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_page_of_recorded_attention(evidence: Path, tmp_path: Path, workers: tuple[str, ...]) -> None:
    """The page and its figures' numbers are there, those of the record, whatever process a claim ran in."""
    options = ("--checkpoint", evidence / "recorded.safetensors")
    run = run_claims(*options, "--page", *workers, reports=tmp_path / "reports")
    names = {"claims.json", "claims.md", "figures.json", "index.html"}
    assert set(snapshot(run.reports)) == {f"{run.folder.relative_to(run.reports)}/{name}" for name in names}
    page = (run.folder / "index.html").read_text(encoding="utf-8")
    kept = json.loads((run.folder / "figures.json").read_text(encoding="utf-8"))
    assert list(kept["claims"]) == list(catalogue())
    for name, stated in catalogue().items():
        assert kept["claims"][name]["definition"] == stated["definition"]
    first = kept["claims"]["category-score-lowest"]
    gap = run.claims["category-score-lowest"]
    assert first["parts"][0]["value"] == first["compared_value"] == gap["measured"]["gap"]
    assert first["parts"][0]["interval"] == gap["interval"]
    (null,) = first["nulls"]
    assert (null["population"], len(null["values"])) == ("permuted labels", gap["nulls"][0]["n"])
    at_least = sum(value >= first["compared_value"] for value in null["values"])
    assert (1 + at_least) / (1 + len(null["values"])) == pytest.approx(gap["nulls"][0]["p"])
    assert null["at_least"] == at_least
    assert len(first["drawn"]["head_scores"]["data"]["scores"]) == 3 * HEADS
    assert 'id="nulls-category-score-lowest"' in page
    assert 'id="pattern"' in page
    # The same audit without a page leaves none of another run's.
    run_claims(*options, reports=tmp_path / "reports")
    assert set(snapshot(run.folder)) == {"claims.json", "claims.md"}


def in_a_terminal(options: list[str], tmp_path: Path, env: dict[str, str]) -> str:
    """What a run says to a terminal of eighty columns."""
    main, theirs = pty.openpty()
    line = command(*options, reports=tmp_path / "reports")
    process = subprocess.Popen(
        line, cwd=ROOT, stdout=theirs, stderr=subprocess.DEVNULL, env=environment(tmp_path, {"COLUMNS": "80"} | env)
    )
    os.close(theirs)
    said = b""
    # The end of a terminal whose other side is closed is an error.
    with suppress(OSError):
        while read := os.read(main, 65536):
            said += read
    os.close(main)
    process.wait()
    return said.decode()


def test_the_footer_is_in_colour_on_a_terminal_alone(evidence: Path, tmp_path: Path) -> None:
    options = ["--checkpoint", str(evidence / "recorded.safetensors")]
    coloured = in_a_terminal(options, tmp_path, {"TERM": "xterm"})
    assert re.search(r"\x1b\[32mcategory-score-lowest +supported", coloured)
    plain = in_a_terminal(options, tmp_path, {"TERM": "xterm", "NO_COLOR": "1"})
    assert "\x1b[3" not in plain
    assert "category-score-lowest" in plain


def test_a_ci_system_sees_verdicts_in_the_xml(runs: Runs, evidence: Path, tmp_path: Path) -> None:
    """A property a fact; what an audit found stands at the suite. The ledger's own JSON is not in it."""
    written = tmp_path / "junit.xml"
    options = ("--checkpoint", evidence / "partial.safetensors", "--page", "--junitxml", written)
    run = runs(*options, "-k", "eigenspectrum")
    text = written.read_text(encoding="utf-8")
    assert "headclaims-" not in text
    suite = ElementTree.fromstring(text).find("testsuite")
    assert suite is not None
    said = {one.get("name"): one.get("value") for one in suite.findall("properties/property")}
    assert said == {
        f"headclaims {SET.name}/L1H5": "2 empirical: 1 assessed, 1 supported, 0 found; 1 of 1 identities hold",
        f"headclaims {SET.name}/L1H5 found": "none",  # a part of a set finds nothing
    }
    by_claim = {}
    for case in suite.findall("testcase"):
        properties = {one.get("name"): one.get("value") for one in case.findall("properties/property")}
        by_claim[properties.pop("claim")] = properties
    assert list(by_claim) == list(run.claims)
    for name, claim in run.claims.items():
        assert by_claim[name]["verdict"] == claim["verdict"]
    count = run.claims["half-the-eigenvalues-negative"]["measured"]["count"]
    assert by_claim["half-the-eigenvalues-negative"]["statistic"] == f"count {count:.0f}"
    assert by_claim["inertia"]["flags"] == "by construction"


def test_what_a_whole_audit_found_stands_at_the_suite() -> None:
    """Of the committed audit of the planted checkpoint: seventeen claims by their ids."""
    record = reading.read_record(ROOT / "reports" / "examples" / "planted")
    headline, (name, found) = audit_properties("a/L1H5", record.claims, record.evidence_of)
    assert headline == (
        "headclaims a/L1H5",
        "31 empirical: 31 assessed, 31 supported, 17 found (replicated); 5 of 5 identities hold",
    )
    assert name == "headclaims a/L1H5 found"
    ids = found.split(", ")
    assert len(set(ids)) == 17
    assert {"category-score-lowest", "suppresses-self"} <= set(ids)
    assert "skew-adds-no-self-attention" not in ids  # true by construction


def test_the_command_audits_as_pytest_does(runs: Runs, evidence: Path, tmp_path: Path) -> None:
    """With the same record and footer, from any folder, and nothing said of its own."""
    file, reports = str(evidence / "half.safetensors"), str(tmp_path / "reports")
    line = [sys.executable, "-m", "headclaims.cli", "audit", file, "--report-dir", reports, "--set", SET.name]
    done = subprocess.run(
        line, cwd=tmp_path, capture_output=True, encoding="utf-8", env=environment(tmp_path, {"COLUMNS": "80"})
    )
    run = runs("--checkpoint", file)
    assert done.returncode == run.status == 1
    assert done.stderr == ""
    assert "warning" not in done.stdout.lower()
    (path,) = (tmp_path / "reports").rglob("claims.json")
    assert comparable(read_record(path)) == comparable(run.record)
    said = done.stdout.splitlines()
    assert said[0] == run.first_line
    assert said[-1].startswith("==")
    assert f"record in {path.parent}" in said


FULL_DISK = """
import sys
import pytest

def full(path, text):
    raise OSError(28, "No space left on device", str(path))

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
    sys.modules["headclaims.plugin.ledger"].write_atomically = full
"""


def test_a_full_disk_costs_the_record_and_not_what_was_found(evidence: Path, tmp_path: Path) -> None:
    options = ("--checkpoint", evidence / "recorded.safetensors", "-p", "injected")
    run = run_claims(*options, reports=tmp_path / "reports", env=with_plugin(tmp_path, FULL_DISK))
    assert run.status == 2
    lines = run.stdout.splitlines()
    assert "31 empirical: 8 assessed, 7 supported, 4 found (replicated)" in lines
    assert any(line.startswith("no record: [Errno 28] No space left on device") for line in lines)
    assert_no_traceback(run)
    assert not (tmp_path / "reports").exists()
