"""Drop-in modules for ``torch.nn.RNN``, ``GRU`` and ``LSTM`` with one more keyword, ``backend``.

modules     the modules
twins       torch's modules for ours and back, alone or in a whole model
call_cache  fast path for repeated calls of a module
auto        which backend "auto" takes
"""

from __future__ import annotations

import sys

from rnnbench.nn import call_cache
from rnnbench.nn.modules import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN"]

# Modules pickled by version 0.1 name the class of their call cache by this module.
sys.modules.setdefault("rnnbench.again", call_cache)
