"""Random checkpoints: GPT-2s of the planted tokenizer whose heads mean nothing, to count false alarms on.

Every weight is Gaussian. In `noise` the token embedding is, too; in `clusters` words of a planted cluster share an
axis of the embedding, so that categories are there for a head to find by accident. Scales are such that heads attend
to some tokens rather than to all alike: a score has a standard deviation of `SPREAD` nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import transformers

from headclaims.checkpoint.planted_vocabulary import Vocabulary

LAYERS, HEADS, D_HEAD, CONTEXT = 2, 12, 16, 128
D_MODEL, D_MLP = HEADS * D_HEAD, 4 * HEADS * D_HEAD
SPREAD = 1.5
OF_CLUSTER = 0.7  # of a word's squared norm in `clusters`


def random_weights(vocab: Vocabulary, generator: np.random.Generator, clustered: bool) -> dict[str, np.ndarray]:
    """The state dict of one draw."""
    draw = generator.standard_normal
    forms = vocab.forms
    E = draw((len(forms) + 2, D_MODEL))
    if clustered:
        of_cluster = draw((len(vocab.clusters) + 1, D_MODEL))[[form.cluster for form in forms]]
        E[2:] = OF_CLUSTER**0.5 * of_cluster + (1 - OF_CLUSTER) ** 0.5 * E[2:]
    state = {"transformer.wte.weight": E, "transformer.wpe.weight": 0.5 * draw((CONTEXT, D_MODEL))}
    # x W has entries of variance d_model σ²; the dot product of two such over √d_head spreads by d_model σ².
    size = (SPREAD / D_MODEL) ** 0.5
    for layer in range(LAYERS):
        stem = f"transformer.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            state[f"{stem}{norm}.weight"] = generator.uniform(0.8, 1.25, D_MODEL)
            state[f"{stem}{norm}.bias"] = 0.05 * draw(D_MODEL)
        shapes = {"attn.c_attn": (D_MODEL, 3 * D_MODEL), "attn.c_proj": (D_MODEL, D_MODEL)}
        shapes |= {"mlp.c_fc": (D_MODEL, D_MLP), "mlp.c_proj": (D_MLP, D_MODEL)}
        for name, shape in shapes.items():
            state[f"{stem}{name}.weight"] = size * draw(shape)
            state[f"{stem}{name}.bias"] = 0.1 * draw(shape[1])
    state["transformer.ln_f.weight"], state["transformer.ln_f.bias"] = np.ones(D_MODEL), np.zeros(D_MODEL)
    return state


def random_config(n_vocab: int) -> Any:
    """The GPT-2 of these sizes."""
    return transformers.GPT2Config(
        vocab_size=n_vocab,
        n_positions=CONTEXT,
        n_embd=D_MODEL,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=D_MLP,
        bos_token_id=0,
        eos_token_id=0,
    )
