"""Attention of heads on prompts, from runs of the model, a few prompts at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headclaims.cache import Input, kept
from headclaims.checkpoint.interface import Checkpoint, Head, pattern_name, patterns_of
from headclaims.progress import track

FEWEST_AT_ONCE = 8
MOST_AT_ONCE = 2**28
"""Numbers of patterns that are held in memory at once; of prompts with more, one layer at a time."""
FEW = 3 * 2**24
"""Numbers of patterns that are held beside a whole vocabulary: 200 MB."""
Tokens = Int[Tensor, "prompt position"]


class Patterns:
    """Patterns of a model's `heads` on prompts. Those of all heads are held for what reads the same prompts next.

    Of prompts that were met before the last ones they are held as far as `MOST_AT_ONCE` allows, or `FEW`.
    """

    def __init__(self, checkpoint: Checkpoint, heads: Sequence[Head]) -> None:
        self.checkpoint, self.heads = checkpoint, tuple(heads)
        self._held: dict[bytes, Float[np.ndarray, "head prompt query key"]] = {}
        self._most = MOST_AT_ONCE

    def cache_inputs(self) -> Mapping[str, Input]:
        """Return what patterns depend on beside the prompts."""
        return self.checkpoint.cache_inputs()

    def fit(self, tokens: Tokens) -> bool:
        """Whether the patterns of all heads on prompts are to be in memory at once."""
        return len(self.heads) * tokens.numel() * tokens.shape[1] <= self._most

    def of_all(self, tokens: Tokens) -> Float[np.ndarray, "head prompt query key"]:
        """Return the patterns of `heads`, all of the model, and hold them."""
        key = _key(tokens)
        if key not in self._held:
            patterns = self._run(tokens, self.heads)
            while self._held and sum(one.size for one in self._held.values()) + patterns.size > self._most:
                del self._held[next(iter(self._held))]
            self._held[key] = patterns
        return self._held[key]

    def of(self, tokens: Tokens, heads: Sequence[Head]) -> Float[np.ndarray, "head prompt query key"]:
        """Return the patterns of some heads: of those that are held, or from runs up to the last of their layers."""
        held = self._held.get(_key(tokens))
        return self._run(tokens, heads) if held is None else held[[self.heads.index(head) for head in heads]]

    def hold_few(self, all_but: Tokens | None) -> None:
        """From now on hold no more than `FEW`; let go what is held, but for the patterns on some prompts."""
        self._most = FEW
        kept = None if all_but is None else _key(all_but)
        self._held = {key: one for key, one in self._held.items() if key == kept and one.size <= FEW}

    def batches(self, tokens: Tokens) -> Iterator[tuple[slice, Float[Tensor, "prompt head query key"]]]:
        """Yield which prompts, and the patterns of all heads on them: of prompts that fit they are held."""
        if self.fit(tokens):
            yield slice(None), torch.from_numpy(self.of_all(tokens)).transpose(0, 1)
            return
        at_once = self.checkpoint.sizes.prompts_at_once(tokens.shape[1], FEWEST_AT_ONCE)
        for start in track(range(0, len(tokens), at_once), "attention of all heads"):
            some = slice(start, start + at_once)
            yield some, self.checkpoint.attention_patterns(tokens[some]).transpose(0, 1).flatten(1, 2)

    def _run(self, tokens: Tokens, heads: Sequence[Head]) -> Float[np.ndarray, "head prompt query key"]:
        names = [pattern_name(layer) for layer in sorted({head.layer for head in heads})]
        at_once = self.checkpoint.sizes.prompts_at_once(tokens.shape[1], FEWEST_AT_ONCE)
        batches = track(tokens.split(at_once), "attention of all heads" if heads == self.heads else "attention")
        return np.concatenate([patterns_of(self.checkpoint.run(some, record=names), heads) for some in batches], axis=1)


@kept("layer-patterns", version=1)
def layer_pattern_arrays(patterns: Patterns, tokens: Tokens, layer: int) -> dict[str, np.ndarray]:
    """Return the patterns [head, prompt, query, key] of a layer's heads: who runs the model for one has them all."""
    heads = [Head(layer, index) for index in range(patterns.checkpoint.sizes.n_heads)]
    return {"patterns": patterns.of(tokens, heads)}


def _key(tokens: Tokens) -> bytes:
    return str(tuple(tokens.shape)).encode() + tokens.numpy().tobytes()
