"""What the numba backend holds: in training no more than torch, and nothing for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import rnnbench
from rnnbench.backends.numba import memory


def bytes_kept_for_backward(module, x):
    """Of all memory that the graph of one call holds besides x and the weights."""
    own = {t.untyped_storage().data_ptr() for t in (x, *module.parameters())}
    held = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = module(x)
    return sum(held.values()), result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
def test_training_keeps_no_more_than_torchs_module(kind, dtype, options):
    x = torch.randn(64, 16, 64, dtype=dtype, requires_grad=True)
    theirs = getattr(torch.nn, kind)(64, 64, dtype=dtype, **options)
    ours = getattr(rnnbench, kind)(64, 64, dtype=dtype, backend="numba", **options)
    (theirs_bytes, _), (ours_bytes, _) = (bytes_kept_for_backward(m, x) for m in (theirs, ours))
    assert 0 < ours_bytes <= theirs_bytes


def resident():
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="/proc is Linux's")
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_ten_thousand_calls_leak_nothing(kind):
    module = getattr(rnnbench, kind)(8, 16, bidirectional=True, backend="numba")
    x = torch.randn(3, 2, 8)

    def train():
        for _ in range(1000):
            module(x)[0].sum().backward()

    def infer():
        with torch.no_grad():
            for _ in range(9000):
                module(x)

    train()
    infer()
    before = resident()
    train()
    infer()
    assert resident() - before < 2 << 20  # 200 bytes a call


def test_a_room_divides_its_memory_and_gives_no_address_to_nothing():
    room = memory.Room(torch.empty(0), 16, 0, 32)
    start = room.memory.data_ptr()
    assert room.addresses == [start, 0, start + 4 * 16]
    assert room.memory.numel() == 48
