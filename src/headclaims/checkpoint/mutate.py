"""Mutants of any checkpoint that runs: changes to a real model's weights that claims should notice.

The folded weights are changed before anything is measured. With W_Q and W_K of the target head:

- `transpose-qk` exchanges W_Q and W_K, and their biases, which gives W_QKᵀ and leaves symmetric statistics unchanged;
- `flip-negative` keeps the d_head − 1 eigenvalues of W_sym largest in magnitude, all made positive, without W_skew (the
  last column holds the scores of b_Q with keys; rotary positions rotate the rest as before);
- `shuffle-embedding` permutes the token embeddings among all tokens except BOS;
- `swap-head` exchanges the target with the next head of its layer, `permute-heads` moves every head to the next index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from headclaims.checkpoint.full import FullCheckpoint
from headclaims.checkpoint.interface import Checkpoint, Head
from headclaims.errors import BadInput


def mutate(checkpoint: Checkpoint, mutation: str, head: Head, seed: int) -> None:
    """Change a checkpoint's weights in place, and its name accordingly; `seed` is for `shuffle-embedding`.

    Raises BadInput, with a message of one line, where the evidence is not a model, its weights are not folded in
    place, or query heads share keys.
    """
    if not isinstance(checkpoint, FullCheckpoint):
        raise BadInput(f"--mutate {mutation}: {checkpoint.spec} has no weights that run; wanted a model")
    if not checkpoint.folded:
        raise BadInput(
            f"--mutate {mutation}: the weights of {checkpoint.spec} are not folded in place; wanted --dtype float32, "
            "and up to 500 million weights"
        )
    bridge = checkpoint.bridge
    with torch.no_grad():
        if mutation == "shuffle-embedding":
            _shuffle(bridge.embed.weight, checkpoint.bos, seed)
        else:
            for layer in checkpoint.attention_layers() if mutation == "permute-heads" else [head.layer]:
                _Heads(bridge.blocks[layer].attn, checkpoint.spec, mutation).change(mutation, head.index)
    checkpoint.mutated(mutation)


def _shuffle(embedding: Tensor, bos: int, seed: int) -> None:
    moved = np.array([token for token in range(len(embedding)) if token != bos])
    order = np.random.default_rng([seed, 6]).permutation(moved)
    embedding[torch.from_numpy(moved)] = embedding[torch.from_numpy(order)]


class _Heads:
    """The folded weights of a layer's heads, as tensors [head, d_model, d_head] (O: [head, d_head, d_model])."""

    def __init__(self, attention: Any, spec: str, mutation: str) -> None:
        self.attention = attention
        try:
            self.W: dict[str, Tensor] = {name: getattr(attention, f"W_{name}").detach().clone() for name in "QKVO"}
        except (AttributeError, NotImplementedError) as error:
            raise BadInput(f"--mutate {mutation}: {spec} has no matrices W_Q, W_K, W_V and W_O a head") from error
        n = self.W["Q"].shape[0]
        if self.W["K"].shape[0] != n:
            raise BadInput(f"--mutate {mutation}: query heads of {spec} share keys; wanted a key a head")
        self.b: dict[str, Tensor | None] = {}
        for name in "QKV":
            bias = getattr(attention, f"b_{name}")
            self.b[name] = None if bias is None else bias.detach().clone().view(n, -1)

    def change(self, mutation: str, head: int) -> None:
        """Apply one of the mutations of heads and write the weights back."""
        n = len(self.W["Q"])
        if mutation == "transpose-qk":
            for query, key in ((self.W["Q"], self.W["K"]), (self.b["Q"], self.b["K"])):
                if query is not None and key is not None:
                    query[head], key[head] = key[head].clone(), query[head].clone()
        elif mutation == "flip-negative":
            self._flip(head)
        else:
            order = list(range(n))
            if mutation == "swap-head":
                other = (head + 1) % n
                order[head], order[other] = other, head
            else:
                order = order[-1:] + order[:-1]
            self.W = {name: W[order] for name, W in self.W.items()}
            self.b = {name: None if b is None else b[order] for name, b in self.b.items()}
        self._write()

    def _flip(self, head: int) -> None:
        W_Q, W_K = (self.W[name][head].double() for name in "QK")
        basis, R = torch.linalg.qr(torch.cat([W_Q, W_K], dim=1))
        d_head = W_Q.shape[1]
        core = R[:, :d_head] @ R[:, d_head:].T
        values, vectors = torch.linalg.eigh((core + core.T) / 2)
        largest = values.abs().argsort(descending=True)[: d_head - 1]
        factor = basis @ vectors[:, largest] * values[largest].abs().sqrt()
        b_Q = self.b["Q"]
        read = torch.zeros_like(W_K[:, :1]) if b_Q is None else (W_K @ b_Q[head].double())[:, None]
        size = float(read.norm()) or 1.0
        self.W["Q"][head] = torch.cat([factor, torch.zeros_like(read)], dim=1).to(self.W["Q"])
        self.W["K"][head] = torch.cat([factor, read / size], dim=1).to(self.W["K"])
        if b_Q is not None:
            b_Q[head] = 0
            b_Q[head, -1] = size
            if self.b["K"] is not None:
                self.b["K"][head] = 0

    def _write(self) -> None:
        for name, part in zip("QKVO", ("q", "k", "v", "o"), strict=True):
            linear, before = getattr(self.attention, part), getattr(self.attention, f"W_{name}").detach()
            # The matrix as it multiplies from the right; a torch Linear holds its transpose.
            flat = before.flatten(0, 1) if name == "O" else before.transpose(0, 1).flatten(1)
            new = self.W[name].flatten(0, 1) if name == "O" else self.W[name].transpose(0, 1).flatten(1)
            transposed = not (linear.weight.shape == flat.shape and torch.equal(linear.weight.detach(), flat))
            linear.weight.copy_(new.T if transposed else new)
            bias = self.b.get(name)
            if bias is not None:
                linear.bias.copy_(bias.flatten())
