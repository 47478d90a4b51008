"""Scripts in their process: what they may not do, and what is said of one that ends it."""

from __future__ import annotations

import ctypes
import sys

import pytest
from diagnosis.scripts import WRONG

import rnnbench
from rnnbench import InputError
from rnnbench.diagnosis.script.process import diagnose_script

HOSTILE = """\
import ctypes, os, shutil, signal, socket, subprocess, sys
from pathlib import Path
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

refused = []
for attempt in (
    lambda: os.remove("kept.txt"),
    lambda: os.rename("kept.txt", "other.txt"),
    lambda: os.truncate("kept.txt", 0),
    lambda: shutil.rmtree("folder"),
    lambda: Path("link").symlink_to("kept.txt"),
    lambda: os.open("kept.txt", os.O_WRONLY | os.O_TRUNC),
    lambda: os.fork(),
    lambda: os.system("touch touched.txt"),
    lambda: subprocess.run(["touch", "touched.txt"]),
    lambda: os.kill(os.getppid(), signal.SIGTERM),
    lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
):
    try:
        attempt()
    except PermissionError as error:
        refused.append("while it is diagnosed" in str(error))
assert refused == [True] * 11, refused

open("kept.txt", "w").write("gone")
Path("new.txt").write_text("mine")
os.makedirs("made/deep", exist_ok=True)
net = torch.nn.GRU(2, 3)
torch.save(net.state_dict(), "made/net.pt")
np.save("made/array.npy", np.ones(3))
assert open("kept.txt").read() == "gone" and Path("new.txt").read_text() == "mine"
assert np.load("made/array.npy").sum() == 3
net.load_state_dict(torch.load("made/net.pt"))
if {landlock}:  # compiled code, which no hook of Python's sees
    assert ctypes.CDLL(None).unlink(b"kept.txt") == -1
loader = DataLoader(TensorDataset(torch.randn(4, 5, 2)), batch_size=2, num_workers=2)
for (x,) in loader:
    net(x)
"""


def _kernel_refuses() -> bool:
    """Return whether Linux has Landlock and this process may use it."""
    if not sys.platform.startswith("linux"):
        return False
    version = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return version > 0


def test_a_hostile_script_changes_nothing_and_is_judged_all_the_same(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside.txt").write_text("inside")
    (tmp_path / "kept.txt").write_text("kept")
    script = tmp_path / "hostile.py"
    landlock = str(_kernel_refuses())
    script.write_text(
        f"import os\nos.chdir({str(tmp_path)!r})\n" + HOSTILE.format(landlock=landlock)
    )
    found = diagnose_script(script)
    assert found.status == "right", str(found)
    assert (tmp_path / "kept.txt").read_text() == "kept"
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert names == ["folder", "folder/inside.txt", "hostile.py", "kept.txt"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import os\nos._exit(7)\n", "the script ended its process with exit code 7"),
        ("name = input('name? ')\n", "it raised EOFError"),
    ],
)
def test_a_script_that_ends_or_asks_gets_one_sentence(tmp_path, text, sentence):
    (tmp_path / "mine.py").write_text(text)
    found = diagnose_script(tmp_path / "mine.py")
    assert found.status == "raised"
    assert sentence in found.raised


def test_a_script_that_cannot_be_stopped_is_ended(tmp_path):
    text = "import threading\nthreading.Event().wait = None\nwhile True:\n    try:\n"
    text += "        while True:\n            pass\n    except BaseException:\n        pass\n"
    (tmp_path / "mine.py").write_text(text)
    found = diagnose_script(tmp_path / "mine.py", time_limit=4.0)
    assert found.status == "raised"
    assert "the script did not finish within 4 s" in found.raised


def test_diagnose_takes_the_path_of_a_script(tmp_path):
    (tmp_path / "mine.py").write_text(WRONG["gates"].text)
    found = rnnbench.diagnose(tmp_path / "mine.py")
    assert found.cause == "lstm_gates_ifog"
    assert found.candidate == "mine.py"
    with pytest.raises(InputError, match="FILE must exist"):
        rnnbench.diagnose(str(tmp_path / "nosuch.py"))
