"""Fused kernels without an accelerator: Triton's interpreter runs them, and its compiler compiles them."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from headclaims.tests.dense_scores import drawn
from headclaims.vocabulary.token_scores import TokenScores

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is made for Linux alone")
CASES = Path(__file__).with_name("fused_cases.py")
TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64"}


def test_kernels_do_by_the_interpreter_what_they_should() -> None:
    """In a process of its own: Triton asks on its import whether to interpret."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "10 passed, 4 skipped" in done.stdout


class Recorder:
    """Stands in for a kernel, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *given, **constants: self.calls.append((given, constants))


@pytest.mark.parametrize(("cap", "causal"), [(None, False), (30.0, True)])
def test_kernels_compile_for_an_accelerator_as_they_are_called(
    monkeypatch: pytest.MonkeyPatch, cap: float | None, causal: bool
) -> None:
    """What the interpreter takes, the compiler may not: names that change their shape, or stand for something else."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from headclaims.vocabulary import fused, fused_kernels
    from headclaims.vocabulary.cosine import BIN_WIDTH, N_BINS, _unit

    recorders = {
        name: Recorder() for name in ("pair_products", "fold", "choose", "decide", "fold_bins", "again_in_bins")
    }
    kernels = {name: getattr(fused_kernels, name) for name in recorders}
    for name, recorder in recorders.items():
        monkeypatch.setattr(fused.kernels, name, recorder)
    scores = TokenScores(*drawn(2, 40, 8, seed=0).float(), cap=cap)
    fused.FusedSweep(scores, torch.arange(40), 10, causal, (40, 1024)).strips()
    vectors = drawn(40, 16, seed=1).float()
    fused.FusedBins(scores, vectors, *_unit(vectors), BIN_WIDTH, N_BINS, 0.002).run(40)
    for name, kernel in kernels.items():
        given, constants = recorders[name].calls[0]
        options = {of: constants.pop(of) for of in ("num_warps", "enable_fp_fusion") if of in constants}
        signature = dict.fromkeys(kernel.arg_names, "constexpr")
        for argument, value in zip(kernel.arg_names, given, strict=False):
            tensor = isinstance(value, torch.Tensor)
            signature[argument] = TYPES[value.dtype] if tensor else "fp32" if isinstance(value, float) else "i32"
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        assert "cubin" in triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm


def test_without_a_device_that_triton_compiles_for_torch_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver, or a C compiler, may be missing: what is raised here is what Triton raises without them."""
    from headclaims.vocabulary import fused, where

    class Broken:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            raise RuntimeError("Failed to find C compiler")

    assert where.fused_kernels(torch.device("cpu")) is None
    monkeypatch.setattr(fused.kernels, "pair_products", Broken())
    assert not fused.compiles(torch.device("cpu"))
    monkeypatch.setattr(fused.kernels, "pair_products", Recorder())
    assert fused.compiles(torch.device("cpu"))
