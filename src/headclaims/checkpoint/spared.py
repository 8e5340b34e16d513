"""Importing TransformerLens without what it imports for work that is not done here, nor the same work twice."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
import transformers
from transformers.utils import import_utils

LATER = (
    "datasets",
    "datasets.arrow_dataset",
    "datasets.iterable_dataset",
    "datasets.load",
    "pandas",
    "scipy.optimize",
    "torch._dynamo._trace_wrapped_higher_order_op",
)
"""Modules that TransformerLens and transformers take names from: for texts, tables, losses of object detection, and
masks made by functions."""
COMPILER = "torch._dynamo"
DECORATORS = ("allow_in_graph", "assume_constant_result", "disable")
"""What of torch's compiler says of a function how it is compiled."""


class _Later(ModuleType):
    """Stands in for a module while others are imported, which take names from it or keep it.

    A name taken by then is a class that, when called, imports the module and calls what has this name there; a name
    taken later is the module's own.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__, self.__path__ = ModuleSpec(name, None, is_package=True), []

    def __getattr__(self, name: str) -> Any:
        """Return what stands in for a name, or the module's own."""
        module = self.__name__
        if sys.modules.get(module) is not self:
            return getattr(import_module(module), name)
        if name.startswith("__"):
            raise AttributeError(name)

        def call(_: type, *of: Any, **options: Any) -> Any:
            _leave()
            return getattr(import_module(module), name)(*of, **options)

        return type(name, (), {"__new__": call, "__module__": module})


class _Uncompiled(ModuleType):
    """Stands in for torch's compiler until something of it is used, and leaves functions that it decorates as they are.

    Nothing is compiled here, and importing the compiler takes longer than TransformerLens and transformers together.
    """

    def __init__(self) -> None:
        super().__init__(COMPILER)
        self.__spec__, self.__path__ = ModuleSpec(COMPILER, None, is_package=True), []

    def __getattr__(self, name: str) -> Any:
        """Return a decorator that changes nothing, or what the compiler has under a name."""
        if name.startswith("__"):
            raise AttributeError(name)
        return _as_it_is if name in DECORATORS and _uncompiled() else getattr(_compiler(), name)


def _as_it_is(function: Any = None, *_: Any, **__: Any) -> Any:
    return _as_it_is if function is None else function


def _uncompiled() -> bool:
    return isinstance(sys.modules.get(COMPILER), _Uncompiled)


def _compiler() -> ModuleType:
    """Import torch's compiler, which something may have stood in for."""
    if _uncompiled():
        _leave()
        del sys.modules[COMPILER]
    return import_module(COMPILER)


class _InsideCompiler(MetaPathFinder, Loader):
    """Finds modules inside the compiler while something stands in for it, which is then imported first."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        """Return a specification of a module inside the compiler, None of others."""
        return ModuleSpec(name, self) if name.startswith(f"{COMPILER}.") and _uncompiled() else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the compiler, and the module, which the compiler itself may have imported."""
        _compiler()
        module = import_module(spec.name)
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module back its own specification; it was executed when it was imported."""
        vars(module)["__spec__"] = self._specs.pop(module.__name__)


_INSIDE_COMPILER = _InsideCompiler()


def _one_of_several() -> bool:
    """Whether this process is one of several that torch makes one job of."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return distributed or os.environ.get("WORLD_SIZE", "1") != "1"


def _leave() -> None:
    """Take away what stands in for modules: from now on they are imported."""
    for name in LATER:
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]


@contextmanager
def spared() -> Iterator[None]:
    """Import TransformerLens in the `with` block in a third of the time.

    Modules of `LATER` are left for when something of them is called. Of transformers, the files of its models are
    looked through once and not again for its folder of models, and `processing_utils` is given the package that is
    there rather than another. Where there is no accelerator, Triton seems not to be installed.

    Afterwards, too, torch's compiler is imported when something of it is used and not before, and to transformers torch
    is one without `torch.distributed`, unless the process is one of several.
    """
    scan, models = import_utils.create_import_structure_from_path, Path(transformers.__file__).parent / "models"
    again = str(models / "__init__.py")
    sys.modules.update({name: _Later(name) for name in LATER if name not in sys.modules})
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = _Uncompiled()
        sys.meta_path.insert(0, _INSIDE_COMPILER)
    if not _one_of_several():
        for module in (import_utils, transformers.utils):
            vars(module)["is_torch_distributed_available"] = lambda: False
    if absent := "triton" not in sys.modules and not torch.cuda.is_available():
        sys.modules["triton"] = None  # type: ignore[assignment]
    try:
        with (
            patch.object(
                import_utils,
                "create_import_structure_from_path",
                lambda path: scan(models if str(path) == again else path),
            ),
            patch.object(transformers.utils, "direct_transformers_import", lambda _: sys.modules["transformers"]),
        ):
            import_module("transformers.processing_utils")
            import_module("transformers.masking_utils")
            yield
    finally:
        _leave()
        if absent:
            del sys.modules["triton"]
