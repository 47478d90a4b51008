r"""Truncated backpropagation through time (BPTT): where the chain rule is cut, and nothing else.

modes          `truncated_bptt`: chunks, k1_k2, sliding, full, artbp
sliding        all windows' exact gradients at once; `jacobian` is one step's derivative
part           what a turn of the loop gets; the average of the loss
runner, state  any model with any state: running, cutting, mixed lengths
checkpointing  full BPTT with recomputation
windowing      `windows`: a sequence in overlapping windows, lazily
streams        a data set and a sampler that keep streams in step
reaching       `reach`: how far back each loss of a program really reaches
    fading         `lag_norms`: at which lag the gradient vanishes or explodes
"""

from __future__ import annotations

from rnnbench.truncation.checkpointing import checkpointed
from rnnbench.truncation.fading import lag_norms
from rnnbench.truncation.modes import truncated_bptt
from rnnbench.truncation.part import Part
from rnnbench.truncation.reaching import LossReach, Reach, reach
from rnnbench.truncation.streams import Batch, StreamSampler, Window, WindowDataset, collate
from rnnbench.truncation.windowing import Windows, windows

__all__ = [
    "Batch",
    "LossReach",
    "Part",
    "Reach",
    "StreamSampler",
    "Window",
    "WindowDataset",
    "Windows",
    "checkpointed",
    "collate",
    "lag_norms",
    "reach",
    "truncated_bptt",
    "windows",
]
