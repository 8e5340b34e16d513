"""Small evidence, made by hand: recorded patterns, partial weights, and a GPT-2 of two layers.

Each is about a head L1H5 that has, or hasn't, what the claims say, by construction.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

CATEGORIES = {
    "colours": ("blue", "red", "green", "yellow", "purple"),
    "animals": ("dog", "cat", "mouse", "horse", "sheep"),
    "fruits": ("apple", "banana", "grape", "peach", "lemon"),
    "emotions": ("happy", "sad", "angry", "scared", "proud"),
}
CATEGORY_OF = {word: category for category, words in CATEGORIES.items() for word in words}
LAYERS, HEADS, D_MODEL, D_HEAD = 3, 8, 64, 8
CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_embd": D_MODEL,
    "vocab_size": 100,
}


@dataclass
class EvidenceParts:
    """What an evidence file is written from; a test that wants a bad one spoils a part."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))

    def write(self, path: Path) -> Path:
        """Save the file."""
        save_file(self.tensors, path, metadata={"config": json.dumps(self.config)} | self.metadata)
        return path


def header(kind: str, **more: Any) -> dict[str, str]:
    """A file's metadata but for the config."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in more.items()}
    return {"kind": kind, "name": "made by hand"} | texts


def draw_words(prompts: int, length: int, seed: int = 0) -> list[list[str]]:
    """Prompts of BOS and words, as token strings."""
    generator = np.random.default_rng(seed)
    words = list(CATEGORY_OF)
    drawn = generator.integers(len(words), size=(prompts, length - 1))
    return [["<bos>", *(" " + words[i] for i in row)] for row in drawn]


def kin_attention(prompt: Sequence[str], on_kin: float = 0.9) -> np.ndarray:
    """`on_kin` spread over earlier words of the row's category other than its own, the rest on BOS."""
    pattern = np.zeros((len(prompt), len(prompt)))
    for row, token in enumerate(prompt):
        word = token.strip()
        earlier = [
            at
            for at in range(1, row)
            if (other := prompt[at].strip()) != word and CATEGORY_OF[other] == CATEGORY_OF[word]
        ]
        pattern[row, earlier] = on_kin / max(len(earlier), 1)
        pattern[row, 0] = 1 - pattern[row].sum()
    return pattern


def recorded_attention(
    prompts: int = 12,
    length: int = 24,
    *,
    layers: Sequence[int] = (0, 1, 2),
    rule: Callable[[int, Sequence[str]], np.ndarray] = lambda _, prompt: kin_attention(prompt),
) -> EvidenceParts:
    """Patterns of some layers: L1H5 follows the rule of (prompt's number, its tokens), all others draw at random."""
    generator = np.random.default_rng(1)
    tokens = draw_words(prompts, length)
    drawn = np.tril(generator.uniform(0.5, 1.5, (len(layers), prompts, HEADS, length, length)))
    drawn /= drawn.sum(axis=-1, keepdims=True)
    if 1 in layers:
        for number, prompt in enumerate(tokens):
            drawn[list(layers).index(1), number, 5] = rule(number, prompt)
    patterns = {
        f"blocks.{layer}.attn.hook_pattern": torch.from_numpy(drawn[at]).float() for at, layer in enumerate(layers)
    }
    return EvidenceParts(patterns, header("recorded-attention", tokens=tokens))


def texts(layers: Sequence[int] = (0, 1, 2), first: str = "The", seed: int = 3) -> EvidenceParts:
    """Random patterns on two texts of five and four tokens, a tensor each, without BOS unless `first` is one."""
    tokens = [[first, " dog", " and", " the", " cat"], [first, " sun", " was", " red"]]
    tensors = {}
    for n, prompt in enumerate(tokens):
        for layer in layers:
            generator = torch.Generator().manual_seed(100 * seed + 10 * n + layer)
            scores = torch.randn(HEADS, len(prompt), len(prompt), generator=generator)
            mask = torch.ones(len(prompt), len(prompt)).triu(1).bool()
            tensors[f"{n}/blocks.{layer}.attn.hook_pattern"] = scores.masked_fill(mask, -torch.inf).softmax(-1)
    return EvidenceParts(tensors, header("recorded-attention", tokens=tokens))


def partial_weights(
    layers: Sequence[int] = (0, 1, 2), heads: Mapping[tuple[int, int], tuple[Tensor, Tensor]] | None = None
) -> EvidenceParts:
    """Gaussian ln_1 and c_attn of some layers; `heads` gives (layer, head) their own (W_Q, W_K).

    The norms have neither gain nor bias to fold, and every column is centred, so that the weights in the file are the
    folded ones.
    """
    generator = torch.Generator().manual_seed(2)
    tensors = {}
    for layer in layers:
        W = torch.randn(D_MODEL, 3, HEADS, D_HEAD, generator=generator)
        for (at, head), (W_Q, W_K) in (heads or {}).items():
            if at == layer:
                W[:, 0, head], W[:, 1, head] = W_Q, W_K
        stem = f"transformer.h.{layer}."
        tensors |= {
            stem + "ln_1.weight": torch.ones(D_MODEL),
            stem + "ln_1.bias": torch.zeros(D_MODEL),
            stem + "attn.c_attn.weight": (W - W.mean(0)).reshape(D_MODEL, -1).contiguous(),
            stem + "attn.c_attn.bias": torch.zeros(3 * D_MODEL),
        }
    return EvidenceParts(tensors, header("partial-weights"))


def signed_head(negative: int, skew: float = 0.3, seed: int = 3) -> tuple[Tensor, Tensor]:
    """W_Q and W_K of which `negative` of the d_head leading eigenvalues of W_sym are negative, the others positive.

    W_QK = λ Σ_i ±a_i (a_i + t b_i)ᵀ with orthonormal a_i, b_i: each pair is a block of W_sym with eigenvalues
    ±λ(1 + √(1 + t²))/2 and ±λ(1 − √(1 + t²))/2, and of W_skew with ±iλt/2.
    """
    generator = torch.Generator().manual_seed(seed)
    columns = torch.cat([torch.ones(D_MODEL, 1), torch.randn(D_MODEL, 2 * D_HEAD, generator=generator)], dim=1)
    basis = torch.linalg.qr(columns).Q[:, 1:]
    a, b = basis.split(D_HEAD, dim=1)
    sign = torch.ones(D_HEAD)
    sign[:negative] = -1
    return 3 * a, 3 * sign * (a + skew * b)


def recorded_graph() -> EvidenceParts:
    """A graph of four tokens."""
    tensors = {
        "edges": torch.tensor([[0, 1], [1, 0], [2, 3], [3, 2]], dtype=torch.int32),
        "score": torch.tensor([4.0, 3.0, 2.0, 1.0]),
    }
    return EvidenceParts(tensors, header("recorded-graph", tokens=[" red", " blue", " dog", " cat"], target="L1H5"))


def tiny_gpt2(folder: Path, words: Sequence[str], context: int = 32) -> Path:
    """A random GPT-2 of two layers of six heads that knows these words, each with a space before it, and BOS."""
    import transformers
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    known = ["<unknown>", "<bos>", *(" " + word for word in words)]
    splitter = Tokenizer(models.WordLevel({text: i for i, text in enumerate(known)}, unk_token="<unknown>"))
    splitter.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^ ]+| "), behavior="isolated")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(known), n_positions=context, n_embd=48, n_layer=2, n_head=6, bos_token_id=1, eos_token_id=1
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=splitter, bos_token="<bos>", eos_token="<bos>", unk_token="<unknown>"
    ).save_pretrained(folder)
    return folder
