"""``rnnbench serve``: the published reports over HTTP, on loopback unless told otherwise.

Python's own server of static files, without what would surprise whoever starts it: nothing outside
of the folder by symbolic links, no listings, no answer to another name than it was started under
(a page elsewhere could otherwise read it through a name of its own that leads to loopback), and no
thread that an idle client holds for ever.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from rnnbench.cli.exits import leave
from rnnbench.exit_codes import USAGE

IDLE = 10.0
"""Seconds after which a client that says nothing is let go."""


class _Handler(SimpleHTTPRequestHandler):
    """Serves static files: no line per request, nothing cached, so a reload shows new files."""

    timeout = IDLE

    def log_message(self, *args: Any) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def send_head(self) -> Any:
        if not self._asked_by_a_known_name():
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        try:
            path = Path(self.translate_path(self.path)).resolve()
            found = path.is_relative_to(Path(self.directory).resolve()) and path.exists()
        except ValueError:  # a null character
            found = False
        if not found:
            return self.send_error(HTTPStatus.NOT_FOUND)
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def _asked_by_a_known_name(self) -> bool:
        try:
            asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:
            return False
        assert isinstance(self.server, _Server)
        return asked is not None and (asked in self.server.names or _address(asked) is not None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory: Path, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.names = {"localhost", host, socket.gethostname(), socket.getfqdn()}
        super().__init__((host, port), partial(_Handler, directory=str(directory)))


def make_server(directory: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server of the files under ``directory``; port 0 takes a free one."""
    return _Server(directory, host, port)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a numeric address, None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


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
        named = f"[{host}]" if ":" in host else host
        typer.echo(f"serving {directory} on http://{named}:{server.server_port}/ (Ctrl-C to stop)")
        address = _address(host)
        if host != "localhost" and not (address and address.is_loopback):
            typer.echo("rnnbench: whoever reaches this machine can read the reports", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped")
