"""``rnnbench publish``: the site of an asv suite, written anew only where something is new."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rnnbench.cli.exits import leave
from rnnbench.errors import InputError
from rnnbench.exit_codes import USAGE


def publish(
    config: Annotated[
        Path, typer.Option(help="asv's configuration: where results lie, where the site goes.")
    ] = Path("asv.conf.json"),
    html_dir: Annotated[Path | None, typer.Option(help="Write the site there instead.")] = None,
    timings: Annotated[bool, typer.Option(help="Say what took how long, and the size.")] = False,
) -> None:
    """Publish results and verdicts: a static site with the data of the history explorer.

    Only result files that are new or have changed are parsed. Exit codes: 0 published; 2 wrong
    usage.
    """
    try:
        from asv.config import Config
        from asv.util import UserError

        from rnnbench.judge.site.publish import publish as publisher
    except ImportError as error:
        leave(USAGE, f"{error.name} is not installed: pip install 'rnnbench[bench]'")
    clock = publisher.Clock()
    try:
        wanted = html_dir.resolve() if html_dir else None
        os.chdir(config.resolve().parent)  # what asv does: its paths are relative to the file
        conf = Config.load(config.name)
        conf.html_dir = str(wanted or conf.html_dir)
        site = publisher.publish(conf, clock)
    except (UserError, FileNotFoundError, InputError) as error:
        leave(USAGE, f"{config}: {error}")
    typer.echo(f"published {Path(conf.html_dir, 'index.html')}")
    if timings:
        for what, took in clock.seconds.items():
            typer.echo(f"{what}: {took:.1f} s")
        files = [path for path in Path(conf.html_dir).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 2**20
        typer.echo(
            f"in all {sum(clock.seconds.values()):.1f} s, {site.known.parsed} commits parsed of "
            f"{len(site.known.parts)}; {len(files)} files, {size:.1f} MiB"
        )
