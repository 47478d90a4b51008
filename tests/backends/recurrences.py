"""Recurrences fed with the same random layer, and how two results are compared."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from rnnbench.bptt.recurrence import BackwardInputs, LayerPass, LayerWeights, Layout
from rnnbench.interface import Inputs
from rnnbench.spec import CELLS, Spec


def make_inputs(spec, T=3, B=2, *, training=False):
    def draw(*shape):
        return torch.randn(shape, dtype=getattr(torch, spec.dtype), requires_grad=training)

    state = tuple(draw(*shape) for shape in spec.state_shapes(B).values())
    weights = tuple(draw(*p.shape) for p in spec.parameters)
    return Inputs(draw(T, B, spec.input_size), state, weights)


@st.composite
def layers(draw):
    """A layer in one direction with its packed layout, in float64."""
    cell = draw(st.sampled_from(CELLS))
    H = draw(st.one_of(st.integers(2, 9), st.sampled_from([16, 17, 33, 64, 67])))
    P = draw(st.integers(0, H - 1)) if cell == "lstm" else 0
    I, bias = draw(st.sampled_from([1, 2, 6, 16, 35])), draw(st.booleans())  # noqa: E741
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=9))
    sizes = [sum(length > t for length in lengths) for t in range(max(lengths))]
    return Spec(cell, I, H, bias=bias, dtype="float64", proj_size=P), Layout(sizes)


def assert_close(got, want):
    """All fields of two results, by name; ``saved`` is a backend's own affair."""
    for name, ours, theirs in zip(want._fields, got, want, strict=True):
        if isinstance(theirs, LayerWeights):
            assert_close(ours, theirs)
        elif name != "saved":
            assert (ours is None) == (theirs is None), name
            if theirs is not None:
                torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12, msg=name)


def assert_same_results(ours, reference, spec, layout, *, reverse, needs_dx, seed):
    """Forward and backward of one layer in one direction, all results and gradients."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    by_kind = {
        p.name.removesuffix("_l0"): draw(*p.shape) / p.shape[-1] ** 0.5 for p in spec.parameters
    }
    weights = LayerWeights(
        *(by_kind.get(kind) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        by_kind.get("weight_hr"),
    )
    x, dy = draw(layout.N, spec.input_size), draw(layout.N, spec.state_size)
    h0, dh_n = draw(layout.B, spec.state_size), draw(layout.B, spec.state_size)
    c0 = dc_n = None
    if spec.has_cell_state:
        c0, dc_n = draw(layout.B, spec.hidden_size), draw(layout.B, spec.hidden_size)
    layer = LayerPass(spec, layout, x, weights, reverse)
    results = []
    for recurrence in (ours, reference):
        result = recurrence.forward(layer, h0, c0, keep=True)
        inputs = BackwardInputs(result.saved, dy, dh_n, dc_n, needs_dx)
        gradients = recurrence.backward(layer, inputs)
        results.append((result, gradients))
    for got, want in zip(*results, strict=True):
        assert_close(got, want)
