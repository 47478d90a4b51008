"""Facts about torch itself that this suite found: each is a small program that shows it again.

``python -m reports.torch_facts`` runs them all and keeps what they saw beside asv's results, from
where the report's page "What torch does" is made; ``python -m reports.torch_facts NAME`` runs one
and prints it. A fact that no longer holds is shown as such, not dropped.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

FOLDER = "torch_facts"
COMMAND = "python -m reports.torch_facts"
KINDS = ("RNN", "GRU", "LSTM")


@dataclass(frozen=True)
class Fact:
    """A claim about torch, and the function that looks whether it holds and says what it saw."""

    name: str
    claim: str
    consequence: str
    look: Callable[[], tuple[bool, str]]


FACTS: dict[str, Fact] = {}


def fact(claim: str, consequence: str) -> Callable[[Callable[[], tuple[bool, str]]], Fact]:
    """Put a function into `FACTS` under its own name."""

    def register(look: Callable[[], tuple[bool, str]]) -> Fact:
        name = look.__name__.replace("_", "-")
        FACTS[name] = Fact(name, claim, consequence, look)
        return FACTS[name]

    return register


def _x(dtype: Any = None) -> Any:
    import torch

    torch.manual_seed(0)
    return torch.randn(5, 2, 3, dtype=dtype)


def _module(kind: str, *args: Any, **kwargs: Any) -> Any:
    import torch

    torch.manual_seed(0)
    return getattr(torch.nn, kind)(3, 4, *args, **kwargs)


def _complaint(call: Callable[[], Any]) -> str:
    """First line of the error that a call raises; empty if it raises none."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 (which one is what is looked at)
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _operators(call: Callable[[], Any]) -> Counter[str]:
    from rnnbench.backends.native import Operators

    with Operators() as seen:
        call()
    counts: Counter[str] = seen.counts
    return counts


@fact(
    "torch.compile compiles nothing of nn.RNN, nn.GRU and nn.LSTM: Dynamo makes no graph of them.",
    "A benchmark of torch.compile(nn.LSTM) times eager torch.",
)
def compile_skips_the_modules() -> tuple[bool, str]:
    import torch._dynamo as dynamo

    graphs = {}
    for kind in KINDS:
        dynamo.reset()
        graphs[kind] = dynamo.explain(_module(kind))(_x()).graph_count
    return not any(graphs.values()), f"graphs made: {graphs}"


@fact(
    "With Dynamo's allow_rnn, a compiled stack loses its dropout between layers in silence.",
    "A network trained that way is trained without dropout.",
)
def allow_rnn_loses_dropout() -> tuple[bool, str]:
    import torch
    import torch._dynamo as dynamo

    lost = []
    for kind in KINDS:
        dynamo.reset()
        module = _module(kind, 3, dropout=0.9).train()
        with dynamo.config.patch(allow_rnn=True), torch.no_grad():
            compiled: Any = torch.compile(module, backend="aot_eager", fullgraph=True)
            first, second = compiled(_x())[0], compiled(_x())[0]
            evaluated = module.eval()(_x())[0]
        if torch.equal(first, second) and torch.allclose(first, evaluated):
            lost.append(kind)
    seen = ", ".join(lost) or "none"
    return lost == list(KINDS), f"two training calls equal each other and eval mode: {seen}"


@fact(
    "With Dynamo's allow_rnn, a packed sequence cannot be compiled.",
    "Sequences of different lengths need another formulation (or padding, which is wrong in "
    "reverse).",
)
def allow_rnn_refuses_packed_sequences() -> tuple[bool, str]:
    import torch
    import torch._dynamo as dynamo
    from torch.nn.utils.rnn import pack_padded_sequence

    dynamo.reset()
    with dynamo.config.patch(allow_rnn=True):
        compiled: Any = torch.compile(_module("GRU"), backend="aot_eager", fullgraph=True)
        seen = _complaint(lambda: compiled(pack_padded_sequence(_x(), [5, 3])))
    return bool(seen), seen or "it compiled"


@fact(
    "On the CPU only a dense float32 LSTM without projection reaches oneDNN; float64, packed and "
    "projected LSTMs and every RNN and GRU run a loop of small products.",
    "The same network is several times slower in float64 than the width of the numbers explains.",
)
def only_the_dense_float32_lstm_reaches_onednn() -> tuple[bool, str]:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    double = torch.float64
    calls = {
        "LSTM float32": lambda: _module("LSTM")(_x()),
        "LSTM float64": lambda: _module("LSTM", dtype=double)(_x(double)),
        "LSTM packed": lambda: _module("LSTM")(pack_padded_sequence(_x(), [5, 3])),
        "LSTM projected": lambda: _module("LSTM", proj_size=2)(_x()),
        "GRU float32": lambda: _module("GRU")(_x()),
        "RNN float32": lambda: _module("RNN")(_x()),
    }
    reached = [name for name, call in calls.items() if "mkldnn_rnn_layer" in _operators(call)]
    return reached == ["LSTM float32"], f"ran mkldnn_rnn_layer: {', '.join(reached) or 'none'}"


@fact(
    "A packed LSTM skips torch's checks: a wrong size fails in a product of matrices.",
    "The message names neither the argument nor its size; RNN and GRU say it in a sentence.",
)
def packed_lstm_is_not_validated() -> tuple[bool, str]:
    from torch.nn.utils.rnn import pack_padded_sequence

    wide = pack_padded_sequence(_x().repeat(1, 1, 2), [5, 3])
    seen = {kind: _complaint(partial(_module(kind), wide)) for kind in ("GRU", "LSTM")}
    holds = "input.size(-1)" in seen["GRU"] and "cannot be multiplied" in seen["LSTM"]
    return holds, f"GRU: {seen['GRU']} — LSTM: {seen['LSTM']}"


@fact(
    "Training an LSTM under float16 autocast on the CPU fails; RNN and GRU work, and so does "
    "inference where the processor has float16 instructions.",
    "Use bfloat16 autocast on a CPU that has instructions for that, and none on any other.",
)
def float16_autocast_cannot_train_an_lstm() -> tuple[bool, str]:
    import torch

    def train(kind: str) -> None:
        with torch.autocast("cpu", dtype=torch.float16):
            _module(kind)(_x())

    seen = {kind: _complaint(partial(train, kind)) for kind in KINDS}
    holds = bool(seen["LSTM"]) and not seen["RNN"] and not seen["GRU"]
    return holds, f"LSTM: {seen['LSTM'][:120] or 'no error'}"


@fact(
    "Under bfloat16 autocast on the CPU a GRU returns float32, an RNN and an LSTM return bfloat16; "
    "an LSTM fails where oneDNN has no bfloat16 for the processor.",
    "Code behind the recurrent layer sees another dtype when the cell is changed.",
)
def autocast_gives_another_dtype_for_gru() -> tuple[bool, str]:
    import torch

    def dtype(kind: str) -> str:
        try:
            return str(_module(kind)(_x())[0].dtype)
        except RuntimeError as error:
            return str(error).partition(". ")[0]

    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        seen = {kind: dtype(kind) for kind in KINDS}
    lower = "torch.bfloat16"
    lstm = seen["LSTM"] == lower or "primitive descriptor" in seen["LSTM"]
    return lstm and (seen["RNN"], seen["GRU"]) == (lower, "torch.float32"), str(seen)


@fact(
    "The output of a dense float32 LSTM must not be changed in place before the backward pass; "
    "that of a GRU, an RNN or a float64 LSTM may be.",
    "``y.mul_(mask)`` behind an LSTM raises, in float32 only.",
)
def output_in_place_depends_on_the_kernel() -> tuple[bool, str]:
    import torch

    def change(kind: str, dtype: Any) -> str:
        y, _ = _module(kind, dtype=dtype)(_x(dtype))
        kept = (y * 2).sum()
        y.mul_(0)
        return _complaint(kept.backward)

    seen = {f"{kind} {dtype}": change(kind, dtype) for kind in KINDS
            for dtype in (torch.float32, torch.float64)}  # fmt: skip
    raised = [name for name, complaint in seen.items() if complaint]
    return raised == ["LSTM torch.float32"], f"raised for: {', '.join(raised) or 'none'}"


@fact(
    "The backward pass of a GRU makes one weight-gradient product per step: T small products in "
    "place of one deep one.",
    "One product over all steps after the loop is where hand-written kernels gain in training.",
)
def weight_gradient_is_a_product_per_step() -> tuple[bool, str]:
    import torch

    def products(T: int) -> int:
        y, _ = _module("GRU")(torch.randn(T, 2, 3))
        return _operators(y.sum().backward)["mm"]

    few, many = products(4), products(12)
    return many - few >= 8, f"products (mm) in the backward pass: {few} at T=4, {many} at T=12"


@fact(
    "Second derivatives of the oneDNN LSTM agree with the float64 loop's.",
    "Gradient penalties work on it, although gradcheck (float64) never sees this kernel.",
)
def onednn_lstm_has_right_second_derivatives() -> tuple[bool, str]:
    import torch

    def second(dtype: Any) -> Any:
        x = _x().to(dtype).requires_grad_()
        y, _ = _module("LSTM", 2, bidirectional=True).to(dtype)(x)
        (g,) = torch.autograd.grad(y.pow(2).sum(), x, create_graph=True)
        return torch.autograd.grad(g.pow(2).sum(), x)[0].double()

    exact = second(torch.float64)
    error = float((second(torch.float32) - exact).norm() / exact.norm())
    return error < 1e-5, f"relative difference {error:.1e}"


@fact(
    "A state of another dtype is not checked: each cell fails inside, in other words.",
    "The message names neither the state nor the dtype that it should have.",
)
def state_dtype_is_not_validated() -> tuple[bool, str]:
    import torch

    h = torch.zeros(1, 2, 4, dtype=torch.float64)
    states = {"RNN": h, "GRU": h, "LSTM": (h, h)}
    seen = {kind: _complaint(partial(_module(kind), _x(), hx)) for kind, hx in states.items()}
    holds = all(seen.values()) and not any("h0" in text or "hx" in text for text in seen.values())
    return holds, "; ".join(f"{kind}: {text}" for kind, text in seen.items())


@fact(
    "`scan` has the gradients of a loop in eager mode; compiled, the training of a tanh RNN "
    "written with it raises.",
    "The operator made for recurrences is not yet a way to compile their training.",
)
def compiled_scan_cannot_train_an_rnn() -> tuple[bool, str]:
    import torch
    from torch._higher_order_ops.scan import scan

    shapes = ((5, 2, 4), (2, 4), (4, 4))
    inputs = [torch.linspace(-1, 1, math.prod(s)).reshape(s).requires_grad_() for s in shapes]

    def loop(x: Any, h: Any, w: Any) -> Any:
        outputs = []
        for x_t in x:
            h = torch.tanh(x_t + h @ w)
            outputs.append(h)
        return torch.stack(outputs)

    def scanned(x: Any, h: Any, w: Any) -> Any:
        def step(h: Any, x_t: Any) -> tuple[Any, Any]:
            h = torch.tanh(x_t + h @ w)
            return h.clone(), h.clone()  # the operator refuses outputs that share memory

        return scan(step, h, x, dim=0)[1]

    def gradients(run: Callable[..., Any]) -> Any:
        return torch.cat([g.flatten() for g in torch.autograd.grad(run(*inputs).sum(), inputs)])

    error = float((gradients(scanned) - gradients(loop)).abs().max())
    complaint = _complaint(lambda: gradients(torch.compile(scanned)))
    holds = error < 1e-5 and bool(complaint)
    return holds, f"eager: largest difference {error:.0e}; compiled: {complaint or 'runs'}"


def observe(chosen: Fact) -> dict[str, Any]:
    """Run one: what it claims, whether that holds here, what was seen, on which versions."""
    import torch

    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        holds, seen = chosen.look()
    said = {key: value for key, value in asdict(chosen).items() if key != "look"}
    return said | {
        "holds": holds,
        "seen": seen,
        "command": f"{COMMAND} {chosen.name}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - started, 2),
    }


def collect(results_dir: Path) -> Path:
    """Run all and keep what was seen, a line a fact; one whose program breaks is kept as that.

    Not as .json: asv takes every such file below its results for a result of its own.
    """
    found = []
    for chosen in FACTS.values():
        try:
            found.append(observe(chosen))
        except Exception as error:  # noqa: BLE001 (one broken fact must not cost the others)
            broken = {key: value for key, value in asdict(chosen).items() if key != "look"}
            seen = f"the program broke: {type(error).__name__}: {error}".splitlines()[0]
            found.append(broken | {"holds": None, "seen": seen})
    target = results_dir / FOLDER / f"{platform.node()}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    part.write_text("".join(json.dumps(one) + "\n" for one in found), encoding="utf-8")
    part.replace(target)
    return target


def main(
    name: Annotated[str | None, typer.Argument(help="One fact; all of them if none.")] = None,
    results_dir: Annotated[Path, typer.Option(help="asv's results.")] = Path(".asv/results"),
) -> None:
    """Show facts about torch again, by running them."""
    if name is None:
        typer.echo(collect(results_dir))
        return
    if name not in FACTS:
        raise typer.BadParameter(f"name must be one of {', '.join(FACTS)}; got {name!r}")
    typer.echo(json.dumps(observe(FACTS[name]), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    typer.run(main)
