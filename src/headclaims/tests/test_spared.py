"""Imports that are spared: they are not made by loading a model, and what needs them later still has them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headclaims.checkpoint.spared import LATER, spared
from headclaims.tests.small_models import build

COMPILER = {"torch._dynamo.convert_frame", "torch.distributed.tensor", "torch.distributed.fsdp", "sympy"}
SPARED = {*LATER, *COMPILER, "numba", "pyarrow", "scipy.stats"} | (set() if torch.cuda.is_available() else {"triton"})


def said(script: str) -> object:
    """What a script prints last, run in a process of its own."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_an_audit_of_a_model_imports_none_of_them(tmp_path: Path) -> None:
    build("gpt2", tmp_path)
    script = f"""
import json, sys
import headclaims.plugin.begin
from headclaims.checkpoint import load
from headclaims.statistics.multiplicity import adjusted
load({str(tmp_path)!r})
adjusted([0.02, 0.04])
print(json.dumps(sorted({SPARED!r} & set(sys.modules))))
"""
    assert said(script) == []


def test_what_was_left_for_later_is_the_module_s_own_when_it_is_called() -> None:
    script = """
import json
from headclaims.checkpoint import _load_full
_load_full()
import pandas, transformers, transformers.processing_utils
from transformer_lens import patching
from transformer_lens.utilities import hf_utils
from transformers.loss import loss_for_object_detection
try:
    hf_utils.load_dataset("/no/such/folder")
except FileNotFoundError as error:
    why = str(error).split()[0]
print(json.dumps([
    patching.pd.DataFrame is pandas.DataFrame,
    why,
    [found.tolist() for found in loss_for_object_detection.linear_sum_assignment([[2, 1], [3, 9]])],
    transformers.processing_utils.transformers_module is transformers,
]))
"""
    assert said(script) == [True, "Couldn't", [[0, 1], [1, 0]], True]


def test_the_models_of_transformers_are_those_that_it_finds_by_itself() -> None:
    script = """
import json
from headclaims.checkpoint import _load_full
_load_full()
import transformers.models
from transformers.utils import import_utils
spared = dict(transformers.models._class_to_module)
import_utils.create_import_structure_from_path.cache_clear()
again = import_utils.define_import_structure(transformers.models.__file__)
whole = import_utils._LazyModule("transformers.models", transformers.models.__file__, again)
print(json.dumps([spared == whole._class_to_module, len(spared) > 1000]))
"""
    assert said(script) == [True, True]


def test_what_is_called_while_others_are_imported_is_the_module_s_own() -> None:
    script = """
import json
from headclaims.checkpoint.spared import spared
with spared():
    from scipy.optimize import linear_sum_assignment
    import pandas
    found = [part.tolist() for part in linear_sum_assignment([[2, 1], [3, 9]])]
print(json.dumps([found, pandas.__version__.count(".") > 0]))
"""
    assert said(script) == [[[0, 1], [1, 0]], True]


def test_nothing_stands_in_for_a_module_after_an_import_that_fails() -> None:
    before = {name: sys.modules.get(name) for name in LATER}
    with pytest.raises(ImportError), spared():
        raise ImportError
    assert {name: sys.modules.get(name) for name in LATER} == before


@pytest.mark.parametrize("asked", ["import torch._dynamo.config", ""])
def test_torch_s_compiler_is_there_once_when_something_uses_it(asked: str) -> None:
    script = f"""
import json, sys
import torch
from headclaims.checkpoint import _load_full
_load_full()
before = "torch._dynamo.eval_frame" in sys.modules
{asked}
twice = torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item()
inside = [module for name, module in sys.modules.items() if name.startswith("torch._dynamo.")]
print(json.dumps([
    before,
    twice,
    torch._dynamo is sys.modules["torch._dynamo"] and torch._dynamo.config is sys.modules["torch._dynamo.config"],
    torch._dynamo.eval_frame.config is torch._dynamo.config,
    sorted(module.__name__ for module in inside if module.__spec__.loader is None or module.__file__ is None),
]))
"""
    assert said(script) == [False, 2.0, True, True, []]


def test_what_was_taken_before_the_compiler_was_there_is_as_it_should_be() -> None:
    """Functions that it decorates are as they were; what makes masks of functions is its own, as soon as it is used."""
    script = """
import json
import torch
from headclaims.checkpoint import _load_full
_load_full()
from transformers import masking_utils
same = lambda x: x
before = [torch._dynamo.disable(same) is same, torch._dynamo.disable(recursive=False)(same) is same]
made = masking_utils.TransformGetItemToIndex()
from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
print(json.dumps([
    *before,
    type(made) is TransformGetItemToIndex,
    torch._dynamo.graph_break.__module__,
    torch._dynamo.disable(same) is same,
    torch._dynamo.disable.__module__,
]))
"""
    assert said(script) == [True, True, True, "torch._dynamo.decorators", False, "torch._dynamo.decorators"]


@pytest.mark.parametrize(("processes", "parted"), [("1", False), ("2", True)])
def test_only_one_of_several_processes_has_torch_distributed(processes: str, parted: bool) -> None:
    script = f"""
import json, os
os.environ["WORLD_SIZE"] = {processes!r}
from headclaims.checkpoint import _load_full
_load_full()
from transformers.utils import import_utils, is_torch_distributed_available
print(json.dumps([import_utils.is_torch_distributed_available(), is_torch_distributed_available()]))
"""
    assert said(script) == [parted, parted]
