"""What is particular to JAX; parity over all options is tested for all backends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

import rnnbench
from rnnbench import Spec, interface

jax = pytest.importorskip("jax")

from rnnbench.backends import jax as peer  # noqa: E402 (only where there is a jax)

SPEC = Spec("gru", 3, 4)


def tensors(spec=SPEC, T=5, B=2, grad=True):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        value = torch.randn(shape, generator=generator, dtype=torch.float64)
        return value.to(getattr(torch, spec.dtype)).requires_grad_(grad)

    state = tuple(draw(*shape) for shape in spec.state_shapes(B).values())
    return draw(T, B, spec.input_size), state, tuple(draw(*p.shape) for p in spec.parameters)


def test_the_processs_jax_settings_are_left_alone():
    before = jax.config.jax_enable_x64
    x, state, weights = tensors(Spec("gru", 3, 4, dtype="float64"))
    y, _ = rnnbench.run("jax", Spec("gru", 3, 4, dtype="float64"), x, state, weights)
    y.sum().backward()
    assert y.dtype == weights[0].grad.dtype == torch.float64
    assert jax.config.jax_enable_x64 == before
    assert jax.numpy.ones(3).dtype == (jax.numpy.float64 if before else jax.numpy.float32)


def test_results_and_gradients_share_no_memory():
    """The biases of an RNN have equal gradients: they must not be one array all the same."""
    spec = Spec("rnn_tanh", 3, 4)
    x, state, weights = tensors(spec)
    y, final = rnnbench.run("jax", spec, x, state, weights)
    found = torch.autograd.grad([y, *final], [x, *state, *weights], [y.detach(), *final])
    assert torch.equal(found[4], found[5])
    addresses = [t.data_ptr() for t in (x, *state, *weights, y, *final, *found)]
    assert len(set(addresses)) == len(addresses)
    copies = [t.clone() for t in found]
    found[4].zero_()
    assert torch.equal(found[5], copies[5])


def test_output_written_to_does_not_change_the_gradients():
    x, state, weights = tensors()
    gradients = []
    for spoil in (False, True):
        y, final = rnnbench.run("jax", SPEC, x, state, weights)
        loss = (y * 2).sum() + final[0].sum()
        if spoil:
            for result in (y, *final):
                result.detach().zero_()
        gradients.append(torch.autograd.grad(loss, [x, *state, *weights]))
    for clean, spoiled in zip(*gradients, strict=True):
        assert torch.equal(clean, spoiled)


def test_the_second_call_of_a_shape_does_not_compile():
    x, state, weights = tensors()
    counts = []
    for _ in range(3):
        y, _ = rnnbench.run("jax", SPEC, x, state, weights)
        y.sum().backward()
        function = peer.network(SPEC, packed=False, masked=False)
        forward = peer._compiled_with_pullback(function, (True,) * 6)
        counts.append((forward._cache_size(), peer._pulled._cache_size()))
    assert counts[1] == counts[2] == counts[0]
    assert counts[0][0] == 1


def test_the_residuals_are_freed_by_the_backward_pass_unless_kept():
    x, state, weights = tensors()
    y, _ = rnnbench.run("jax", SPEC, x, state, weights)
    node = y.grad_fn
    y.sum().backward(retain_graph=True)
    assert node.pull is not None
    y.sum().backward()
    assert node.pull is None


def test_gradients_of_a_part_are_those_of_all():
    x, state, weights = tensors()
    y, _ = rnnbench.run("jax", SPEC, x, state, weights)
    everything = torch.autograd.grad(y.sum(), [x, *state, *weights], retain_graph=True)
    (dw,) = torch.autograd.grad(y.sum(), [weights[1]])
    assert torch.equal(dw, everything[3])
    frozen = tuple(w.detach() for w in weights)
    y, _ = rnnbench.run("jax", SPEC, x, state, frozen)
    (dx,) = torch.autograd.grad(y.sum(), [x])
    torch.testing.assert_close(dx, everything[0])


def test_a_backward_pass_in_another_thread():
    spec = Spec("gru", 3, 4, dtype="float64")  # whose 64 bits are a setting of one thread
    x, state, weights = tensors(spec)
    y, _ = rnnbench.run("jax", spec, x, state, weights)
    thread = threading.Thread(target=lambda: y.sum().backward())
    thread.start()
    thread.join()
    assert weights[0].grad.dtype == torch.float64


def test_identity_names_version_platform_and_devices():
    inputs = interface.check_inputs(SPEC, *tensors(grad=False))
    identity = rnnbench.get_backend("jax").identity(SPEC, inputs)
    assert jax.__version__ in identity["kernel"]
    assert identity["platform"] == jax.default_backend()
    assert identity["devices"] == ", ".join(map(str, jax.devices("cpu")))


THREADS = """
import torch, rnnbench
spec = rnnbench.Spec("gru", 3, 4)
weights = tuple(torch.zeros(p.shape) for p in spec.parameters)
inputs = rnnbench.Inputs(torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4),), weights)
print(rnnbench.get_backend("jax").identity(spec, inputs)["threads"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("count", [1, 3])
def test_threads_said_are_those_of_xlas_pool(count):
    environment = os.environ | {"NPROC": str(count)}
    out = subprocess.run(
        [sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    assert int(out.stdout) == count


FORKED = """
import os, warnings, torch, rnnbench
warnings.simplefilter("ignore")
module = rnnbench.GRU(3, 4, backend="jax")
x = torch.zeros(5, 2, 3)
module(x)
if not os.fork():
    try:
        module(x)
    except rnnbench.UnsupportedError as refusal:
        os._exit(0 if "forked" in str(refusal) else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""


def test_a_forked_process_is_refused_instead_of_hanging():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)
