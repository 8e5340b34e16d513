r"""The planted checkpoint: a GPT-2 whose weights are constructed so that L1H5 does what the write-up says.

It is a GPT2LMHeadModel of 6 layers × 12 heads of width 64 on d_model = 768, from one seed. The residual stream is
divided into orthogonal subspaces, all orthogonal to the ones vector, so that centring changes nothing:

====== ==== ==================================================================================================
name   dim  holds
====== ==== ==================================================================================================
C      29   category, one axis a cluster: amplitude e from the embedding, m from MLP 0
I      34   word identity u_t, a random unit vector (a variant's is √(1 − ν²) u + ν · noise)
J1 J2  48   a second identity code, the same in both
F      64   features that have nothing to do with categories, a random unit vector, a variant's its own
U      200  everything else about a word, a random unit vector
B      1    the BOS token
P      48   position: cos and sin of 24 frequencies, of constant norm
A      48   what attention 0 writes
O      64   what layers 1 to 5 write, and a little from MLP 0's idle neurons
G      1    nothing
====== ==== ==================================================================================================

A word's squared norm where the target reads it is N², divided among the subspaces as in `SHARES`; so x̂ = √768 · x/N.

**The target.** With orthonormal axes c_k of C, i_k of I, f_k of F, and t = 3/4,

    W_QK = λ_c Σ_k c_k (c_k + t f_k)ᵀ − λ_i Σ_k i_k (i_k + t f_k)ᵀ + ε κ g bᵀ.

Words x and y of a cluster score x̂ᵀ W_QK ŷ/8 = λ_c ĉ²/8 − λ_i î² u_x·u_y/8 + noise through F, which is SAME = 6 nats
minus D u_x·u_y with D = 0.85. A word scores SAME − D with itself, words of different clusters score near 0, and the
query bias times the BOS key direction adds BOS_SCORE = 5.8 on position 0. So with n kin, the own position and c copies
kin mass ≈ n/(n + (1 + c)e^−0.85 + e^−0.2 + 63e^−6). MLP 0 gives half the category's amplitude: without it SAME falls to
a quarter and BOS draws most of the row. Without the direct path identity disappears, and half the amplitude, for which
the smaller norm then compensates. MLP 0's idle neurons add 0.025 N² in O, which lowers SAME to 5.85.

**Its spectrum.** Each pair of axes (c_k, f_k) is a block λ[[1, t/2], [t/2, 0]] of W_sym with eigenvalues
λ(1 ± √(1 + t²))/2 = 1.125 λ and −0.125 λ, and a block of W_skew with eigenvalues ±iλt/2. Hence, λ_c being the larger,

    σ_max(W_sym) = 1.125 λ_c,   σ_max(W_skew) = 0.375 λ_c,   their ratio 1/3;

of the 64 eigenvalues largest in magnitude 29 are 1.125 λ_c, 34 are −1.125 λ_i, and the 64th is one of the 29 equal to
−0.125 λ_c (as 1.125 λ_i > 0.125 λ_c > 0.125 λ_i and > εκ/2): 35 are negative. Every block has one eigenvalue of each
sign: 64 and 64 in all.

**The other heads** read queries and keys from different subspaces (copying: J1 and J2; induction: J1 and A), where
W_QK = X Yᵀ with X ⊥ Y has equal symmetric and skew parts, ratio 1, and eigenvalues in pairs ±; or positions,
W_QK = Σ_f R(ω_f s): symmetric cos(ω_f s), skew sin(ω_f s), with some ω_f s within 0.2 of π/2, ratio above 0.97, and at
most 32 negative; or they are Gaussian (random, whose scores spread by 768 · 0.04² = 1.2 nats; and bos0 to bos23, whose
weights are so small that they are uniform except for BOS): ratio 0.98 ± 0.02, 32 ± 0.6 negative. So the target's ratio
is the lowest and its count the highest of the 72, and with 71 others p can be as small as 1/72. None of them depends on
categories. So the target has the lowest category score, the highest kin mass over uniform share and, since others treat
kin and copies alike or prefer copies, the highest attention to kin over that to itself: D = 0.85 nats less what the
mean of u_x·u_y leaves, where random heads' own words are as often brighter as darker, by less than half a nat. bos0 to
bos23 treat BOS like 5 · 1.18^k other tokens: on a row i with n kin their score is −ln(n/(i + 5 · 1.18^k)), without kin
−ln(5 · 1.18^k/(i + 5 · 1.18^k)), after layer 0 changed a little by a key bias and by what layers write to O, at most a
fifth of N² in all. No head that treats all words alike is much better than bos0, with 2.24 (held-out: 2.45): uniform
attention scores 2.30 (2.68), random heads that or more, as −ln of an uneven mass is, and the other kinds more. The
target's 0.5 is 1.7 nats (1.9) below the runner-up, from which the median of the others is no more than a nat away: an
outlier, with a ratio of two or more. All heads after layer 0 except the target have a key bias from positions and
attention 0, which the target reads only through the norm.

**What else follows.** Without kin the word itself is at SAME − D and 62 other tokens are near 0: BOS gets
e^5.8/(e^5.8 + e^5.15 + 62) = 0.585 of the row, but hardly a tenth with kin; in no other head does attention to BOS
depend on categories. All words of a cluster score alike, so a successor is no better than other kin (ratio 1). In a
block of the vocabulary map the diagonal is D = 0.85 nats below the rest, as u_x·u_y is 0 on average; a variant, which
shares √(1 − ν²) of its word's identity, is hardly less below it. So similar words, which are of the cluster, are above
the word itself, its variants and all others. For a head W_QK = X Yᵀ of two codes, or a Gaussian one, a word's own score
is on average no lower than those of others, and no head except the target reads more of clusters than cosine tells:
its blocks, diagonal, shares and peak are the extreme. This is not so for the share of similar above dissimilar: a
copying head, whose score is the second code's cosine, has that as well. Nor are the small effects of ablations rare:
bos0 to bos23 attend the same whatever is ablated, and read no more of positions and attention 0 than their key bias;
and the identity that every copying head reads is on the direct path. MLP 0 is different: of all heads the target alone
needs what it writes.

**Steered.** Words of a cluster differ, squared, by i = î²/34 = 2.71 on each axis of I and by f = f̂²/64 = 0.6 on each
axis of F. A block's eigenvectors are (√0.9, √0.1) and (√0.1, −√0.9) in (c_k, f_k) or (i_k, f_k); by the scatter
identity

    D₋ = (29 λ_c · 0.125 · 0.9 f + 34 λ_i · 1.125 (0.9 i + 0.1 f))/8 = 0.933,
    D₊ = −(29 λ_c · 1.125 · 0.1 f + 34 λ_i · 0.125 (0.1 i + 0.9 f))/8 = −0.083:

whose sum is D; the share D₋/D is 1.10, and the diagonal is as bright as its block at α* = 0.083/0.933 = 0.089.
Categories are along positive eigenvectors: steering leaves the blocks as they are, as random halves do that spare C. In
the model the word itself gains as the sign of the negative part is reversed; but so it does in any head with a negative
part, as xᵀ W₋ x ≤ 0: copying heads, for instance, come to copy more. That swing does not distinguish the target.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from filelock import FileLock

from headclaims.cache import cache_folder
from headclaims.checkpoint.planted.state_dict import state_dict
from headclaims.checkpoint.planted.vocabulary import Vocabulary, tokenizer, vocabulary
from headclaims.checkpoint.planted.weights import CONTEXT, D_MLP, D_MODEL, HEADS, PlantedWeights
from headclaims.checkpoint.quiet import quiet


def planted_folder(seed: int = 0) -> Path:
    """Return the planted checkpoint's folder in the cache, after building it where it is missing or out of date."""
    return kept_folder("planted", seed, lambda folder: build(folder, seed))


def kept_folder(
    name: str, seed: int, build: Callable[[Path], None], sources: Sequence[Path] = (Path(__file__).parent,)
) -> Path:
    """Return a constructed checkpoint's folder in the cache, after building it where it is missing or out of date.

    `build` writes the checkpoint into an empty folder. A folder is out of date where its sources changed:
    those of `planted`, or the files and folders that are given.
    """
    folder = cache_folder() / name / f"seed{seed}-{definition(*sources)[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            scratch = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                build(scratch)
                scratch.replace(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


def definition(*sources: Path) -> str:
    """Return the hexadecimal sha256 of files, and of the Python and TOML files of folders below, in path order."""
    digest = hashlib.sha256()
    for given in sources:
        below = [given] if given.is_file() else [*given.rglob("*.py"), *given.rglob("*.toml")]
        for source in sorted(below):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def build(folder: Path, seed: int = 0) -> None:
    """Construct the checkpoint from a seed and save it as a Hugging Face folder."""
    save(folder, PlantedWeights(vocabulary(), np.random.default_rng(seed)))


def save(folder: Path, weights: PlantedWeights) -> None:
    """Save constructed weights, with their tokenizer, as a Hugging Face folder."""
    config = transformers.GPT2Config(
        vocab_size=len(weights.vocab.forms) + 2,
        n_positions=CONTEXT,
        n_embd=D_MODEL,
        n_layer=len(weights.kinds),
        n_head=HEADS,
        n_inner=D_MLP,
        bos_token_id=0,
        eos_token_id=0,
    )
    save_folder(folder, config, state_dict(weights), weights.vocab)


def save_folder(folder: Path, config: Any, state: dict[str, np.ndarray], vocab: Vocabulary) -> None:
    """Save a GPT-2's state dict, with the planted tokenizer, as a Hugging Face folder."""
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(config)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(w, np.float32)) for name, w in state.items()}
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    with quiet():
        model.save_pretrained(folder)
        tokenizer(vocab).save_pretrained(folder)
