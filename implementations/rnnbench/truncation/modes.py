"""Run a model over a sequence with truncated BPTT, in one of five modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor

from rnnbench.errors import InputError, UnsupportedError
from rnnbench.truncation.arguments import check_bool, check_int
from rnnbench.truncation.checkpointing import recomputed
from rnnbench.truncation.part import Part
from rnnbench.truncation.runner import Model, Runner
from rnnbench.truncation.sliding import sliding, supported
from rnnbench.truncation.state import State, detach, map_state

KEYWORD_ONLY = Parameter.KEYWORD_ONLY
TAIL = 6.0
"""α of ARTBP: lengths of the chunks have a tail of power α − 1. The authors' choice."""


def truncated_bptt(
    model: Model,
    x: Any,
    state: State = None,
    *,
    mode: str = "chunks",
    k: int | None = None,
    k1: int | None = None,
    k2: int | None = None,
    start: int | None = None,
    stride: int | None = None,
    every: int | None = None,
    generator: torch.Generator | None = None,
    checkpoint: bool | None = None,
    lengths: Any = None,
    reset: Any = None,
    learn_state: bool = False,
    batch_first: bool | None = None,
    batch_dim: int | None = None,
    per_step: bool | None = None,
) -> Iterator[Part]:
    r"""Run a model over a sequence and yield the parts that a loss may be taken of.

    Each turn of the loop yields a `Part`: outputs with the graph that a gradient may go back
    through, and no more of it. The training step is yours: loss, ``backward()``, clipping and
    optimiser step, after each part or after the last.

    >>> import torch, rnnbench
    >>> rnn, head = rnnbench.GRU(8, 16), torch.nn.Linear(16, 3)
    >>> weights = [*rnn.parameters(), *head.parameters()]
    >>> optimizer = torch.optim.SGD(weights, lr=0.1)
    >>> state = None
    >>> for x, target in [(torch.randn(50, 4, 8), torch.randn(50, 4, 3))] * 2:  # a stream
    ...     for part in rnnbench.truncated_bptt(rnn, x, state, mode="chunks", k=20):
    ...         loss = part.mean((head(part.output) - target[part.slice]) ** 2)
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    ...         optimizer.step()
    ...     state = part.state  # detached; the next batch of the stream goes on from it

    For one optimiser step per sequence, take ``part.mean(…, over="sequence")`` and step after the
    loop: gradients add up in ``.grad``, a short last part weighs what its steps weigh. Clip there
    too: the norm of a part is not that of the sum.

    With s_t the states of all layers after step t, ℓ_t the loss of its output, θ the weights, each
    mode is a rule where the chain rule stops: at s_c, taken as a constant, c the *cut*.

    - ``chunks`` (k): consecutive chunks of k steps; ℓ_t is cut at the beginning of its chunk,
      c = k⌊t/k⌋ − 1, so that it sees 1 to k steps. The usual "k1 = k2".
    - ``k1_k2`` (k1, k2): after every k1 steps their losses go back over the last k2 steps: with e
      the end of the k1 steps, c = e − k2 − 1. Losses reach back k2 − k1 + 1 to k2 steps, and those
      before the cut, if k2 < k1, reach the head alone. k2 ≥ T is full BPTT, k1 = 1 the sliding
      window. Each part is run from its stored s_c; what is before its k1 steps is run twice, and
      its losses are counted once. BPTT(h; h′) of Williams and Peng 1990, h = k2, h′ = k1.
    - ``sliding`` (k, start=0, stride=1): the losses of steps start, start + stride, …, each cut
      exactly k steps back, c = t − k, for the cost of one stored forward pass and k batched
      backward steps; one part. ``start=k-1`` leaves out the windows that are shorter than k. For
      RNN, GRU, LSTM and their cells; see `rnnbench.truncation.sliding`. The backward steps run on
      kernels of the numba backend (CPU, float32 and float64) or in plain torch: `Part.kernel`.
    - ``full`` (checkpoint=False): no cut; one part. ``checkpoint=True`` keeps the states of every
      √T steps alone and runs the steps between them again: same gradient, see
      `rnnbench.truncation.checkpointing`.
    - ``artbp`` (k, every=1, generator=None): chunks of random length, on average k steps, whose
      gradient is *unbiased*. Every n = ``every`` steps, δ steps after the last cut, cut with
      probability p = n(α − 1)/((α − 2)k + δ), α = 6; where it is not cut, ∂ℓ/∂s_t is multiplied
      by 1/(1 − p), which is what the cuts take away on average. Tallec and Ollivier, "Unbiasing
      Truncated Backpropagation Through Time", 2017.

    Arguments:

    model        ``model(x, state)`` → (output, state), x (T, B, …): RNN, GRU, LSTM of torch.nn or
                 rnnbench or anything called alike. Or a cell, torch.nn's or with
                 ``per_step=True`` any called as ``model(x_t, state)`` → state or (output, state)
    x            (T, B, …), batch first if the model says so, or a PackedSequence, which is padded
    state        what the model takes: tensors in tuples, lists and dicts; None for its own zeros.
                 A cell that is given None must not return two tensors: (output, h) or (h, c)?
    lengths      (B,) steps of each sequence, 0 to T: afterwards its output is zero, its state stays
                 and `Part.mean` leaves it out
    reset        (B,) bool: these rows of ``state`` begin a new sequence, from zero
    learn_state  whether the gradient goes into ``state`` too (of the parts that reach it): for an
                 initial state that is learned. Otherwise it is detached
    batch_first  the model's own attribute unless given
    batch_dim    of the state's tensors: 1, for cells 0, unless given

    What is approximate: truncation itself (bias, but for ``artbp``), and, when an optimiser step is
    taken between parts, the states: s_c was computed with the weights before the step and stays.
    With the weights fixed over the sequence each mode is exactly what it says. With dropout, each
    part draws its own masks.

    Raises InputError for an argument that is wrong or not the mode's, UnsupportedError for a
    bidirectional module that would have to be cut (the reverse direction of a chunk would start
    from a state of the wrong end) and for a model that ``sliding`` cannot do.
    """
    given = {
        "k": k, "k1": k1, "k2": k2, "start": start, "stride": stride, "every": every,
        "generator": generator, "checkpoint": checkpoint,
    }  # fmt: skip
    options = _checked(mode, given)
    check_bool("learn_state", learn_state)
    runner = Runner(model, x, lengths, batch_first, batch_dim, per_step)
    whole = mode == "full" and not checkpoint and runner.lengths is None
    if not whole and getattr(model, "bidirectional", False):
        raise UnsupportedError(
            "a bidirectional module can be run over whole sequences of one length alone, in mode "
            "'full' without checkpoints: its reverse state at a cut has seen the steps after it; "
            f"got mode {mode!r}"
        )
    if runner.x.grad_fn is not None and mode in ("chunks", "k1_k2", "artbp"):
        raise InputError(
            f"x must not come out of a graph in mode {mode!r}: several backward passes would go "
            "through it. Put what makes x, an embedding say, into the model"
        )
    if mode == "sliding":
        supported(model)
        if learn_state:
            raise InputError("learn_state must be False in mode 'sliding': windows are detached")
        if options.get("start", 0) >= runner.T:
            raise InputError(f"start must be below T={runner.T}; got {start}")
    runner.check_state(state)
    if not learn_state:
        state = detach(state)
    if reset is not None:
        state = runner.reset(state, reset)
    return MODES[mode](runner, state, **options)


def _checked(mode: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the mode that are given; None is left out."""
    if not isinstance(mode, str) or mode not in MODES:
        raise InputError(f"mode must be one of {', '.join(map(repr, MODES))}; got {mode!r}")
    own = {p.name: p for p in signature(MODES[mode]).parameters.values() if p.kind is KEYWORD_ONLY}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            if name in own and own[name].default is Parameter.empty:
                raise InputError(f"{name} must be given for mode {mode!r}")
            continue
        if name not in own:
            raise InputError(f"{name} must be left out for mode {mode!r}; got {value!r}")
        found[name] = value
        if name == "checkpoint":
            check_bool(name, value)
        elif name == "generator":
            if not isinstance(value, torch.Generator):
                raise InputError(f"generator must be a torch.Generator; got {value!r}")
        else:
            found[name] = check_int(name, value, 0 if name == "start" else 1)
    k, every = found.get("k", 0), found.get("every", 1)
    if mode == "artbp" and k <= every:
        raise InputError(f"k must be above every={every} for mode 'artbp': it is a mean; got {k}")
    return found


def _part(runner: Runner, output: Tensor, steps: range, first: int, state: State) -> Part:
    rows, total = runner.B, runner.total
    return Part(output, steps, first, detach(state), runner.mask(steps), total, rows)


def _chunks(runner: Runner, state: State, *, k: int) -> Iterator[Part]:
    for start in range(0, runner.T, k):
        stop = min(start + k, runner.T)
        output, state = runner(start, stop, state)
        yield _part(runner, output, range(start, stop), start, state)
        state = detach(state)


def _k1_k2(runner: Runner, state: State, *, k1: int, k2: int) -> Iterator[Part]:
    """Run each part from its cut, in two pieces that meet where the next part's cut is."""
    begins = range(0, runner.T, k1)
    ends = [min(begin + k1, runner.T) for begin in begins]
    cuts = [max(0, end - k2) for end in ends]
    at = 0  # ``state`` is the one before this step
    for begin, end, cut, next_cut in zip(begins, ends, cuts, [*cuts[1:], runner.T], strict=True):
        outputs = []
        if at < cut:  # k2 < k1: these losses reach the head alone
            with torch.no_grad():
                output, state = runner(at, cut, state)
            outputs.append(output)
        held = min(next_cut, end)
        current = next_state = state
        for first, last in ((cut, held), (held, end)):
            if first < last:
                output, current = runner(first, last, current)
                outputs.append(output)
            if last == held:
                next_state = current
        output = torch.cat(outputs, runner.time).narrow(runner.time, begin - at, end - begin)
        yield _part(runner, output, range(begin, end), cut, current)
        at, state = held, next_state if held == 0 else detach(next_state)


def _sliding(
    runner: Runner, state: State, *, k: int, start: int = 0, stride: int = 1
) -> Iterator[Part]:
    steps = range(start, runner.T, stride)
    output, state, kernel = sliding(runner, state, k, steps)
    part = _part(runner, output, steps, max(0, steps.start - k + 1), state)
    yield replace(part, kernel=kernel)


def _full(runner: Runner, state: State, *, checkpoint: bool = False) -> Iterator[Part]:
    output, state = recomputed(runner, state) if checkpoint else runner(0, runner.T, state)
    yield _part(runner, output, range(runner.T), 0, state)


def _cut_here(probability: float, generator: torch.Generator | None) -> bool:
    return bool(torch.rand((), generator=generator) < probability)


def _artbp(
    runner: Runner,
    state: State,
    *,
    k: int,
    every: int = 1,
    generator: torch.Generator | None = None,
) -> Iterator[Part]:
    start, outputs = 0, []
    for at in range(every, runner.T + every, every):
        stop = min(at, runner.T)
        output, state = runner(at - every, stop, state)
        outputs.append(output)
        # in units of ``every`` steps, so that k is the mean in steps
        p = every * (TAIL - 1) / ((TAIL - 2) * k + stop - start)
        if stop == runner.T or _cut_here(p, generator):
            yield _part(runner, torch.cat(outputs, runner.time), range(start, stop), start, state)
            start, outputs, state = stop, [], detach(state)
        else:
            state = _scale_gradient(state, 1 / (1 - p))


def _scale_gradient(state: State, factor: float) -> State:
    """Return the same numbers; a gradient that goes back through them is multiplied."""

    def scale(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        same = tensor.view_as(tensor)
        same.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
        return same

    return map_state(scale, state)


MODES: dict[str, Callable[..., Iterator[Part]]] = {
    "chunks": _chunks,
    "k1_k2": _k1_k2,
    "sliding": _sliding,
    "full": _full,
    "artbp": _artbp,
}
"""Mode → what runs it; its keywords are the arguments that the mode takes, or needs."""
