"""A random Llama of 1.2 billion parameters, or a smaller one of its proportions, in a folder: what audits cost is
measured on it.

    python -m headclaims.tests.big_llama FOLDER [--dtype bfloat16] [--small]

Layers, widths, grouped keys, tied embeddings and vocabulary are those of Llama 3.2 1B. The tokenizer knows whole words:
those of the lists that ship, frequent English words in three spellings, and fillers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
import wordfreq
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from headclaims.tests.word_lists import word_lists

UNKNOWN, BOS = "<unknown>", "<start>"
FREQUENT = 6000
SHAPE: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128_256,
}
SMALL: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 32_064,
}


def build(folder: Path, dtype: torch.dtype = torch.bfloat16, seed: int = 0, **shape: Any) -> Path:
    """Write the model and its tokenizer into a folder, every weight drawn from `seed`, stored in `dtype`."""
    config = transformers.LlamaConfig(
        **{**SHAPE, **shape},
        max_position_embeddings=131_072,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        architectures=["LlamaForCausalLM"],
        dtype=dtype,
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    tokenizer(config.vocab_size).save_pretrained(folder)
    save_file(dict(_weights(config, dtype, seed)), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(config: Any, dtype: torch.dtype, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Draw a weight for each parameter: matrices that keep the size of what they read, gains about 1."""
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            drawn = drawn.mul_(0.1).add_(1)
        elif "embed" not in name:
            drawn = drawn.mul_(parameter.shape[1] ** -0.5)
        yield name, drawn.to(dtype)


def tokenizer(n: int) -> Any:
    """A tokenizer of n whole words; BOS is the first."""
    lists = word_lists()
    known = [*lists.every, *([lists.groups] if lists.groups else [])]
    listed = [word for words in known for members in words.categories.values() for word in members]
    spelt = [f" {word}" for word in listed]
    for word in wordfreq.top_n_list("en", FREQUENT):
        spelt += [f" {word}", word, f" {word.capitalize()}"]
    texts = list(dict.fromkeys([BOS, UNKNOWN, *spelt]))
    texts += [f" filler{i}" for i in range(n - len(texts))]
    words = Tokenizer(models.WordLevel({text: i for i, text in enumerate(texts[:n])}, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^ ]+| "), behavior="isolated")
    words.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token=BOS, eos_token=BOS, unk_token=UNKNOWN)


def main() -> None:
    """Build the model that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--small", action="store_true", help="of 4 layers and 32,064 tokens")
    asked = parser.parse_args()
    build(asked.folder, getattr(torch, asked.dtype), **(SMALL if asked.small else {}))


if __name__ == "__main__":
    main()
