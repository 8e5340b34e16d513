"""What an audit is made of: loading, E, spectra, the survey of all heads; whole audits, cold and warm; and many."""

import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
import torch

from headclaims.cache import Cache
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Head
from headclaims.checkpoint.planted.random_weights import gpt2_sized_folder
from headclaims.circuit.effective_embedding import Variant, effective_embedding
from headclaims.circuit.eigenspectrum import head_spectra
from headclaims.circuit.qk_circuit import span
from headclaims.claim.claim_set import ClaimSet
from headclaims.measures.category_score import survey
from headclaims.prompts.category import category_prompts

ROOT = Path(__file__).parents[2]
SET = ROOT / "claims" / "self_hating_head"
LAYERS, HEADS, D_MODEL, D_HEAD, D_MLP, VOCABULARY = 12, 12, 768, 64, 3072, 50_257
# What a layer does for a token: queries, keys, values, output; the MLP. Attention itself is little beside these.
PER_TOKEN = 2 * (4 * D_MODEL**2 + 2 * D_MODEL * D_MLP)


@pytest.fixture(scope="module")
def checkpoint():
    """A random checkpoint of GPT-2 small's shape."""
    return load(str(gpt2_sized_folder()))


@pytest.mark.benchmark(group="audit")
def test_load(bench, products):
    """From the folder to folded weights; in units of 10¹² operations."""
    folder = str(gpt2_sized_folder())
    bench(lambda: load(folder), products(1e12), rounds=2, flops=1e12, n_bytes=4 * 124e6)


@pytest.mark.benchmark(group="audit")
def test_effective_embedding(bench, products, checkpoint):
    """E for layer 1 and the whole vocabulary: the products of MLP 0."""
    flops = VOCABULARY * 4 * D_MODEL * D_MLP
    bench(
        lambda: effective_embedding(checkpoint, 1, None, Cache(None), Variant.ZERO),
        products(flops),
        rounds=2,
        flops=flops,
        n_bytes=4 * VOCABULARY * D_MODEL,
    )


@pytest.mark.benchmark(group="audit")
def test_spectra_of_all_heads(bench, products):
    """144 heads: the QR of [W_Q W_K] and two eigenvalue problems each, in float64."""
    W_Q, W_K = torch.randn(2, LAYERS * HEADS, D_MODEL, D_HEAD, generator=torch.Generator().manual_seed(0))
    pairs = 2 * D_HEAD
    flops = LAYERS * HEADS * (2 * D_MODEL * pairs**2 + 2 * 9 * pairs**3)
    bench(lambda: head_spectra(span(W_Q, W_K)), products(flops), rounds=2, flops=flops, n_bytes=8 * W_Q.numel() * 2)


@pytest.mark.benchmark(group="audit")
def test_survey(bench, products, checkpoint):
    """All heads' attention on 32 prompts of 64 tokens, and its scores."""
    words = ClaimSet.read(SET).word_lists.load(None).that_count(checkpoint.single_token, "it")
    prompts = category_prompts(words, checkpoint.single_token, checkpoint.bos, 32, 64, 0)
    heads = tuple(Head(layer, head) for layer in range(LAYERS) for head in range(HEADS))
    tokens = torch.from_numpy(prompts.tokens)

    def work():
        patterns = checkpoint.attention_patterns(tokens).transpose(0, 1).flatten(1, 2)
        return survey(prompts, heads, [(slice(None), patterns)])

    flops = tokens.numel() * LAYERS * PER_TOKEN
    bench(work, products(flops), rounds=2, flops=flops, n_bytes=4 * 32 * 144 * 64 * 64)


@pytest.mark.benchmark(group="audit")
@pytest.mark.parametrize("state", ["cold", "warm"])
def test_audit(bench, products, tmp_path_factory, state):
    """The first claim set on the planted checkpoint, in a process of its own; in units of 10¹² operations."""
    folder = tmp_path_factory.getbasetemp() / "audited"
    again = [] if state == "warm" else ["--no-cache"]
    command = [sys.executable, "-m", "pytest", str(SET), "--checkpoint", "planted", "--report-dir", str(folder)]

    def work():
        subprocess.run([*command, *again], cwd=ROOT, check=True, capture_output=True)

    if state == "warm":
        work()
    bench(work, products(1e12), rounds=1, flops=1e12, n_bytes=0)


@pytest.mark.benchmark(group="audit")
def test_plan(bench, tmp_path):
    """Twelve heads of the planted checkpoint by two seeds: a plan, beside the same audits one by one.

    Either way they share a cache that is empty at first.
    """
    heads, seeds = [f"L1H{index}" for index in range(HEADS)], [0, 1]
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[[rule]]\nset = "{SET}"\ncheckpoint = "planted"\nhead = {heads}\nseed = {seeds}\n')

    def headclaims(cache, *arguments):
        """Run a command that ends with status 1 where claims aren't supported, as of most of these heads."""
        environment = {**os.environ, "HEADCLAIMS_CACHE": str(tmp_path / cache)}
        command = [sys.executable, "-m", "headclaims.cli", *arguments]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ended.returncode in (0, 1), ended.stderr

    start = time.perf_counter()
    for head, seed in product(heads, seeds):
        to = str(tmp_path / "records" / f"{head}-{seed}")
        of = ["planted", "--set", str(SET), "--head", head, "--seed", str(seed)]
        headclaims("alone", "audit", *of, "--report-dir", to)
    one_by_one = time.perf_counter() - start
    bench.benchmark.pedantic(lambda: headclaims("together", "sweep", str(plan)), rounds=1)
    bench.against("one_by_one", bench.benchmark.stats.stats.min, one_by_one)
    for folder in ("records", "reports"):
        assert len(list((tmp_path / folder).rglob("claims.json"))) == len(heads) * len(seeds)
