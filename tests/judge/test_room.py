"""The judge serves any suite of asv: it knows no recurrent network and no framework."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rnnbench import judge

PROGRAM = """
import importlib, json, pkgutil, sys
import rnnbench.judge
for module in pkgutil.walk_packages(rnnbench.judge.__path__, "rnnbench.judge."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""
ROOT_MODULES = {"errors", "exit_codes"}
"""Of the package's root, what the judge may use."""


def test_all_of_it_imports_no_framework_and_no_other_room(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    modules = {
        ".".join(["rnnbench.judge", *file.relative_to(folder).with_suffix("").parts])
        for folder in map(Path, judge.__path__)
        for file in folder.rglob("*.py")
        if file.name != "__init__.py"
    }
    assert modules <= loaded
    assert not loaded & {"torch", "numba", "benchmarks", "reports"}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("rnnbench.")}
    assert rooms - ROOT_MODULES == {"judge", "files"}
