"""Kernels read and write raw addresses: what is there must be what the tensor says."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from backends.recurrences import make_inputs

import rnnbench
from rnnbench.backends.numba import packing, threads
from rnnbench.backends.numba.backend import Numba
from rnnbench.backends.numba.vector import Lanes
from rnnbench.errors import InputError
from rnnbench.spec import CELLS, Spec


def gradients_of(module, x, upstream):
    y, _ = module(x)
    return torch.autograd.grad(y, list(module.parameters()), upstream)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("which", ["x", "state", "weights", "upstream"])
def test_a_lazily_negated_tensor_is_read_as_what_it_stands_for(cell, which):
    spec = Spec(cell, 3, 4, dtype="float64")
    inputs = make_inputs(spec, training=True)
    dy = torch.randn(3, 2, 4, dtype=torch.float64)

    def negated(tensor):
        return torch._neg_view(tensor.detach().neg()).requires_grad_(tensor.requires_grad)

    given, upstream = inputs, dy
    if which == "x":
        given = inputs._replace(x=negated(inputs.x))
    elif which == "state":
        given = inputs._replace(state=tuple(map(negated, inputs.state)))
    elif which == "weights":
        given = inputs._replace(weights=tuple(map(negated, inputs.weights)))
    else:
        upstream = negated(dy)
    results = []
    for one, up in ((inputs, dy), (given, upstream)):
        y, _ = Numba().run(spec, one)
        results.append((y, *torch.autograd.grad(y, [one.x, *one.state, *one.weights], up)))
    assert all(map(torch.equal, *results))


def test_an_upstream_gradient_of_zeros_without_memory():
    module, x = rnnbench.LSTM(3, 4, backend="numba"), torch.randn(3, 2, 3)
    zeros = torch._efficientzerotensor((3, 2, 4))
    assert all(g.count_nonzero() == 0 for g in gradients_of(module, x, zeros))


def test_a_tensor_whose_memory_was_taken_away_is_refused():
    module, x = rnnbench.GRU(3, 4, backend="numba"), torch.randn(3, 2, 3)
    x.untyped_storage().resize_(0)
    with pytest.raises(InputError, match="no memory"):
        module(x)


def test_another_default_device_does_not_reach_the_kernels():
    code = (
        "import torch, rnnbench\n"
        "m, x = rnnbench.LSTM(5, 20, backend='numba', bias=False), torch.randn(3, 2, 5)\n"
        "with torch.device('meta'):\n"
        "    m(x)[0].sum().backward()\n"
        "m(x)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


TWO_LAYERS = {"num_layers": 2, "bidirectional": True}


def strided(tensor):
    return tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor


@pytest.mark.parametrize("unpack", [strided, torch.clone])
@pytest.mark.parametrize("options", [{}, TWO_LAYERS], ids=["one layer", "both directions"])
def test_hooks_that_give_saved_tensors_back_in_another_layout(unpack, options):
    """Of both directions' outputs, which lie side by side, each direction keeps its columns."""
    module, x = rnnbench.LSTM(3, 20, backend="numba", **options), torch.randn(5, 2, 3)
    dy = torch.randn_like(module(x)[0])
    want = gradients_of(module, x, dy)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        got = gradients_of(module, x, dy)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_overwritten_outputs_of_both_directions_do_not_change_gradients(kind):
    module, x = getattr(rnnbench, kind)(3, 20, backend="numba", **TWO_LAYERS), torch.randn(5, 2, 3)
    want = torch.autograd.grad(module(x)[0].sum(), list(module.parameters()))
    y, _ = module(x)
    total = y.sum()
    with torch.no_grad():
        y.zero_()
    got = torch.autograd.grad(total, list(module.parameters()))
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize(
    "unpack", [lambda t: t.bfloat16(), lambda t: t[:1]], ids=["dtype", "shape"]
)
def test_hooks_that_give_something_else_back_are_refused(unpack):
    module, x = rnnbench.GRU(3, 20, backend="numba"), torch.randn(5, 2, 3)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        y, _ = module(x)
        with pytest.raises(InputError, match="must come back as it was"):
            y.sum().backward()


def guarded(array):
    """A copy that ends where memory that may not be touched begins."""
    page = mmap.PAGESIZE
    pages = -(-array.nbytes // page)
    region = mmap.mmap(-1, (pages + 1) * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(region))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    assert protect(ctypes.c_void_p(base + pages * page), ctypes.c_size_t(page), 0) == 0
    start = pages * page - array.nbytes
    copy = np.frombuffer(region, array.dtype, array.size, start).reshape(array.shape)
    copy[:] = array
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect is Linux's here")
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 7, 16, 19])
def test_nothing_is_read_behind_the_users_arrays(cell, dtype, size):
    """A fault would end the process."""
    spec = Spec(cell, size, size, dtype=dtype)
    inputs = make_inputs(spec, T=3, B=3)

    def at_the_edge(tensor):
        return torch.from_numpy(guarded(tensor.numpy())).requires_grad_()

    edged = inputs._replace(
        x=at_the_edge(inputs.x),
        state=tuple(map(at_the_edge, inputs.state)),
        weights=tuple(map(at_the_edge, inputs.weights)),
    )
    y, final = Numba().run(spec, edged)
    upstream = [at_the_edge(torch.ones(t.shape, dtype=t.dtype)).detach() for t in (y, *final)]
    sources = [edged.x, *edged.state, *edged.weights]
    for gradient in torch.autograd.grad([y, *final], sources, upstream):
        assert gradient.isfinite().all()


def test_copying_a_part_reads_the_part_alone():
    part = Lanes.of("float64").width - 1
    source, out = guarded(np.arange(float(part))), np.full(16, 7.0)
    _copy(source, part, out)
    assert out.tolist() == [*range(part)] + [7] * (16 - part)


def _copy(source, count, out):
    from numba import njit

    @njit
    def call(source, count, out):
        packing.copy_part(source, source.ctypes.data, count, out.ctypes.data)

    call(source, count, out)


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, also where whoever started the tests has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_does_not_leave_parts_running():
    over = threading.Event()

    def long():
        time.sleep(0.3)
        over.set()

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        threads.run([interrupted, long])
    assert over.is_set()


SSE41 = "+64bit,+cmov,+cx16,+cx8,+fxsr,+mmx,+sahf,+sse,+sse2,+sse3,+sse4.1,+ssse3"


@pytest.mark.parametrize(
    ("name", "features", "vectors"),
    [
        ("haswell", f"{SSE41},+avx,+avx2,+fma,+popcnt,+sse4.2", "AVX2"),
        ("penryn", SSE41, "128-bit vectors"),
    ],
    ids=["avx2", "sse41"],
)
def test_the_blocking_follows_what_numba_compiles_for(tmp_path, name, features, vectors):
    """A lesser processor: other widths and blocks, the same numbers."""
    code = (
        "import torch, rnnbench\n"
        "from rnnbench.backends.numba.vector import processor\n"
        "print(processor().name)\n"
        "for kind in ('RNN', 'GRU', 'LSTM'):\n"
        "    for dtype in (torch.float32, torch.float64):\n"
        "        torch.manual_seed(0)\n"
        "        theirs = getattr(torch.nn, kind)(7, 37, 2, bidirectional=True, dtype=dtype)\n"
        "        ours = getattr(rnnbench, kind)(\n"
        "            7, 37, 2, bidirectional=True, dtype=dtype, backend='numba')\n"
        "        ours.load_state_dict(theirs.state_dict())\n"
        "        x = torch.randn(9, 5, 7, dtype=dtype)\n"
        "        found = []\n"
        "        for module in (theirs, ours):\n"
        "            y, _ = module(x)\n"
        "            found.append([y, *torch.autograd.grad(y.sum(), list(module.parameters()))])\n"
        "        for a, b in zip(*found):\n"
        "            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)\n"
    )
    env = os.environ | {
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, timeout=300,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == vectors
