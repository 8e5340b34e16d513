"""Recorded prompts of several files: those that can be compared with one another are one recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from headclaims.checkpoint.interface import Head
from headclaims.checkpoint.recorded import RecordedAttention
from headclaims.errors import BadCheckpoint, NotAssessable
from headclaims.prompts.category import begins_with_bos

SAME_TOLERANCE = 1e-2
"""By how much attention on the same prompt may differ between files, as one may be in half precision."""


@dataclass(frozen=True)
class Prompt:
    """A recorded prompt, and for each layer the file that has it and its number there."""

    tokens: list[str]
    places: dict[int, tuple[RecordedAttention, int]] = field(default_factory=dict)

    def pattern(self, layer: int) -> Float[Tensor, "head query key"]:
        """Read the pattern of a layer."""
        file, number = self.places[layer]
        return file.pattern(number, layer)


@dataclass(frozen=True)
class Recording:
    """Prompts of which the same layers were recorded, all with BOS in front or all without."""

    layers: list[int]
    prompts: list[Prompt]

    @property
    def files(self) -> set[str]:
        """The names of the files that its patterns are from."""
        return {file.file.path.name for prompt in self.prompts for file, _ in prompt.places.values()}

    def patterns(self, prompt: int) -> Float[Tensor, "layer head query key"]:
        """Read the patterns of all layers on a prompt."""
        return torch.stack([self.prompts[prompt].pattern(layer) for layer in self.layers])

    def attention(self, head: Head, prompt: int) -> Float[Tensor, "query key"]:
        """Read a head's pattern on a prompt; raises NotAssessable for a layer that was not recorded."""
        if head.layer not in self.layers:
            raise NotAssessable(f"needs attention of {head.label}: the recording has that of layers {self.layers}")
        file, number = self.prompts[prompt].places[head.layer]
        return file.recorded_attention(head, number)


def comparable(spec: str, files: Sequence[RecordedAttention]) -> list[Recording]:
    """Sort the prompts of all files into recordings, the one of most prompts first.

    A prompt that several files have is one prompt, with the layers of all of them. Prompts of which other layers were
    recorded, or which begin otherwise, are another recording: a survey of heads is of the same prompts for each, and
    what heads give to BOS and to the first word of a text is not the same. Raises BadCheckpoint, naming both files,
    where two give other attention to the same prompt.
    """
    prompts: dict[tuple[object, ...], Prompt] = {}
    for file in files:
        times: dict[tuple[str, ...], int] = {}
        for number, tokens in enumerate(file.recorded_tokens):
            key = tuple(tokens)
            times[key] = times.get(key, 0) + 1
            prompt = prompts.setdefault((key, times[key]), Prompt(tokens))
            for layer in file.attention_layers():
                if layer in prompt.places:
                    _check_same(spec, prompt, layer, file, number)
                else:
                    prompt.places[layer] = file, number
    by_kind: dict[tuple[tuple[int, ...], bool], list[Prompt]] = {}
    for prompt in prompts.values():
        kind = tuple(sorted(prompt.places)), begins_with_bos(prompt.tokens)
        by_kind.setdefault(kind, []).append(prompt)
    recordings = [Recording(list(layers), some) for (layers, _), some in by_kind.items()]
    return sorted(recordings, key=lambda recording: -len(recording.prompts))


def _check_same(spec: str, prompt: Prompt, layer: int, file: RecordedAttention, number: int) -> None:
    off = float((prompt.pattern(layer) - file.pattern(number, layer)).abs().max())
    if off > SAME_TOLERANCE:
        other = prompt.places[layer][0].file.path.name
        raise BadCheckpoint(
            f"{spec}: {other} and {file.file.path.name} are not of one model: on the same prompt layer {layer} attends "
            f"otherwise, by up to {off:.2g}"
        )
