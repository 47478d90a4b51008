"""The command ``rnnbench``: one file per subcommand; they print and decide nothing."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from rnnbench.cli import (
    calibrate,
    check,
    compare,
    diagnose,
    nightly,
    publish,
    reach,
    roofline,
    search,
    serve,
    train,
    tune,
    verdict,
)

app = typer.Typer(
    name="rnnbench",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version of rnnbench and exit.")
    ] = False,
) -> None:
    """Recurrent networks: is it right, is it fast, and did it just get slower?"""
    if version:
        typer.echo(f"rnnbench {metadata.version('rnnbench')}")
        raise typer.Exit


app.command("calibrate")(calibrate.calibrate)
app.command("check")(check.check)
app.command("compare")(compare.compare)
app.command("diagnose")(diagnose.diagnose)
app.command("nightly")(nightly.nightly)
app.command("publish")(publish.publish)
app.command("reach")(reach.reach)
app.command("roofline")(roofline.roofline)
app.command("search")(search.search)
app.command("serve")(serve.serve)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("verdict")(verdict.verdict)
