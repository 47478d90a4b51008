"""Modules are pickled without their call cache, and those pickled by version 0.1 still load."""

from __future__ import annotations

import base64
import copy
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import rnnbench

OLD = Path(__file__).with_name("pickles_of_0_1.json")
"""Kind → a module on numba after one call, by pickle and by torch.save, and its output."""
X = torch.arange(8.0).view(4, 1, 2) / 8

LOAD = """
import base64, io, json, pickle, sys
import rnnbench
given = json.load(open(sys.argv[1]))[sys.argv[2]]
old = pickle.loads(base64.b64decode(given["pickle"]))
import torch
saved = torch.load(io.BytesIO(base64.b64decode(given["saved"])), weights_only=False)
x = torch.arange(8.0).view(4, 1, 2) / 8
for module in (old, saved):
    assert type(module) is getattr(rnnbench, sys.argv[2]), type(module)
    for _ in range(3):
        with torch.no_grad():
            found = module(x)[0]
        torch.testing.assert_close(found, torch.tensor(given["output"]))
"""


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_modules_pickled_before_the_package_had_rooms_still_load(kind):
    """In a process that has imported nothing of rnnbench but its face."""
    subprocess.run([sys.executable, "-c", LOAD, str(OLD), kind], check=True, timeout=120)


@pytest.mark.parametrize("again", ["pickle", "saved", "deepcopied"])
def test_copies_hold_no_call_cache_and_compute_the_same(again):
    module = rnnbench.GRU(2, 3, backend="numba")
    with torch.no_grad():
        expected = [module(X)[0] for _ in range(3)][-1]
    assert "_memory" in vars(module)
    if again == "pickle":
        data = pickle.dumps(module)
        assert b"call_cache" not in data
        copied = pickle.loads(data)
    elif again == "saved":
        file = io.BytesIO()
        torch.save(module, file)
        copied = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    else:
        copied = copy.deepcopy(module)
    assert "_memory" not in vars(copied)
    with torch.no_grad():
        for _ in range(3):
            assert torch.equal(copied(X)[0], expected)
    assert vars(copied)["_memory"] is not vars(module)["_memory"]


def test_the_old_pickles_name_the_module_that_has_moved():
    old = json.loads(OLD.read_text())
    assert all(b"rnnbench.again" in base64.b64decode(one["pickle"]) for one in old.values())
    assert_close(torch.tensor(old["RNN"]["output"]).shape, (4, 1, 3))
