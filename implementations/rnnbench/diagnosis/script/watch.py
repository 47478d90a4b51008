"""Watch a script while it runs: torch's networks, modules of its own, comparisons and sums.

A `TorchFunctionMode` sees every operation of torch in the script's thread. Tensors that were
computed from the weights of a network are marked, so that data which a network's output is merely
subtracted from is told from an attempt to compute the same. What is kept is a copy, as a script
may write into its tensors later; of loops without end the first and the last entries are kept.
"""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnbench.diagnosis.script.calls import (
    Call,
    Point,
    chained,
    is_cell,
    is_torchs,
    made,
    numbers,
    step,
    upstream_of,
)
from rnnbench.diagnosis.script.seen import Kept, Own, Pair, Shown, Sum, Taken
from rnnbench.diagnosis.script.source import At, Source, in_place
from rnnbench.parity.oracle import Array

MARK = "_rnnbench_computed"
OUTPUT = "_rnnbench_output"
SUMS = 20_000
LARGEST = 2_000_000
LARGEST_SUM = 20_000
LARGEST_GRADIENT = 200_000
"""Elements of a tensor that is kept; of a term of a sum; of a gradient after each pass."""

COMPARED = {"allclose", "isclose", "equal", "__eq__", "eq", "dist", "sub", "__rsub__", "mse_loss",
            "l1_loss"}  # fmt: skip
QUIET = {"sub", "__rsub__", "mse_loss", "l1_loss", "__eq__", "eq"}
"""Comparisons of other things than attempts too: these count between computed tensors only."""
ADDED = {"add", "add_", "__radd__"}
OF_NUMPY = {
    np: ("allclose", "isclose", "array_equal"),
    np.testing: ("assert_allclose", "assert_almost_equal", "assert_array_almost_equal",
                 "assert_array_equal"),
    torch.testing: ("assert_close", "assert_allclose"),
}  # fmt: skip


same = np.array_equal  # as it is before it is watched: our own comparisons are not the script's


class Watch(TorchFunctionMode):
    """Records what a script does; `watching` puts it in place."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.order = itertools.count()
        self.networks: list[nn.Module] = []
        self.calls: Kept = Kept()
        self.steps: Kept = Kept()
        self.pairs: Kept = Kept()
        self.shown: Kept = Kept()
        self.own: Kept = Kept()
        self.sums: list[Sum] = []
        self.failed: tuple[nn.Module, Any, Any] | None = None
        self.taken: Kept = Kept()
        self.active: list[nn.Module] = []
        self.inside = False  # of a comparison that is made of others
        self.passes = 0
        self.after: Kept = Kept()
        self.weights: dict[int, dict[str, Array]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute, mark what was computed from weights, and record comparisons and sums."""
        name = func.__name__
        before = None
        if name == "add_" and len(self.sums) < SUMS and args[0].numel() <= LARGEST_SUM:
            before = numbers(args[0])
        result = func(*args, **(kwargs or {}))
        if name == "__get__" and not isinstance(result, Tensor):
            return result
        if _computed(args) or getattr(func, "__self__", None) is Tensor.grad:
            if isinstance(result, Tensor):
                result.__dict__[MARK] = True
            elif isinstance(result, tuple | list):
                for one in result:
                    if isinstance(one, Tensor):
                        one.__dict__[MARK] = True
            if isinstance(args[0], Tensor) and in_place(func):
                args[0].__dict__[MARK] = True
        if name in COMPARED:
            self._compared(name, args, kwargs or {}, result)
        elif name in ADDED and isinstance(result, Tensor):
            self._added(args, before, result)
        elif name == "__getitem__" and OUTPUT in args[0].__dict__:
            self.taken.keep(Taken(args[0].__dict__[OUTPUT], args[1], self.source.at()))
        return result

    def _compared(self, name: str, args: tuple[Any, ...], kwargs: Any, result: Any) -> None:
        both = [*args, kwargs.get("other"), kwargs.get("target")]
        left, right = (one for one in [*(b for b in both if b is not None), None, None][:2])
        if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
            return
        if left.numel() < 2 and right.numel() < 2:
            return
        computed = (_is_computed(left), _is_computed(right))
        at = self.source.here()
        if at is not None and (name not in QUIET or all(computed)):
            self._pair(name, left, right, computed, result, at)

    def _pair(
        self, name: str, left: Any, right: Any, computed: tuple[bool, bool], result: Any,
        at: At | None,
    ) -> None:  # fmt: skip
        if self.inside or any(_size(one) > LARGEST for one in (left, right)):
            return
        one, other = numbers(left), numbers(right)
        if one is None or other is None:
            return
        equal = result if isinstance(result, bool) else None
        pair = Pair(name, one, other, at, next(self.order), computed, equal)
        self.pairs.keep(pair, one.size + other.size)
        if name in QUIET and isinstance(result, Tensor) and result.requires_grad:
            on_backward(result, lambda gradient: pair.learned.append(True))

    def _added(self, args: tuple[Any, ...], before: Array | None, result: Tensor) -> None:
        at = self.source.here()
        if at is None or len(self.sums) >= SUMS or result.numel() > LARGEST_SUM:
            return
        first = before if before is not None else numbers(args[0])
        parts = [first, numbers(args[1])] if len(args) > 1 else []
        total = numbers(result)
        if total is not None and len(parts) == 2 and all(p is not None for p in parts):
            self.sums.append(Sum(total, tuple(parts), at))  # type: ignore[arg-type]

    def module_called(
        self, call: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any
    ) -> Any:
        """Run a module's call and keep it: of torch's networks, and of the script's own modules."""
        torchs = is_torchs(module)
        if not torchs and type(module).__module__ != "__main__":
            return call(module, *args, **kwargs)
        given = list(args) + [v for k, v in kwargs.items() if k in ("input", "x")]
        state = args[1] if len(args) > 1 else kwargs.get("hx")
        with torch._C.DisableTorchFunction():
            kept = self._before(module, given, state) if torchs else _read(given)
        self.active.append(module)
        try:
            result = call(module, *args, **kwargs)
        except BaseException:
            if self.failed is None:
                self.failed = (module, given[0] if given else None, state)
            raise
        finally:
            self.active.pop()
        with torch._C.DisableTorchFunction(), suppress(ValueError, TypeError, AttributeError):
            if torchs:
                self._after(module, given[0], state, kept, result)
            else:
                self._own(module, kept, result)
        return result

    def _before(self, module: nn.Module, given: list[Any], state: Any) -> Any:
        """Copies of what a network is given; weights are copied again only if they changed."""
        known = self.weights.get(id(module))
        now = {}
        for name, parameter in module.named_parameters():
            parameter.__dict__[MARK] = True
            value = numbers(parameter)
            if value is not None:
                now[torchs_name(name)] = value
        if known is None or any(not same(now[n], known[n]) for n in known):
            known = self.weights[id(module)] = now
            return known, sum(value.size for value in now.values())
        return known, 0

    def _after(self, module: nn.Module, given: Any, state: Any, kept: Any, result: Any) -> None:
        weights, new = kept
        point = Point(self.source.at(), next(self.order), tuple(self.active))
        if is_cell(module):
            self.steps.keep(step(module, given, state, result, weights, point), new)
            return
        call = made(module, given, state, result, weights, point)
        if call is None:
            return
        self.calls.keep(call, call.x.size + sum(a.size for a in call.answers.values()) + new)
        if isinstance(result[0], Tensor):
            result[0].__dict__[OUTPUT] = call
        for name, tensor in zip(("output", "h_n", "c_n"), call.returned, strict=False):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                on_backward(tensor, self._upstream(call, name))

    def _upstream(self, call: Call, name: str) -> Callable[[Tensor | None], None]:
        def keep(gradient: Tensor | None) -> None:
            if gradient is None:  # of an answer that no loss goes through
                return
            with torch._C.DisableTorchFunction():
                call.passes.setdefault(self.passes, {})[name] = upstream_of(call, name, gradient)

        return keep

    def pass_ended(self) -> None:
        """Keep the gradients that a backward pass left in the networks."""
        with torch._C.DisableTorchFunction():
            grads = {
                id(module): {
                    torchs_name(name): numbers(parameter.grad)
                    for name, parameter in module.named_parameters()
                    if parameter.grad is not None and parameter.numel() <= LARGEST_GRADIENT
                }
                for module in self.networks
            }
        size = sum(g.size for own in grads.values() for g in own.values() if g is not None)
        self.after.keep((self.passes, grads), size)

    def _own(self, module: nn.Module, kept: tuple[Array, ...], result: Any) -> None:
        parts = result if isinstance(result, tuple | list) else (result,)
        flat = [p for part in parts for p in (part if isinstance(part, tuple | list) else (part,))]
        tensors = [p for p in flat if isinstance(p, Tensor) and p.numel() <= LARGEST]
        answers = tuple(v for p in tensors if (v := numbers(p)) is not None)
        computed = any(map(_is_computed, tensors))
        at, order = self.source.at(), next(self.order)
        size = sum(a.size for a in (*kept, *answers))
        self.own.keep(Own(module, kept, answers, computed, at, order), size)

    def all_calls(self) -> list[Call]:
        """Return calls of networks, and of cells along a sequence, in order."""
        calls = [*self.calls.all(), *chained(self.steps.all())]
        return sorted(calls, key=lambda call: call.order)

    def printed(self, values: tuple[Any, ...]) -> None:
        """Keep tensors and arrays that are printed."""
        for place, value in enumerate(values):
            if isinstance(value, Tensor | np.ndarray | list) and 2 <= _size(value) <= LARGEST:
                array = numbers(value) if not isinstance(value, list) else _listed(value)
                if array is not None:
                    computed = _is_computed(value)
                    at = self.source.at()
                    shown = Shown(array, place, at, next(self.order), computed)
                    self.shown.keep(shown, array.size)


def on_backward(tensor: Tensor, keep: Callable[[Any], None]) -> None:
    """Have a gradient looked at when it comes by."""
    tensor.register_hook(keep)  # type: ignore[no-untyped-call]


def torchs_name(name: str) -> str:
    """Return the name that a cell's weight has in a network."""
    return name if "_l" in name else f"{name}_l0"


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel()
    return int(value.size) if isinstance(value, np.ndarray) else len(value)


def _listed(value: list[Any]) -> Array | None:
    """Return nested lists of numbers, or of tensors, as an array; None for other lists."""
    array = numbers(value)
    if array is None:
        with suppress(ValueError, TypeError):
            array = numbers(np.array(value))
    return array


def _is_computed(value: Any) -> bool:
    """Return whether a value comes from weights; of an array nobody knows, so it may."""
    return not isinstance(value, Tensor) or MARK in value.__dict__


def _computed(args: tuple[Any, ...]) -> bool:
    for one in args:
        if isinstance(one, Tensor):
            if MARK in one.__dict__:
                return True
        elif isinstance(one, list | tuple) and any(
            isinstance(t, Tensor) and MARK in t.__dict__ for t in one
        ):
            return True
    return False


def _read(given: list[Any]) -> tuple[Array, ...]:
    tensors = [g for g in given if isinstance(g, Tensor | np.ndarray) and _size(g) <= LARGEST]
    return tuple(v for g in tensors if (v := numbers(g)) is not None)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Put a watch in place for the time of a block."""
    call = nn.Module.__call__

    def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return watch.module_called(call, module, args, kwargs)

    with ExitStack() as stack:
        stack.enter_context(patch.object(nn.Module, "__call__", called))
        for base in (nn.RNNBase, nn.RNNCellBase):
            stack.enter_context(patch.object(base, "__init__", _initialised(watch, base.__init__)))
        for where, names in OF_NUMPY.items():
            for name in names:
                if hasattr(where, name):
                    checked = _checked(watch, name, getattr(where, name))
                    stack.enter_context(patch.object(where, name, checked))
        for name in ("backward", "grad"):
            counted = _counted(watch, getattr(torch.autograd, name))
            stack.enter_context(patch.object(torch.autograd, name, counted))
        new = staticmethod(_parameter(nn.Parameter.__new__))
        stack.enter_context(patch.object(nn.Parameter, "__new__", new))
        stack.enter_context(patch.object(builtins, "print", _printing(watch, builtins.print)))
        stack.enter_context(watch)
        yield


def _initialised(watch: Watch, init: Callable[..., None]) -> Callable[..., None]:
    def run(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        init(module, *args, **kwargs)
        watch.networks.append(module)
        for parameter in module.parameters():
            parameter.__dict__[MARK] = True

    return run


def _parameter(new: Callable[..., nn.Parameter]) -> Callable[..., nn.Parameter]:
    """Mark a parameter that is made of a marked tensor: no operation of torch's makes it."""

    def run(cls: type, data: Any = None, *args: Any, **kwargs: Any) -> nn.Parameter:
        parameter = new(cls, data, *args, **kwargs)
        if isinstance(data, Tensor) and MARK in data.__dict__:
            parameter.__dict__[MARK] = True
        return parameter

    return run


def _counted(watch: Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        watch.passes += 1
        result = function(*args, **kwargs)
        watch.pass_ended()
        return result

    return run


def _checked(watch: Watch, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Record two arrays before they are compared: an assertion that fails does not return."""

    def run(actual: Any, expected: Any, *args: Any, **kwargs: Any) -> Any:
        at = watch.source.here()  # a library's comparisons, and ours, are not the script's
        if at is not None and isinstance(actual, Tensor | np.ndarray | list):
            with torch._C.DisableTorchFunction():
                computed = (_is_computed(actual), _is_computed(expected))
                watch._pair(name, actual, expected, computed, None, at)
        watch.inside = True
        try:
            return function(actual, expected, *args, **kwargs)
        finally:
            watch.inside = False

    return run


def _printing(watch: Watch, show: Callable[..., None]) -> Callable[..., None]:
    def run(*values: Any, **options: Any) -> None:
        with torch._C.DisableTorchFunction():
            watch.printed(values)
        show(*values, **options)

    return run
