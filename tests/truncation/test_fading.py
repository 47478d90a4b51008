"""Norms of ∂h_T/∂s_t are those of the chain of the steps' Jacobians."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from truncation.brute import as_given, assert_equal, doubled, network, parts, state_of

import rnnbench
from rnnbench import InputError
from rnnbench.truncation import lag_norms


def step_jacobian(module, x_t, state):
    """∂(h, c)_t / ∂(h, c)_{t−1} of one sequence, all layers, by torch's own Jacobian."""
    sizes = [part.numel() for part in parts(state)]
    shapes = [part.shape for part in parts(state)]

    def step(flat):
        given = [v.view(s) for v, s in zip(flat.split(sizes), shapes, strict=True)]
        _, new = module(x_t[None, None], as_given(given))
        return torch.cat([part.flatten() for part in parts(new)])

    flat = torch.cat([part.flatten() for part in parts(state)])
    return torch.autograd.functional.jacobian(step, flat)


@pytest.mark.parametrize("layers", [1, 2])
def test_norms_are_of_the_product_of_the_steps_jacobians(cell, layers):
    T, B, H = 6, 2, 4
    module = network(cell, 3, H, num_layers=layers)
    x, state = doubled(T, B, 3), state_of(module, B)
    got = lag_norms(module, x, state)
    assert got.shape == (T - 1, B)
    for b in range(B):
        now = as_given([part[:, b : b + 1] for part in parts(state)])
        each = []
        for x_t in x[:, b]:
            each.append(step_jacobian(module, x_t, now))
            with torch.no_grad():
                _, now = module(x_t[None, None], now)
        top = slice((layers - 1) * H, layers * H)  # h of the last layer is the output
        product = each[-1][top]
        for lag in range(1, T):
            assert_equal([got[lag - 1, b]], [torch.linalg.matrix_norm(product, ord=2)])
            product = product @ each[-1 - lag]


@pytest.mark.parametrize(("radius", "trend"), [(0.5, -1), (1.0, 0), (2.0, 1)])
def test_a_linear_cell_fades_or_grows_by_its_radius(radius, trend):
    """h ← h W with W radius times a rotation: ‖J‖ is the radius to the power of the lag."""
    angle = torch.tensor(0.3, dtype=torch.float64)
    W = radius * torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )
    found = lag_norms(lambda x, h: x + h @ W, doubled(9, 3, 2), doubled(3, 2), per_step=True)
    expected = torch.tensor([radius**lag for lag in range(1, 9)], dtype=torch.float64)
    assert_equal([found], [expected[:, None].expand(8, 3)])
    assert math.copysign(1, float(found[-1, 0] - found[0, 0])) * abs(trend) == trend


def test_layouts_and_frozen_weights(cell):
    module = network(cell, 3, 4, num_layers=2)
    turned = network(cell, 3, 4, num_layers=2, batch_first=True).requires_grad_(False)
    x = doubled(5, 2, 3)
    expected = lag_norms(module, x)
    assert_equal([lag_norms(turned, x.transpose(0, 1))], [expected])
    assert_equal([lag_norms(module, x[:, 1])], [expected[:, 1:]])
    with torch.no_grad():
        assert_equal([lag_norms(module, x)], [expected])


def test_wrong_arguments_are_refused():
    x = torch.zeros(5, 1, 3)
    with pytest.raises(InputError, match="one direction to have lags"):
        lag_norms(nn.GRU(3, 4, bidirectional=True), x)
    with pytest.raises(InputError, match="lengths must be left out"):
        lag_norms(rnnbench.GRU(3, 4), x, lengths=[5])
    with pytest.raises(InputError, match="at least two time steps to have a lag; got 1"):
        lag_norms(nn.GRU(3, 4), x[:1])
