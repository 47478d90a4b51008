"""``rnnbench serve``: the published reports over HTTP, on loopback unless told otherwise."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnbench.cli.exits import leave
from rnnbench.exit_codes import USAGE


class _Quiet(SimpleHTTPRequestHandler):
    """Serves static files: no line per request, nothing cached, so a reload shows new files."""

    def log_message(self, *args: Any) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


def make_server(directory: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server of the files under ``directory``; port 0 takes a free one."""
    return ThreadingHTTPServer((host, port), partial(_Quiet, directory=str(directory)))


def serve(
    directory: Annotated[Path, typer.Argument(help="Folder of the published site.")] = Path(
        "reports/html"
    ),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
) -> None:
    """Serve the published reports until interrupted, by default to this machine alone."""
    if not (directory / "index.html").is_file():
        leave(
            USAGE, f"{directory} holds no published report (no index.html): run `rnnbench publish`"
        )
    try:
        server = make_server(directory, host, port)
    except OSError as error:
        leave(USAGE, f"cannot listen on {host}:{port}: {error.strerror}")
    with server:
        typer.echo(f"serving {directory} on http://{host}:{server.server_port}/ (Ctrl-C to stop)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped")
