"""Mistakes in how weights and biases are read: transposed, missing, in another library's order."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnbench.mistakes.catalogue import (
    Mistake,
    bias,
    cells,
    mistake,
    several_layers,
    square,
    two_directions,
)
from rnnbench.mistakes.changes import Weights, blocks_transposed, changed
from rnnbench.mistakes.network import At
from rnnbench.spec import GATE_ORDER, Case


def _square_input(case: Case) -> bool:
    sizes = {case.spec.layer_input_size(layer) for layer in range(case.spec.layers)}
    return case.spec.hidden_size in sizes and case.spec.hidden_size > 1


def _reshape_is_not_transpose(case: Case) -> bool:
    """Some weight_ih is neither a single row or column nor, with one gate, square."""
    spec = case.spec
    sizes = {spec.layer_input_size(layer) for layer in range(spec.layers)} - {1}
    single = spec.gates * spec.hidden_size == 1
    return not single and bool(sizes - {spec.hidden_size} if spec.gates == 1 else sizes)


def _layers_of_one_shape(case: Case) -> bool:
    """At least two layers could be the same object."""
    return len({case.spec.layer_input_size(k) for k in range(case.spec.layers)}) < case.spec.layers


@mistake(at="weights", touches="output h_n grad_weight_hh", needs=(square,))
def transposed_w_hh(weights: Weights, at: At) -> Weights:
    """The recurrent weight is multiplied from the wrong side: each gate's block is transposed.

    where  hand-written cells that take x @ W instead of x @ W.T, ports from row-vector libraries
    wrong  u = W_hhᵀ h_{t−1} + b_hh
    right  u = W_hh h_{t−1} + b_hh
    """
    return changed(weights, "weight_hh", blocks_transposed)


@mistake(at="weights", touches="output grad_weight_ih", needs=(_square_input,))
def transposed_w_ih(weights: Weights, at: At) -> Weights:
    """The input weight is transposed where it happens to be square, so no shape complains.

    where  layers whose input size equals the hidden size, second layers first of all
    wrong  a = W_ihᵀ x_t + b_ih
    right  a = W_ih x_t + b_ih
    """

    def turned(weight: Tensor) -> Tensor:
        return blocks_transposed(weight) if weight.shape[1] == at.spec.hidden_size else weight

    return changed(weights, "weight_ih", turned)


@mistake(at="weights", touches="output grad_weight_ih", needs=(_reshape_is_not_transpose,))
def reshaped_w_ih(weights: Weights, at: At) -> Weights:
    """The input weight is reshaped to (I, G·H) where it must be transposed: its numbers are mixed.

    where  loading another library's kernel, whose layout is (I, G·H), with view or reshape
    wrong  a = x_t · reshape(W_ih, (I, G·H))
    right  a = x_t · W_ihᵀ
    """
    return changed(weights, "weight_ih", lambda w: w.reshape(w.shape[1], w.shape[0]).T)


@mistake(at="weights", touches="output grad_bias_ih", needs=(bias,))
def bias_ih_missing(weights: Weights, at: At) -> Weights:
    """The bias of the input, b_ih, is left out.

    where  cells that have one bias vector, as most textbooks print them
    wrong  a = W_ih x_t
    right  a = W_ih x_t + b_ih
    """
    return changed(weights, "bias_ih", torch.zeros_like)


@mistake(at="weights", touches="output grad_bias_hh", needs=(bias,))
def bias_hh_missing(weights: Weights, at: At) -> Weights:
    """The bias of the recurrent product, b_hh, is left out.

    where  cells that have one bias vector, as most textbooks print them
    wrong  u = W_hh h_{t−1}
    right  u = W_hh h_{t−1} + b_hh
    """
    return changed(weights, "bias_hh", torch.zeros_like)


@mistake(at="weights", touches="output h_n grad_bias_hh", needs=(bias,))
def bias_hh_added_twice(weights: Weights, at: At) -> Weights:
    """The two biases are merged into one, and b_hh is added once more.

    where  exporters that fold b_ih + b_hh into the input projection and keep the loop as it was
    wrong  a + u = W_ih x_t + (b_ih + b_hh) + W_hh h_{t−1} + b_hh
    right  a + u = W_ih x_t + b_ih + W_hh h_{t−1} + b_hh
    """
    return dict(weights) | {
        name: weight + weights[name.replace("_ih", "_hh")]
        for name, weight in weights.items()
        if name.startswith("bias_ih")
    }


def _gate_order(cell: str, theirs: str, where: str) -> Mistake:
    order = GATE_ORDER[cell]

    def moved(weight: Tensor) -> Tensor:
        blocks = weight.chunk(len(order))
        return torch.cat([blocks[theirs.index(gate)] for gate in order])

    def act(weights: Weights, at: At) -> Weights:
        return changed(weights, ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), moved)

    act.__name__ = f"{cell}_gates_{theirs}"
    act.__doc__ = f"""The gates' blocks are read in the order {", ".join(theirs)}, where torch's is
    {", ".join(order)}.

    where  {where}
    wrong  {", ".join(theirs)} = chunks of (a + u)
    right  {", ".join(order)} = chunks of (a + u)
    """
    touches = "output h_n c_n grad_weight_ih grad_weight_hh"
    return mistake(at="weights", touches=touches, needs=(cells(cell),))(act)


gru_gates_zrn = _gate_order(
    "gru", "zrn", "weights in the order of Keras and ONNX, update gate first"
)
lstm_gates_ifog = _gate_order("lstm", "ifog", "cells that take all three sigmoids in one slice")
lstm_gates_iofg = _gate_order("lstm", "iofg", "weights in the order of ONNX")
lstm_gates_igfo = _gate_order("lstm", "igfo", "weights of TensorFlow's BasicLSTMCell (i, j, f, o)")
lstm_gates_figo = _gate_order(
    "lstm", "figo", "cells written after a text that begins with the forget gate"
)


@mistake(at="weights", touches="output h_n grad_weight_ih grad_weight_hh", needs=(two_directions,))
def reverse_with_forward_weights(weights: Weights, at: At) -> Weights:
    """The reverse direction runs with the weights of the forward direction.

    where  one cell object called for both directions
    wrong  reverse: a = W_ih x_t, u = W_hh h_{t+1}
    right  reverse: a = W_ih^reverse x_t, u = W_hh^reverse h_{t+1}
    """
    return {name: weights[name.removesuffix("_reverse")] for name in weights}


@mistake(
    at="weights",
    touches="output h_n grad_weight_ih grad_weight_hh",
    needs=(several_layers, _layers_of_one_shape),
)
def layers_share_weights(weights: Weights, at: At) -> Weights:
    """Layers of one shape share one set of weights.

    where  lists of layers built as [cell] * n: n references to one object
    wrong  layer l: W of the first layer of that shape
    right  layer l: its own W
    """
    first = 0 if at.spec.input_size == at.spec.output_size else 1

    def source(name: str) -> str:
        kind, _, rest = name.rpartition("_l")
        layer, _, reverse = rest.partition("_")
        shared = 0 if int(layer) < first else first
        return f"{kind}_l{shared}" + (f"_{reverse}" if reverse else "")

    return {name: weights[source(name)] for name in weights}


@mistake(at="weights", touches="output h_n grad_bias_ih", needs=(bias,))
def bias_ih_added_twice(weights: Weights, at: At) -> Weights:
    """The bias of the input, b_ih, is added twice.

    where  one bias vector in two linear layers, or in both products
    wrong  a + u = W_ih x_t + b_ih + W_hh h_{t−1} + b_hh + b_ih
    right  a + u = W_ih x_t + b_ih + W_hh h_{t−1} + b_hh
    """
    return changed(weights, "bias_ih", lambda b: 2 * b)
