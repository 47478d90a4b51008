"""The numba backend: our own vector kernels on the CPU, forward and by BPTT backward.

Forward is one compiled call a layer and direction. Backward is one for the time loop, which leaves
δ of all rows, and then the products over all rows at once, each with the columns of δ that its
weight sees (see `rnnbench.backends.numba.cells`):

    dW_ih = δᵀ x    dW_hh = δᵀ h_before    db = Σ δ    dx = δ W_ih    dW_hr = dhᵀ (o ⊙ tanh c)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbench.autograd import run_stack
from rnnbench.backends.numba import gate_order, layers, packing, products
from rnnbench.backends.numba.memory import Room, empty
from rnnbench.backends.numba.row_order import RowOrder, row_order
from rnnbench.backends.numba.vector import Lanes, processor
from rnnbench.interface import Backend, Conditions, Inputs
from rnnbench.recurrence import LayerGradients, LayerResult, LayerWeights, Layout, Recurrence
from rnnbench.spec import Spec

WIDENED = ("float16", "bfloat16")
"""Dtypes that the CPU cannot compute in: run in float32, and only results are rounded to them."""

CHUNK_BYTES = 1 << 20
"""Of gates whose input products are made at a time: they stay in the second-level cache."""


class _Sizes(NamedTuple):
    """Of a layer, in numbers.

    width         of a vector
    slot, s_slot  the sizes of c and of h in whole vectors
    row           a row of gates: the cell's slots
    zeros         the address of a row of zeros
    like          what tells a kernel the dtype
    """

    width: int
    slot: int
    s_slot: int
    row: int
    zeros: int
    like: NDArray[Any]
    memory: Tensor

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, spec: Spec) -> _Sizes:
        width = Lanes.of(spec.dtype).width
        slot, s_slot = (-(-n // width) * width for n in (spec.hidden_size, spec.state_size))
        row = layers.SLOTS[spec.cell] * slot
        memory = torch.zeros(max(row, s_slot), dtype=getattr(torch, spec.dtype))
        like = np.empty(1, spec.dtype)
        return cls(width, slot, s_slot, row, memory.data_ptr(), like, memory)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class _Packed(NamedTuple):
    """Addresses of a layer's weights for the forward pass, and what holds them."""

    room: Room
    ih: int
    hh: int
    hr: int
    bias: int
    bias_u: int


def _pack(spec: Spec, own: LayerWeights) -> _Packed:
    sizes = _Sizes.of(spec)
    slot, inputs, gates = sizes.slot, own.ih.shape[1], len(own.ih) // spec.hidden_size
    H, S = spec.hidden_size, spec.state_size
    room = Room(
        own.ih, gates * slot * inputs, gates * slot * S, sizes.s_slot * H * bool(spec.proj_size),
        gates * slot * spec.bias, slot * spec.bias,
    )  # fmt: skip
    w_ih, w_hh, b_ih, b_hh, w_hr = own
    gate_order.pack_forward(
        sizes.like, spec.cell, H, S, inputs, sizes.width,
        (_address(w_ih), _address(w_hh), _address(b_ih), _address(b_hh), _address(w_hr)),
        room.addresses,
    )  # fmt: skip
    ih, hh, hr, bias, bias_u = room.addresses
    return _Packed(room, ih, hh, hr, bias or sizes.zeros, bias_u or sizes.zeros)


def _contiguous(own: LayerWeights) -> LayerWeights:
    return LayerWeights(*(None if w is None else w.contiguous() for w in own))  # type: ignore[arg-type]


class NumbaRecurrence(Recurrence):
    """One layer in one direction on the vector kernels."""

    def forward(
        self,
        spec: Spec,
        layout: Layout,
        x: Tensor,
        h0: Tensor,
        c0: Tensor | None,
        weights: LayerWeights,
        *,
        reverse: bool,
        keep: bool,
    ) -> LayerResult:
        sizes, order = _Sizes.of(spec), row_order(layout, reverse=reverse)
        N, B, H, S = layout.N, layout.B, spec.hidden_size, spec.state_size
        gated = sizes.row > sizes.slot
        chunk = max(1, CHUNK_BYTES // max(1, B * sizes.row * x.element_size()))
        x, h0 = x.contiguous(), h0.contiguous()
        c0 = None if c0 is None else c0.contiguous()
        y = x.new_empty(N, S)
        gates = empty(x, N if keep and gated else min(N, chunk * B), sizes.row)
        c = None if c0 is None else empty(x, N if keep else B, sizes.slot)
        projected = bool(spec.proj_size)
        room = Room(x, B * sizes.slot * projected, B * sizes.s_slot * projected)
        packed = _pack(spec, _contiguous(weights))
        layers.forward(
            sizes.like, order.steps, chunk, keep and gated, keep, layers.CODES[spec.cell],
            x.shape[1], H, S, sizes.width, x.data_ptr(), h0.data_ptr(), _address(c0),
            packed.ih, packed.hh, packed.hr, packed.bias, packed.bias_u, gates.data_ptr(),
            _address(c), *room.addresses, sizes.zeros, y.data_ptr(), S,
        )  # fmt: skip
        c_n = None
        if c is not None:
            c_n = (_last(c, layout, order, reverse=reverse) if keep else c)[:, :H].contiguous()
        h_n = _last(y, layout, order, reverse=reverse)
        saved = [h0, y, gates if gated else None, c0, c] if keep else []
        return LayerResult(y, h_n, c_n, tuple(part for part in saved if part is not None))

    def backward(
        self,
        spec: Spec,
        layout: Layout,
        x: Tensor,
        weights: LayerWeights,
        saved: tuple[Tensor, ...],
        dy: Tensor,
        dh_n: Tensor,
        dc_n: Tensor | None,
        *,
        reverse: bool,
        needs_dx: bool,
    ) -> LayerGradients:
        sizes, order = _Sizes.of(spec), row_order(layout, reverse=reverse)
        like, width, slot, s_slot = sizes.like, sizes.width, sizes.slot, sizes.s_slot
        N, B, H, S = layout.N, layout.B, spec.hidden_size, spec.state_size
        h0, y = saved[:2]
        gates, c0, c = (*saved[2:], None, None, None)[:3]
        weights, x = _contiguous(weights), x.contiguous()
        dy, dy_row = _rows(dy)
        dh, dc = _padded(dh_n, s_slot), None if dc_n is None else _padded(dc_n, slot)
        delta = empty(x, N, sizes.row)
        projected = bool(spec.proj_size)
        hidden = gate_order.HIDDEN[spec.cell]
        room = Room(
            x, len(hidden.gates) * slot * s_slot, slot * S * projected, B * slot * projected,
            N * s_slot * projected,
        )  # fmt: skip
        w_hh, w_hr, dm, dh_all = room.addresses
        packing.pack_rows(
            like, weights.hh.data_ptr(), S, sizes.zeros, 0, gate_order.rows(hidden, H, width), S,
            width, 4, w_hh,
        )  # fmt: skip
        if weights.hr is not None:
            packing.pack_rows(
                like, weights.hr.data_ptr(), H, sizes.zeros, 0, np.arange(S), H, width, 4, w_hr
            )
        layers.backward(
            like, order.steps, layers.CODES[spec.cell], H, S, width, h0.data_ptr(), _address(c0),
            w_hh, w_hr, _address(gates), _address(c), y.data_ptr(), S, dy.data_ptr(), dy_row,
            dh.data_ptr(), _address(dc), dm, dh_all, delta.data_ptr(), sizes.zeros,
        )  # fmt: skip
        return LayerGradients(
            dx=_input_gradient(spec, delta, weights.ih) if needs_dx else None,
            dh0=dh[:, :S].contiguous(),
            dc0=None if dc is None else dc[:, :H].contiguous(),
            weights=_weight_gradients(spec, order, x, weights, delta, h0, y, gates, c, dh_all),
        )


def _rows(tensor: Tensor) -> tuple[Tensor, int]:
    """The tensor with each row's numbers side by side, and the distance from row to row."""
    if tensor.stride(1) != 1 or tensor.stride(0) < tensor.shape[1]:
        tensor = tensor.contiguous()
    return tensor, tensor.stride(0)


def _padded(tensor: Tensor, size: int) -> Tensor:
    """A copy with rows of ``size`` numbers, zeros behind its own."""
    own = tensor.shape[1]
    if own == size:
        return tensor.clone(memory_format=torch.contiguous_format)
    copy = tensor.new_zeros(len(tensor), size)
    copy[:, :own] = tensor
    return copy


def _last(source: Tensor, layout: Layout, order: RowOrder, *, reverse: bool) -> Tensor:
    """Each sequence's last row, as memory of its own."""
    if reverse:
        return source[: layout.B].clone()
    if layout.dense:
        return source[layout.N - layout.B :].clone()
    return source[torch.from_numpy(order.last)]


def _input_gradient(spec: Spec, delta: Tensor, w_ih: Tensor) -> Tensor:
    """dx = δ W_ih, (N, I)."""
    sizes, order = _Sizes.of(spec), gate_order.INPUT[spec.cell]
    inputs, vectors = w_ih.shape[1], -(-w_ih.shape[1] // sizes.width)
    K = len(order.gates) * sizes.slot
    room = Room(delta, vectors * sizes.width * K, vectors * sizes.width)
    packed, zeros = room.addresses
    room.memory[-vectors * sizes.width :] = 0
    packing.pack_rows(
        sizes.like, w_ih.data_ptr(), inputs, sizes.zeros, 0,
        gate_order.rows(order, spec.hidden_size, sizes.width), inputs, sizes.width, 4, packed,
    )  # fmt: skip
    dx = empty(delta, len(delta), vectors * sizes.width)
    products.multiply_panels(
        sizes.like, len(delta), vectors, 4, sizes.width, delta.data_ptr(), sizes.row, packed,
        zeros, 0, dx.data_ptr(), dx.shape[1], K,
    )  # fmt: skip
    return dx[:, :inputs].contiguous()


def _weight_gradients(
    spec: Spec,
    order: RowOrder,
    x: Tensor,
    weights: LayerWeights,
    delta: Tensor,
    h0: Tensor,
    y: Tensor,
    gates: Tensor | None,
    c: Tensor | None,
    dh_all: int,
) -> LayerWeights:
    sizes = _Sizes.of(spec)
    N, H, S, width = len(delta), spec.hidden_size, spec.state_size, sizes.width
    seen = gate_order.columns(gate_order.INPUT[spec.cell], H, width)
    hidden = gate_order.columns(gate_order.HIDDEN[spec.cell], H, width)

    wide_x, wide_h = (-(-n // width) * width for n in (x.shape[1], S))
    dw_ih, dw_hh = x.new_zeros(len(weights.ih), wide_x), x.new_zeros(len(weights.hh), wide_h)
    sums = x.new_zeros(sizes.row)
    packed = Room(x, products.BLOCK * (sizes.row + wide_x + wide_h))
    products.add_weight_gradients(
        sizes.like, delta.data_ptr(), sizes.row, H, width, order.before, seen, hidden, x.data_ptr(),
        x.shape[1], y.data_ptr(), S, h0.data_ptr(), S, packed.addresses[0], dw_ih.data_ptr(),
        wide_x, dw_hh.data_ptr(), wide_h, sums.data_ptr(),
    )  # fmt: skip

    def total(columns: NDArray[np.int64]) -> Tensor:
        """The sums of δ for one bias."""
        return torch.cat([sums[column : column + H] for column in columns])

    dw_hr = None
    if weights.hr is not None and c is not None and gates is not None:
        slot, s_slot = sizes.slot, sizes.s_slot
        m, out = empty(c, N, slot), x.new_zeros(S, slot)
        layers.hidden_rows(sizes.like, N, slot, width, gates.data_ptr(), c.data_ptr(), m.data_ptr())
        packed = Room(x, products.BLOCK * (s_slot + slot) + s_slot)
        products.add_projection_gradient(
            sizes.like, dh_all, s_slot, S, N, width, m.data_ptr(), slot, packed.addresses[0],
            out.data_ptr(),
        )  # fmt: skip
        dw_hr = out[:, :H].contiguous()
    return LayerWeights(
        ih=dw_ih[:, : x.shape[1]].contiguous(),
        hh=dw_hh[:, :S].contiguous(),
        bias_ih=total(seen) if spec.bias else None,
        bias_hh=total(hidden) if spec.bias else None,
        hr=dw_hr,
    )


def _widened(spec: Spec, inputs: Inputs) -> tuple[Spec, Inputs]:
    """The same case in float32."""

    def wide(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.float() for tensor in tensors)

    return replace(spec, dtype="float32"), inputs._replace(
        x=inputs.x.float(),
        state=wide(inputs.state),
        weights=wide(inputs.weights),
        masks=None if inputs.masks is None else wide(inputs.masks),
    )


class Numba(Backend):
    """Vector kernels on the CPU, on one thread.

    float32 and float64; float16 and bfloat16 are computed in float32 inside.
    """

    def supports(self, spec: Spec, conditions: Conditions) -> str | None:
        if conditions.device != "cpu":
            return f"runs on the CPU only; got {conditions.device}"
        return None

    def run(self, spec: Spec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        if spec.dtype in WIDENED:
            y, final = run_stack(NumbaRecurrence(), *_widened(spec, inputs))
            return y.to(inputs.x.dtype), tuple(part.to(inputs.x.dtype) for part in final)
        return run_stack(NumbaRecurrence(), spec, inputs)

    def identity(self, spec: Spec, inputs: Inputs) -> Mapping[str, Any]:
        """Runs the case, in training both ways, and reads the dispatchers of its kernels."""
        y, _ = self.run(spec, inputs)
        used = [layers.forward]
        if y.requires_grad:
            tensors = (inputs.x, *inputs.state, *inputs.weights)
            torch.autograd.grad(y.sum(), [t for t in tensors if t.requires_grad])
            used += [layers.backward, products.add_weight_gradients]
        computed = "float32" if spec.dtype in WIDENED else spec.dtype
        host = processor()
        return {
            "kernel": f"numba vectors ({', '.join(kernel.__name__ for kernel in used)})",
            "signature": "; ".join(_compiled(kernel, computed) for kernel in used),
            "computed in": computed,
            "vectors": f"{host.name}, {Lanes.of(computed).width} numbers",
            "threads": 1,
            "device": str(inputs.x.device),
            "cache path": used[0].stats.cache_path,
            "cache hits": sum(sum(kernel.stats.cache_hits.values()) for kernel in used),
            "cache misses": sum(sum(kernel.stats.cache_misses.values()) for kernel in used),
        }


def _compiled(kernel: Any, dtype: str) -> str:
    """The signatures that ``kernel`` was compiled for, or loaded from the cache, in ``dtype``."""
    found = [
        signature
        for signature in kernel.signatures
        if any(str(getattr(argument, "dtype", "")) == dtype for argument in signature)
    ]
    return "; ".join(f"{kernel.__name__}({', '.join(map(str, one))})" for one in found)
