"""Imports that are spared: they are not made by loading a model, and what needs them later still has them."""

import json
import subprocess
import sys

import pytest
import torch

from headclaims.checkpoint.spared import LATER, spared

SPARED = {*LATER, "pyarrow", "scipy.stats"} | (set() if torch.cuda.is_available() else {"triton"})


def said(script: str) -> object:
    """What a script prints last, run in a process of its own."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_an_audit_of_a_model_imports_none_of_them() -> None:
    script = f"""
import json, sys
import headclaims.plugin.begin
from headclaims.checkpoint import load
from headclaims.statistics.multiplicity import adjusted
load("planted")
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
