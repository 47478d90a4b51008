r"""The reference, float64 or wider: every output and every gradient, straight from the equations.

One layer, one direction; σ the logistic function, ⊙ the elementwise product, φ tanh or relu.
With the affine maps a = W_ih x_t + b_ih and u = W_hh h_{t−1} + b_hh, cut into gates of H rows:

    RNN    h_t = φ(a + u)
    GRU    r = σ(a_r + u_r)   z = σ(a_z + u_z)   n = tanh(a_n + r ⊙ u_n)
           h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}
    LSTM   i, f, o = σ(a + u)   g = tanh(a_g + u_g)
           c_t = f ⊙ c_{t−1} + i ⊙ g   h_t = W_hr (o ⊙ tanh c_t)     (W_hr = 1 without projection)

Backward, with the loss L = ⟨G_y, y⟩ + ⟨G_h, h_T⟩ + ⟨G_c, c_T⟩ and dh = ∂L/∂h_t (from above and from
step t+1), α = ∂L/∂a and μ = ∂L/∂u follow by the chain rule from t = T down to 1:

    RNN    α = μ = dh ⊙ φ'
    GRU    α_n = dh ⊙ (1 − z) ⊙ (1 − n²)   α_z = dh ⊙ (h_{t−1} − n) ⊙ z ⊙ (1 − z)
           α_r = α_n ⊙ u_n ⊙ r ⊙ (1 − r)   μ = (α_r, α_z, α_n ⊙ r)   dh_{t−1} = W_hhᵀ μ + dh ⊙ z
    LSTM   dm = W_hrᵀ dh   dc += dm ⊙ o ⊙ (1 − tanh² c_t)   α_o = dm ⊙ tanh c_t ⊙ o ⊙ (1 − o)
           α_i = dc ⊙ g ⊙ i ⊙ (1 − i)   α_f = dc ⊙ c_{t−1} ⊙ f ⊙ (1 − f)   α_g = dc ⊙ i ⊙ (1 − g²)
           μ = α   dc_{t−1} = dc ⊙ f

    dh_{t−1} += W_hhᵀ μ   dx_t = W_ihᵀ α   dW_ih = Σ_t α x_tᵀ   db_ih = Σ_t α
    dW_hh = Σ_t μ h_{t−1}ᵀ   db_hh = Σ_t μ   dW_hr = Σ_t dh (o ⊙ tanh c_t)ᵀ

The reverse direction is the same layer on the time-reversed sequence, its output turned back.
Of sequences of different lengths, those of one length are run at a time.

Sources: Elman 1990; Werbos 1990 (BPTT); Hochreiter and Schmidhuber 1997, Gers et al. 2000 (LSTM);
Sak et al. 2014 (projection); Cho et al. 2014, in the variant of the torch.nn.GRU documentation,
whose reset gate acts after the recurrent product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit as sigmoid

from rnnbench.spec import Spec

Array = NDArray[Any]  # float64 or longdouble
State = Any  # an Array, or None for a cell without c
Weights = Mapping[str, Array]


def _step(cell: str, a: Array, h: Array, c: State, w: Weights) -> tuple[Any, ...]:
    """h_t, c_t and what the step's backward needs; rows are sequences."""
    u = h @ w["weight_hh"].T + w.get("bias_hh", 0.0)
    if cell == "rnn_tanh":
        new = np.tanh(a + u)
        return new, None, (1 - new**2,)
    if cell == "rnn_relu":
        new = np.maximum(a + u, 0)
        return new, None, (np.where(a + u > 0, 1.0, 0.0),)
    if cell == "gru":
        a_r, a_z, a_n = np.split(a, 3, axis=1)
        u_r, u_z, u_n = np.split(u, 3, axis=1)
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        n = np.tanh(a_n + r * u_n)
        return (1 - z) * n + z * h, None, (r, z, n, u_n, h)
    i, f, g, o = np.split(a + u, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    new_c = f * c + i * g
    m = o * np.tanh(new_c)
    return (m @ w["weight_hr"].T if "weight_hr" in w else m), new_c, (i, f, g, o, c, new_c, m)


def _unstep(cell: str, tape: Any, dh: Array, dc: State, w: Weights) -> tuple[Any, ...]:
    """α, μ, the part of dh_{t−1} that bypasses W_hh, dc_{t−1} and this step's dW_hr."""
    if cell.startswith("rnn"):
        delta = dh * tape[0]
        return delta, delta, 0.0, None, None
    if cell == "gru":
        r, z, n, u_n, h = tape
        d_n = dh * (1 - z) * (1 - n**2)
        d_z = dh * (h - n) * z * (1 - z)
        d_r = d_n * u_n * r * (1 - r)
        return np.hstack([d_r, d_z, d_n]), np.hstack([d_r, d_z, d_n * r]), dh * z, None, None
    i, f, g, o, c, new_c, m = tape
    dhr = dh.T @ m if "weight_hr" in w else None
    dm = dh @ w["weight_hr"] if "weight_hr" in w else dh
    tanh_c = np.tanh(new_c)
    dc = dc + dm * o * (1 - tanh_c**2)
    d_i, d_f, d_g = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)
    delta = np.hstack([d_i, d_f, d_g, dm * tanh_c * o * (1 - o)])
    return delta, delta, 0.0, dc * f, dhr


def _layer_forward(
    cell: str, x: Array, h: Array, c: State, w: Weights
) -> tuple[Array, Array, State, list[Any]]:
    """y (T, B, P or H), final h and c, and the tape of all steps."""
    ys, tapes = [], []
    for x_t in x:
        a = x_t @ w["weight_ih"].T + w.get("bias_ih", 0.0)
        before = h
        h, c, tape = _step(cell, a, h, c, w)
        ys.append(h)
        tapes.append((x_t, before, tape))
    return np.stack(ys), h, c, tapes


def _layer_backward(
    cell: str, tapes: list[Any], w: Weights, dy: Array, dh: Array, dc: State
) -> tuple[Array, Array, State, dict[str, Array]]:
    """dx (T, B, I), dh0, dc0 and the gradient of each weight, by name."""
    dw: dict[str, Any] = dict.fromkeys(w, 0.0)
    dxs = []
    for (x_t, before, tape), dy_t in zip(tapes[::-1], dy[::-1], strict=True):
        dh = dh + dy_t
        alpha, mu, bypass, dc, dhr = _unstep(cell, tape, dh, dc, w)
        terms = {
            "weight_ih": alpha.T @ x_t,
            "weight_hh": mu.T @ before,
            "bias_ih": alpha.sum(0),
            "bias_hh": mu.sum(0),
            "weight_hr": dhr,
        }
        dw = {name: dw[name] + terms[name] for name in w}
        dxs.append(alpha @ w["weight_ih"])
        dh = mu @ w["weight_hh"] + bypass
    return np.stack(dxs[::-1]), dh, dc, dw


def _turn(x: Array, direction: int) -> Array:
    return x[::-1] if direction else x


def _dense(
    spec: Spec, x: Array, state: Sequence[Array], w: Weights, masks: Any, upstream: Any
) -> dict[str, Array]:
    """All layers of sequences of one length: layers outside, time inside."""
    P, tapes = spec.state_size, {}
    final: list[list[Array]] = [[] for _ in state]
    keys = [(layer, d) for layer in range(spec.layers) for d in range(spec.directions)]
    own: dict[tuple[int, int], dict[str, Array]] = {key: {} for key in keys}
    for p in spec.parameters:
        own[p.layer, p.direction][p.name.split("_l")[0]] = w[p.name]
    for layer in range(spec.layers):
        outputs = []
        for d in range(spec.directions):
            initial = [part[layer * spec.directions + d] for part in state]
            c0 = initial[1] if spec.has_cell_state else None
            y, h, c, tapes[layer, d] = _layer_forward(
                spec.cell, _turn(x, d), initial[0], c0, own[layer, d]
            )
            outputs.append(_turn(y, d))
            for part, value in zip(final, (h, c), strict=False):
                part.append(value)
        x = np.concatenate(outputs, axis=2)
        if masks is not None and layer < spec.layers - 1:
            x = x * masks[layer]
    quantities = {"output": x}
    quantities |= {n: np.stack(part) for n, part in zip(("h_n", "c_n"), final, strict=False)}
    if upstream is None:
        return quantities

    dy = upstream["output"]
    dinitial: list[list[Array]] = [[] for _ in state]
    dw: dict[str, Array] = {}
    for layer in reversed(range(spec.layers)):
        dx: Any = 0.0
        for d in reversed(range(spec.directions)):
            k = layer * spec.directions + d
            columns = dy[:, :, d * P : (d + 1) * P]
            dc = upstream["c_n"][k] if spec.has_cell_state else None
            part_dx, dh0, dc0, grads = _layer_backward(
                spec.cell, tapes[layer, d], own[layer, d], _turn(columns, d),
                upstream["h_n"][k], dc,
            )  # fmt: skip
            dx = dx + _turn(part_dx, d)
            for part, value in zip(dinitial, (dh0, dc0), strict=False):
                part.insert(0, value)
            suffix = f"_l{layer}" + ("_reverse" if d else "")
            dw |= {kind + suffix: value for kind, value in grads.items()}
        dy = dx * masks[layer - 1] if masks is not None and layer else dx
    quantities["grad_x"] = dy
    quantities |= {
        n: np.stack(part) for n, part in zip(("grad_h0", "grad_c0"), dinitial, strict=False)
    }
    return quantities | {f"grad_{p.name}": dw[p.name] for p in spec.parameters}


def oracle(
    spec: Spec,
    x: Array,
    state: Sequence[Array],
    weights: Mapping[str, Array],
    *,
    upstream: Mapping[str, Array] | None = None,
    lengths: Sequence[int] | None = None,
    masks: Sequence[Array] | None = None,
) -> dict[str, Array]:
    """Outputs, and with ``upstream`` every gradient, in the precision of the arrays given.

    That is float64, or NumPy's longdouble where float64 itself is under test.

    x        (T, B, I), padded where ``lengths`` says that a sequence is shorter
    state    (h0,) or (h0, c0): (L·D, B, P or H), (L·D, B, H)
    weights  by torch's names
    upstream gradients of the loss: ``output`` (T, B, D·P), ``h_n`` and ``c_n`` like the state
    lengths  B ints, or None if all have length T
    masks    L−1 dropout masks (T, B, D·P)

    Returns ``output`` (zero in the padding), ``h_n``, ``c_n``, and with upstream ``grad_x``,
    ``grad_h0``, ``grad_c0`` and ``grad_<parameter>`` for each parameter.
    """
    if lengths is None:
        return _dense(spec, x, state, weights, masks, upstream)
    total: dict[str, Array] = {}
    for length in sorted(set(lengths)):
        columns = np.flatnonzero(np.equal(lengths, length))
        cut = (slice(0, length), columns)
        states = [part[:, columns] for part in state]
        up = upstream and {
            name: value[cut] if name == "output" else value[:, columns]
            for name, value in upstream.items()
        }
        group = _dense(spec, x[cut], states, weights, masks and [m[cut] for m in masks], up)
        for name, value in group.items():
            if name in ("output", "grad_x"):
                padded = total.setdefault(name, np.zeros((*x.shape[:2], value.shape[2]), x.dtype))
                padded[cut] = value
            elif name in ("h_n", "c_n", "grad_h0", "grad_c0"):
                shape = (len(value), x.shape[1], value.shape[2])
                total.setdefault(name, np.zeros(shape, x.dtype))[:, columns] = value
            else:
                total[name] = total.get(name, 0.0) + value
    return total
