"""Wrong networks, each one plausible slip away from right, for checks that must turn red."""

from __future__ import annotations

import torch

import rnnbench
from rnnbench.spec import Spec


def _right(spec, x, state, weights):
    return rnnbench.run("manual", spec, x, state, tuple(weights.values()))


def transposed_w_hh(spec: Spec):
    def candidate(x, state, weights):
        H = spec.hidden_size
        turned = {
            name: w.reshape(-1, H, H).transpose(1, 2).reshape(-1, H) if "weight_hh" in name else w
            for name, w in weights.items()
        }
        return _right(spec, x, state, turned)

    return candidate


def one_bias_missing(spec: Spec):
    def candidate(x, state, weights):
        last = [name for name in weights if "bias_hh" in name][-1]
        return _right(spec, x, state, weights | {last: weights[last] * 0})

    return candidate


def gates_in_another_order(spec: Spec):
    def candidate(x, state, weights):
        def swapped(w):
            first, second, *rest = w.chunk(spec.gates)
            return torch.cat([second, first, *rest])

        return _right(spec, x, state, {name: swapped(w) for name, w in weights.items()})

    return candidate


def reverse_not_turned_back(spec: Spec):
    def candidate(x, state, weights):
        y, final = _right(spec, x, state, weights)
        forward, reverse = y.chunk(2, dim=2)
        return torch.cat([forward, reverse.flip(0)], dim=2), final

    return candidate


def gradient_of_h0_dropped(spec: Spec):
    def candidate(x, state, weights):
        return _right(spec, x, (state[0].detach(), *state[1:]), weights)

    return candidate
