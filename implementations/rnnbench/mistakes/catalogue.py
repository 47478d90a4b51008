"""The class of known mistakes, and the conditions under which one can be made at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

from rnnbench.mistakes.network import Hook
from rnnbench.spec import Case

Condition = Callable[[Case], bool]


@dataclass(frozen=True)
class Mistake:
    """One slip, planted in `rnnbench.mistakes.network`.

    id        snake_case, unique
    sentence  what is wrong
    where     where people make it
    wrong     the line of mathematics as they write it
    right     the same line as it must be
    touches   quantities that it changes first, as the oracle calls them; ``grad_weight_ih`` and the
              like stand for that gradient in any layer and direction
    places    points of the network at which `act` changes the value
    needs     conditions on the case: where one fails, the mistake cannot be made or changes nothing
    """

    id: str
    sentence: str
    where: str
    wrong: str
    right: str
    touches: tuple[str, ...]
    places: tuple[str, ...]
    needs: tuple[Condition, ...]
    act: Hook

    @property
    def family(self) -> str:
        """The module that it is written in, such as ``cells`` or ``gradients``."""
        return self.act.__module__.rpartition(".")[2]

    @property
    def backward_only(self) -> bool:
        """Return whether output and final state are right, and only gradients are wrong."""
        return all(quantity.startswith("grad_") for quantity in self.touches)

    def applies(self, case: Case) -> bool:
        """Return whether the mistake can be made in this case, and changes its numbers."""
        return (case.training or not self.backward_only) and all(need(case) for need in self.needs)

    def touched(self, case: Case) -> dict[str, tuple[str, ...]]:
        """For each entry of `touches` that the case has, the quantities that it stands for."""
        names = self._quantities(case)
        found = {
            touched: tuple(n for n in names if n == touched or n.startswith(f"{touched}_l"))
            for touched in self.touches
        }
        return {touched: stands_for for touched, stands_for in found.items() if stands_for}

    @staticmethod
    def _quantities(case: Case) -> list[str]:
        """Return what the oracle answers in this case, less what is zero whatever one does."""
        states = ["h", "c"][: 1 + case.spec.has_cell_state]
        names = ["output", *(f"{part}_n" for part in states)]
        if case.training:
            names += ["grad_x", *(f"grad_{part}0" for part in states if case.initial_state)]
            names += [f"grad_{p.name}" for p in case.spec.parameters]
        return [n for n in names if recurs(case) or "weight_hh" not in n]


def mistake(
    *, at: str, touches: str, needs: tuple[Condition, ...] = ()
) -> Callable[[Hook], Mistake]:
    """Return a decorator that makes a mistake of a function ``(value, At) -> value``.

    The function's name becomes the id. Its docstring says the sentence and, after a blank line,
    ``where``, ``wrong`` and ``right``, each at the beginning of a line and followed by two blanks.

    at, touches: one or several names, separated by blanks.
    """

    def made(act: Hook) -> Mistake:
        texts = _texts(act.__doc__ or "")
        places, touched = tuple(at.split()), tuple(touches.split())
        name: str = getattr(act, "__name__", "")
        return Mistake(name, *texts, touched, places, needs, act)

    return made


def _texts(docstring: str) -> tuple[str, str, str, str]:
    """Return sentence, where, wrong and right; empty texts under ``python -OO``."""
    pattern = r"^(?:where|wrong|right)  "
    parts = re.split(pattern, cleandoc(docstring), flags=re.MULTILINE) if docstring else [""] * 4
    sentence, where, wrong, right = (" ".join(part.split()) for part in parts)
    return sentence, where, wrong, right


def cells(*names: str) -> Condition:
    return lambda case: case.spec.cell in names


rnn = cells("rnn_tanh", "rnn_relu")
gru = cells("gru")
lstm = cells("lstm")


def several_steps(case: Case) -> bool:
    return case.T > 1


def longer_than(steps: int) -> Condition:
    """Some sequence has more steps."""
    return lambda case: max(case.lengths or (case.T,)) > steps


def several_sequences(case: Case) -> bool:
    return case.B > 1


def several_layers(case: Case) -> bool:
    return case.spec.layers > 1


def two_directions(case: Case) -> bool:
    return case.spec.directions == 2


def bias(case: Case) -> bool:
    return case.spec.bias


def projected(case: Case) -> bool:
    return case.spec.proj_size > 0


def recurs(case: Case) -> bool:
    """Some step begins with a state other than zero."""
    return case.T > 1 or case.initial_state


def square(case: Case) -> bool:
    """W_hh's blocks are square, more than a single number, and not multiplied by zero alone."""
    return case.spec.proj_size == 0 and case.spec.hidden_size > 1 and recurs(case)


def state_given(case: Case) -> bool:
    return case.initial_state


def dense(case: Case) -> bool:
    return case.lengths is None


def padded(case: Case) -> bool:
    """Some sequence is shorter than the longest."""
    return case.lengths is not None and min(case.lengths) < case.T


def unsorted(case: Case) -> bool:
    lengths = list(case.lengths or ())
    return lengths != sorted(lengths, reverse=True)


def masked(case: Case) -> bool:
    """Dropout between layers is in force and leaves something over."""
    return 0 < case.spec.dropout < 1 and case.training and case.spec.layers > 1


def unprojected(case: Case) -> bool:
    return case.spec.proj_size == 0


def of_gate(name: str) -> dict[str, Any]:
    """Return where a gate of the LSTM acts and what it needs, as `mistake` takes them."""
    place = "cell_output" if name == "output" else "cell_terms"
    return {"at": place, "needs": (lstm, recurs) if name == "forget" else (lstm,)}
