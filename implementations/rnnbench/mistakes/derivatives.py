"""Mistakes in the derivative of one step: the cell runs right and is differentiated wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnbench.mistakes.catalogue import (
    Mistake,
    cells,
    dense,
    gru,
    lstm,
    mistake,
    of_gate,
    recurs,
    rnn,
    several_steps,
    square,
)
from rnnbench.mistakes.changes import (
    Activation,
    Factors,
    Gradients,
    Product,
    blocks_transposed,
    differentiated,
    with_backward,
)
from rnnbench.mistakes.network import At, State
from rnnbench.spec import Case

_GATED = cells("gru", "lstm")
_WITH_TANH = cells("rnn_tanh", "gru", "lstm")


def _lag_of_two(case: Case) -> bool:
    return case.T > 2


@mistake(at="carried", touches="grad_h0 grad_weight_ih", needs=(rnn, dense, square, _lag_of_two))
def jacobians_not_chained(state: State, at: At) -> State:
    """The Jacobians are not chained: each step's derivative goes through W_hh on its own, and the
    results are multiplied.

    where  hand-made gradients of an RNN, term by term (Q1); it shows from a lag of two steps on
    wrong  dh_{t−2} = (dh_t ⊙ s_t) W_hh ⊙ (s_{t−1} W_hh)
    right  dh_{t−2} = ((dh_t ⊙ s_t) W_hh ⊙ s_{t−1}) W_hh
    """
    # with C_t what came back into h_t, the right (C_t ⊙ s_t) W is replaced by C_t ⊙ (s_t W)
    weight, memory, step = at.weights["weight_hh"].detach(), at.memory, at.step
    tanh = at.spec.cell == "rnn_tanh"
    memory["h", step - 1] = state[0].detach()

    def unchained(g: Tensor) -> tuple[Tensor]:
        came_back, h = memory.get(("C", step)), memory.get(("h", step))
        if came_back is not None and h is not None:
            s = 1 - h * h if tanh else (h > 0).to(h.dtype)
            g = g - (came_back * s) @ weight + came_back * (s @ weight)
        memory["C", step - 1] = g
        return (g,)

    return with_backward(unchained, *state)


@mistake(at="tanh", touches="grad_x grad_weight_ih grad_weight_hh", needs=(_WITH_TANH,))
def tanh_derivative_of_argument(tanh: Activation, at: At) -> Activation:
    """tanh is differentiated with its argument in place of its value.

    where  hand-written backward passes that kept z instead of h
    wrong  tanh' = 1 − z²
    right  tanh' = 1 − tanh² z
    """
    return differentiated(tanh, lambda z, h: 1 - z * z)


@mistake(at="tanh", touches="grad_x grad_weight_ih grad_weight_hh", needs=(_WITH_TANH,))
def tanh_derivative_activated_twice(tanh: Activation, at: At) -> Activation:
    """tanh is applied once more inside its derivative.

    where  dtanh(z) = 1 − tanh(z)² called with the activated h
    wrong  tanh' = 1 − tanh² h
    right  tanh' = 1 − h²
    """
    return differentiated(tanh, lambda z, h: 1 - torch.tanh(h) ** 2)


@mistake(at="sigmoid", touches="grad_x grad_weight_ih grad_weight_hh", needs=(_GATED,))
def sigmoid_derivative_of_argument(sigmoid: Activation, at: At) -> Activation:
    """The logistic function is differentiated with its argument in place of its value.

    where  dsigmoid(y) = y (1 − y) called with z
    wrong  σ' = z (1 − z)
    right  σ' = σ(z) (1 − σ(z))
    """
    return differentiated(sigmoid, lambda z, s: z * (1 - z))


@mistake(at="sigmoid", touches="grad_x grad_weight_ih grad_weight_hh", needs=(_GATED,))
def sigmoid_derivative_activated_twice(sigmoid: Activation, at: At) -> Activation:
    """The logistic function is applied once more inside its derivative.

    where  dsigmoid(z) = σ(z) (1 − σ(z)) called with the activated gate
    wrong  σ' = σ(s) (1 − σ(s)), s = σ(z)
    right  σ' = s (1 − s)
    """
    return differentiated(sigmoid, lambda z, s: torch.sigmoid(s) * (1 - torch.sigmoid(s)))


@mistake(at="reset_product", touches="grad_h0", needs=(gru,))
def gru_candidate_h_constant(factors: Factors, at: At) -> Factors:
    """h is treated as a constant in the candidate: nothing goes back through its recurrent
    product.

    where  hand-written backward passes of the GRU
    wrong  dh_{t−1} = W_hrᵀ μ_r + W_hzᵀ μ_z + dh_t ⊙ z
    right  dh_{t−1} = W_hrᵀ μ_r + W_hzᵀ μ_z + W_hnᵀ μ_n + dh_t ⊙ z
    """
    r, _, rest = factors
    own = at.values
    return r, own["h"].detach() @ own["weight_hh"].T + own.get("bias_hh", 0.0), rest


@mistake(at="mixed", touches="grad_h0", needs=(gru,))
def gru_direct_path_dropped(factors: Factors, at: At) -> Factors:
    """The direct path of the state, around the gates, passes no gradient.

    where  hand-written backward passes of the GRU
    wrong  dh_{t−1} = W_hhᵀ μ
    right  dh_{t−1} = W_hhᵀ μ + dh_t ⊙ z
    """
    p, n, q, h = factors
    return p, n, q, h.detach()


@mistake(at="cell_output", touches="grad_x grad_c0 grad_weight_ih grad_weight_hh", needs=(lstm,))
def lstm_output_tanh_not_differentiated(factors: Factors, at: At) -> Factors:
    """The derivative of the output's tanh is missing on the way to the cell state.

    where  hand-written backward passes of the LSTM
    wrong  dc += dm ⊙ o
    right  dc += dm ⊙ o ⊙ (1 − tanh² c_t)
    """
    o, squashed = factors
    value = squashed.detach()
    return o, differentiated(lambda c: value, lambda c, y: torch.ones_like(c))(at.values["new_c"])


@mistake(at="product", touches="grad_h0 grad_weight_ih", needs=(square, several_steps))
def backward_not_transposed(product: Product, at: At) -> Product:
    """The backward pass goes through the recurrent weight as the forward pass does, not
    transposed.

    where  hand-written backward passes
    wrong  dh_{t−1} = W_hh μ
    right  dh_{t−1} = W_hhᵀ μ
    """

    def wrong(h: Tensor, weight: Tensor) -> Tensor:
        inner, turned = h.detach(), blocks_transposed(weight.detach())

        def not_transposed(g: Tensor) -> Gradients:
            return g @ turned, g.T @ inner

        return with_backward(not_transposed, h, weight, value=product(h, weight))[0]

    return wrong


@mistake(at="tanh", touches="grad_x grad_weight_ih grad_weight_hh", needs=(cells("rnn_tanh"),))
def tanh_derivative_left_out(tanh: Activation, at: At) -> Activation:
    """The derivative of tanh is left out.

    where  hand-written backward passes without the factor 1 − h²
    wrong  δ_t = dh_t
    right  δ_t = dh_t ⊙ (1 − h_t²)
    """
    return differentiated(tanh, lambda z, h: torch.ones_like(h))


def _recurs_or_bias(case: Case) -> bool:
    return recurs(case) or case.spec.bias


@mistake(at="reset_product", touches="grad_weight_ih grad_weight_hh", needs=(gru, _recurs_or_bias))
def gru_reset_gate_constant(factors: Factors, at: At) -> Factors:
    """The reset gate is treated as a constant: its weights get no gradient.

    where  hand-written backward passes of the GRU that drop dr
    wrong  μ_r = 0
    right  μ_r = μ_n ⊙ u_n ⊙ r (1 − r)
    """
    r, u_n, rest = factors
    return r.detach(), u_n, rest


@mistake(at="cell_terms", touches="grad_weight_ih grad_weight_hh", needs=(lstm,))
def lstm_forget_gradient_with_new_cell(factors: Factors, at: At) -> Factors:
    """The forget gate's gradient is taken with the new cell state.

    where  hand-written backward passes of the LSTM: c where c_prev is meant
    wrong  df = dc_t ⊙ c_t
    right  df = dc_t ⊙ c_{t−1}
    """
    f, c, i, g = factors
    new = (f * c + i * g).detach()
    nothing = (f - f.detach()) * new  # zero, and its derivative by f is c_t
    return f.detach(), c, i * g + nothing, torch.ones_like(g)


@mistake(at="cell_terms", touches="grad_c0 grad_weight_ih", needs=(lstm, several_steps))
def lstm_cell_gradient_without_forget_gate(factors: Factors, at: At) -> Factors:
    """The gradient of the cell state goes back without the forget gate.

    where  hand-written backward passes of the LSTM
    wrong  dc_{t−1} = dc_t + …
    right  dc_{t−1} = dc_t ⊙ f_t + …
    """
    f, c, i, g = factors
    nothing = c - c.detach()  # zero, and its derivative by c is 1
    return f, c.detach(), i * g + nothing, torch.ones_like(g)


@mistake(at="sigmoid", touches="grad_weight_ih grad_weight_hh", needs=(_GATED,))
def sigmoid_derivative_left_out(sigmoid: Activation, at: At) -> Activation:
    """The derivative of the logistic function is left out.

    where  hand-written backward passes without the factor s (1 − s)
    wrong  σ' = 1
    right  σ' = s (1 − s), s = σ(z)
    """
    return differentiated(sigmoid, lambda z, s: torch.ones_like(s))


@mistake(at="candidate_activation", touches="grad_weight_ih grad_weight_hh", needs=(_GATED,))
def candidate_derivative_left_out(tanh: Activation, at: At) -> Activation:
    """The derivative of the candidate's tanh is left out.

    where  hand-written backward passes without the factor 1 − n² (or 1 − g²)
    wrong  μ_n = dn
    right  μ_n = dn ⊙ (1 − n²)
    """
    return differentiated(tanh, lambda z, h: torch.ones_like(h))


def _lstm_gate_constant(name: str, which: int, letter: str) -> Mistake:
    def act(factors: Factors, at: At) -> Factors:
        return tuple(f.detach() if n == which else f for n, f in enumerate(factors))

    act.__name__ = f"lstm_{name}_gate_constant"
    act.__doc__ = f"""The {name} gate is treated as a constant: its weights get no gradient.

    where  hand-written backward passes of the LSTM
    wrong  d{letter} = 0
    right  d{letter} flows into the {name} gate's rows of every weight
    """
    return mistake(touches="grad_weight_ih grad_weight_hh", **of_gate(name))(act)


lstm_forget_gate_constant = _lstm_gate_constant("forget", 0, "f")
lstm_input_gate_constant = _lstm_gate_constant("input", 2, "i")
lstm_output_gate_constant = _lstm_gate_constant("output", 0, "o")


@mistake(at="mixed", touches="grad_weight_ih grad_weight_hh", needs=(gru,))
def gru_update_gate_constant(factors: Factors, at: At) -> Factors:
    """The update gate is treated as a constant: its weights get no gradient.

    where  hand-written backward passes of the GRU
    wrong  μ_z = 0
    right  μ_z = dh_t ⊙ (h_{t−1} − n) ⊙ z (1 − z)
    """
    p, n, q, h = factors
    return p.detach(), n, q.detach(), h
