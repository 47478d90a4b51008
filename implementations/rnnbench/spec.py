"""One frozen description of a network (`Spec`) and of one run of it (`Case`).

Vocabulary: T sequence length, B batch, I input size, H hidden size, P projection size (0: none),
L layers, D directions, G gates. Gate order and parameter names are torch's: LSTM i, f, g, o;
GRU r, z, n; parameters by layer, then direction, then weight_ih, weight_hh, bias_ih, bias_hh,
weight_hr.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeGuard

from rnnbench.errors import InputError

GATE_ORDER = {"rnn_tanh": "h", "rnn_relu": "h", "gru": "rzn", "lstm": "ifgo"}
"""torch's order of the gates' blocks, a letter each; the plain cells have one block."""
GATES = {cell: len(order) for cell, order in GATE_ORDER.items()}
CELLS = tuple(GATES)
PHASES = ("inference", "training")
DIRECTION_SUFFIX = ("", "_reverse")

UNIT_ROUNDOFF = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Half the distance from 1 to the next number, per dtype: the "eps" of every error and budget."""
DTYPES = tuple(UNIT_ROUNDOFF)


@dataclass(frozen=True)
class Parameter:
    """Name, shape and place of one weight or bias."""

    name: str
    shape: tuple[int, ...]
    layer: int
    direction: int


def _positive(name: str, value: object) -> None:
    if not _is_int(value) or value < 1:
        raise InputError(f"{name} must be an int of at least 1; got {value!r}")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        choices = ", ".join(map(repr, allowed))
        raise InputError(f"{name} must be one of {choices}; got {value!r}")


@dataclass(frozen=True)
class Spec:
    """A complete description of a recurrent network.

    Raises `InputError` (a ValueError) for an unknown cell or dtype, sizes below 1, a projection
    that is not smaller than the hidden size or not on an LSTM, dropout outside [0, 1].
    """

    cell: str
    input_size: int
    hidden_size: int
    layers: int = 1
    directions: int = 1
    bias: bool = True
    dtype: str = "float32"
    proj_size: int = 0
    dropout: float = 0.0

    def __hash__(self) -> int:
        """Return the kept hash: to compute it in every call takes longer than a small step."""
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the hash, which another process would not find for the same strings."""
        return {name: value for name, value in vars(self).items() if name != "_hash"}

    @cached_property
    def _hash(self) -> int:
        return hash(tuple([getattr(self, field.name) for field in fields(self)]))

    def __post_init__(self) -> None:
        _one_of("cell", self.cell, CELLS)
        _one_of("dtype", self.dtype, DTYPES)
        _positive("directions", self.directions)
        _one_of("directions", self.directions, (1, 2))
        _positive("input_size", self.input_size)
        _positive("hidden_size", self.hidden_size)
        _positive("layers", self.layers)
        if not isinstance(self.bias, bool):
            raise InputError(f"bias must be a bool; got {self.bias!r}")
        if not _is_int(self.proj_size) or not 0 <= self.proj_size < self.hidden_size:
            raise InputError(
                "proj_size must be an int of at least 0 and smaller than "
                f"hidden_size={self.hidden_size}; "
                f"got {self.proj_size!r}"
            )
        if self.proj_size and self.cell != "lstm":
            raise InputError(f"proj_size must be 0 for cell {self.cell!r}; got {self.proj_size!r}")
        if not isinstance(self.dropout, int | float) or not 0.0 <= self.dropout <= 1.0:
            raise InputError(f"dropout must be a number in [0, 1]; got {self.dropout!r}")

    @property
    def gates(self) -> int:
        """G: blocks of H rows in weight_ih and weight_hh."""
        return GATES[self.cell]

    @property
    def has_cell_state(self) -> bool:
        return self.cell == "lstm"

    @property
    def state_size(self) -> int:
        """Size of h: P with a projection, else H."""
        return self.proj_size or self.hidden_size

    @property
    def output_size(self) -> int:
        """Features of the output: D·(P or H)."""
        return self.directions * self.state_size

    def layer_input_size(self, layer: int) -> int:
        """Return I for the first layer, the previous layer's output size for the rest."""
        return self.input_size if layer == 0 else self.output_size

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every weight and bias in torch's order."""
        rows = self.gates * self.hidden_size
        found = []
        for layer in range(self.layers):
            for direction in range(self.directions):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, self.layer_input_size(layer)),
                    "weight_hh": (rows, self.state_size),
                }
                if self.bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if self.proj_size:
                    shapes["weight_hr"] = (self.proj_size, self.hidden_size)
                suffix = f"_l{layer}{DIRECTION_SUFFIX[direction]}"
                found += [
                    Parameter(kind + suffix, shape, layer, direction)
                    for kind, shape in shapes.items()
                ]
        return tuple(found)

    @cached_property
    def parameters_per_layer(self) -> int:
        """Number of `parameters` in one layer in one direction."""
        return len(self.parameters) // (self.layers * self.directions)

    def state_shapes(self, batch: int) -> dict[str, tuple[int, int, int]]:
        """Return the shapes of h0 (and c0): (L·D, B, P or H), (L·D, B, H)."""
        depth = self.layers * self.directions
        shapes = {"h0": (depth, batch, self.state_size)}
        if self.has_cell_state:
            shapes["c0"] = (depth, batch, self.hidden_size)
        return shapes

    @property
    def name(self) -> str:
        """A readable id, e.g. ``gru-I4-H8-L2-D1-float32``."""
        parts = [
            self.cell,
            f"I{self.input_size}",
            f"H{self.hidden_size}",
            f"L{self.layers}",
            f"D{self.directions}",
        ]
        parts += [f"P{self.proj_size}"] * bool(self.proj_size)
        parts += ["nobias"] * (not self.bias)
        parts += [f"drop{self.dropout:g}"] * bool(self.dropout)
        return "-".join([*parts, self.dtype])


@dataclass(frozen=True)
class Case:
    """One run of a network: T steps of B sequences in one phase.

    lengths: each sequence's own length, longest T, or None when all have length T.
    initial_state: whether h0 (and c0) are given, or left out and so zero.
    """

    spec: Spec
    T: int
    B: int
    phase: str = "training"
    lengths: tuple[int, ...] | None = None
    initial_state: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("phase", self.phase, PHASES)
        _positive("T", self.T)
        _positive("B", self.B)
        if not _is_int(self.seed) or self.seed < 0:
            raise InputError(f"seed must be an int of at least 0; got {self.seed!r}")
        n = self.lengths
        if n is not None and (
            not isinstance(n, tuple)
            or not all(map(_is_int, n))
            or len(n) != self.B
            or max(n) != self.T
            or min(n) < 1
        ):
            raise InputError(
                f"lengths must be a tuple of {self.B} ints between 1 and T={self.T}, the longest "
                "of them T; "
                f"got {n!r}"
            )

    @property
    def training(self) -> bool:
        return self.phase == "training"

    @property
    def name(self) -> str:
        """A readable id, e.g. ``gru-I4-H8-L2-D1-float32-T17-B5-training``."""
        parts = [self.spec.name, f"T{self.T}", f"B{self.B}", self.phase]
        parts += ["packed"] * (self.lengths is not None)
        parts += ["zerostate"] * (not self.initial_state)
        return "-".join(parts)
