r"""The cells on one vector of units of one sequence, from their sums, forward and backward.

A row of ``gates`` holds the cell's slots one behind the other, each as wide as the hidden size
rounded up to whole vectors (``slot`` numbers). Forward finds the sums there and leaves the gates;
backward reads the gates and writes δ, the gradients of the sums, to rows of the same form. With σ
the logistic function and the products already added up:

    cell    slots on entry                      after forward      slots of δ
    rnn     a                                   (none: h says it)  δ
    gru     x W_n + b_in, a_r, a_z, u           n, r, z, u         δ_n, δ_r, δ_z, r δ_n
    lstm    a_i, a_f, a_g, a_o                  i, f, g, o         δ_i, δ_f, δ_g, δ_o

    u = W_hn h + b_hn      n = tanh(x W_n + b_in + r u)    h' = n + z (h − n)
    c' = f c + i g         h' = o tanh c'

so that x's weights see the GRU's slots 0 to 2 and h's weights its slots 1 to 3. The derivations are
in the oracle's docstring. ``count`` is how many of the vector's units exist: memory of the user's
arrays beyond it is not touched, and padding stays zero in all gradients.
"""

from __future__ import annotations

from typing import Any

from rnnbench.backends.numba.activations import sigmoid, tanh
from rnnbench.backends.numba.vector import Emitter, Vector, emitted


def _slots(e: Emitter, gates: Any, slot: Any, count: int) -> list[Any]:
    """Return the addresses of a row's slots."""
    return [e.offset(gates, slot, s) for s in range(count)]


@emitted
def rnn_tanh(e: Emitter, gates: Any, y: Any, count: Any) -> None:
    e.store_first(tanh(e.load(gates)), y, count)


@emitted
def rnn_relu(e: Emitter, gates: Any, y: Any, count: Any) -> None:
    e.store_first(e.load(gates).where("<", 0.0, 0.0), y, count)


def _upstream(e: Emitter, dy: Any, dh: Any, mask: Any) -> Vector:
    """Return ∂L/∂h of this step: from the output, and from the step after."""
    return e.load_masked(dh, mask) + e.load_masked(dy, mask)


@emitted
def rnn_tanh_backward(e: Emitter, y: Any, dy: Any, dh: Any, delta: Any, count: Any) -> None:
    mask = e.first(count)
    h = e.load_masked(y, mask)
    e.store(_upstream(e, dy, dh, mask) * (1.0 - h * h), delta)


@emitted
def rnn_relu_backward(e: Emitter, y: Any, dy: Any, dh: Any, delta: Any, count: Any) -> None:
    mask = e.first(count)
    h = e.load_masked(y, mask)
    e.store(_upstream(e, dy, dh, mask).where_of(h, "<=", 0.0, 0.0), delta)


@emitted
def gru(e: Emitter, gates: Any, slot: Any, h: Any, y: Any, count: Any) -> None:
    """Emit a step of the GRU; h is h_{t−1}."""
    mask = e.first(count)
    at_n, at_r, at_z, at_u = _slots(e, gates, slot, 4)
    r, z = sigmoid(e.load_masked(at_r, mask)), sigmoid(e.load_masked(at_z, mask))
    n = tanh(r.fma(e.load_masked(at_u, mask), e.load_masked(at_n, mask)))
    for value, address in ((n, at_n), (r, at_r), (z, at_z)):
        e.store(value, address)
    e.store_first(z.fma(e.load_masked(h, mask) - n, n), y, count)


@emitted
def gru_backward(
    e: Emitter, gates: Any, slot: Any, h: Any, dy: Any, dh: Any, delta: Any, count: Any
) -> None:
    """Emit a GRU's step back; h is h_{t−1}, dh on return what goes past the gates, z ⊙ dh."""
    mask = e.first(count)
    n, r, z, u = (e.load_masked(address, mask) for address in _slots(e, gates, slot, 4))
    d = _upstream(e, dy, dh, mask)
    delta_n = d * (1.0 - z) * (1.0 - n * n)
    delta_z = d * (e.load_masked(h, mask) - n) * z * (1.0 - z)
    delta_r = delta_n * u * r * (1.0 - r)
    deltas = (delta_n, delta_r, delta_z, delta_n * r)
    for value, address in zip(deltas, _slots(e, delta, slot, 4), strict=True):
        e.store(value, address)
    e.store(d * z, dh)


@emitted
def lstm(e: Emitter, gates: Any, slot: Any, c_before: Any, c: Any, y: Any, count: Any) -> None:
    mask = e.first(count)
    slots = _slots(e, gates, slot, 4)
    at_i, at_f, at_g, at_o = (e.load_masked(address, mask) for address in slots)
    i, f, g, o = sigmoid(at_i), sigmoid(at_f), tanh(at_g), sigmoid(at_o)
    for value, address in zip((i, f, g, o), slots, strict=True):
        e.store(value, address)
    c_now = f.fma(e.load_masked(c_before, mask), i * g)
    e.store(c_now, c)
    e.store_first(o * tanh(c_now), y, count)


@emitted
def lstm_backward(
    e: Emitter, gates: Any, slot: Any, c_before: Any, c: Any, dy: Any, dh: Any, dc: Any,
    delta: Any, count: Any,
) -> None:  # fmt: skip
    """Emit an LSTM's step back; dc on return is ∂L/∂c_{t−1}."""
    mask = e.first(count)
    i, f, g, o = (e.load(address) for address in _slots(e, gates, slot, 4))
    d = _upstream(e, dy, dh, mask)
    t = tanh(e.load(c))
    dc_now = (d * o).fma(1.0 - t * t, e.load_masked(dc, mask))
    deltas = (
        dc_now * g * i * (1.0 - i),
        dc_now * e.load_masked(c_before, mask) * f * (1.0 - f),
        dc_now * i * (1.0 - g * g),
        d * t * o * (1.0 - o),
    )
    for value, address in zip(deltas, _slots(e, delta, slot, 4), strict=True):
        e.store(value, address)
    e.store(dc_now * f, dc)


@emitted
def lstm_hidden(e: Emitter, gates: Any, slot: Any, c: Any, m: Any) -> None:
    """Emit m = o tanh c, what a projection multiplies, from the gates and c that were kept."""
    *_, at_o = _slots(e, gates, slot, 4)
    e.store(e.load(at_o) * tanh(e.load(c)), m)


@emitted
def add(e: Emitter, dh: Any, dy: Any, total: Any, count: Any) -> None:
    """Emit total = dh + dy, the upstream gradient in front of a projection."""
    e.store(_upstream(e, dy, dh, e.first(count)), total)
