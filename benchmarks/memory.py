"""Working memory of one call: how far the resident set rises above where it stood.

asv's own peakmem counts the 300 MB of importing torch and whatever parity took before. Here free
memory is first given back to the system and the kernel's high-water mark set back to the present;
what the call then needs, output, gradients and all that is kept for the backward pass, must be
paged in anew. Resolution is a page; memory that is taken but never touched does not count.
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path
from statistics import median_low
from typing import Any

from . import cases
from .base import OnNetwork

PROCESS = Path("/proc/self")
RESET_PEAK = "5"
CALLS = 5


class Rising(OnNetwork):
    """The grid and the unit."""

    params = cases.params(cases.MEMORY)
    unit = "bytes"

    def rise(self) -> int:
        """The median rise of a few calls."""
        gc.collect()
        return median_low(rise(self.running.step) for _ in range(CALLS))


class Inference(Rising):
    """Peak of the forward pass."""

    version = "1"
    phase = "inference"

    def track_peak_bytes(self, *params: Any) -> int:
        return self.rise()


class Training(Rising):
    """Peak of the forward and backward pass."""

    version = "1"
    phase = "training"

    def track_peak_bytes(self, *params: Any) -> int:
        return self.rise()


def rise(call: Any) -> int:
    """Bytes by which ``call`` raises the peak of the resident set."""
    ctypes.CDLL(None).malloc_trim(0)
    (PROCESS / "clear_refs").write_text(RESET_PEAK)
    before = _peak()
    call()
    return _peak() - before


def _peak() -> int:
    """High-water mark of the resident set, in bytes."""
    found = re.search(r"VmHWM:\s*(\d+) kB", (PROCESS / "status").read_text())
    assert found, "this kernel does not report VmHWM"
    return int(found.group(1)) * 1024
