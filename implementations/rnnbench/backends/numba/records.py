"""Kernel arguments as records: integers with names, handed over in one piece.

A kernel takes an array of one record and reads its fields by name, ``sizes[0].H``. Handing over one
array takes as long as two numbers; some thirty numbers, one by one, took half of a small call.
Addresses are of memory that the caller keeps alive; 0 stands for what is not there.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Record = NDArray[Any]
"""One record, whose fields are 64-bit integers."""


class Sizes(
    namedtuple(
        "Sizes",
        "cell I H S width x_slot slot s_slot gates first_gate hidden columns row c_row zeros",
    )
):
    """A layer's sizes in numbers, and what follows from the cell alone.

    cell                    its code, see `layers.CODES`
    I, H, S                 the sizes of x, of c, and of h (H, or P with projection)
    width                   the numbers of a vector
    x_slot, slot, s_slot    I, H and S in whole vectors
    gates                   torch's gates: blocks of H rows in W_ih and W_hh
    first_gate              which of them x's first slot holds, the next slots the next gates
    hidden                  the first number of a row of gates that h's weights see
    columns                 the numbers in a row of gates: the cell's slots
    row, c_row              from one row of gates, or of c, to the next, see `plan.apart`
    zeros                   the address of a row of zeros as long as any of the layer's rows
    """


class Share(namedtuple("Share", "sequence low high team who members", defaults=(0, 0, 1))):
    """One thread's part of a time loop.

    sequence      the first of its rows of the batch
    low, high     its units, in whole panels: all of them but in a team
    team          the address of the team's counters, see `barrier`; 0 for a thread alone
    who, members  its place in the team, and how many they are
    """


class Scratch(namedtuple("Scratch", "chunk to_ih to_hh to_hr bias bias_u gates c m p")):
    """A forward pass's own memory: byte offsets from its start.

    chunk             steps whose inputs are projected at a time
    to_ih … bias_u    packed weights and biases
    gates, c          for a chunk of steps, and for one step, where none are kept
    m, p              with projection, see `layers`
    """


class Forward(namedtuple("Forward", "x h0 c0 w_ih w_hh b_ih b_hh w_hr gates c y y_row h_n c_n")):
    """Addresses of a forward pass, named as in `layers`.

    gates, c    where all N rows are kept for a backward pass, else 0
    y_row       from one row of the output to the next
    """


class Backward(
    namedtuple(
        "Backward",
        "N x h0 c0 w_ih w_hh w_hr gates c y y_row dy dy_row dh dc delta dm dh_all m sums "
        "dx dw_ih dw_hh dw_hr db_ih db_hh",
    )
):
    """Addresses of a backward pass, named as in `layers`.

    N                   rows
    y_row, dy_row       from one row to the next
    dx, dw_ih, dw_hh, dw_hr     in rows of whole vectors
    sums                Σ δ over all rows, of each column of δ
    """


class Products(namedtuple("Products", "first last low high")):
    """One thread's part of the products behind a time loop.

    first, last   its rows of dx
    low, high     its columns of δ, in whole vectors, for the weights' gradients
    """


def as_record(values: Any) -> Record:
    """Return a named tuple of integers as the array that a kernel takes."""
    kind: Any = type(values)
    pack, dtype = _layout(kind)
    return np.frombuffer(pack(*values), dtype)


@cache
def _layout(kind: Any) -> tuple[Any, np.dtype[Any]]:
    """Return what packs values into bytes, and the type of these bytes."""
    dtype = np.dtype([(name, np.int64) for name in kind._fields], align=True)
    return struct.Struct(f"={len(kind._fields)}q").pack, dtype
