"""``rnnbench reach``: what each loss of a training script reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnbench.cli import exits, output
from rnnbench.cli.options import Json
from rnnbench.cli.progress import showing
from rnnbench.exit_codes import BROKEN, GOOD, NOTHING_MEASURED

CODES = {"measured": GOOD, "nothing": NOTHING_MEASURED, "raised": BROKEN}


@exits.command(
    "Exit codes: 0 it is said what each loss reaches; 2 wrong usage; 4 there is no loss of what is "
    "read by index; 5 the script raised, hung or ended its process."
)
def reach(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="The training script.")],
    setup: Annotated[
        Path | None,
        typer.Option(
            help="A file that is run before it, in the same names: for a fragment that lacks its "
            "definitions. What is defined in neither is listed."
        ),
    ] = None,
    time_limit: Annotated[
        float, typer.Option(help="Seconds after which the script is stopped.", min=1.0)
    ] = 120.0,
    as_json: Json = False,
) -> int:
    """Say for every loss of a training script which steps of its data it reaches.

    The script runs as it is, once, and its graph is walked before each backward pass: which losses
    are in it, which steps (data[i], data[i:j]) each goes back to, and how many updates ago these
    were computed. Also said: losses that are differentiated again, gradients that are thrown away
    by zero_grad before any update, steps that are never read, and why torch refuses a pass.

    FILE.py IS EXECUTED, fenced as `rnnbench diagnose FILE.py` fences a script: its help says what
    that keeps off, and what it does not.
    """
    from rnnbench.diagnosis.script.process import reach_script

    with showing() as show:
        show(f"following {file}")
        found = reach_script(file, setup=setup, time_limit=time_limit)
    output.show(found.to_dict(), [str(found)], as_json=as_json)
    return CODES[found.status]
