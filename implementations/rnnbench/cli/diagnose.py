"""``rnnbench diagnose``: where somebody's implementation goes wrong, and why."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnbench.cli.exits import leave
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, USAGE
from rnnbench.spec import Spec

NETWORK = "Network: where torch's attributes or parameter names do not tell it"
LAYOUT = "Layout: recognised where not given"
NUMBERS = "Your own numbers, as JSON"
LAYOUTS = (
    "batch_first", "unbatched", "states", "gates", "interleaved", "transposed", "arrays",
)  # fmt: skip
ASKED = ("kind", "mapping", "loss", "x", "state", "weights")
CODES = {"right": GOOD, "departs": FAILED, "raised": BROKEN}


def _option(panel: str, help_text: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel)


def diagnose(
    target: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="What to diagnose.")],
    cell: Annotated[str | None, _option(NETWORK, "rnn_tanh, rnn_relu, gru or lstm.")] = None,
    input_size: Annotated[int | None, _option(NETWORK, "I.")] = None,
    hidden_size: Annotated[int | None, _option(NETWORK, "H.")] = None,
    layers: Annotated[int, _option(NETWORK, "L.")] = 1,
    directions: Annotated[int, _option(NETWORK, "1 or 2.")] = 1,
    bias: Annotated[bool, _option(NETWORK, "Whether there are biases.")] = True,
    proj_size: Annotated[int, _option(NETWORK, "P of an LSTM, 0 for none.")] = 0,
    dtype: Annotated[str, _option(NETWORK, "float32, float64, …")] = "float32",
    kind: Annotated[
        str | None, typer.Option(help="module, function, cell or gradient; needed for the last.")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            help="JSON: torch's name of a weight → your place of it, a list of places gate by "
            "gate, or null. E.g. '"
            '{"weight_ih_l0": "W[0]", "weight_hh_l0": ["Ur", "Uz", "Un"], "bias_hh_l0": null}'
            "'."
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="What a gradient function of three arguments differentiates: h_n (the sum of the "
            "final state) or output."
        ),
    ] = None,
    batch_first: Annotated[bool | None, _option(LAYOUT, "x is (B, T, I).")] = None,
    unbatched: Annotated[bool | None, _option(LAYOUT, "x is (T, I).")] = None,
    states: Annotated[
        str | None, _option(LAYOUT, "torch, layers_directions or directions_layers.")
    ] = None,
    gates: Annotated[str | None, _option(LAYOUT, "Order of the gates, e.g. ifog.")] = None,
    interleaved: Annotated[bool | None, _option(LAYOUT, "Gates unit by unit.")] = None,
    transposed: Annotated[bool | None, _option(LAYOUT, "Weights are (columns, rows).")] = None,
    arrays: Annotated[str | None, _option(LAYOUT, "torch or numpy.")] = None,
    x: Annotated[str | None, _option(NUMBERS, "(T, B, I) or (T, I), nested lists.", "--x")] = None,
    state: Annotated[str | None, _option(NUMBERS, "h0, or the pair h0, c0 of an LSTM.")] = None,
    weights: Annotated[str | None, _option(NUMBERS, "By torch's names.")] = None,
    time_limit: Annotated[
        float, typer.Option(help="Seconds after which the candidate is ended.", min=1.0)
    ] = 120.0,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Find where an implementation first departs from the oracle, and which mistake explains it.

    NAME is a module or other object that holds its weights, a class of one without arguments, a
    function f(x, state, weights), a single cell, or a function that returns gradients.

    FILE.py IS EXECUTED, with your rights, in a process of its own that is ended when the time limit
    is over: diagnose only what you would run.
    """
    from rnnbench.diagnosis.page import check_path, write
    from rnnbench.diagnosis.process import diagnose_file
    from rnnbench.diagnosis.usage import check_usage

    try:
        file, name = _split(target)
        options = {
            "spec": _spec(
                cell, input_size, hidden_size, layers, directions, bias, dtype, proj_size
            ),
            "kind": kind, "loss": loss, "batch_first": batch_first, "unbatched": unbatched,
            "states": states, "gates": gates, "interleaved": interleaved,
            "transposed": transposed, "arrays": arrays, "mapping": _json("mapping", mapping),
            "x": _json("x", x), "state": _json("state", state),
            "weights": _json("weights", weights),
        }  # fmt: skip
        if html is not None:
            check_path(html)
        network = options["spec"] and Spec(**options["spec"])
        layout = {name: options[name] for name in LAYOUTS}
        asked = {name: options[name] for name in ASKED}
        check_usage(spec=network, layout=layout, **asked)
        with _waiting(target):
            found = diagnose_file(file, name, options, time_limit=time_limit)
    except InputError as error:
        leave(USAGE, str(error))
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else str(found))
    if html is not None:
        try:
            write(found, html)
        except InputError as error:
            leave(USAGE, str(error))
    raise typer.Exit(CODES[found.status])


diagnose.__doc__ = (
    f"{diagnose.__doc__}\n    Exit codes: 0 it is right; 1 it departs; 2 wrong usage; 5 it raised, "
    "hung or ended its process, and nothing could be compared."
)


def _split(target: str) -> tuple[Path, str]:
    file, colon, name = target.rpartition(":")
    if not colon or not file or not name:
        raise InputError(f"FILE.py:NAME must name a file and an object in it; got {target!r}")
    return Path(file), name


def _spec(
    cell: str | None, input_size: int | None, hidden_size: int | None, layers: int,
    directions: int, bias: bool, dtype: str, proj_size: int,
) -> dict[str, Any] | None:  # fmt: skip
    """The spec as a dict, or None where the candidate must tell it itself."""
    given = {"--cell": cell, "--input-size": input_size, "--hidden-size": hidden_size}
    if all(value is None for value in given.values()):
        return None
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise InputError(
            f"--cell, --input-size and --hidden-size go together; {missing[0]} is missing"
        )
    assert cell is not None
    assert input_size is not None
    assert hidden_size is not None
    return asdict(Spec(cell, input_size, hidden_size, layers, directions, bias, dtype, proj_size))


def _json(name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--{name} must be JSON; got {text!r} ({error})") from error


def _waiting(target: str) -> AbstractContextManager[Any]:
    """A spinner on stderr where a person watches."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(f"diagnosing {target}")
