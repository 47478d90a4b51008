"""The vector kernels that run all windows back, beside the plain version in torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from truncation.brute import doubled, network

import rnnbench
from rnnbench import interface
from rnnbench.backends.numba import windows
from rnnbench.bptt.linearised import Jacobian
from rnnbench.bptt.recurrence import LayerWeights
from rnnbench.spec import CELLS, Spec
from rnnbench.truncation import sliding

examples = settings(max_examples=30, deadline=None, derandomize=True)
TOLERANCES = {"float32": 2e-6, "float64": 1e-14}


def among_nan(tensor):
    """The same numbers where nothing beside them can be read unnoticed, nor any alignment hoped."""
    if tensor is None:
        return None
    memory = torch.full((tensor.numel() + 130,), torch.nan, dtype=tensor.dtype)
    return memory[65 : 65 + tensor.numel()].view(tensor.shape).copy_(tensor)


def stored_pass(cell, T, B, H, *, layers=1, dtype="float64", proj=0, dropout=False, seed=0):
    """A spec and the layers of a stored pass over random inputs, their memory among NaN."""
    spec = Spec(cell, 3, H, layers=layers, dtype=dtype, proj_size=proj)
    torch.manual_seed(seed)
    kind = getattr(torch, dtype)
    x, *state = (torch.randn(n, B, s, dtype=kind) for n, s in (
        (T, 3), (layers, spec.state_size), *[(layers, H)] * spec.has_cell_state,
    ))  # fmt: skip
    weights = [torch.randn(p.shape, dtype=kind) / H**0.5 for p in spec.parameters]
    masks = ()
    if dropout:
        keep = torch.rand(layers - 1, T, B, spec.state_size) > 0.3
        masks = tuple(keep.to(kind) / 0.7)
    # the factors come from outputs of any origin: here numbers in (−1, 1)
    outputs = [torch.tanh(torch.randn(T, B, spec.state_size, dtype=kind)) for _ in range(layers)]
    found = sliding._linearised(spec, x, masks, outputs, state, weights)
    return spec, [
        layer._replace(
            jacobian=Jacobian(*map(among_nan, layer.jacobian)),
            weights=LayerWeights(*map(among_nan, layer.weights)),
            mask=among_nan(layer.mask),
        )
        for layer in found
    ]


def upstream(spec, steps, B, seed=1):
    torch.manual_seed(seed)
    return among_nan(torch.randn(len(steps), B, spec.state_size, dtype=getattr(torch, spec.dtype)))


def apart(got, expected):
    """The largest ‖got − expected‖ / ‖expected‖ of any layer's sums."""
    pairs = [
        pair for one, two in zip(got, expected, strict=True) for pair in zip(one, two, strict=True)
    ]
    assert all((a is None) == (b is None) for a, b in pairs)
    norms = [
        (float((a - b).norm()), float(b.norm())) for a, b in pairs if a is not None and a.numel()
    ]
    return max((error / (norm or 1.0) for error, norm in norms), default=0.0)


@pytest.mark.parametrize("dtype", TOLERANCES)
@examples
@given(
    T=st.integers(1, 40), k=st.integers(1, 45), B=st.integers(0, 5), H=st.integers(1, 70),
    layers=st.integers(1, 3), start=st.integers(0, 39), stride=st.integers(1, 5),
    proj=st.booleans(), dropout=st.booleans(), seed=st.integers(0, 5),
)  # fmt: skip
def test_equal_to_plain_torch(cell, dtype, T, k, B, H, layers, start, stride, proj, dropout, seed):
    size = max(1, H // 3) if proj and cell == "lstm" and H > 1 else 0
    spec, stored = stored_pass(
        cell, T, B, H, layers=layers, dtype=dtype, proj=size, dropout=dropout, seed=seed
    )
    steps = range(min(start, T - 1), T, stride)
    dy = upstream(spec, steps, B)
    expected = sliding.steps_back(spec, stored, dy, steps, k)
    assert apart(windows.steps_back(spec, stored, dy, steps, k), expected) < TOLERANCES[dtype]


def test_windows_of_several_tiles_are_each_counted_once(cell, monkeypatch):
    for layers, B, stride in ((1, 1, 1), (1, 3, 1), (1, 3, 2), (2, 2, 3)):
        spec, stored = stored_pass(cell, 60, B, 20, layers=layers)
        steps = range(1, 60, stride)
        dy = upstream(spec, steps, B)
        expected = sliding.steps_back(spec, stored, dy, steps, 13)
        for tile_bytes in (1, 10_000, 50_000):
            monkeypatch.setattr(windows, "TILE_BYTES", tile_bytes)
            assert apart(windows.steps_back(spec, stored, dy, steps, 13), expected) < 1e-14


def test_the_sums_are_the_same_bits_on_every_run(cell, monkeypatch):
    monkeypatch.setattr(windows, "TILE_BYTES", 50_000)
    spec, stored = stored_pass(cell, 100, 2, 20, layers=2, dtype="float32")
    dy = upstream(spec, range(100), 2)
    first, second = (windows.steps_back(spec, stored, dy, range(100), 30) for _ in range(2))
    assert apart(first, second) == 0


def _changed(layer, **parts):
    return layer._replace(
        jacobian=layer.jacobian._replace(**{
            name: change(getattr(layer.jacobian, name)) for name, change in parts.items()
        })
    )  # fmt: skip


def _turned(layer):
    w = layer.weights.hh
    gates = w.view(-1, w.shape[1], w.shape[1]).mT.reshape(w.shape)
    return layer._replace(weights=layer.weights._replace(hh=gates))


MISTAKES = {
    "W_hh transposed": _turned,
    "gates exchanged": lambda layer: _changed(
        layer, to_a=lambda f: f.flip(2), to_u=lambda f: f.flip(2)
    ),
    "a step's factors for the next one's": lambda layer: _changed(
        layer, to_a=lambda f: f.roll(1, 0), to_u=lambda f: f.roll(1, 0)
    ),
    "u for a": lambda layer: layer._replace(
        jacobian=layer.jacobian._replace(to_u=layer.jacobian.to_a)
    ),
    "z missing": lambda layer: _changed(layer, to_h=torch.zeros_like),
    "f missing": lambda layer: _changed(layer, past_c=torch.ones_like),
    "o missing": lambda layer: _changed(layer, to_c=torch.ones_like),
}
ONLY = {"gates exchanged": ("gru", "lstm"), "u for a": ("gru",), "z missing": ("gru",),
        "f missing": ("lstm",), "o missing": ("lstm",)}  # fmt: skip
"""The cells that have such a factor; all of them where none are named."""


@pytest.mark.parametrize(
    ("cell", "mistake"), [(cell, name) for name in MISTAKES for cell in ONLY.get(name, CELLS)]
)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_mistake_in_any_factor_is_seen(cell, mistake, layers):
    spec, stored = stored_pass(cell, 30, 2, 20, layers=layers)
    dy = upstream(spec, range(30), 2)
    expected = sliding.steps_back(spec, stored, dy, range(30), 7)
    wrong = [MISTAKES[mistake](layer) for layer in stored]
    assert apart(windows.steps_back(spec, wrong, dy, range(30), 7), expected) > 1e-3


def test_what_is_not_finite_stays_in_its_window_and_sequence(cell):
    for layers in (1, 2):
        spec, stored = stored_pass(cell, 12, 3, 5, layers=layers, dtype="float32")
        dy = upstream(spec, range(12), 3)
        dy[7, 1, 2] = torch.inf
        expected = sliding.steps_back(spec, stored, dy, range(12), 4)
        got = windows.steps_back(spec, stored, dy, range(12), 4)
        for a, b in zip(got, expected, strict=True):
            for one, two in zip(a, b, strict=True):
                if one is not None:
                    torch.testing.assert_close(one, two, equal_nan=True, rtol=1e-4, atol=1e-5)
                    assert one[:, (0, 2)].isfinite().all()


def test_memory_in_any_order_is_read_right(cell):
    spec, stored = stored_pass(cell, 20, 2, 9, layers=2)
    dy = upstream(spec, range(20), 2)
    expected = windows.steps_back(spec, stored, dy, range(20), 6)

    def turned(tensor):
        return None if tensor is None else tensor.mT.contiguous().mT

    other = [
        layer._replace(
            jacobian=Jacobian(*map(turned, layer.jacobian)),
            weights=LayerWeights(
                *(w if w is None or w.dim() < 2 else turned(w) for w in layer.weights)
            ),
        )
        for layer in stored
    ]
    assert apart(windows.steps_back(spec, other, turned(dy), range(20), 6), expected) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_an_empty_batch_has_a_gradient_of_zero(cell, dtype):
    module = network(cell, 3, 4, num_layers=2, dtype=dtype)
    (part,) = rnnbench.truncated_bptt(
        module, torch.zeros(5, 0, 3, dtype=dtype), mode="sliding", k=2
    )
    found = torch.autograd.grad(part.output.sum(), list(module.parameters()))
    assert all(float(gradient.abs().sum()) == 0 for gradient in found)


def test_what_runs_is_named():
    cpu = torch.device("cpu")
    for dtype, name in (("float32", "numba"), ("float64", "numba"), ("bfloat16", "torch")):
        spec = Spec("gru", 3, 4, dtype=dtype)
        assert sliding.kernel_for(spec, cpu)[0] == name
        assert sliding.kernel_for(spec, torch.device("cuda"))[0] == "torch"
    assert sliding.kernel_for(Spec("gru", 3, 4, dtype="bfloat16"), cpu)[1] is sliding.steps_back
    module, x = network("gru", 3, 4), doubled(6, 2, 3)
    for mode, name in (("sliding", "numba"), ("chunks", None)):
        (part,) = rnnbench.truncated_bptt(module, x, mode=mode, k=6)
        assert part.kernel == name
    (part,) = rnnbench.truncated_bptt(module.bfloat16(), x.bfloat16(), mode="sliding", k=2)
    assert part.kernel == "torch"
    part.output.sum().backward()
    assert module.weight_hh_l0.grad.isfinite().all()


@pytest.mark.parametrize(
    ("module", "backend"),
    [
        (rnnbench.GRU(3, 4), "numba"),
        (rnnbench.GRU(3, 4, backend="manual"), "manual"),
        (torch.nn.GRU(3, 4), "native"),
        (rnnbench.GRU(3, 4).bfloat16(), "native"),
    ],
)
def test_the_stored_pass_runs_beside_its_kernel(module, backend, monkeypatch):
    used, run = [], interface.run
    monkeypatch.setattr(interface, "run", lambda name, *rest: used.append(name) or run(name, *rest))
    list(rnnbench.truncated_bptt(module, torch.zeros(5, 1, 3, dtype=module.weight_ih_l0.dtype),
                                 mode="sliding", k=2))  # fmt: skip
    assert used == [backend]


USE = """
import sys, torch, rnnbench
rnn, x = torch.nn.GRU(3, 4), torch.zeros(5, 1, 3)
for part in rnnbench.truncated_bptt(rnn, x, k=2): part.output.sum().backward()
(part,) = rnnbench.truncated_bptt(rnn, x, mode="sliding", k=2)
assert "numba" not in sys.modules
part.output.sum().backward()
assert "rnnbench.backends.numba.windows" in sys.modules
"""


def test_kernels_are_imported_when_windows_first_go_back():
    subprocess.run([sys.executable, "-c", USE], check=True)
