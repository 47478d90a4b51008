"""The command ``rnnbench``: one file per subcommand; they print and decide nothing."""

from __future__ import annotations

import typer

from rnnbench.cli import (
    calibrate,
    check,
    compare,
    diagnose,
    nightly,
    publish,
    roofline,
    search,
    serve,
    train,
    verdict,
)

app = typer.Typer(
    name="rnnbench",
    help="Recurrent networks: is it right, is it fast, and did it just get slower?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("calibrate")(calibrate.calibrate)
app.command("check")(check.check)
app.command("compare")(compare.compare)
app.command("diagnose")(diagnose.diagnose)
app.command("nightly")(nightly.nightly)
app.command("publish")(publish.publish)
app.command("roofline")(roofline.roofline)
app.command("search")(search.search)
app.command("serve")(serve.serve)
app.command("train")(train.train)
app.command("verdict")(verdict.verdict)
