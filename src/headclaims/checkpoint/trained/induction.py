"""The series `induction`: a GPT-2 of two layers trained on sequences whose parts return (`sequences`).

Its vocabulary is BOS, an unknown token and 610 words with a leading space. Position embeddings begin as sines and
cosines, everything else as Gaussian numbers, and all are trained by AdamW. Sequences are short at first, where one of
few tokens is the one before, and longer by and by: of 16, 32 and then 64 tokens, 2,048 a step. Tokens that what came
before doesn't tell count a tenth: no more than how frequent words are can be learnt from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from headclaims.checkpoint.planted.vocabulary import Vocabulary, vocabulary
from headclaims.checkpoint.trained.sequences import sequences
from headclaims.progress import track
from headclaims.threads import one_thread

STEPS = (0, 25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1000)
"""The steps that are kept."""
CONTEXT, LAYERS, HEADS, D_MODEL, D_MLP = 64, 2, 8, 128, 64
LENGTHS = ((400, 16), (600, 32), (STEPS[-1] + 1, CONTEXT))
"""Lengths of sequences, each up to a step."""
TOKENS_A_STEP, UNTOLD = 2048, 0.1
RATE, WARM_UP, BETAS, DECAY = 3e-3, 50, (0.9, 0.99), 0.01
SPREAD, EMBEDDED = 0.09, 0.5
"""Standard deviations of weights, and of embeddings, at the start; a sine's amplitude is √2 times that."""
LONGEST_WAVE = 1000.0
BOS = 0


def words() -> Vocabulary:
    """Return the planted checkpoint's vocabulary less its variants: words as written, with a leading space."""
    whole = vocabulary()
    return replace(whole, forms=tuple(form for form in whole.forms if form.text.startswith(" ") and not form.variant))


def config(vocab: Vocabulary) -> Any:
    """Return the model's config."""
    return transformers.GPT2Config(
        vocab_size=len(vocab.forms) + 2,
        n_positions=CONTEXT,
        n_embd=D_MODEL,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=D_MLP,
        initializer_range=SPREAD,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=BOS,
        eos_token_id=BOS,
    )


@dataclass
class Training:
    """A model and its optimiser; every random number is from one seed, and one thread sums in one order."""

    seed: int

    def __post_init__(self) -> None:
        self.vocab = words()
        self.generator = np.random.default_rng([self.seed, 23])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.model: Any = transformers.GPT2LMHeadModel(config(self.vocab))
            self.model.transformer.wte.weight.data.normal_(0, EMBEDDED)
        self.model.transformer.wpe.weight.data = EMBEDDED * 2**0.5 * waves()
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        parts = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(parts, lr=RATE, betas=BETAS)

    def loss(self, step: int) -> Tensor:
        """Return the loss of a draw of sequences, in nats a token that is told."""
        length = next(length for until, length in LENGTHS if step < until)
        ids = np.arange(2, len(self.vocab.forms) + 2)
        drawn, known = sequences(self.generator, TOKENS_A_STEP // length, length, ids, BOS)
        tokens, told = torch.from_numpy(drawn), torch.from_numpy(known[:, 1:])
        logits = self.model(input_ids=tokens).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        weights = torch.where(told, 1.0, UNTOLD)
        return (losses * weights).sum() / weights.sum()

    def learn(self, step: int) -> None:
        """Take a step."""
        for part in self.optimiser.param_groups:
            part["lr"] = RATE * min(1.0, (step + 1) / WARM_UP)
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(step).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()

    def weights(self) -> dict[str, np.ndarray]:
        """Return the state dict as it is now."""
        return {name: value.detach().numpy().copy() for name, value in self.model.state_dict().items()}


def waves() -> Tensor:
    """Return sines and cosines of the positions [position, d_model], of wave lengths up to 2π · 1000."""
    half = D_MODEL // 2
    angles = torch.arange(CONTEXT)[:, None] * LONGEST_WAVE ** (-torch.arange(half) / half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def series(seed: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Train from a seed, and yield each step that is kept, with its state dict."""
    with one_thread():
        training = Training(seed)
        training.model.train()
        for step in track(range(STEPS[-1] + 1), "training induction heads", STEPS[-1] + 1):
            if step in STEPS:
                yield step, training.weights()
            training.learn(step)
