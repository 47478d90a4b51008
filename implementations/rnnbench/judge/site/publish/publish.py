"""``python -m rnnbench.judge.site.publish.publish``: the whole site, written anew only where something is new.

What ``asv publish`` does besides, and why this is the way for long histories, is in `published`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from asv.config import Config
from asv.repo import get_repo
from asv.util import UserError

from rnnbench.judge.site.publish import explorer, graphs
from rnnbench.judge.site.data import site
from rnnbench.cli.exits import leave
from rnnbench.exit_codes import USAGE


def publish(conf: Any, seconds: dict[str, float] | None = None) -> site.Site:
    """Write the site into ``conf.html_dir``; ``seconds`` takes down what each part took."""
    clock = Clock({} if seconds is None else seconds)
    repo = get_repo(conf)
    site = site.load(conf)
    clock.note("reading results")
    site.revisions = repo.get_revisions({visit.commit for visit in site.known.visits})
    site.find_histories()
    clock.note("finding changes")
    html_dir = Path(conf.html_dir)
    html_dir.mkdir(parents=True, exist_ok=True)
    explorer.declare_direction(site.benchmarks)
    graphs = graphs.write_data(
        html_dir,
        conf,
        repo,
        site.known,
        site.benchmarks,
        site.machines,
        site.revisions,
        site.changes,
    )
    explorer.install(html_dir, site.commits, graphs)
    clock.note("writing graphs")
    site.write(site, html_dir)
    clock.note("writing pages")
    return site


class Clock:
    """Seconds since the last note, by the name of what took them."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.last = time.perf_counter()

    def note(self, what: str) -> None:
        now = time.perf_counter()
        self.seconds[what] = now - self.last
        self.last = now


def main(
    config: Annotated[
        Path, typer.Option(help="asv's configuration: where results lie, where the site goes.")
    ] = Path("asv.conf.json"),
    html_dir: Annotated[Path | None, typer.Option(help="Write the site there instead.")] = None,
    timings: Annotated[bool, typer.Option(help="Say what took how long, and the size.")] = False,
) -> None:
    """Publish the reports: our pages and the data of the history explorer.

    Only result files that are new or have changed are parsed. Exit codes: 0 published; 2 wrong
    usage.
    """
    try:
        wanted = html_dir.resolve() if html_dir else None
        os.chdir(config.resolve().parent)  # what asv does: its paths are relative to the file
        conf = Config.load(config.name)
        conf.html_dir = str(wanted or conf.html_dir)
        seconds: dict[str, float] = {}
        site = publish(conf, seconds)
    except (UserError, FileNotFoundError) as error:
        leave(USAGE, f"{config}: {error}")
    typer.echo(f"published {Path(conf.html_dir, 'index.html')}")
    if timings:
        for what, took in seconds.items():
            typer.echo(f"{what}: {took:.1f} s")
        files = [path for path in Path(conf.html_dir).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 2**20
        typer.echo(
            f"in all {sum(seconds.values()):.1f} s, {site.known.parsed} commits parsed of "
            f"{len(site.known.parts)}; {len(files)} files, {size:.1f} MiB"
        )


if __name__ == "__main__":
    typer.run(main)
