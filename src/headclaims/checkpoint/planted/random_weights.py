"""Random checkpoints: GPT-2s with the planted tokenizer whose heads mean nothing, on which false alarms are counted.

Every weight is Gaussian, and so is the token embedding; in clustered ones, words of a planted cluster share a part of
their embedding, so that a head can prefer categories by accident. Weights are scaled so that heads attend to some
tokens more than to others: a score has a standard deviation of `SPREAD` nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from headclaims.checkpoint.planted.folder import kept_folder, save_folder
from headclaims.checkpoint.planted.vocabulary import Vocabulary, vocabulary

SPREAD = 1.5
OF_CLUSTER = 0.7  # share of a word's squared norm that its cluster has in common


@dataclass(frozen=True)
class Sizes:
    """Sizes of a GPT-2; `d_vocab` None means the tokenizer's own, and rows beyond that belong to no token."""

    layers: int
    heads: int
    d_head: int
    context: int
    d_vocab: int | None = None

    @property
    def d_model(self) -> int:
        """Width of the residual stream: the widths of all heads together."""
        return self.heads * self.d_head

    def rows(self, vocab: Vocabulary) -> int:
        """Return the number of rows of the embedding: BOS, the unknown token, every form, and any beyond."""
        return self.d_vocab or len(vocab.forms) + 2


SMALL = Sizes(2, 10, 16, 128)
"""Twenty heads, of which each is the most extreme one with a chance of exactly 5 %."""
GPT2_SMALL = Sizes(12, 12, 64, 1024, 50_257)


def random_weights(
    vocab: Vocabulary, generator: np.random.Generator, clustered: bool, sizes: Sizes
) -> dict[str, np.ndarray]:
    """Draw the state dict of a random checkpoint."""
    draw = generator.standard_normal
    forms, d_model, d_mlp = vocab.forms, sizes.d_model, 4 * sizes.d_model
    E = draw((sizes.rows(vocab), d_model))
    if clustered:
        of_cluster = draw((len(vocab.clusters) + 1, d_model))[[form.cluster for form in forms]]
        words = slice(2, 2 + len(forms))
        E[words] = OF_CLUSTER**0.5 * of_cluster + (1 - OF_CLUSTER) ** 0.5 * E[words]
    state = {"transformer.wte.weight": E, "transformer.wpe.weight": 0.5 * draw((sizes.context, d_model))}
    # x W has entries of variance d_model σ²; the dot product of two such over √d_head spreads by d_model σ².
    size = (SPREAD / d_model) ** 0.5
    for layer in range(sizes.layers):
        stem = f"transformer.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            state[f"{stem}{norm}.weight"] = generator.uniform(0.8, 1.25, d_model)
            state[f"{stem}{norm}.bias"] = 0.05 * draw(d_model)
        shapes = {"attn.c_attn": (d_model, 3 * d_model), "attn.c_proj": (d_model, d_model)}
        shapes |= {"mlp.c_fc": (d_model, d_mlp), "mlp.c_proj": (d_mlp, d_model)}
        for name, shape in shapes.items():
            state[f"{stem}{name}.weight"] = size * draw(shape)
            state[f"{stem}{name}.bias"] = 0.1 * draw(shape[1])
    state["transformer.ln_f.weight"], state["transformer.ln_f.bias"] = np.ones(d_model), np.zeros(d_model)
    return state


def random_config(vocab: Vocabulary, sizes: Sizes) -> Any:
    """Return the config of a GPT-2 of these sizes."""
    return transformers.GPT2Config(
        vocab_size=sizes.rows(vocab),
        n_positions=sizes.context,
        n_embd=sizes.d_model,
        n_layer=sizes.layers,
        n_head=sizes.heads,
        n_inner=4 * sizes.d_model,
        bos_token_id=0,
        eos_token_id=0,
    )


def random_folder(seed: int, clustered: bool = False) -> Path:
    """Return the folder of a random checkpoint in the cache, built where it is missing."""
    name = "random-clusters" if clustered else "random"
    return kept_folder(name, seed, lambda folder: save_random(folder, seed, clustered))


def save_random(folder: Path, seed: int, clustered: bool, sizes: Sizes = SMALL) -> None:
    """Draw a random checkpoint (`random_weights`) and save it as a Hugging Face folder."""
    vocab = vocabulary()
    weights = random_weights(vocab, np.random.default_rng(seed), clustered, sizes)
    save_folder(folder, random_config(vocab, sizes), weights, vocab)


def gpt2_sized_folder(seed: int = 0) -> Path:
    """Return the folder of a random checkpoint of GPT-2 small's shape, on which audits are timed."""
    return kept_folder("random-gpt2-small", seed, lambda folder: save_random(folder, seed, False, GPT2_SMALL))
