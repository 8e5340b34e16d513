"""Where tiles of scores are walked: on the processor, or on the accelerator that the audited model runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch


@dataclass(frozen=True)
class Place:
    """A device, and whether its tiles are folded by the compiled kernels, which are the processor's, or by torch."""

    device: torch.device
    compiled: bool


PROCESSOR = Place(torch.device("cpu"), compiled=True)
_chosen = [PROCESSOR]


def walk_on(device: torch.device, compiled: bool | None = None) -> None:
    """Walk tiles on a device from now on, in this process; on the processor too by torch if `compiled` is False."""
    _chosen[0] = Place(device, device.type == "cpu" if compiled is None else compiled)


def place(factors: torch.device = PROCESSOR.device) -> Place:
    """Return where tiles of some factors are walked: what was chosen last for those of the processor, else there."""
    return _chosen[0] if factors.type == "cpu" else Place(factors, compiled=False)


@cache
def fused_kernels(device: torch.device) -> ModuleType | None:
    """Return `vocabulary.fused`, which folds tiles on CUDA's and ROCm's devices, where Triton works; None elsewhere."""
    if device.type != "cuda" or find_spec("triton") is None:
        return None
    from headclaims.vocabulary import fused

    with current(device):
        return fused if fused.compiles(device) else None


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make a device of CUDA's the current one in the `with` block, as Triton's kernels run there."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def with_float64(factors: torch.device) -> Place:
    """Return the same; the processor where that device has no float64."""
    chosen = place(factors)
    return PROCESSOR if chosen.device.type == "mps" else chosen
