"""Counts the instructions of steps; runs as a process under callgrind, or without it to compile.

    python -m benchmarks.counted '[["inference", "numba", "gru", 16, 1, 1, "medium"], …]'

Importing torch under full instrumentation takes minutes, so callgrind starts without, and is turned
on when all is warm. A step is dumped to a file of its own, ``OUT.n``, `STEPS` for each case.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from typing import Any

import torch

from .cases import Network
from .network import Running

STEPS = 3
CALLGRIND = "RNNBENCH_CALLGRIND"
"""Set in the process that callgrind runs."""


def main(networks: list[Network]) -> dict[str, Any]:
    """Warm all of them up, count each if callgrind is there; returns what ran."""
    torch.set_num_threads(1)
    running = [Running(network) for network in networks]
    identities = [one.identity() for one in running]
    for one in running:
        for _ in range(2):
            one.step()
    if CALLGRIND in os.environ:
        gc.collect()
        gc.disable()
        command = ["callgrind_control", "--instr=on", str(os.getpid())]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        for one in running:
            _count(one)
    return {"identities": identities}


def _count(one: Running) -> None:
    toggle = torch._C._valgrind_toggle
    dump = torch._C._valgrind_toggle_and_dump_stats
    one.step()  # callgrind translates the code anew
    for _ in range(STEPS):
        toggle()
        one.step()
        dump()


if __name__ == "__main__":
    print(json.dumps(main([Network(*one) for one in json.loads(sys.argv[1])])), flush=True)  # noqa: T201
    os._exit(0)  # Python's own end would be executed by callgrind, too
