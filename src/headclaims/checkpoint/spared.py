"""Importing TransformerLens without what it imports for work that is not done here, nor the same work twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
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
)
"""Modules that TransformerLens and transformers take names from, for texts, tables and losses of object detection."""


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


def _leave() -> None:
    """Take away what stands in for modules: from now on they are imported."""
    for name in LATER:
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]


@contextmanager
def spared() -> Iterator[None]:
    """Import TransformerLens in the `with` block in two thirds of the time.

    Modules of `LATER` are left for when something of them is called. Of transformers, the files of its models are
    looked through once and not again for its folder of models, and `processing_utils` is given the package that is
    there rather than another. Where there is no accelerator, Triton seems not to be installed.
    """
    scan, models = import_utils.create_import_structure_from_path, Path(transformers.__file__).parent / "models"
    again = str(models / "__init__.py")
    sys.modules.update({name: _Later(name) for name in LATER if name not in sys.modules})
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
            yield
    finally:
        _leave()
        if absent:
            del sys.modules["triton"]
