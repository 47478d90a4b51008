"""``rnnbench diagnose``: find where an implementation goes wrong, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbench.cli import exits, output
from rnnbench.cli.options import Json, panel
from rnnbench.cli.progress import showing
from rnnbench.errors import InputError
from rnnbench.exit_codes import BROKEN, FAILED, GOOD, NOTHING_MEASURED
from rnnbench.spec import CELLS, DTYPES, Spec

if TYPE_CHECKING:
    from rnnbench.diagnosis.result import Diagnosis

_network = panel("Network: where torch's attributes or parameter names do not tell it")
_layout = panel("Layout: recognised where not given")
_numbers = panel("Your own numbers, as JSON")
LAYOUTS = (
    "batch_first", "unbatched", "states", "gates", "interleaved", "transposed", "arrays",
)  # fmt: skip
ASKED = ("kind", "mapping", "loss", "x", "state", "weights")
CODES = {"right": GOOD, "departs": FAILED, "raised": BROKEN, "nothing": NOTHING_MEASURED}
CODES_TEXT = (
    "Exit codes: 0 it is right; 1 it departs; 2 wrong usage; 4 a script has nothing that could be "
    "compared; 5 it raised, hung or ended its process."
)


@exits.command(CODES_TEXT)
def diagnose(
    target: Annotated[str, typer.Argument(metavar="FILE.py[:NAME]", help="What to diagnose.")],
    cell: Annotated[str | None, _network(f"{', '.join(CELLS)}.")] = None,
    input_size: Annotated[int | None, _network("Input size I.")] = None,
    hidden_size: Annotated[int | None, _network("Hidden size H.")] = None,
    layers: Annotated[int, _network("Layers L.")] = 1,
    directions: Annotated[int, _network("Directions D, 1 or 2.")] = 1,
    bias: Annotated[bool, _network("Whether there are biases.")] = True,
    proj_size: Annotated[int, _network("Projection size P of an LSTM; 0: none.")] = 0,
    dtype: Annotated[str, _network(f"{', '.join(DTYPES)}.")] = "float32",
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
    batch_first: Annotated[bool | None, _layout("x is (B, T, I).")] = None,
    unbatched: Annotated[bool | None, _layout("x is (T, I).")] = None,
    states: Annotated[str | None, _layout("torch, layers_directions or directions_layers.")] = None,
    gates: Annotated[str | None, _layout("Order of the gates, e.g. ifog.")] = None,
    interleaved: Annotated[bool | None, _layout("Gates unit by unit.")] = None,
    transposed: Annotated[bool | None, _layout("Weights are (columns, rows).")] = None,
    arrays: Annotated[str | None, _layout("torch or numpy.")] = None,
    x: Annotated[str | None, _numbers("(T, B, I) or (T, I), nested lists.", "--x")] = None,
    state: Annotated[str | None, _numbers("h0, or the pair h0, c0 of an LSTM.")] = None,
    weights: Annotated[str | None, _numbers("By torch's names.")] = None,
    time_limit: Annotated[
        float, typer.Option(help="Seconds after which the candidate is ended.", min=1.0)
    ] = 120.0,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Of a script that raises, mend the obvious (a missing import, zeros of another "
            "shape), run it again, and say so. The file stays as it is.",
        ),
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page there.")] = None,
    as_json: Json = False,
) -> int:
    """Find where an implementation first departs from the oracle, and which mistake explains it.

    FILE.py alone is a script: it runs as it is, once, and is watched. What it holds against
    torch's nn.RNN, nn.GRU or nn.LSTM (by a comparison, by printing both, by calling both on one
    input) is judged by the numbers of that run: the first departure, the known mistake that gives
    the same numbers, which term of a gradient is wrong and what it should be. No option is needed.

    FILE.py:NAME asks one object of a file, on problems of ours: NAME is a module or other object
    that holds its weights, a class of one without arguments, a function f(x, state, weights), a
    single cell, or a function that returns gradients.

    FILE.py IS EXECUTED, with your rights, in a process of its own that is ended when the time limit
    is over: diagnose only what you would run. A script (not FILE.py:NAME) is besides kept from
    deleting, renaming and changing files, starting processes and programs, and using the network:
    that raises an error in it. What it writes goes to a folder that is thrown away, windows are
    not opened, and a DataLoader reads without workers. Where Linux has Landlock, the kernel holds
    compiled code to it too. Not guarded: reading your files, memory, and time up to the limit.
    """
    from rnnbench.diagnosis.page import check_path, write

    file, name = _split(target)
    options = {
        "spec": _spec(cell, input_size, hidden_size, layers, directions, bias, dtype, proj_size),
        "kind": kind, "loss": loss, "batch_first": batch_first, "unbatched": unbatched,
        "states": states, "gates": gates, "interleaved": interleaved, "transposed": transposed,
        "arrays": arrays, "mapping": _json("mapping", mapping), "x": _json("x", x),
        "state": _json("state", state), "weights": _json("weights", weights),
    }  # fmt: skip
    if html is not None:
        check_path(html)
    with showing() as show:
        show(f"diagnosing {target}")
        if name:
            found = _named(file, name, options, repair, time_limit)
        else:
            found = _script(file, options, repair, time_limit)
    output.show(found.to_dict(), [str(found)], as_json=as_json)
    if html is not None:
        write(found, html)
    return CODES[found.status]


def _split(target: str) -> tuple[Path, str]:
    """Return the file and the name in it, "" for a whole script."""
    if target.endswith(".py"):
        return Path(target), ""
    file, colon, name = target.rpartition(":")
    if not colon or not file or not name:
        raise InputError(
            f"FILE.py[:NAME] must be a script, or name a file and an object in it; got {target!r}"
        )
    return Path(file), name


def _named(
    file: Path, name: str, options: dict[str, Any], repair: bool, time_limit: float
) -> Diagnosis:
    from rnnbench.diagnosis.process import diagnose_file
    from rnnbench.diagnosis.usage import check_usage

    if repair:
        raise InputError("--repair is for a script, FILE.py without :NAME")
    network = options["spec"] and Spec(**options["spec"])
    layout = {name: options[name] for name in LAYOUTS}
    check_usage(spec=network, layout=layout, **{name: options[name] for name in ASKED})
    return diagnose_file(file, name, options, time_limit=time_limit)


def _script(file: Path, options: dict[str, Any], repair: bool, time_limit: float) -> Diagnosis:
    from rnnbench.diagnosis.script.process import diagnose_script

    given = [name for name, value in options.items() if value is not None]
    if given:
        name = "cell" if given[0] == "spec" else given[0].replace("_", "-")
        raise InputError(
            f"--{name} is for FILE.py:NAME; a script's network, layout and numbers are its own"
        )
    return diagnose_script(file, repair=repair, time_limit=time_limit)


def _spec(
    cell: str | None, input_size: int | None, hidden_size: int | None, layers: int,
    directions: int, bias: bool, dtype: str, proj_size: int,
) -> dict[str, Any] | None:  # fmt: skip
    """Return the spec as a dict, or None where the candidate must tell it itself."""
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
