"""Mistakes in the equations of one step."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnbench.mistakes.catalogue import (
    Mistake,
    bias,
    cells,
    gru,
    lstm,
    mistake,
    projected,
    recurs,
    state_given,
    unprojected,
)
from rnnbench.mistakes.changes import Activation, Factors, Product
from rnnbench.mistakes.network import At, State
from rnnbench.spec import Case


@mistake(at="tanh", touches="output h_n", needs=(cells("rnn_tanh"),))
def relu_for_tanh(activation: Activation, at: At) -> Activation:
    """The cell runs relu where tanh is meant.

    where  the nonlinearity hard-coded, or its argument not handed on
    wrong  h_t = relu(a + u)
    right  h_t = tanh(a + u)
    """
    return torch.relu


@mistake(at="relu", touches="output h_n", needs=(cells("rnn_relu"),))
def tanh_for_relu(activation: Activation, at: At) -> Activation:
    """The cell runs tanh where relu is meant.

    where  the nonlinearity hard-coded, or its argument not handed on
    wrong  h_t = tanh(a + u)
    right  h_t = relu(a + u)
    """
    return torch.tanh


@mistake(at="tanh", touches="output h_n", needs=(cells("rnn_tanh", "gru", "lstm"),))
def approximate_tanh(activation: Activation, at: At) -> Activation:
    """tanh is replaced by a rational approximation, with an error of about two per cent.

    where  fast-math kernels, embedded and quantised inference
    wrong  tanh z ≈ z (27 + z²) / (27 + 9 z²), cut to [−1, 1]
    right  tanh z = (e^z − e^−z) / (e^z + e^−z)
    """
    return lambda z: (z * (27 + z * z) / (27 + 9 * z * z)).clamp(-1, 1)


@mistake(at="sigmoid", touches="output h_n", needs=(cells("gru", "lstm"),))
def hard_sigmoid(activation: Activation, at: At) -> Activation:
    """The gates use the piecewise linear hard sigmoid.

    where  Keras before version 2.3, whose recurrent_activation is hard_sigmoid by default
    wrong  σ(z) ≈ min(1, max(0, 0.2 z + 0.5))
    right  σ(z) = 1 / (1 + e^−z)
    """
    return lambda z: (0.2 * z + 0.5).clamp(0, 1)


@mistake(at="candidate_activation", touches="output h_n c_n", needs=(cells("gru", "lstm"),))
def sigmoid_candidate(activation: Activation, at: At) -> Activation:
    """The candidate goes through the logistic function like the gates.

    where  one sigmoid over all blocks before they are cut apart
    wrong  n (or g) = σ(…)
    right  n (or g) = tanh(…)
    """
    return torch.sigmoid


@mistake(at="product", touches="output h_n", needs=(recurs,))
def float16_accumulation(product: Product, at: At) -> Product:
    """The recurrent product is rounded to float16.

    where  autocast left on around the loop, half-precision tensor-core accumulation
    wrong  u = float16(W_hh h_{t−1}) + b_hh
    right  u = W_hh h_{t−1} + b_hh
    """
    return lambda h, weight: product(h, weight).half().to(h.dtype)


def _float64(case: Case) -> bool:
    return case.spec.dtype == "float64"


@mistake(at="product", touches="output h_n", needs=(_float64, recurs))
def float32_inside(product: Product, at: At) -> Product:
    """A float64 network computes its recurrent product in float32.

    where  kernels with a buffer of a fixed dtype, x.float() on the way in
    wrong  u = float32(W_hh) float32(h_{t−1}) + b_hh
    right  u = W_hh h_{t−1} + b_hh
    """
    return lambda h, weight: product(h.float(), weight.float()).to(h.dtype)


def _product_is_not_zero(case: Case) -> bool:
    return recurs(case) or case.spec.bias


def _does_not_commute(case: Case) -> bool:
    """W (r ⊙ h) + b differs from r ⊙ (W h + b)."""
    return recurs(case) and (case.spec.hidden_size > 1 or case.spec.bias)


@mistake(at="reset_product", touches="output h_n grad_weight_hh", needs=(gru, _does_not_commute))
def reset_gate_before_product(factors: Factors, at: At) -> Factors:
    """The reset gate acts on the state before the recurrent product.

    where  Cho et al.'s first version, Keras with reset_after=False, ONNX by default
    wrong  n = tanh(a_n + W_hn (r ⊙ h_{t−1}) + b_hn)
    right  n = tanh(a_n + r ⊙ (W_hn h_{t−1} + b_hn))
    """
    r, u_n, rest = factors
    own = at.values
    u_n = (r * own["h"]) @ own["weight_hh"].T + own.get("bias_hh", 0.0)
    return torch.ones_like(r), u_n, rest


@mistake(at="reset_product", touches="output h_n grad_bias_hh", needs=(gru, bias))
def gru_bias_hn_outside_reset(factors: Factors, at: At) -> Factors:
    """The bias b_hn stands outside the reset gate.

    where  both biases folded into one before the loop
    wrong  n = tanh(a_n + b_hn + r ⊙ (W_hn h_{t−1}))
    right  n = tanh(a_n + r ⊙ (W_hn h_{t−1} + b_hn))
    """
    r, u_n, rest = factors
    b_hn = at.values["bias_hh"]
    return r, u_n - b_hn, rest + b_hn


@mistake(at="reset_product", touches="output h_n grad_weight_ih", needs=(gru, _product_is_not_zero))
def gru_reset_gate_unused(factors: Factors, at: At) -> Factors:
    """The reset gate is computed and never used.

    where  hand-written cells
    wrong  n = tanh(a_n + W_hn h_{t−1} + b_hn)
    right  n = tanh(a_n + r ⊙ (W_hn h_{t−1} + b_hn))
    """
    r, u_n, rest = factors
    return torch.ones_like(r), u_n, rest


@mistake(at="mixed", touches="output h_n", needs=(gru,))
def gru_update_inverted(factors: Factors, at: At) -> Factors:
    """The update gate is inverted: z keeps the candidate instead of the state.

    where  papers and texts that define z the other way round (Chung et al. 2014)
    wrong  h_t = z ⊙ n + (1 − z) ⊙ h_{t−1}
    right  h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}
    """
    keep_new, n, keep_old, h = factors
    return keep_old, n, keep_new, h


@mistake(at="gates", touches="output c_n", needs=(lstm, recurs))
def forget_bias_one(gates: Tensor, at: At) -> Tensor:
    """1 is added to the forget gate, which torch's LSTM does not do.

    where  weights of TensorFlow's BasicLSTMCell, whose forget_bias is 1 and not stored
    wrong  f = σ(a_f + u_f + 1)
    right  f = σ(a_f + u_f)
    """
    i, f, g, o = gates.chunk(4, dim=1)
    return torch.cat([i, f + 1, g, o], dim=1)


@mistake(at="cell_terms", touches="output c_n", needs=(lstm,))
def lstm_gates_coupled(factors: Factors, at: At) -> Factors:
    """Input and forget gate are coupled: the input gate is never used.

    where  the GRU's rule or the coupled variant (CIFG) carried over to the LSTM
    wrong  c_t = f ⊙ c_{t−1} + (1 − f) ⊙ g
    right  c_t = f ⊙ c_{t−1} + i ⊙ g
    """
    f, c, _, g = factors
    return f, c, 1 - f, g


@mistake(at="cell_output", touches="output h_n", needs=(lstm,))
def lstm_no_output_tanh(factors: Factors, at: At) -> Factors:
    """The cell state reaches the output without tanh.

    where  hand-written cells
    wrong  h_t = o ⊙ c_t
    right  h_t = o ⊙ tanh c_t
    """
    return factors[0], at.values["new_c"]


@mistake(at="cell_output", touches="output h_n", needs=(lstm,))
def lstm_output_from_old_cell(factors: Factors, at: At) -> Factors:
    """The output is taken from the cell state before it is updated.

    where  hand-written cells whose lines stand in the wrong order
    wrong  h_t = o ⊙ tanh c_{t−1}
    right  h_t = o ⊙ tanh c_t
    """
    return factors[0], torch.tanh(at.values["c"])


@mistake(at="projected", touches="output h_n grad_weight_hr", needs=(lstm, projected))
def projection_left_out(h: Tensor, at: At) -> Tensor:
    """The projection is left out: the first P entries stand for it.

    where  ports of projected LSTMs, truncating where shapes do not fit
    wrong  h_t = (o ⊙ tanh c_t)[: P]
    right  h_t = W_hr (o ⊙ tanh c_t)
    """
    return at.values["m"][:, : at.spec.proj_size]


@mistake(at="initial final", touches="output h_n c_n", needs=(lstm, unprojected, state_given))
def h_and_c_swapped(state: State, at: At) -> State:
    """h and c change places, in the initial and in the final state.

    where  TensorFlow's LSTMStateTuple (c, h) in code ported to torch's (h, c)
    wrong  (c_0, h_0) in, (c_n, h_n) out
    right  (h_0, c_0) in, (h_n, c_n) out
    """
    return state[1], state[0]


def _activation(name: str, words: str, formula: str, function: Activation) -> Mistake:
    def act(activation: Activation, at: At) -> Activation:
        return function

    act.__name__ = name
    act.__doc__ = f"""The cell runs {words} where tanh is meant.

    where  textbook networks of other nonlinearities, the nonlinearity forgotten
    wrong  h_t = {formula}
    right  h_t = tanh(a + u)
    """
    return mistake(at="tanh", touches="output h_n", needs=(cells("rnn_tanh"),))(act)


sigmoid_for_tanh = _activation(
    "sigmoid_for_tanh", "the logistic function", "σ(a + u)", torch.sigmoid
)


softsign_for_tanh = _activation(
    "softsign_for_tanh", "softsign", "z / (1 + |z|), z = a + u", torch.nn.functional.softsign
)


hardtanh_for_tanh = _activation(
    "hardtanh_for_tanh", "hard tanh", "min(1, max(−1, a + u))", torch.nn.functional.hardtanh
)


no_nonlinearity = _activation("no_nonlinearity", "no nonlinearity", "a + u", lambda z: z)


@mistake(at="tanh", touches="output h_n", needs=(cells("rnn_tanh", "lstm"),))
def tanh_applied_twice(activation: Activation, at: At) -> Activation:
    """tanh is applied twice.

    where  a function that activates, called on what is activated already
    wrong  h_t = tanh(tanh(a + u))
    right  h_t = tanh(a + u)
    """
    return lambda z: activation(activation(z))


@mistake(at="tanh relu", touches="output h_n", needs=(cells("rnn_tanh", "rnn_relu"),))
def layer_norm(activation: Activation, at: At) -> Activation:
    """The pre-activations go through a layer normalisation, which torch's cells do not have.

    where  layer-normalised cells (Ba et al. 2016) compared with plain ones
    wrong  h_t = tanh(LN(a + u))
    right  h_t = tanh(a + u)
    """
    return lambda z: activation(torch.nn.functional.layer_norm(z, z.shape[-1:]))


@mistake(at="stepped", touches="output h_n", needs=())
def layer_norm_of_state(state: State, at: At) -> State:
    """The new state goes through a layer normalisation, which torch's cells do not have.

    where  layer-normalised cells compared with plain ones
    wrong  h_t = LN(cell(x_t, h_{t−1}))
    right  h_t = cell(x_t, h_{t−1})
    """
    return torch.nn.functional.layer_norm(state[0], state[0].shape[-1:]), *state[1:]


@mistake(at="stepped", touches="output h_n", needs=(recurs,))
def state_added_to_candidate(state: State, at: At) -> State:
    """The old state is added to the new one: a residual connection from step to step.

    where  h += cell(x, h), leaky and residual cells
    wrong  h_t = h_{t−1} + cell(x_t, h_{t−1})
    right  h_t = cell(x_t, h_{t−1})
    """
    return state[0] + at.before[0], *state[1:]


def _half_after(activation: Activation) -> Activation:
    return lambda z: activation(z.half().to(z.dtype))


@mistake(at="tanh relu sigmoid candidate_activation", touches="output h_n", needs=())
def float16_preactivation(activation: Activation, at: At) -> Activation:
    """The pre-activations are rounded to float16.

    where  autocast left on around the cell, half-precision kernels with float32 activations
    wrong  h_t = tanh(float16(a + u))
    right  h_t = tanh(a + u)
    """
    if at.place == "tanh" and at.spec.cell == "lstm":
        return activation  # that of the cell state; the candidate's comes by itself
    return _half_after(activation)
