"""Find which of a script's tensors is held against which part of which quantity of which call.

By value: of two tensors that are compared, or printed one after the other, one is what torch's
network answered, or a part of it, number by number. By use: a module of the script's own that was
called with the same input. By shape: a variable of the shape of a quantity, the weakest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from rnnbench.diagnosis.script.calls import Call
from rnnbench.diagnosis.script.held import Asked, Held, settled, sizes
from rnnbench.diagnosis.script.run import Run
from rnnbench.diagnosis.script.seen import Own, Pair, Shown
from rnnbench.diagnosis.script.source import shown
from rnnbench.diagnosis.script.variables import Named, named
from rnnbench.diagnosis.script.views import View, without_ones
from rnnbench.diagnosis.script.watch import QUIET
from rnnbench.parity.oracle import Array

CALLS = 24
"""Calls of networks that are looked at: the last ones, and as many of the first."""
FAR, EQUAL = 2.0, 1e-4
"""Relative distances: beyond the first a variable is something else, within the second the same."""
UNEQUAL = 1e-3
"""Of their norm: two compared values that differ by more are unequal, whatever rounding does."""
WHOLE = ("", "batch first", "transposed")
QUIET_STEP = 3
"""Tensors printed so far apart, at most, are taken for a pair."""


def asked(run: Run) -> tuple[list[Asked], list[str], list[str]]:
    """Return the calls of the run with what is held against each, in the order of the calls,
    remarks on comparisons of two networks of torch's, and sentences on comparisons that came out
    unequal and have to do with no answer of torch's networks.
    """
    calls = [call for call in run.watch.all_calls() if not call.dropped]
    if len(calls) > 2 * CALLS:
        calls = [*calls[:CALLS], *calls[-CALLS:]]
    if not calls:
        return [], [], []
    variables = named(run)
    shapes = {sizes(v) for v in _values(run, variables)}
    found = [settled(run, call, shapes) for call in calls]
    matching = _Matching(run, found, variables)
    matching.pairs()
    matching.printed()
    matching.modules()
    matching.variables()
    return found, matching.remarks, matching.untraced()


def _values(run: Run, variables: Sequence[Named]) -> Iterator[Array]:
    """Return everything that could be a gradient."""
    for pair in run.watch.pairs.all():
        yield from (pair.left, pair.right)
    yield from (one.value for one in [*run.watch.shown.all(), *variables])


class _Matching:
    """Collects what is held, from the surest evidence to the weakest."""

    def __init__(self, run: Run, found: Sequence[Asked], variables: Sequence[Named]) -> None:
        self.run, self.found, self.own_variables = run, found, variables
        self.remarks: list[str] = []

    def _part(self, value: Array, order: float) -> tuple[Asked, View] | None:
        """Return the latest call before a moment that a value is an answer of."""
        for one in reversed(self.found):
            if one.call.order < order and (view := one.part(value)) is not None:
                return one, view
        return None

    def pairs(self) -> None:
        """Take what the script compares."""
        for pair in self.run.watch.pairs.all():
            if pair.learned:
                continue
            self._pair(pair)

    def _pair(self, pair: Pair) -> None:
        sides = (pair.left, pair.right)
        parts = [self._part(side, pair.order) for side in sides]
        mine = 0 if parts[1] is not None else 1
        both = [part[1].quantity for part in parts if part is not None]
        if sorted(both) == ["h_n", "output"]:  # the output is taken for the state, seldom reversed
            mine = both.index("output")
        elif len(both) == 2 and self._is_torchs(pair, 0):
            mine = 1
        other, theirs = parts[1 - mine], sides[mine]
        if other is None or without_ones(theirs).shape != without_ones(sides[1 - mine]).shape:
            return
        operands = self.run.source.operands(pair.at) if pair.at else []
        label = shown(operands[mine]) if mine < len(operands) else "a tensor"
        line = pair.at.line if pair.at else 0
        strong = True
        if parts[mine] is not None:
            if self._of_two(label, line, parts[mine], other):
                return
            strong = self._may_be_equal(label, line, parts[mine], other)
            if not strong and not self._may_be_taken(parts[mine], other):
                return
        how = f"{_words(pair.how)} in line {line}"
        if not self._held(theirs):
            line = self.run.source.assigned.get(re.split(r"[.\[(]", label)[0], line)
            held = Held(
                other[1], theirs, label, line, how, strong=strong, weighed=pair.computed[mine]
            )
            other[0].held.append(held)

    def _is_sized(self, pair: Pair) -> bool:
        """Return whether the line of a difference asks how large it is."""
        line = self.run.source.line(pair.at.line) if pair.at else ""
        return re.search(r"\babs\b|\bmax\b|\bnorm\b", line) is not None

    def untraced(self) -> list[str]:
        """Say which of the script's comparisons came out unequal and could not be held."""
        found = []
        for pair in self.run.watch.pairs.all():
            sides = (pair.left, pair.right)
            quiet = pair.how in QUIET and (pair.learned or not self._is_sized(pair))
            if quiet or not all(pair.computed) or not _unequal(pair):
                continue
            if any(self._held(side) or self._part(side, pair.order) for side in sides):
                continue
            operands = self.run.source.operands(pair.at) if pair.at else []
            named = " and ".join(map(shown, operands[:2])) or "two tensors"
            size = np.linalg.norm(pair.left - pair.right)
            found.append(
                f"line {pair.at.line if pair.at else 0} compares {named}, which differ by "
                f"{size:.3g} in norm; neither is found among the answers of torch's networks"
            )
        return found

    def _may_be_equal(
        self, label: str, line: int, own: tuple[Asked, View] | None, other: tuple[Asked, View]
    ) -> bool:
        """Return False for two parts of torch's own answers, and say what they are: they are held
        wrong only where a known mistake takes one for the other.
        """
        assert own is not None
        if own[1].name == other[1].name:
            return True
        self.remarks.append(
            f"line {line} compares {own[1].name} ({label}) with {other[1].name}: both are torch's "
            "own, and nothing says that they are equal"
        )
        return False

    def _may_be_taken(self, own: tuple[Asked, View] | None, other: tuple[Asked, View]) -> bool:
        """Return whether one of two parts of torch's answers may be taken for the other by mistake.

        In two calls of one network, or of one call where there are two directions: in one direction
        the last step of the output is the final state.
        """
        assert own is not None
        if own[0] is other[0]:
            return other[0].call.spec.directions == 2
        return own[0].call.module is other[0].call.module

    def _of_two(
        self, label: str, line: int, own: tuple[Asked, View] | None, other: tuple[Asked, View]
    ) -> bool:
        """Say which weights of two of torch's networks differ whose answers are compared; return
        whether all do, so that nothing was to be equal.
        """
        assert own is not None
        one, two = own[0].call.weights, other[0].call.weights
        differ = [n for n in one if n not in two or not np.array_equal(one[n], two[n])]
        if differ:
            names = "all weights" if len(differ) == len(one) else ", ".join(differ)
            self.remarks.append(
                f"line {line}: {label} is the answer of a network of torch's too, and right for "
                f"its weights; {names} of the two networks differ"
            )
        return len(differ) == len(one)

    def _is_torchs(self, pair: Pair, side: int) -> bool:
        """Return whether one side is written as a variable that torch's network returned."""
        operands = self.run.source.operands(pair.at) if pair.at else []
        if side >= len(operands):
            return False
        text = shown(operands[side]).split(".")[0].split("[")[0]
        value = self.run.names.get(text)
        return any(value is r for one in self.found for r in one.call.returned)

    def printed(self) -> None:
        """Take what the script prints one after the other."""
        shown_ = self.run.watch.shown.all()
        parts = [self._part(one.value, one.order) for one in shown_]
        for i, (one, part) in enumerate(zip(shown_, parts, strict=True)):
            if part is not None or not one.computed:
                continue
            for j in _nearest(i, len(shown_)):
                found = parts[j]
                if found is not None and _alike(shown_[j], one) and not self._held(one.value):
                    where = f"printed beside torch's in line {shown_[j].at.line}"
                    label, line = self._label(one)
                    found[0].held.append(Held(found[1], one.value, label, line, where, strong=True))
                    break

    def _held(self, value: Array) -> bool:
        return any(
            h.theirs.shape == value.shape and np.array_equal(h.theirs, value)
            for one in self.found
            for h in one.held
        )

    def _label(self, one: Shown) -> tuple[str, int]:
        operands = self.run.source.operands(one.at) if one.at else []
        text = shown(operands[one.place]) if one.place < len(operands) else "a printed tensor"
        line = one.at.line if one.at else 0
        return text, self.run.source.assigned.get(re.split(r"[.\[(]", text)[0], line)

    def modules(self) -> None:
        """Take answers of the script's own modules to the same input."""
        for own in self.run.watch.own.all():
            if not own.computed or not own.answers or not own.given:
                continue
            for one in reversed(self.found):
                if own.module in one.call.inside or not _same_input(own, one.call):
                    continue
                self._module(own, one)
                break

    def _module(self, own: Own, one: Asked) -> None:
        for value, quantity in zip(own.answers, ("output", "h_n", "c_n"), strict=False):
            if self._held(value) or self._learned(value) or one.part(value) is not None:
                continue
            fitting = one.fitting(value, (quantity,))
            if fitting:
                line = own.at.line if own.at else 0
                name = self._name(value) or f"{type(own.module).__name__}(…)"
                how = f"called with the input of torch's in line {line}"
                one.held.append(Held(fitting[0], value, name, line, how, strong=True))

    def _learned(self, value: Array) -> bool:
        """Return whether a loss was made of a value and another: it is to become that one."""
        return any(
            value.shape == side.shape and np.array_equal(value, side)
            for pair in self.run.watch.pairs.all()
            if pair.learned
            for side in (pair.left, pair.right)
        )

    def _name(self, value: Array) -> str:
        return next(
            (n.name for n in self.own_variables if n.value.shape == value.shape
             and np.array_equal(n.value, value)), ""
        )  # fmt: skip

    def variables(self) -> None:
        """Take variables that equal a quantity, or have its shape, and that nothing else holds."""
        for one in self.found[-2:]:
            taken = {h.view.quantity for h in one.held}
            sure = {backward(h.view.quantity) for h in one.held}
            for variable in self.own_variables:
                if self._part(variable.value, np.inf) or self._held(variable.value):
                    continue
                quantities = [q for q in (*one.call.answers, *one.gradients) if q not in taken]
                views_ = one.fitting(variable.value, quantities)
                if views_:
                    self._variable(one, variable, views_, sure)

    def _variable(
        self, one: Asked, variable: Named, views_: Sequence[View], sure: set[bool]
    ) -> None:
        """Hold a variable against the part that it is nearest to.

        One that differs may be anything: an intermediate result, or the first of two attempts. It
        is held against a whole sequence or matrix only, and where the script compares nothing else
        of that pass.
        """
        values = one.call.answers | dict(one.gradients)

        def distance(view: View) -> float:
            part = view.pick(values[view.quantity]).reshape(-1)
            return float(np.linalg.norm(variable.value.reshape(-1) - part) / np.linalg.norm(part))

        view = min(views_, key=distance)
        thinkable = (
            view.words in WHOLE
            and distance(view) < FAR
            and backward(view.quantity) not in sure
            and view.quantity.startswith(("output", "grad_weight"))
        )
        if distance(view) > EQUAL and not thinkable:
            return
        how = f"has the shape of {view.quantity}"
        one.held.append(Held(view, variable.value, variable.name, variable.line, how, strong=False))


def _unequal(pair: Pair) -> bool:
    """Return whether two compared values of one shape differ by more than rounding explains."""
    if pair.left.shape != pair.right.shape or not (pair.left.any() or pair.right.any()):
        return False
    size = max(np.linalg.norm(pair.left), np.linalg.norm(pair.right))
    return bool(pair.same is not True and np.linalg.norm(pair.left - pair.right) > UNEQUAL * size)


def _nearest(i: int, count: int) -> list[int]:
    """Return what was printed shortly before or after, the nearest first."""
    near = range(max(0, i - QUIET_STEP), min(count, i + QUIET_STEP + 1))
    return sorted(near, key=lambda j: (abs(j - i), j))


def backward(quantity: str) -> bool:
    """Return whether a quantity is of the backward pass."""
    return quantity.startswith("grad_")


def _alike(one: Shown, other: Shown) -> bool:
    return without_ones(one.value).shape == without_ones(other.value).shape


def _same_input(own: Own, call: Call) -> bool:
    """Return whether a module read what the network read, in either order of the axes."""
    x = call.x
    for given in own.given[:1]:
        for turned in (x, x.swapaxes(0, 1)):
            if without_ones(turned).shape == without_ones(given).shape and np.array_equal(
                without_ones(turned), without_ones(given)
            ):
                return True
    return False


def _words(how: str) -> str:
    names = {"sub": "the difference", "__rsub__": "the difference", "__eq__": "==", "eq": "=="}
    return names.get(how, how)
