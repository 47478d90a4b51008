"""The numba-plain backend: products over all rows in torch, the time loops in plain Numba.

Forward, x W_ihᵀ of all rows is one product before the loop; the kernel turns it into the gates, in
place. Backward, the kernel gives α and μ of all rows (see `kernels`), and

    dW_ih = αᵀ x    dW_hh = μᵀ h_before    db_ih = Σ α    db_hh = Σ μ    dx = α W_ih
    dW_hr = dhᵀ (o ⊙ tanh c)               (LSTM with projection)

follow after it, over all rows at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench.backends.numba_base import Jitted
from rnnbench.backends.numba_plain import kernels
from rnnbench.bptt.recurrence import (
    BackwardInputs,
    LayerGradients,
    LayerPass,
    LayerResult,
    LayerWeights,
    Layout,
    Recurrence,
    gradients_of_rows,
    sum_of_outer,
)
from rnnbench.spec import Spec

KERNELS: dict[str, tuple[Any, Any]] = {
    "rnn_tanh": (kernels.rnn_forward, kernels.rnn_backward),
    "rnn_relu": (kernels.rnn_forward, kernels.rnn_backward),
    "gru": (kernels.gru_forward, kernels.gru_backward),
    "lstm": (kernels.lstm_forward, kernels.lstm_backward),
}
"""Cell → its compiled time loops, forward and backward."""


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return the tensor's memory; a copy if it is not contiguous: kernels know one layout only."""
    array: NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


def _arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    return tuple(_array(tensor) for tensor in tensors)


def _own(tensor: Tensor) -> Tensor:
    """Return a contiguous copy for a kernel to write on."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _steps(layout: Layout, *, reverse: bool) -> NDArray[np.int64]:
    """Return each step's first row and number of rows, (T, 2), first to last or last to first."""
    sizes = np.array(layout.batch_sizes, dtype=np.int64)
    steps = np.stack([np.cumsum(sizes) - sizes, sizes], axis=1)
    return np.ascontiguousarray(steps[::-1]) if reverse else steps


def _input_projection(spec: Spec, x: Tensor, weights: LayerWeights) -> Tensor:
    """Return x W_ihᵀ (N, G·H) with every bias that may be added this early: not the GRU's b_hn."""
    if weights.bias_ih is None or weights.bias_hh is None:
        return x @ weights.ih.T
    early = 2 * spec.hidden_size if spec.cell == "gru" else len(weights.bias_ih)
    bias = weights.bias_ih.clone()
    bias[:early] += weights.bias_hh[:early]
    return torch.addmm(bias, x, weights.ih.T)


def _bias_n(spec: Spec, weights: LayerWeights) -> Tensor:
    """Return the GRU's b_hn (H,)."""
    if weights.bias_hh is None:
        return weights.hh.new_zeros(spec.hidden_size)
    return weights.bias_hh[2 * spec.hidden_size :]


def _projection(spec: Spec, weights: LayerWeights) -> Tensor:
    """Return W_hr (P, H), without rows where there is none."""
    return weights.hh.new_empty(0, spec.hidden_size) if weights.hr is None else weights.hr


class PlainRecurrence(Recurrence):
    """One layer in one direction: products in torch around a compiled time loop."""

    def forward(
        self, layer: LayerPass, h0: Tensor, c0: Tensor | None, *, keep: bool
    ) -> LayerResult:
        spec, layout, x, weights, reverse = layer
        kernel, _ = KERNELS[spec.cell]
        gates = _input_projection(spec, x, weights)
        h, c = _own(h0), None if c0 is None else _own(c0)
        y = x.new_empty(layout.N, spec.state_size)
        rows = layout.N if keep else layout.B
        h_before = x.new_empty(rows, spec.state_size)
        loop = (_steps(layout, reverse=reverse), keep)
        kept: tuple[Tensor, ...]
        if c is not None:
            kept = tuple(x.new_empty(2, rows, spec.hidden_size))
            constants = _arrays(weights.hh.T, _projection(spec, weights).T)
            kernel(*loop, *constants, *_arrays(gates, h, c, y, h_before, *kept))
        elif spec.cell == "gru":
            kept = (x.new_empty(rows, spec.hidden_size),)
            constants = _arrays(weights.hh.T, _bias_n(spec, weights))
            kernel(*loop, *constants, *_arrays(gates, h, y, h_before, *kept))
        else:
            kept = ()
            kernel(*loop, spec.cell == "rnn_relu", *_arrays(weights.hh.T, gates, h, y, h_before))
        return LayerResult(y, h, c, (h_before, gates, *kept) if keep else ())

    def backward(self, layer: LayerPass, given: BackwardInputs) -> LayerGradients:
        spec, layout, x, weights, reverse = layer
        _, kernel = KERNELS[spec.cell]
        saved, dy, dh_n, dc_n, needs_dx, _ = given
        h_before, gates, *kept = saved
        dh, dc = _own(dh_n), None if dc_n is None else _own(dc_n)
        alpha = torch.empty_like(gates)
        mu, d_hr = alpha, None
        steps = _steps(layout, reverse=not reverse)
        if dc is not None:
            dh_all = x.new_empty(layout.N if spec.proj_size else 0, spec.state_size)
            constants = _arrays(weights.hh, _projection(spec, weights))
            kernel(steps, *constants, *_arrays(gates, *kept, dy, dh, dc, alpha, dh_all))
            if weights.hr is not None:
                o, tanh_c = gates[:, -spec.hidden_size :], kept[1]
                d_hr = sum_of_outer(dh_all, o * tanh_c)
        elif spec.cell == "gru":
            mu = torch.empty_like(alpha)
            kernel(steps, *_arrays(weights.hh, gates, h_before, *kept, dy, dh, alpha, mu))
        else:
            kernel(steps, spec.cell == "rnn_relu", *_arrays(weights.hh, gates, dy, dh, alpha))
        return gradients_of_rows(layer, alpha, mu, h_before, (dh, dc), d_hr, needs_dx=needs_dx)


class NumbaPlain(Jitted):
    """Numba kernels on the CPU, the time loop on one thread; the products around it run in torch,
    on torch's threads.
    """

    recurrence = PlainRecurrence()

    def kernels(self, spec: Spec, *, training: bool) -> Sequence[Any]:
        return KERNELS[spec.cell][: 1 + training]

    def facts(self, dtype: str) -> Mapping[str, Any]:
        return {"kernel": "numba njit", "threads": 1}
