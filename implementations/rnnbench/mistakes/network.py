"""The reference that mistakes are planted in: all four cells in plain torch, gradients by autograd.

It is written so that every line where people slip is a *place*: a named point that hands its value
to the mistakes planted there and takes back what they make of it. With none it is the network of
`rnnbench.parity.oracle`, in whatever dtype it is given. A place passes a tensor, a tuple of them,
or a function; two mistakes at one place act one after the other.

    lengths, x, initial, weights    the arguments, before anything runs
    order, active, sequence, start  of one layer and direction: which step is read when, which
                                    sequences run, what is read, the state it begins with
    carried, step_weights           entering one step: the state, the weights of this layer
    product, tanh, relu, sigmoid, candidate_activation      functions used in the cells
    reset_product, mixed            GRU: r, u_n and what is added; factors of both products of h_t
    gates, cell_terms, cell_output  LSTM: a + u; factors of f ⊙ c + i ⊙ g; of o ⊙ tanh c
    projected                       LSTM: W_hr m
    stepped, emitted, frozen        leaving one step: the new state, its output, the state where a
                                    sequence ended
    turned_back, last               of one layer and direction: output in the order of time, state
    layer_output                    of one layer: what it gives and what it was given
    drop, mask, output, final       dropout behind a layer; what is returned
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rnnbench.spec import DIRECTION_SUFFIX, Spec

State = tuple[Tensor, ...]  # (h,) or (h, c)
Hook = Callable[[Any, "At"], Any]


@dataclass
class At:
    """The place of the network when it asks a mistake to act; one object, moved along."""

    spec: Spec
    T: int
    B: int
    lengths: Sequence[int] | None
    masks: Sequence[Tensor]
    place: str = ""
    layer: int = 0
    direction: int = 0
    step: int = 0  # of the loop: the reverse direction begins at 0 as well
    input: Tensor = field(default_factory=lambda: torch.empty(0))  # x of the whole network
    order: Tensor = field(default_factory=lambda: torch.empty(0))
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # this layer and direction, by kind
    start: State = ()  # the state that this layer and direction began with
    before: State = ()  # the state that entered this step
    previous: State = ()  # final state of the layer or direction that ran before
    values: dict[str, Tensor] = field(default_factory=dict)  # what the step has computed so far
    outputs: list[Tensor] = field(default_factory=list)  # h of each step so far
    memory: dict[Any, Any] = field(default_factory=dict)  # scratch of a mistake, per direction

    def turned(self, x: Tensor) -> Tensor:
        """x from the order of time to the reading order of this direction, or back."""
        return x[self.order, torch.arange(self.B)]


class Network:
    """One run of the network with some mistakes planted; see `rnnbench.mistakes.variant`."""

    def __init__(self, at: At, hooks: Mapping[str, Sequence[Hook]]) -> None:
        self.at = at
        self.hooks = hooks
        self.product = self.ask("product", lambda h, weight: h @ weight.T)
        self.tanh = self.ask("tanh", torch.tanh)
        self.relu = self.ask("relu", torch.relu)
        self.sigmoid = self.ask("sigmoid", torch.sigmoid)
        self.candidate = self.ask("candidate_activation", self.tanh)

    def ask(self, place: str, value: Any) -> Any:
        """The value that the mistakes planted at this place make of the right one."""
        for hook in self.hooks.get(place, ()):
            self.at.place = place
            value = hook(value, self.at)
        return value

    def run(
        self, x: Tensor, state: State, weights: Mapping[str, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Layers outside, directions inside, time innermost."""
        at, spec = self.at, self.at.spec
        at.lengths = self.ask("lengths", at.lengths)
        x = at.input = self.ask("x", x)
        state, weights = self.ask("initial", tuple(state)), self.ask("weights", dict(weights))
        finals: list[State] = []
        for at.layer in range(spec.layers):
            outputs = []
            for at.direction in range(spec.directions):
                suffix = f"_l{at.layer}{DIRECTION_SUFFIX[at.direction]}"
                at.weights = {
                    name.removesuffix(suffix): weight
                    for name, weight in weights.items()
                    if name.endswith(suffix)
                }
                start = tuple(part[at.layer * spec.directions + at.direction] for part in state)
                y, at.previous = self.direction(x, self.ask("start", start))
                outputs.append(y)
                finals.append(at.previous)
            x, _ = self.ask("layer_output", (torch.cat(outputs, dim=2), x))
            if at.masks and at.layer < spec.layers - 1:
                drop = self.ask("drop", torch.mul)
                x = drop(x, self.ask("mask", at.masks[at.layer]))
        final = tuple(torch.stack(part) for part in zip(*finals, strict=True))
        return self.ask("output", x), self.ask("final", final)

    def direction(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One layer in one direction: its output in the order of time, and its final state."""
        at = self.at
        at.order, at.start, at.outputs, at.memory = self._order(), state, [], {}
        active = self.ask("active", self._active())
        sequence = self.ask("sequence", at.turned(x))
        for step, x_t in enumerate(sequence):
            at.step = step
            at.before = self.ask("carried", state)
            new = self.step(x_t, at.before, self.ask("step_weights", at.weights))
            new = self.ask("stepped", new)
            at.outputs.append(self.ask("emitted", new[0]))
            if active is not None:
                at.values["running_c"] = new[-1]
                rows = active[step, :, None]
                kept = tuple(torch.where(rows, n, o) for n, o in zip(new, state, strict=True))
                new = self.ask("frozen", kept)
            state = new
        y = self.ask("turned_back", at.turned(torch.stack(at.outputs)))
        if at.lengths is not None:
            y = torch.where(_before(at.lengths, at.T)[:, :, None], y, 0.0)
        return y, self.ask("last", state)

    def _order(self) -> Tensor:
        """Time of each loop iteration and sequence (T, B): the reverse direction begins at each
        sequence's own end, and leaves the padding where it is. Its own inverse.
        """
        at = self.at
        time = torch.arange(at.T)[:, None].expand(at.T, at.B)
        if at.direction:
            end = torch.tensor(at.lengths or [at.T] * at.B)
            time = torch.where(time < end, end - 1 - time, time)
        order: Tensor = self.ask("order", time)
        return order

    def _active(self) -> Tensor | None:
        return None if self.at.lengths is None else _before(self.at.lengths, self.at.T)

    def step(self, x: Tensor, state: State, w: Mapping[str, Tensor]) -> State:
        """h_t (and c_t) from x_t and the state before; a and u as in `rnnbench.parity.oracle`."""
        h, cell = state[0], self.at.spec.cell
        a = x @ w["weight_ih"].T + w.get("bias_ih", 0.0)
        u = self.product(h, w["weight_hh"]) + w.get("bias_hh", 0.0)
        if cell == "gru":
            return (self.gru(a, u, h, w),)
        if cell == "lstm":
            return self.lstm(a, u, state[1], w)
        new: Tensor = (self.tanh if cell == "rnn_tanh" else self.relu)(a + u)
        return (new,)

    def gru(self, a: Tensor, u: Tensor, h: Tensor, w: Mapping[str, Tensor]) -> Tensor:
        """r, z = σ(a + u); n = tanh(a_n + r ⊙ u_n); h_t = (1 − z) ⊙ n + z ⊙ h."""
        a_r, a_z, a_n = a.chunk(3, dim=1)
        u_r, u_z, u_n = u.chunk(3, dim=1)
        r, z = self.sigmoid(a_r + u_r), self.sigmoid(a_z + u_z)
        self.at.values = {"h": h, "r": r} | {
            name: w[name].chunk(3)[2] for name in ("weight_hh", "bias_hh") if name in w
        }
        r, u_n, rest = self.ask("reset_product", (r, u_n, a_n))
        n = self.candidate(rest + r * u_n)
        p, n, q, h = self.ask("mixed", (1 - z, n, z, h))
        new: Tensor = p * n + q * h
        return new

    def lstm(self, a: Tensor, u: Tensor, c: Tensor, w: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """i, f, o = σ(a + u); g = tanh(a_g + u_g); c_t = f ⊙ c + i ⊙ g; h_t = o ⊙ tanh c_t."""
        i, f, g, o = self.ask("gates", a + u).chunk(4, dim=1)
        i, f, g, o = self.sigmoid(i), self.sigmoid(f), self.candidate(g), self.sigmoid(o)
        f, c, i, g = self.ask("cell_terms", (f, c, i, g))
        new = f * c + i * g
        self.at.values = {"c": c, "new_c": new}
        o, squashed = self.ask("cell_output", (o, self.tanh(new)))
        m = o * squashed
        if "weight_hr" not in w:
            return m, new
        self.at.values["m"] = m
        return self.ask("projected", m @ w["weight_hr"].T), new


def _before(lengths: Sequence[int], T: int) -> Tensor:
    """Return whether each step belongs to the sequence, (T, B)."""
    return torch.arange(T)[:, None] < torch.tensor(lengths)
