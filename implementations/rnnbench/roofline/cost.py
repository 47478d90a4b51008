r"""The cost of a case by its mathematics alone: floating-point operations, and bytes to read.

Operations of one call, a multiplication and an addition being two:

    forward    Σ_layers D · 2 · G·H · (I_l + H) · B · T      the products of a step, I_l = D·H above
                                                             the first layer
    training   three times that: forward, the gradients of what comes in, those of the weights

Elementwise work and biases are not counted, nor is what an implementation does besides. With a
projection to P the products are G·H·(I_l + P) and P·H.

Bytes: h_t needs h_{t−1}, so the product with W_hh is made step by step and reads W_hh, and the
state, anew in each. The products with W_ih wait for nothing and are one deep product over all T
steps, which reads its weights once: they are left out. So one step of one layer and direction reads

    s · (G·H·H + B·H)            s bytes a number; LSTM besides c: B·H more; with a projection
                                 G·H·P + P·H + B·P + B·H

at least, forward, and as much again backward, where δ_{t−1} needs δ_t W_hh.
"""

from __future__ import annotations

from rnnbench.spec import Case

NUMBER_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def flops(case: Case) -> int:
    """Return the counted floating-point operations of one call."""
    spec = case.spec
    rows = spec.gates * spec.hidden_size
    products = sum(
        rows * (spec.layer_input_size(layer) + spec.state_size) + spec.proj_size * spec.hidden_size
        for layer in range(spec.layers)
    )
    return 2 * spec.directions * products * case.B * case.T * (3 if case.training else 1)


def step_bytes(case: Case) -> int:
    """Return the bytes that one step of one layer and direction reads at least."""
    spec = case.spec
    weights = spec.gates * spec.hidden_size * spec.state_size + spec.proj_size * spec.hidden_size
    state = case.B * (spec.state_size + spec.has_cell_state * spec.hidden_size)
    return NUMBER_BYTES[spec.dtype] * (weights + state)


def read_bytes(case: Case) -> int:
    """Return the bytes that all steps of one call read at least."""
    steps = case.T * case.spec.layers * case.spec.directions
    return step_bytes(case) * steps * (2 if case.training else 1)
