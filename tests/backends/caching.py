"""A process that says what its kernels' disk cache gave it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

IDENTITY = """
import torch
from rnnbench import interface
from rnnbench.spec import Spec
spec = Spec("rnn_tanh", 3, 4)
weights = [torch.ones(p.shape) for p in spec.parameters]
inputs = interface.check_inputs(spec, torch.ones(2, 1, 3), None, weights)
found = interface.get_backend({backend!r}).identity(spec, inputs)
print(found["cache hits"], found["cache misses"], found["cache path"])
"""


def identity_in_a_process(backend: str, folder: Path) -> subprocess.Popen[str]:
    """Prints hits, misses and the folder, of a call whose cache lies below ``folder``."""
    return subprocess.Popen(
        [sys.executable, "-c", IDENTITY.format(backend=backend)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder)},
    )  # fmt: skip
