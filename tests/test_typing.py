"""The public names are typed: a user's program passes mypy's strictest mode."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import rnnbench

PROGRAM = """
import torch
from rnnbench import GRU, LSTM, RNN, Case, InputError, Spec, check, diagnose, truncated_bptt
import rnnbench

net = LSTM(3, 4, num_layers=2, backend="numba")
output, (h, c) = net(torch.zeros(5, 2, 3))
names: tuple[str, ...] = rnnbench.backends()
spec = Spec("gru", input_size=3, hidden_size=4)
passed: bool = check("manual", [Case(spec, 5, 2)]).passed
report = rnnbench.swap(torch.nn.Sequential(net), backend=None)
lines: list[str] = [one.name for one in report]
twin: LSTM = rnnbench.from_torch(torch.nn.LSTM(3, 4))
theirs: torch.nn.RNNBase = twin.to_torch()
reveal_type(net)
reveal_type(spec.hidden_size)
rnnbench.Spec(3)
"""


def test_a_users_program_is_checked(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(file)],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    lines = [line.partition("program.py:")[2] for line in done.stdout.splitlines()[:-1]]
    assert lines == [
        '15: note: Revealed type is "rnnbench.nn.modules.LSTM"',
        '16: note: Revealed type is "int"',
        '17: error: Missing positional arguments "input_size", "hidden_size" in call to "Spec"  '
        "[call-arg]",
        '17: error: Argument 1 to "Spec" has incompatible type "int"; expected "str"  [arg-type]',
    ], done.stdout + done.stderr


def test_type_checkers_and_the_interpreter_see_the_same_names():
    tree = ast.parse(Path(rnnbench.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: "" if node.module == "rnnbench" else node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {name: f"rnnbench.{home}" for name, home in rnnbench._HOME.items()}
    assert seen == lazy | dict.fromkeys(("mistakes", "training", "truncation"), "")
    assert set(seen) == set(rnnbench.__all__)


def test_the_wheel_says_that_it_has_types(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    root = Path(__file__).resolve().parents[1]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        names = set(held.namelist())
    assert {"rnnbench/py.typed", "rnnbench/__init__.py", "rnnbench/nn/auto.json"} <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"rnnbench"}


@pytest.mark.parametrize(
    "command", [["-m", "rnnbench"], ["-c", "from rnnbench.cli import app; app()"]]
)
def test_the_version_is_printed(command):
    done = subprocess.run(
        [sys.executable, *command, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"rnnbench {version('rnnbench')}\n"
