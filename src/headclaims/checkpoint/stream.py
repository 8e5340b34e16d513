"""Whether a running model's residual stream is the sum that ablations and the effective embedding take apart.

Stream before layer 0 = token embedding + position embedding; after each layer = before + attention + MLP, where another
kind of layer (convolution, state space, linear attention) has its own mixing of positions in place of attention. None
of it is believed: the parts are recorded and added up, replaced by noise, and runs are begun again at later layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from headclaims.cache import Cache, Input
from headclaims.checkpoint.interface import Checkpoint, Edit, pattern_name

TOLERANCE = 1e-3
COARSE_TOLERANCE = 0.05
"""Of bfloat16 and float16."""
POSITIONS = 8
NOT_MIXING = ("ln", "mlp", "norm", "feed_forward")


@dataclass(frozen=True)
class Fault:
    """Where the stream ceases to be the sum of its parts: after which layer, −1 for the embedding, and why."""

    layer: int
    why: str


def mixing_output(bridge: Any, layer: int) -> str | None:
    """Return the name of what a layer's attention, or what it has instead, adds to the stream, or None."""
    prefix = f"blocks.{layer}."
    if f"{prefix}hook_attn_out" in bridge.hook_dict:
        return f"{prefix}hook_attn_out"
    parts = [name.removeprefix(prefix).split(".") for name in bridge.hook_dict if name.startswith(prefix)]
    others = [
        path[0]
        for path in parts
        if path[1:] == ["hook_out"] and not any(path[0].startswith(part) or part in path[0] for part in NOT_MIXING)
    ]
    return f"{prefix}{others[0]}.hook_out" if len(others) == 1 else None


def first_fault(checkpoint: Checkpoint, bridge: Any, cache: Cache) -> Fault | None:
    """Return the first layer after which the stream is not the sum of its parts; None where it always is.

    `bridge` is the model in TransformerLens that the checkpoint runs. What was found is kept for the same parameters
    run by the same releases.
    """
    releases = " ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "transformer_lens"))
    inputs: dict[str, Input] = {"model": lambda: checkpoint.run_digest, "releases": releases}

    def found() -> dict[str, Tensor]:
        fault = _Stream(checkpoint, bridge).fault()
        layer, why = (torch.empty(0), "") if fault is None else (torch.tensor([fault.layer]), fault.why)
        return {"layer": layer, "why": torch.tensor(list(why.encode()), dtype=torch.uint8)}

    kept = cache.tensors("stream-fault", 1, inputs, found)
    return Fault(int(kept["layer"]), bytes(kept["why"].tolist()).decode()) if len(kept["layer"]) else None


def position_fault(checkpoint: Checkpoint, edits: Mapping[str, Edit]) -> str | None:
    """Say why these edits don't remove all positions; None where they do.

    Without positions a prompt that repeats one token is attended to evenly in every layer, as far as a row sees.
    """
    names = [pattern_name(layer) for layer in checkpoint.attention_layers()]
    recorded = checkpoint.run(_repeated(checkpoint), edits, names)
    for layer, name in zip(checkpoint.attention_layers(), names, strict=True):
        pattern = recorded[name]
        even = (pattern > 0) / (pattern > 0).sum(-1, keepdim=True)
        if not float((pattern.float() - even).abs().max()) <= _tolerance(pattern):
            return f"layer {layer} tells positions apart even without them"
    return None


class _Stream:
    """The stream of a checkpoint on a few tokens."""

    def __init__(self, checkpoint: Checkpoint, bridge: Any) -> None:
        self.checkpoint, self.bridge = checkpoint, bridge
        self.n_layers = max(checkpoint.attention_layers())
        length = min(POSITIONS, checkpoint.sizes.n_ctx or POSITIONS)
        n_vocab = checkpoint.sizes.d_vocab or 2
        self.tokens = torch.arange(1, 2 * length + 1).view(2, length) % n_vocab
        self.generator = torch.Generator().manual_seed(0)

    def fault(self) -> Fault | None:
        """Return what fails first."""
        return self._embedding() or self._layers()

    def _embedding(self) -> Fault | None:
        """Hold the stream before layer 0 against the embeddings of one token at several positions."""
        name = "hook_pos_embed"
        learned, entering = self.checkpoint.learned_positions, "blocks.0.hook_resid_pre"
        if entering not in self.bridge.hook_dict:
            return Fault(-1, "TransformerLens does not show the residual stream before layer 0")
        tokens = _repeated(self.checkpoint)
        clean = self.checkpoint.run(tokens, record=[entering, *([name] if learned else [])])
        token = clean[entering] - (clean[name] if learned else 0)
        if not self._same(token, token[:, :1].expand_as(token)):
            return Fault(-1, "positions enter the residual stream otherwise than by an embedding that is added")
        if learned:
            other = self._noise(clean[name][:1, :1])
            edited = self.checkpoint.run(tokens, {name: _put(other)}, record=[entering])[entering]
            if not self._same(edited, token + other.to(token)):
                return Fault(-1, "the position embedding cannot be replaced in the residual stream")
        return None

    def _layers(self) -> Fault | None:
        mixing = {layer: mixing_output(self.bridge, layer) for layer in range(self.n_layers)}
        for layer, name in mixing.items():
            names = [name or "", f"blocks.{layer}.hook_mlp_out", f"blocks.{layer}.hook_resid_pre"]
            if any(name not in self.bridge.hook_dict for name in names):
                return Fault(layer, f"TransformerLens does not show what layer {layer} adds to the residual stream")
        parts = [[str(name), f"blocks.{layer}.hook_mlp_out"] for layer, name in mixing.items()]
        streams = [f"blocks.{layer}.hook_resid_pre" for layer in range(self.n_layers + 1)]
        every = [*streams, *(name for pair in parts for name in pair)]
        clean = self._shown(every)
        noise = {name: self._noise(clean[name]) for pair in parts for name in pair if name in clean}
        noisy = self._shown(streams, {name: _put(term) for name, term in noise.items()}) | noise
        for layer, pair in enumerate(parts):
            needed = [*pair, *streams[layer : layer + 2]]
            if any(name not in clean for name in needed):
                return Fault(layer, f"layer {layer} adds something else to the residual stream than one tensor")
            for run in (clean, noisy):
                total = run[streams[layer]] + sum(run[name].to(run[streams[layer]]) for name in pair)
                if not self._same(run[streams[layer + 1]], total):
                    return Fault(layer, f"the residual stream after layer {layer} is not before + attention + MLP")
        return self._restarts(streams, clean)

    def _restarts(self, streams: Sequence[str], clean: Mapping[str, Tensor]) -> Fault | None:
        """Begin runs again at some layers: the stream has to come out as it did."""
        if not self.n_layers:
            return None
        name = pattern_name(self.n_layers)
        whole = self.checkpoint.run(self.tokens, record=[name])[name]
        for layer in sorted({1, (self.n_layers + 1) // 2, self.n_layers}):
            again = self.checkpoint.run(self.tokens, record=[name], restart=(layer, clean[streams[layer]]))[name]
            if not self._same(again, whole):
                return Fault(layer - 1, f"a run that begins at layer {layer} does not go on as the whole run does")
        return None

    def _shown(self, names: Sequence[str], edits: Mapping[str, Edit] | None = None) -> dict[str, Tensor]:
        """Return those of these activations that are tensors, in a run with edits."""
        shown: dict[str, Tensor] = {}

        def keeper(name: str) -> Any:
            def keep(activation: Any, hook: Any) -> None:  # noqa: ARG001
                if isinstance(activation, Tensor):
                    shown[name] = activation.detach()

            return keep

        def editor(edit: Edit) -> Any:
            return lambda activation, hook: edit(activation)  # noqa: ARG005

        hooks = [(name, editor(edit)) for name, edit in (edits or {}).items()]
        hooks += [(name, keeper(name)) for name in names if name in self.bridge.hook_dict]
        with torch.no_grad():
            self.bridge.run_with_hooks(
                self.tokens.to(self.bridge.cfg.device), fwd_hooks=hooks, stop_at_layer=self.n_layers + 1
            )
        return shown

    def _noise(self, like: Tensor) -> Tensor:
        """Return Gaussian noise of an activation's shape and size."""
        size = float(like.float().square().mean().sqrt()) or 1.0
        return size * torch.randn(like.shape, generator=self.generator)

    def _same(self, one: Tensor, other: Tensor) -> bool:
        size = float(one.float().abs().max()) or 1.0
        return bool((one.float() - other.float()).abs().max() <= _tolerance(one) * size)


def _repeated(checkpoint: Checkpoint) -> Tensor:
    """Return a prompt of one token over and over."""
    return torch.full((1, min(POSITIONS, checkpoint.sizes.n_ctx or POSITIONS)), 1 % (checkpoint.sizes.d_vocab or 2))


def _tolerance(activation: Tensor) -> float:
    return TOLERANCE if activation.dtype == torch.float32 else COARSE_TOLERANCE


def _put(term: Tensor) -> Edit:
    return lambda activation: term.to(activation).expand_as(activation)
