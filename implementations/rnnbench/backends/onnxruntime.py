"""ONNX Runtime's own RNN, GRU and LSTM operators on the CPU; inference only.

One operator of the ONNX standard per layer, both directions in it, the weights as initializers of
the graph. From torch's layout to that of ONNX (gates of H rows each, a leading direction):

    LSTM   i, f, g, o → i, o, f, c        (c is torch's g)
    GRU    r, z, n → z, r, h              (h is torch's n; linear_before_reset = 1, as in torch)

Not as in torch: its kernels clamp what goes into an activation, and a NaN in x or a weight comes
out as a finite number (with the relu, an infinity may, too).

Source: the operators RNN, GRU and LSTM of https://onnx.ai/onnx/operators, version 14; the later
version 22 adds nothing but bfloat16, for which ONNX Runtime has no kernel.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from rnnbench.backends.padding import Padded, refuse_tangents
from rnnbench.bptt import torch_private
from rnnbench.errors import UnsupportedError
from rnnbench.interface import Backend, Conditions, Inputs
from rnnbench.spec import Spec

PROVIDER = "CPUExecutionProvider"
OPSET, IR_VERSION = 14, 8

OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn_tanh": ("RNN", {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", {"activations": ["Relu"]}),
    "gru": ("GRU", {"linear_before_reset": 1}),
    "lstm": ("LSTM", {}),
}
GATE_ORDER = {"rnn_tanh": (0,), "rnn_relu": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""Torch's gate at each place of ONNX."""

ELEMENTS = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16}


def _in_onnx_order(spec: Spec, weight: Tensor) -> Tensor:
    gates = weight.detach().chunk(spec.gates)
    return torch.cat([gates[k] for k in GATE_ORDER[spec.cell]])


def _initializers(spec: Spec, weights: tuple[Tensor, ...], layer: int) -> dict[str, Tensor]:
    """Return W (D, G·H, I), R (D, G·H, H) and B (D, 2·G·H) of one layer."""
    n, D = spec.parameters_per_layer, spec.directions
    own = weights[n * D * layer : n * D * (layer + 1)]
    parts = [[_in_onnx_order(spec, w) for w in own[n * d : n * (d + 1)]] for d in range(D)]
    found = {
        f"W{layer}": torch.stack([part[0] for part in parts]),
        f"R{layer}": torch.stack([part[1] for part in parts]),
    }
    if spec.bias:
        found[f"B{layer}"] = torch.stack([torch.cat(part[2:4]) for part in parts])
    return found


def _names(spec: Spec, layer: int, which: str) -> list[str]:
    """Return the names of a layer's state: h and, in an LSTM, c."""
    return [f"{part}{which}{layer}" for part in ("h", "c")[: 1 + spec.has_cell_state]]


def model(spec: Spec, weights: tuple[Tensor, ...], *, packed: bool) -> onnx.ModelProto:
    """Return the network as ONNX: x, initial states (and the lengths) to y and final states.

    x (T, B, I); y (T, D, B, H); states (D, B, H); lengths (B,) int32.
    """
    element, D, H = ELEMENTS[spec.dtype], spec.directions, spec.hidden_size
    operator, attributes = OPERATORS[spec.cell]
    if "activations" in attributes:
        attributes = {"activations": attributes["activations"] * D}

    def value(name: str, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, element, shape)

    inputs, outputs = [value("x", ["T", "B", spec.input_size])], [value("y", ["T", D, "B", H])]
    if packed:
        inputs.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, ["B"]))
    constants: dict[str, Tensor] = {}
    if spec.layers > 1:
        constants["features"] = torch.tensor([0, 0, D * H])  # 0: as it is
    nodes, x = [], "x"
    for layer in range(spec.layers):
        constants |= _initializers(spec, weights, layer)
        before, after = _names(spec, layer, "0_"), _names(spec, layer, "n_")
        inputs += [value(name, [D, "B", H]) for name in before]
        outputs += [value(name, [D, "B", H]) for name in after]
        last = layer == spec.layers - 1
        bias = f"B{layer}" if spec.bias else ""
        nodes.append(
            helper.make_node(
                operator,
                [x, f"W{layer}", f"R{layer}", bias, "lengths" if packed else "", *before],
                ["y" if last else f"y{layer}", *after],
                hidden_size=H,
                direction="bidirectional" if D == 2 else "forward",
                **attributes,
            )
        )
        if not last:  # (T, D, B, H) → (T, B, D·H)
            x = f"x{layer + 1}"
            nodes += [
                helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]),
                helper.make_node("Reshape", [f"t{layer}", "features"], [x]),
            ]
    tensors = [numpy_helper.from_array(t.numpy(), name) for name, t in constants.items()]
    graph = helper.make_graph(nodes, "rnnbench", inputs, outputs, tensors)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def _session(spec: Spec, weights: tuple[Tensor, ...], *, packed: bool, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    proto = model(spec, weights, packed=packed)
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=[PROVIDER])


class _Built(NamedTuple):
    """A session and what it was built for; the key is (spec, packed, threads)."""

    key: tuple[Spec, bool, int]
    weights: tuple[weakref.ref[Tensor], ...]
    stamps: tuple[tuple[int, int], ...]
    session: Any


class Sessions:
    """One session per set of weights, for as long as the weights live.

    A session holds a copy of the weights. It is built anew when another tensor takes the place of
    one, or one was written to: autograd counts in-place changes of a tensor. As with autograd,
    a write through ``weight.data`` or NumPy is not counted and not seen.
    """

    def __init__(self) -> None:
        self._of_parents: list[Any] = []
        self._start()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _start(self) -> None:
        self._built: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._lock = threading.Lock()

    def _forked(self) -> None:
        """Drop sessions after a fork: their threads are gone, and closing them would hang."""
        self._of_parents += [dict(self._built.items())]  # type: ignore[no-untyped-call]
        self._start()

    def get(self, spec: Spec, weights: tuple[Tensor, ...], *, packed: bool) -> Any:
        threads = torch.get_num_threads()
        if any(w.is_inference() for w in weights):  # changes of these are not counted at all
            return _session(spec, weights, packed=packed, threads=threads)
        key = (spec, packed, threads)
        stamps = tuple((torch_private.version(w), w.data_ptr()) for w in weights)
        with self._lock:
            built = self._built.get(weights[0])  # type: ignore[no-untyped-call]
            if (
                built is None
                or built.key != key
                or built.stamps != stamps
                or any(ref() is not w for ref, w in zip(built.weights, weights, strict=True))
            ):
                session = _session(spec, weights, packed=packed, threads=threads)
                built = _Built(key, tuple(map(weakref.ref, weights)), stamps, session)
                self._built[weights[0]] = built
        return built.session


def _array(tensor: Tensor) -> Any:
    """Return the tensor's memory, without a copy where it is contiguous."""
    return tensor.detach().contiguous().numpy()


class OnnxRuntime(Backend):
    """ONNX Runtime on the CPU, on as many threads as torch is set to."""

    def __init__(self) -> None:
        self.sessions = Sessions()

    def supports(self, spec: Spec, conditions: Conditions) -> str | None:
        if conditions.device != "cpu":
            return f"runs on the CPU only; got {conditions.device}"
        if conditions.phase == "training":
            return "ONNX Runtime computes no gradients"
        if spec.proj_size:
            return "ONNX has no projection"
        if spec.dtype not in ELEMENTS:
            return f"ONNX Runtime has no {spec.dtype} kernel for it"
        if conditions.masks_given:
            return "ONNX Runtime runs inference, where no dropout is"
        return None

    @torch_private.uncompiled
    def run(self, spec: Spec, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        refuse_tangents(inputs)
        if inputs.dropout > 0:
            raise UnsupportedError(
                "backend 'onnxruntime' has no dropout between layers; call the module in eval mode"
            )
        padded = Padded.of(spec, inputs)
        T, B = padded.x.shape[:2]
        if B == 0:  # which ends the process in ONNX Runtime's GRU
            y = padded.x.new_empty(T, 0, spec.output_size)
            return padded.rows(y), tuple(part.clone() for part in inputs.state)
        session = self.sessions.get(spec, inputs.weights, packed=padded.lengths is not None)
        y, *final = (torch.from_numpy(a) for a in session.run(None, _feeds(spec, inputs, padded)))
        y = y.transpose(1, 2).reshape(T, B, spec.output_size)
        n = len(inputs.state)
        states = (final[k::n] for k in range(n))
        return padded.rows(y), tuple(p[0] if len(p) == 1 else torch.cat(p) for p in states)

    def identity(self, spec: Spec, inputs: Inputs) -> Mapping[str, Any]:
        session = self.sessions.get(spec, inputs.weights, packed=inputs.batch_sizes is not None)
        options = session.get_session_options()
        return {
            "kernel": f"ONNX Runtime {onnxruntime.__version__} ({OPERATORS[spec.cell][0]})",
            "execution provider": ", ".join(session.get_providers()),
            "opset": OPSET,
            "threads": options.intra_op_num_threads,
            "inter-op threads": options.inter_op_num_threads,
            "device": str(inputs.x.device),
        }


def _feeds(spec: Spec, inputs: Inputs, padded: Padded) -> dict[str, Any]:
    D = spec.directions
    feeds = {"x": _array(padded.x)}
    if padded.lengths is not None:
        feeds["lengths"] = padded.lengths.numpy().astype(np.int32)
    for layer in range(spec.layers):
        for name, part in zip(_names(spec, layer, "0_"), inputs.state, strict=True):
            feeds[name] = _array(part[D * layer : D * (layer + 1)])
    return feeds
